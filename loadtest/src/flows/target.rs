//! A server that runs already, and who may administer it.

use std::io;
use std::net::SocketAddr;
use std::str::FromStr;

use hyper::Uri;
use tokio::net::lookup_host;

use crate::client::Credentials;

/// Where a server is, as a name or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    host: String,
    port: u16,
}

/// Why a server cannot be found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("{host} has no address: {reason}")]
    Unknown { host: String, reason: io::Error },
}

impl Target {
    /// Its address.
    pub(super) async fn find(&self) -> Result<SocketAddr, TargetError> {
        let unknown = |reason| TargetError::Unknown { host: self.host.clone(), reason };
        let mut found = lookup_host((&*self.host, self.port)).await.map_err(unknown)?;
        found.next().ok_or_else(|| unknown(io::ErrorKind::NotFound.into()))
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("no URL: {error}"))?;
        let (Some("http"), Some(host), "" | "/") = (uri.scheme_str(), uri.host(), uri.path()) else {
            return Err("it must be http://HOST:PORT, without a path: this program speaks no TLS".to_owned());
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(PORT) })
    }
}

/// The port of HTTP.
const PORT: u16 = 80;

/// Reads `ID:SECRET`.
pub(super) fn parse_admin(text: &str) -> Result<Credentials, String> {
    let (id, secret) = text.split_once(':').ok_or_else(|| "it must be ID:SECRET".to_owned())?;
    // What a form does not encode (RFC 6749 §2.3.1), as `Credentials` wants it.
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._*".contains(&byte));
    if is_plain(id) && is_plain(secret) {
        Ok(Credentials::new(id, secret))
    } else {
        Err("id and secret may have letters, digits, and the characters - . _ *".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, u16)>) {
        let expected = expected.map(|(host, port)| Target { host: host.to_owned(), port });
        assert_eq!(text.parse().ok(), expected, "{text}");
    }

    #[test]
    fn a_target_is_an_origin_of_http() {
        check("http://127.0.0.1:8080", Some(("127.0.0.1", 8080)));
        check("http://tokens.example/", Some(("tokens.example", 80)));
        check("http://[::1]:8080", Some(("::1", 8080)));
        for wrong in ["https://127.0.0.1", "127.0.0.1:8080", "http://127.0.0.1/path", "http://", "/", ""] {
            check(wrong, None);
        }
    }

    #[test]
    fn an_admin_is_an_id_and_a_secret_of_plain_characters() {
        let admin = parse_admin("operator:s3-cr_t").unwrap();
        assert_eq!((&*admin.id, &*admin.secret), ("operator", "s3-cr_t"));
        for wrong in ["operator", "a b:c", "a:b:c", "a:b%20"] {
            assert!(parse_admin(wrong).is_err(), "{wrong}");
        }
    }
}

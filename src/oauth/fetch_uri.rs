//! The address of a document that the server fetches (`jwks_uri`, RFC 7591 §2).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An `https` URL, in the one form in which it can be compared with what an operator has allowed. An `http` URL of a loopback address
/// is one too, for tests: nothing of it leaves the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchUri {
    text: String,
    is_plain: bool,
    host: FetchHost,
    port: u16,
    /// Where the path begins.
    path_at: usize,
}

/// Whom it is fetched from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FetchHost {
    /// A name in small letters.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// The longest, in bytes.
pub const FETCH_URI_BYTES_MAX: usize = 2048;
/// The port of `https`, where the URL names none.
pub const PORT_USUAL: u16 = 443;
const PORT_PLAIN: u16 = 80;

/// Why a text is no such URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an https URL of at most 2048 bytes, with a host in small letters, and without user information or a fragment: {0}"
)]
pub struct InvalidFetchUri(&'static str);

impl FetchUri {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// [`InvalidFetchUri`].
    pub fn parse(text: &str) -> Result<Self, InvalidFetchUri> {
        if text.len() > FETCH_URI_BYTES_MAX {
            return Err(InvalidFetchUri("it is longer"));
        }
        let (rest, is_plain) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (rest, false),
            (None, Some(rest)) => (rest, true),
            (None, None) => return Err(InvalidFetchUri(NOT_HTTPS)),
        };
        if !rest.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"' | b'<' | b'>' | b'#')) {
            return Err(InvalidFetchUri("it has a character that must be percent-encoded, or a fragment"));
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, _) = rest.split_at_checked(end).unwrap_or_default();
        let (host, port) = split_port(authority)?;
        let host = FetchHost::parse(host)?;
        if is_plain && !matches!(host, FetchHost::Address(address) if address.is_loopback()) {
            return Err(InvalidFetchUri(NOT_HTTPS));
        }
        let port = port.unwrap_or(if is_plain { PORT_PLAIN } else { PORT_USUAL });
        Ok(Self { text: text.to_owned(), is_plain, host, port, path_at: text.len() - rest.len() + end })
    }

    /// It as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is fetched without TLS: from a loopback address alone.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Whom it is fetched from.
    #[must_use]
    pub const fn host(&self) -> &FetchHost {
        &self.host
    }

    /// At which port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What is asked for: path and query, from a slash on.
    #[must_use]
    pub fn target(&self) -> String {
        let target = self.text.get(self.path_at..).unwrap_or_default();
        if target.starts_with('/') { target.to_owned() } else { format!("/{target}") }
    }
}

impl FetchHost {
    /// Reads a host as a URL has it: an IPv6 address in brackets.
    ///
    /// # Errors
    ///
    /// [`InvalidFetchUri`], also for the ways of writing an IPv4 address that only some programs take for one.
    pub fn parse(text: &str) -> Result<Self, InvalidFetchUri> {
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address = inner.parse::<Ipv6Addr>().map_err(|_| InvalidFetchUri("its IPv6 address is none"))?;
            return Ok(Self::Address(address.to_canonical()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        let is_label = |label: &str| {
            let is_inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            (1..=63).contains(&label.len())
                && label.bytes().all(is_inside)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() > 253 || !text.split('.').all(is_label) {
            return Err(InvalidFetchUri("its host is no name"));
        }
        let last = text.rsplit('.').next().unwrap_or_default();
        // Decimal, octal and hexadecimal forms of an address (WHATWG URL, "ends in a number").
        if last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") {
            return Err(InvalidFetchUri("its host ends in a number and is no IPv4 address of four decimal numbers"));
        }
        Ok(Self::Name(text.to_owned()))
    }
}

impl fmt::Display for FetchHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => formatter.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(formatter),
            Self::Address(IpAddr::V6(address)) => write!(formatter, "[{address}]"),
        }
    }
}

const NOT_HTTPS: &str = "it does not begin with https://";

fn split_port(authority: &str) -> Result<(&str, Option<u16>), InvalidFetchUri> {
    let after_host = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let colon = authority.get(after_host..).unwrap_or_default().find(':').map(|colon| after_host + colon);
    let Some((host, port)) = colon.and_then(|colon| authority.split_at_checked(colon)) else {
        return Ok((authority, None));
    };
    let port = port.strip_prefix(':').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let port = port.and_then(|digits| digits.parse().ok()).filter(|port| *port != 0);
    Ok((host, Some(port.ok_or(InvalidFetchUri("its port is none"))?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, u16, &str)>) {
        let parsed = FetchUri::parse(text).ok();
        let parts = parsed.map(|uri| (uri.host().to_string(), uri.port(), uri.target()));
        let expected = expected.map(|(host, port, target)| (host.to_owned(), port, target.to_owned()));
        assert_eq!(parts, expected, "{text}");
    }

    #[test]
    fn a_url_has_one_host_and_one_port() {
        check("https://a.example/keys", Some(("a.example", 443, "/keys")));
        check("https://a.example", Some(("a.example", 443, "/")));
        check("https://a.example?k=1", Some(("a.example", 443, "/?k=1")));
        check("https://a.example:8443/k?a=b", Some(("a.example", 8443, "/k?a=b")));
        check("https://10.1.2.3/", Some(("10.1.2.3", 443, "/")));
        check("https://[::1]:9/", Some(("[::1]", 9, "/")));
        check("https://[::ffff:127.0.0.1]/", Some(("127.0.0.1", 443, "/")));
        check("http://127.0.0.1:9/k", Some(("127.0.0.1", 9, "/k")));
        check("http://[::1]", Some(("[::1]", 80, "/")));
        for bad in [
            "http://a.example/",
            "http://localhost/",
            "http://10.0.0.1/",
            "gopher://a.example/",
            "file:///etc/passwd",
            "gopher://a.example/",
            "HTTPS://a.example/",
            "https:/a.example/",
            "https:///keys",
            "https://A.example/",
            "https://user@a.example/",
            "https://a.example@b.example/",
            "https://a.example\\@b.example/",
            "https://a.example/#f",
            "https://a.example/ k",
            "https://a.example:0/",
            "https://a.example:/",
            "https://a.example:65536/",
            "https://a.example:+1/",
            "https://a.example./",
            "https://-a.example/",
            "https://a..example/",
            "https://é.example/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://0x7f.0.0.1/",
            "https://127.1/",
            "https://0x7f000001/",
            "https://1.2.3.4.5/",
            "https://[::1/",
            "https://[fe80::1%25eth0]/",
            "https://a%2eexample/",
        ] {
            check(bad, None);
        }
        check(&format!("https://a.example/{}", "k".repeat(2048)), None);
    }
}

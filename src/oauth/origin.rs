//! Origins of web pages (RFC 6454 §6.2), as browsers send them in `Origin`.

use serde::{Deserialize, Serialize};

use crate::oauth::redirect_uri::RedirectUri;

/// An origin in the one form in which browsers send it: scheme, host in lower case, and the port where it is not the usual one.
/// `https`, or `http` to a loopback literal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(Box<str>);

/// A text that is no [`Origin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an origin must be as browsers send it: https://host or https://host:port (http for 127.0.0.1 and [::1] only), in lower \
     case, without a path and without a slash at its end, without the usual port"
)]
pub struct InvalidOrigin;

impl Origin {
    /// Reads an origin. `null`, which any sandboxed page has, is none.
    ///
    /// # Errors
    ///
    /// [`InvalidOrigin`] for anything that a browser would not send, or would send for pages that anybody on the way can change.
    pub fn parse(text: &str) -> Result<Self, InvalidOrigin> {
        // An origin is a redirect URI of these schemes without path and query.
        let (scheme, authority) = text.split_once("://").ok_or(InvalidOrigin)?;
        let usual_port = if scheme == "https" { ":443" } else { ":80" };
        let has_more = authority.contains(['/', '?']) || authority.ends_with(usual_port);
        if has_more || !matches!(scheme, "https" | "http") {
            return Err(InvalidOrigin);
        }
        RedirectUri::parse(text).map_err(|_| InvalidOrigin)?;
        Ok(Self(Box::from(text)))
    }

    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Origin {
    type Error = InvalidOrigin;

    fn try_from(text: String) -> Result<Self, InvalidOrigin> {
        Self::parse(&text)
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_as_browsers_send_it() {
        for text in [
            "https://app.example",
            "https://app.example:8443",
            "http://127.0.0.1:3000",
            "http://[::1]:3000",
            "https://192.0.2.1",
        ] {
            assert_eq!(Origin::parse(text).as_ref().map(Origin::as_str), Ok(text));
        }
        for text in [
            "",
            "null",
            "*",
            "https://*.app.example",
            "https://app.example/",
            "https://app.example/x",
            "https://app.example?x",
            "https://app.example#",
            "https://app.example:443",
            "https://App.example",
            "HTTPS://app.example",
            "https://user@app.example",
            "https://app.example https://other.example",
            "http://app.example",
            "http://localhost:3000",
            "http://127.0.0.1:80",
            "com.example.app://host",
            "app.example",
            "file://",
        ] {
            assert_eq!(Origin::parse(text), Err(InvalidOrigin), "{text:?}");
        }
    }
}

//! The values of settings that are neither a number nor a path.

use std::fmt;

use hyper::Uri;

/// When a change counts as acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Every change is answered after the group commit that holds it.
    Sync,
    /// As `Sync`, but the issue of an access token may be answered before its commit.
    Relaxed,
    /// Nothing is written.
    Memory,
}

impl Durability {
    /// Reads its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Sync, Self::Relaxed, Self::Memory].into_iter().find(|class| class.as_str() == text)
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Relaxed => "relaxed",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

impl LogFormat {
    /// Reads its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Auto, Self::Text, Self::Json].into_iter().find(|format| format.as_str() == text)
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A number of bytes. Shown in the largest unit that it is a whole number of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Reads digits, perhaps with a unit right behind them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let unit = UNITS.iter().find_map(|(name, bytes)| text.strip_suffix(name).map(|digits| (digits, *bytes)));
        let (digits, unit_bytes) = unit.unwrap_or((text, 1));
        let are_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = are_digits.then(|| digits.parse::<u64>().ok())??;
        number.checked_mul(unit_bytes).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, bytes)| self.0 != 0 && self.0.is_multiple_of(*bytes)) {
            Some((name, bytes)) => write!(formatter, "{}{name}", self.0 / bytes),
            None => write!(formatter, "{}", self.0),
        }
    }
}

/// The largest first.
const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// An issuer identifier: a URL without user, query and fragment (RFC 8414 §2). Kept as it was written, for it is
/// compared so. The RFC asks for `https`; `http` is for a machine of one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer(String);

impl Issuer {
    /// Reads an `http` or `https` URL.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (is_web_url(text) && !text.contains('?')).then(|| Self(text.to_owned()))
    }

    /// The URL as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether it is an `http` or `https` URL without user and fragment.
fn is_web_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    uri.authority().is_some_and(|authority| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"#<>@\\^`{|}".contains(&byte))
            && !authority.host().is_empty()
            && (authority.port().is_some() || authority.as_str() == authority.host())
    })
}

/// Where the operator's own login page is: a URL without user and fragment. It may have a query, which is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginUrl(String);

impl LoginUrl {
    /// Reads an `http` or `https` URL.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_web_url(text).then(|| Self(text.to_owned()))
    }

    /// The URL as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LoginUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The names of algorithms of signatures, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAlgorithms(Vec<&'static str>);

/// The names of all of them.
pub(super) const KEY_ALGORITHMS: [&str; 5] = ["EdDSA", "ES256", "ES384", "RS256", "PS256"];
const NO_ALGORITHM: &str = "none";

impl KeyAlgorithms {
    /// Reads names with commas between them, or `none`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == NO_ALGORITHM {
            return Some(Self(Vec::new()));
        }
        let mut names = Vec::new();
        for name in text.split(',') {
            let known = KEY_ALGORITHMS.into_iter().find(|known| *known == name)?;
            if names.contains(&known) {
                return None;
            }
            names.push(known);
        }
        Some(Self(names))
    }

    /// The names in their order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().copied()
    }
}

impl Default for KeyAlgorithms {
    fn default() -> Self {
        Self(vec!["EdDSA", "RS256"])
    }
}

impl fmt::Display for KeyAlgorithms {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_empty() { NO_ALGORITHM } else { "" })?;
        formatter.write_str(&self.0.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, is_issuer: bool) {
        assert_eq!(Issuer::parse(text).as_ref().map(Issuer::as_str), is_issuer.then_some(text), "{text:?}");
    }

    #[test]
    fn algorithms_are_named_once_each() {
        for text in ["none", "EdDSA", "ES256,PS256", "EdDSA,ES256,ES384,RS256,PS256"] {
            assert_eq!(KeyAlgorithms::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "HS256", "eddsa", "EdDSA,", "EdDSA,EdDSA", "EdDSA, ES256", "none,EdDSA"] {
            assert_eq!(KeyAlgorithms::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_issuer_is_a_url_without_query_and_fragment() {
        check("https://auth.example.com", true);
        check("https://auth.example.com/", true);
        check("https://auth.example.com:8443/tenant/a", true);
        check("http://127.0.0.1:8080", true);
        check("http://[::1]:8080", true);
        for text in [
            "",
            "auth.example.com",
            "/tenant",
            "ftp://auth.example.com",
            "https://",
            "https:///tenant",
            "https://:443",
            "https://auth.example.com:",
            "https://auth.example.com:65536",
            "https://auth.example.com?",
            "https://auth.example.com/?tenant=a",
            "https://auth.example.com#",
            "https://auth.example.com/#a",
            "https://user:secret@auth.example.com",
            "https://auth.example.com/a b",
            "https://auth.example.com/\u{e4}",
            " https://auth.example.com",
        ] {
            check(text, false);
        }
    }
}

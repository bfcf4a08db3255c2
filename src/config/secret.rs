//! Settings that must not be seen: zeroed when dropped, and without a word of them in `Debug`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The key from which all keys of the installation derive: 32 bytes.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; Self::BYTES]);

impl MasterKey {
    /// The length of a master key.
    pub const BYTES: usize = 32;

    /// The key with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Reads 64 hexadecimal digits, or 43 or 44 characters of base64 or base64url (RFC 4648), with nothing around them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.len() {
            HEX_CHARS => Self::from_hex(text),
            BASE64_CHARS | BASE64_PADDED_CHARS => Self::from_base64(text),
            _ => None,
        }
    }

    /// The bytes, for key derivation.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    fn from_hex(text: &str) -> Option<Self> {
        let mut key = Self([0; Self::BYTES]);
        let mut digits = text.chars().map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok()));
        for byte in &mut key.0 {
            *byte = (digits.next()?? << 4) | digits.next()??;
        }
        digits.next().is_none().then_some(key)
    }

    fn from_base64(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; BASE64_PADDED_CHARS]);
        let length = STANDARD_PAD_INDIFFERENT
            .decode_slice(text, &mut *bytes)
            .or_else(|_| URL_SAFE_PAD_INDIFFERENT.decode_slice(text, &mut *bytes))
            .ok()?;
        bytes.get(..length)?.try_into().ok().map(Self)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MasterKey(..)")
    }
}

const HEX_CHARS: usize = 2 * MasterKey::BYTES;
const BASE64_CHARS: usize = 43;
const BASE64_PADDED_CHARS: usize = 44;

/// The client that the operator wants on the first start.
pub struct BootstrapClient {
    client_id: String,
    client_secret: Zeroizing<String>,
}

impl BootstrapClient {
    /// Reads `ID:SECRET`: split at the first colon, each part 1 to 255 characters of the set VSCHAR (RFC 6749
    /// Appendix A).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once(':')?;
        let readable = is_credential(id) && is_credential(secret);
        readable.then(|| Self { client_id: id.to_owned(), client_secret: Zeroizing::new(secret.to_owned()) })
    }

    /// Its `client_id`.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Its `client_secret`, to be hashed.
    #[must_use]
    pub fn client_secret(&self) -> &str {
        &self.client_secret
    }
}

impl fmt::Debug for BootstrapClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BootstrapClient").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// Where the database is, with the password of the role.
#[derive(Clone)]
pub struct DatabaseUrl(Zeroizing<String>);

impl DatabaseUrl {
    /// Reads a URL that begins with `postgres://` or `postgresql://`. The rest is for the driver to understand.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_readable = ["postgres://", "postgresql://"].iter().any(|scheme| {
            text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
        });
        is_readable.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The text, for the driver.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DatabaseUrl(..)")
    }
}

fn is_credential(text: &str) -> bool {
    (1..=CREDENTIAL_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

const CREDENTIAL_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    /// 0xFB in front makes the two alphabets differ: `+` against `-`.
    const KEY: [u8; 32] = {
        let mut bytes = [0xff; 32];
        bytes[0] = 0xfb;
        bytes
    };

    fn check(text: &str, expected: Option<[u8; 32]>) {
        assert_eq!(MasterKey::parse(text).map(|key| *key.as_bytes()), expected, "{text}");
    }

    #[test]
    fn a_master_key_is_read_in_each_of_its_forms() {
        check(&format!("fb{}", "ff".repeat(31)), Some(KEY));
        check(&format!("FB{}", "Ff".repeat(31)), Some(KEY));
        check(&format!("+{}8", "/".repeat(41)), Some(KEY));
        check(&format!("+{}8=", "/".repeat(41)), Some(KEY));
        check(&format!("-{}8", "_".repeat(41)), Some(KEY));
        check(&format!("-{}8=", "_".repeat(41)), Some(KEY));
    }

    #[test]
    fn a_master_key_of_another_form_is_refused() {
        check("", None);
        check(&"f".repeat(63), None);
        check(&"f".repeat(65), None);
        check(&"g".repeat(64), None);
        check(&"é".repeat(32), None);
        check(&"A".repeat(44), None);
        check(&format!("{}=", "A".repeat(42)), None);
        check(&format!("{}B", "A".repeat(42)), None);
        check(&format!("+_{}", "A".repeat(41)), None);
        check(&format!("{}\n", "A".repeat(43)), None);
    }

    #[test]
    fn a_database_url_has_the_scheme_of_postgresql() {
        for (text, expected) in [
            ("postgres://tessera:secret@db.example/tessera?sslmode=verify-full", true),
            ("postgresql:///tessera?host=/run/postgresql", true),
            ("postgres://", false),
            ("mysql://db.example/tessera", false),
            ("postgres://db.example/tes sera", false),
        ] {
            assert_eq!(DatabaseUrl::parse(text).is_some(), expected, "{text}");
        }
        assert_eq!(format!("{:?}", DatabaseUrl::parse("postgres://a:b@c/d").unwrap()), "DatabaseUrl(..)");
    }

    #[test]
    fn a_bootstrap_client_is_split_at_its_first_colon() {
        let client = BootstrapClient::parse("gateway:s3:cret ~").unwrap();
        assert_eq!((client.client_id(), client.client_secret()), ("gateway", "s3:cret ~"));
        assert!(BootstrapClient::parse(&format!("{}:{}", "i".repeat(255), "s".repeat(255))).is_some());
    }

    #[test]
    fn a_bootstrap_client_out_of_bounds_is_refused() {
        let long = "i".repeat(256);
        for text in ["", "gateway", ":secret", "gateway:", "g\u{e4}te:secret", "gate\tway:secret", "gateway:s\n"] {
            assert!(BootstrapClient::parse(text).is_none(), "{text:?}");
        }
        assert!(BootstrapClient::parse(&format!("{long}:secret")).is_none());
        assert!(BootstrapClient::parse(&format!("gateway:{long}")).is_none());
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", MasterKey::from_bytes(KEY)), "MasterKey(..)");
        let client = BootstrapClient::parse("gateway:s3cret").unwrap();
        assert_eq!(format!("{client:?}"), "BootstrapClient { client_id: \"gateway\", .. }");
    }
}

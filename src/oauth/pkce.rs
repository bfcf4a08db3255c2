//! Proof Key for Code Exchange (RFC 7636), with `S256` only: whoever redeems a code shows that it began the request.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

/// The `code_challenge` of method `S256`: SHA-256 of a [`CodeVerifier`]. Compared in constant time.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CodeChallenge([u8; 32]);

/// A `code_verifier` of the right form (RFC 7636 §4.1). Never printed.
#[derive(Clone, Copy)]
pub struct CodeVerifier<'a>(&'a str);

/// The only `code_challenge_method` (RFC 7636 §4.2). `plain` would show the verifier to whoever sees the request.
pub const CODE_CHALLENGE_METHOD: &str = "S256";

/// The shortest and the longest `code_verifier`, in characters (RFC 7636 §4.1).
const VERIFIER_BYTES: std::ops::RangeInclusive<usize> = 43..=128;

/// Why a text is no challenge or no verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPkce {
    /// Another method than [`CODE_CHALLENGE_METHOD`], or none, which would mean `plain` (RFC 7636 §4.3).
    #[error("code_challenge_method must be S256")]
    Method,
    /// Not the base64url of 32 bytes.
    #[error("code_challenge must be the SHA-256 of the code_verifier in base64url: 43 characters without padding")]
    Challenge,
    /// Too short, too long, or a character that is not unreserved.
    #[error("code_verifier must have 43 to 128 letters, digits or characters of -._~")]
    Verifier,
}

impl CodeChallenge {
    /// Reads `code_challenge`. One challenge has one text: bits that base64url leaves over must be 0.
    ///
    /// # Errors
    ///
    /// [`InvalidPkce::Challenge`] for anything but the base64url of 32 bytes.
    pub fn parse(text: &str) -> Result<Self, InvalidPkce> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidPkce::Challenge)?;
        bytes.try_into().map(Self).map_err(|_| InvalidPkce::Challenge)
    }

    /// Checks `code_challenge_method`.
    ///
    /// # Errors
    ///
    /// [`InvalidPkce::Method`] for anything but `S256`.
    pub fn check_method(method: Option<&str>) -> Result<(), InvalidPkce> {
        if method == Some(CODE_CHALLENGE_METHOD) { Ok(()) } else { Err(InvalidPkce::Method) }
    }

    /// The challenge with those bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of it.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether the verifier is the one that this was made from.
    #[must_use]
    pub fn accepts(&self, verifier: &CodeVerifier<'_>) -> bool {
        *self == verifier.challenge()
    }
}

impl PartialEq for CodeChallenge {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for CodeChallenge {}

impl fmt::Debug for CodeChallenge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CodeChallenge(..)")
    }
}

impl TryFrom<String> for CodeChallenge {
    type Error = InvalidPkce;

    fn try_from(text: String) -> Result<Self, InvalidPkce> {
        Self::parse(&text)
    }
}

impl From<CodeChallenge> for String {
    fn from(challenge: CodeChallenge) -> Self {
        URL_SAFE_NO_PAD.encode(challenge.0)
    }
}

impl<'a> CodeVerifier<'a> {
    /// Reads `code_verifier`.
    ///
    /// # Errors
    ///
    /// [`InvalidPkce::Verifier`] when it is too short or too long, or holds another character than RFC 7636 §4.1 allows.
    pub fn parse(text: &'a str) -> Result<Self, InvalidPkce> {
        let fits = VERIFIER_BYTES.contains(&text.len()) && text.bytes().all(is_unreserved);
        if fits { Ok(Self(text)) } else { Err(InvalidPkce::Verifier) }
    }

    /// The challenge that belongs to it.
    #[must_use]
    pub fn challenge(&self) -> CodeChallenge {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, self.0.as_bytes()).as_ref());
        CodeChallenge(bytes)
    }
}

impl fmt::Debug for CodeVerifier<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CodeVerifier(..)")
    }
}

/// RFC 3986 §2.3
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636, appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn a_challenge_accepts_its_verifier_and_no_other() {
        let challenge = CodeChallenge::parse(CHALLENGE).unwrap();
        assert!(challenge.accepts(&CodeVerifier::parse(VERIFIER).unwrap()));
        let other = VERIFIER.replace('d', "D");
        assert!(!challenge.accepts(&CodeVerifier::parse(&other).unwrap()));
        // Whoever only saw the request could otherwise redeem the code.
        assert!(!challenge.accepts(&CodeVerifier::parse(CHALLENGE).unwrap()));
        assert_eq!(String::from(challenge), CHALLENGE);
    }

    #[test]
    fn a_verifier_has_43_to_128_unreserved_characters() {
        for (length, fits) in [(0, false), (42, false), (43, true), (128, true), (129, false)] {
            assert_eq!(CodeVerifier::parse(&"a".repeat(length)).is_ok(), fits, "{length}");
        }
        for character in "+/= \n%\u{0}é!*".chars() {
            let text = format!("{VERIFIER}{character}");
            assert_eq!(CodeVerifier::parse(&text).err(), Some(InvalidPkce::Verifier), "{text:?}");
        }
        assert!(CodeVerifier::parse(&format!("{VERIFIER}-._~")).is_ok());
    }

    #[test]
    fn a_challenge_is_32_bytes_in_the_only_base64url_of_them() {
        for text in [
            "",
            &CHALLENGE[1..],
            &format!("{CHALLENGE}A"),
            &format!("{CHALLENGE}="),
            &CHALLENGE.replace('-', "+"),
            // The same 32 bytes, and two bits that should be 0.
            &CHALLENGE.replace("-cM", "-cN"),
            &CHALLENGE.replace('E', " "),
        ] {
            assert_eq!(CodeChallenge::parse(text).err(), Some(InvalidPkce::Challenge), "{text:?}");
        }
    }

    #[test]
    fn only_s256_is_a_method() {
        for method in [None, Some(""), Some("plain"), Some("s256"), Some("S256 "), Some("S512")] {
            assert_eq!(CodeChallenge::check_method(method), Err(InvalidPkce::Method), "{method:?}");
        }
        assert_eq!(CodeChallenge::check_method(Some("S256")), Ok(()));
    }

    #[test]
    fn neither_prints() {
        let printed =
            format!("{:?} {:?}", CodeChallenge::parse(CHALLENGE).unwrap(), CodeVerifier::parse(VERIFIER).unwrap());
        assert_eq!(printed, "CodeChallenge(..) CodeVerifier(..)");
    }
}

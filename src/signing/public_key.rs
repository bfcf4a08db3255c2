//! The public half of a key, as others learn it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde::Serialize;

use crate::oauth::algorithm::SigningAlgorithm;

/// A public key with what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// What it verifies.
    pub algorithm: SigningAlgorithm,
    /// Its numbers.
    pub numbers: PublicNumbers,
}

/// The numbers of a public key, big-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicNumbers {
    /// Ed25519 (RFC 8037 §2).
    Okp {
        /// The point.
        x: Vec<u8>,
    },
    /// A curve of NIST (RFC 7518 §6.2), each coordinate as long as the field.
    Ec {
        /// Of the point.
        x: Vec<u8>,
        /// Of the point.
        y: Vec<u8>,
    },
    /// RSA (RFC 7518 §6.3), without zeros in front.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
}

/// A member of a JWK Set (RFC 7517 §4).
#[derive(Serialize)]
pub struct Jwk {
    kty: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(rename = "use")]
    usage: &'static str,
    alg: SigningAlgorithm,
    kid: String,
}

impl PublicKey {
    /// Its `kid`: the SHA-256 thumbprint (RFC 7638), of 43 characters.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let curve = self.curve();
        let members = match &self.numbers {
            PublicNumbers::Okp { x } => format!(r#"{{"crv":"{curve}","kty":"OKP","x":"{}"}}"#, text(x)),
            PublicNumbers::Ec { x, y } => {
                format!(r#"{{"crv":"{curve}","kty":"EC","x":"{}","y":"{}"}}"#, text(x), text(y))
            }
            PublicNumbers::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(e), text(n)),
        };
        text(digest(&SHA256, members.as_bytes()).as_ref())
    }

    /// It for a JWK Set.
    #[must_use]
    pub fn to_jwk(&self) -> Jwk {
        let curve = (!matches!(self.numbers, PublicNumbers::Rsa { .. })).then(|| self.curve());
        let (kty, x, y, n, e) = match &self.numbers {
            PublicNumbers::Okp { x } => ("OKP", Some(text(x)), None, None, None),
            PublicNumbers::Ec { x, y } => ("EC", Some(text(x)), Some(text(y)), None, None),
            PublicNumbers::Rsa { n, e } => ("RSA", None, None, Some(text(n)), Some(text(e))),
        };
        Jwk { kty, crv: curve, x, y, n, e, usage: "sig", alg: self.algorithm, kid: self.thumbprint() }
    }

    const fn curve(&self) -> &'static str {
        match self.algorithm {
            SigningAlgorithm::EdDsa => "Ed25519",
            SigningAlgorithm::Es384 => "P-384",
            _ => "P-256",
        }
    }
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    /// RFC 8037 Appendix A.3.
    #[test]
    fn the_thumbprint_of_an_ed25519_key_is_that_of_the_rfc() {
        let x = bytes("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        let key = PublicKey { algorithm: SigningAlgorithm::EdDsa, numbers: PublicNumbers::Okp { x } };
        assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let jwk = serde_json::to_value(key.to_jwk()).unwrap();
        assert_eq!(jwk["kty"], "OKP");
        assert_eq!(jwk["use"], "sig");
    }

    /// RFC 7638 §3.1.
    #[test]
    fn the_thumbprint_of_an_rsa_key_is_that_of_the_rfc() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3okn\
                 jhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qM\
                 QvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJz\
                 KnqDKgw";
        let numbers = PublicNumbers::Rsa { n: bytes(n), e: bytes("AQAB") };
        let key = PublicKey { algorithm: SigningAlgorithm::Rs256, numbers };
        assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }
}

//! Algorithms of signatures.

use serde::{Deserialize, Serialize};

/// The `alg` of a JWS (RFC 7518 §3.1, RFC 8037 §3.1) that this server signs and verifies with. The name of each has five
/// characters, so that every header of the server's own is as long as any other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SigningAlgorithm {
    /// Ed25519: the smallest signatures, and the fastest.
    #[default]
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// ECDSA with P-256 and SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// ECDSA with P-384 and SHA-384.
    #[serde(rename = "ES384")]
    Es384,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// RSASSA-PSS with SHA-256.
    #[serde(rename = "PS256")]
    Ps256,
}

impl SigningAlgorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::EdDsa, Self::Es256, Self::Es384, Self::Rs256, Self::Ps256];

    /// Its registered name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
        }
    }

    /// What access tokens are signed with where nobody says otherwise: by the usual algorithm, or else by the first that there is.
    #[must_use]
    pub fn usual_of(known: &[Self]) -> Self {
        let usual = Self::default();
        if known.contains(&usual) { usual } else { known.first().copied().unwrap_or(usual) }
    }

    /// What ID tokens are signed with where nobody says otherwise: RS256 (`OpenID` Connect Registration §2), or else as access tokens.
    #[must_use]
    pub fn usual_of_id_tokens(known: &[Self]) -> Self {
        if known.contains(&Self::Rs256) { Self::Rs256 } else { Self::usual_of(known) }
    }

    /// The algorithm with this registered name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_five_characters_and_is_read_back() {
        for algorithm in SigningAlgorithm::ALL {
            assert_eq!(algorithm.as_str().len(), 5);
            assert_eq!(SigningAlgorithm::parse(algorithm.as_str()), Some(algorithm));
            assert_eq!(serde_json::to_value(algorithm).unwrap(), algorithm.as_str());
        }
        use SigningAlgorithm::{EdDsa, Es256, Rs256};
        for (known, usual) in [(&[][..], EdDsa), (&[Rs256, EdDsa], EdDsa), (&[Rs256, Es256], Rs256)] {
            assert_eq!(SigningAlgorithm::usual_of(known), usual);
        }
        for (known, usual) in [(&[][..], EdDsa), (&[Es256, Rs256, EdDsa], Rs256), (&[Es256], Es256)] {
            assert_eq!(SigningAlgorithm::usual_of_id_tokens(known), usual);
        }
        for name in ["", "none", "eddsa", "HS256", "RS512"] {
            assert_eq!(SigningAlgorithm::parse(name), None, "{name}");
        }
    }
}

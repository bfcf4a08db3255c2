//! Codes: what a client exchanges once for a person's grant, their text and what they are known by.
//!
//! ```text
//! tsr_ac_  64 characters                    6 characters      authorization code (RFC 6749 §4.1.2)
//! tsr_dc_  base64url(grant id ‖ secret)     checksum          device code (RFC 8628 §3.2)
//!          16 bytes    32 bytes
//! ```
//!
//! The grant id is that of the grant which the code will open, so code and grant live in one shard.

use std::fmt;

use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use crate::oauth::text;
use crate::token::digest::TokenDigest;
use crate::token::grant_id::GrantId;

/// A code in the clear, on its way to its client. Never printed, zeroed when dropped.
pub struct Code {
    text: Zeroizing<String>,
    reference: CodeReference,
}

/// What of a presented code finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeReference {
    /// The grant that it opens.
    pub grant_id: GrantId,
    /// Which code it is.
    pub digest: TokenDigest,
}

/// Of which kind a code is. A code of one kind is none of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeKind {
    /// RFC 6749 §4.1.2.
    Authorization,
    /// RFC 8628 §3.2.
    Device,
}

impl CodeKind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Authorization => "tsr_ac_",
            Self::Device => "tsr_dc_",
        }
    }
}

const GRANT_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const BODY_BYTES: usize = GRANT_BYTES + SECRET_BYTES;

impl Code {
    /// A new code of 256 random bits, for that grant.
    ///
    /// # Errors
    ///
    /// [`ring::error::Unspecified`] when the system has no randomness to give.
    pub fn random(
        kind: CodeKind,
        grant_id: GrantId,
        random: &dyn SecureRandom,
    ) -> Result<Self, ring::error::Unspecified> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        random.fill(&mut *secret)?;
        Ok(Self::derived(kind, grant_id, &secret))
    }

    /// The code of that grant with this secret, which nobody may be able to foretell.
    #[must_use]
    pub fn derived(kind: CodeKind, grant_id: GrantId, secret: &[u8; SECRET_BYTES]) -> Self {
        let mut body = Zeroizing::new([0; BODY_BYTES]);
        let (grant, own_secret) = body.split_at_mut(GRANT_BYTES);
        grant.copy_from_slice(grant_id.as_bytes());
        own_secret.copy_from_slice(secret);
        let text = text::write(kind.prefix(), &*body);
        let reference = CodeReference { grant_id, digest: TokenDigest::of(&text) };
        Self { text, reference }
    }

    /// The text of it, to be given to its client and to nobody else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What it will be found by.
    #[must_use]
    pub const fn reference(&self) -> CodeReference {
        self.reference
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Code(..)")
    }
}

impl CodeReference {
    /// What a presented text would be found by, if it is one of ours.
    #[must_use]
    pub fn of(kind: CodeKind, text: &str) -> Option<Self> {
        let body = text::read::<BODY_BYTES>(kind.prefix(), text)?;
        let grant_id = GrantId::from_bytes(*body.first_chunk()?);
        Some(Self { grant_id, digest: TokenDigest::of(text) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_by_what_it_was_minted_with_and_is_of_one_kind() {
        let random = ring::rand::SystemRandom::new();
        let grant_id = GrantId::random(&random).unwrap();
        let code = Code::random(CodeKind::Authorization, grant_id, &random).unwrap();
        assert_eq!(code.reveal().len(), 77);
        assert_eq!(CodeReference::of(CodeKind::Authorization, code.reveal()), Some(code.reference()));
        assert_eq!(code.reference().grant_id, grant_id);
        assert_eq!(CodeReference::of(CodeKind::Device, code.reveal()), None);
        assert_eq!(format!("{code:?}"), "Code(..)");
    }
}

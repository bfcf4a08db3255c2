//! What the records of this room say, for people.

use serde::Serialize;

use crate::clock::UnixTime;
use crate::token::digest::TokenDigest;
use crate::token::event::{TermsView, TokenEvent, UnreadableRecord, read};

/// What a record of this room says. It holds the digest of a token, and nothing that a token could be made of: not the routing
/// id either, which is a part of the token's text.
#[derive(Serialize)]
#[serde(untagged)]
pub enum TokenSummary<'a> {
    /// A token was issued.
    Issued {
        /// Which token: 32 hexadecimal digits.
        digest: String,
        /// What was granted, and to whom.
        #[serde(flatten)]
        terms: TermsView<'a>,
        /// When, in seconds since the epoch.
        issued_at: u32,
        /// The same as RFC 3339 writes it.
        issued_at_rfc3339: String,
        /// When it expires, in seconds since the epoch.
        expires_at: u32,
        /// The same as RFC 3339 writes it.
        expires_at_rfc3339: String,
    },
    /// A token was revoked.
    Revoked {
        /// Which token: 32 hexadecimal digits.
        digest: String,
        /// When it would have expired, in seconds since the epoch. Older records do not say.
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_at: Option<u32>,
    },
}

impl<'a> TokenSummary<'a> {
    /// Reads a record as a replay does. `None` for a kind that is another room's.
    ///
    /// # Errors
    ///
    /// [`UnreadableRecord`] when the record is ours and cannot be read.
    pub fn of(kind: u16, schema: u16, payload: &'a [u8]) -> Result<Option<Self>, UnreadableRecord> {
        Ok(read(kind, schema, payload)?.map(Self::from))
    }
}

impl<'a> From<TokenEvent<'a>> for TokenSummary<'a> {
    fn from(event: TokenEvent<'a>) -> Self {
        match event {
            TokenEvent::Revoked { digest, expires_at } => Self::Revoked { digest: hexadecimal(digest), expires_at },
            TokenEvent::Issued { digest, issued_at, expires_at, terms } => Self::Issued {
                digest: hexadecimal(digest),
                terms,
                issued_at,
                issued_at_rfc3339: rfc3339(issued_at),
                expires_at,
                expires_at_rfc3339: rfc3339(expires_at),
            },
        }
    }
}

fn hexadecimal(digest: TokenDigest) -> String {
    format!("{:032x}", u128::from_le_bytes(*digest.as_bytes()).swap_bytes())
}

fn rfc3339(seconds: u32) -> String {
    UnixTime::from_seconds(u64::from(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::event::{KIND_ISSUED, SCHEMA_ISSUED, encode_issued};
    use crate::token::grant::tests::terms;

    #[test]
    fn a_record_that_a_replay_would_refuse_has_no_summary() {
        let digest = TokenDigest::from_bytes([0xab; 16]);
        let mut payload = encode_issued(digest, 5, 6, &terms("read write")).unwrap();
        assert!(TokenSummary::of(KIND_ISSUED, SCHEMA_ISSUED, &payload).is_ok());
        let at = payload.windows(4).position(|bytes| bytes == b"read").unwrap();
        payload[at] = b'"';
        assert!(TokenEvent::decode(KIND_ISSUED, SCHEMA_ISSUED, &payload).is_ok());
        assert!(TokenSummary::of(KIND_ISSUED, SCHEMA_ISSUED, &payload).is_err());
    }
}

//! What the records of this room say, for people.

use serde::Serialize;

use crate::clock::UnixTime;
use crate::token::digest::TokenDigest;
use crate::token::event::{TermsView, TokenEvent, UnreadableRecord, read};
use crate::token::person::DeviceDecision;
use crate::token::person_event::PersonEvent;

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
    /// A code waits to be redeemed, or a device for a person.
    Waits {
        /// What it will grant.
        #[serde(flatten)]
        terms: TermsView<'a>,
        /// When it expires, in seconds since the epoch.
        expires_at: u32,
        /// What the person has said to a device.
        #[serde(skip_serializing_if = "Option::is_none")]
        decision: Option<&'static str>,
    },
    /// A person's grant was made or refreshed.
    Granted {
        /// What was granted, and by whom.
        #[serde(flatten)]
        terms: TermsView<'a>,
        /// When it was made, in seconds since the epoch.
        created_at: u32,
        /// Which of its refresh tokens is good now; absent where it has none.
        #[serde(skip_serializing_if = "Option::is_none")]
        refresh_generation: Option<u32>,
        /// When the last of its access tokens expires, in seconds since the epoch.
        access_expires_at: u32,
        /// The access token that was issued with the change: 32 hexadecimal digits.
        #[serde(skip_serializing_if = "Option::is_none")]
        access_digest: Option<String>,
    },
    /// A proof was used that counts once.
    Proof {
        /// From when on it would be refused for its age, in seconds since the epoch.
        expires_at: u32,
        /// The same as RFC 3339 writes it.
        expires_at_rfc3339: String,
    },
    /// A person's grant was ended.
    Ended {},
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

impl<'a> From<PersonEvent<'a>> for TokenSummary<'a> {
    fn from(event: PersonEvent<'a>) -> Self {
        match event {
            PersonEvent::CodeStored { code, .. } => {
                Self::Waits { terms: code.terms, expires_at: code.expires_at, decision: None }
            }
            PersonEvent::DeviceStored { device, .. } => {
                let decision = Some(match device.decision {
                    DeviceDecision::Awaited => "awaited",
                    DeviceDecision::Approved => "approved",
                    DeviceDecision::Denied => "denied",
                });
                Self::Waits { terms: device.terms, expires_at: device.expires_at, decision }
            }
            PersonEvent::GrantStored { grant, .. } => Self::Granted {
                terms: grant.terms,
                created_at: grant.created_at,
                refresh_generation: grant.refresh.map(|refresh| refresh.generation),
                access_expires_at: grant.access_expires_at,
                access_digest: grant.access.map(|access| hexadecimal(access.digest)),
            },
            PersonEvent::GrantEnded { .. } => Self::Ended {},
        }
    }
}

impl<'a> From<TokenEvent<'a>> for TokenSummary<'a> {
    fn from(event: TokenEvent<'a>) -> Self {
        match event {
            TokenEvent::Person(event) => event.into(),
            TokenEvent::ProofUsed { expires_at, .. } => {
                Self::Proof { expires_at, expires_at_rfc3339: rfc3339(expires_at) }
            }
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
    use crate::token::grant::tests::client_terms;

    #[test]
    fn a_record_that_a_replay_would_refuse_has_no_summary() {
        let digest = TokenDigest::from_bytes([0xab; 16]);
        let mut payload = encode_issued(digest, 5, 6, &client_terms("read write")).unwrap();
        assert!(TokenSummary::of(KIND_ISSUED, SCHEMA_ISSUED, &payload).is_ok());
        let at = payload.windows(4).position(|bytes| bytes == b"read").unwrap();
        payload[at] = b'"';
        assert!(TokenEvent::decode(KIND_ISSUED, SCHEMA_ISSUED, &payload).is_ok());
        assert!(TokenSummary::of(KIND_ISSUED, SCHEMA_ISSUED, &payload).is_err());
    }
}

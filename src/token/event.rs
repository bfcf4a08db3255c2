//! What the journal holds of a token. Events carry the whole state, so that replaying one twice changes nothing.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::with::InlineAsBox;
use rkyv::{Archive, Serialize};

use crate::client::id::ClientId;
use crate::client::registry::Generation;
use crate::oauth::audience::Audience;
use crate::oauth::authentication_context::AuthenticationContext;
use crate::oauth::claims::ClaimsRequest;
use crate::oauth::scope::Scope;
use crate::token::digest::TokenDigest;
use crate::token::grant::ClientTerms;
use crate::token::person_event::{
    KIND_CODE_STORED, KIND_DEVICE_STORED, KIND_GRANT_ENDED, KIND_GRANT_STORED, PersonEvent, PersonView,
};
use crate::token::proof::{KIND_PROOF_USED, ProofDigest, SCHEMA_PROOF_USED, decode_proof_used};

/// The `kind` of a journal record of an issued token. Kinds 16 to 31 are this room's.
pub const KIND_ISSUED: u16 = 16;
/// The `kind` of a journal record of a revoked token.
pub const KIND_REVOKED: u16 = 17;
/// The kinds of this room with their names.
pub const KINDS: &[(u16, &str)] = &[
    (KIND_ISSUED, "token_issued"),
    (KIND_REVOKED, "token_revoked"),
    (KIND_CODE_STORED, "code_stored"),
    (KIND_DEVICE_STORED, "device_stored"),
    (KIND_GRANT_STORED, "grant_stored"),
    (KIND_GRANT_ENDED, "grant_ended"),
    (KIND_PROOF_USED, "proof_used"),
];
/// The newest `schema` of a record of an issued token.
pub const SCHEMA_ISSUED: u16 = 1;
/// The newest `schema` of a record of a revoked token. The first had no expiry.
pub const SCHEMA_REVOKED: u16 = 2;

/// A token was issued.
#[derive(Archive, Serialize)]
struct TokenIssued<'a> {
    digest: [u8; 16],
    issued_at: u32,
    expires_at: u32,
    client_generation: u64,
    #[rkyv(with = InlineAsBox)]
    client_id: &'a str,
    #[rkyv(with = InlineAsBox)]
    scope: &'a str,
    audience: Vec<String>,
}

/// A token was revoked.
#[derive(Archive, Serialize)]
struct TokenRevoked {
    digest: [u8; 16],
    expires_at: u32,
}

/// The first schema of [`TokenRevoked`].
#[derive(Archive)]
#[expect(dead_code, reason = "it is read and no longer written")]
struct TokenRevoked1 {
    digest: [u8; 16],
}

/// A record as the state machine takes it.
#[derive(Debug, PartialEq, Eq)]
pub enum TokenEvent<'a> {
    /// A token was issued.
    Issued {
        /// Which token.
        digest: TokenDigest,
        /// When, in seconds since the epoch.
        issued_at: u32,
        /// When it expires, in seconds since the epoch.
        expires_at: u32,
        /// What was granted, and to whom.
        terms: TermsView<'a>,
    },
    /// A token was revoked.
    Revoked {
        /// Which token.
        digest: TokenDigest,
        /// When it would have expired, in seconds since the epoch. `None` in records of the first schema.
        expires_at: Option<u32>,
    },
    /// A proof was used that counts once.
    ProofUsed {
        /// Which proof.
        digest: ProofDigest,
        /// From when on it would be refused for its age, in seconds since the epoch.
        expires_at: u32,
    },
    /// Something about a person's grant.
    Person(PersonEvent<'a>),
}

/// The terms of a grant as a record holds them.
#[derive(Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct TermsView<'a> {
    /// See [`ClientTerms::id`].
    pub client_id: &'a str,
    /// See [`ClientTerms::generation`].
    pub client_generation: u64,
    /// See [`ClientTerms::scope`].
    pub scope: &'a str,
    /// See [`ClientTerms::audience`].
    pub audience: Vec<&'a str>,
    /// See [`ClientTerms::claims`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<&'a str>,
    /// See [`GrantTerms::person`](crate::token::grant::GrantTerms::person).
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonView<'a>>,
}

impl TermsView<'_> {
    /// What of it says what the client may do.
    pub(super) fn client(&self) -> impl Hash {
        ClientPart(self)
    }

    /// Whether these are the client's part of those terms.
    pub(super) fn describes(&self, terms: &ClientTerms) -> bool {
        self.client_id == terms.id.as_str()
            && self.client_generation == terms.generation
            && self.scope == terms.scope.as_str()
            && self.audience.iter().copied().eq(terms.audience.members())
            && self.claims == terms.claims.as_ref().map(ClaimsRequest::as_str)
    }

    /// The client's part of the terms of which this is the record. `in_force` has the generation of a client.
    pub(super) fn parse_client(
        &self,
        in_force: impl FnOnce(&ClientId) -> Arc<Generation>,
    ) -> Result<ClientTerms, InvalidRecord> {
        let id = ClientId::parse(self.client_id).map_err(|_| InvalidRecord("client_id"))?;
        Ok(ClientTerms {
            generation: self.client_generation,
            in_force: in_force(&id),
            scope: Scope::parse(self.scope).map_err(|_| InvalidRecord("scope"))?,
            audience: Audience::parse(self.audience.iter().copied()).map_err(|_| InvalidRecord("audience"))?,
            claims: self.claims.map(ClaimsRequest::stored).transpose().map_err(|_| InvalidRecord("claims"))?,
            id,
        })
    }

    /// Whether a replay would take it.
    pub(super) fn check(&self) -> Result<(), InvalidRecord> {
        self.parse_client(|_| Arc::default())?;
        self.person
            .as_ref()
            .map(|person| person.parse(|_| Arc::default(), AuthenticationContext::default()))
            .transpose()
            .map(drop)
    }
}

/// What of terms says what the client may do.
struct ClientPart<'a>(&'a TermsView<'a>);

impl Hash for ClientPart<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let TermsView { client_id, client_generation, scope, audience, claims, person: _ } = self.0;
        (client_id, client_generation, scope, audience).hash(state);
        // Most have none, and that is nothing to hash.
        if let Some(claims) = claims {
            claims.hash(state);
        }
    }
}

/// A record whose bytes are what was written, and whose text is not what we would write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token record holds a {0} that is not valid; start the version that wrote it")]
pub struct InvalidRecord(pub(super) &'static str);

/// A record that cannot be read although its bytes are what was written: of a newer version, or a bug.
#[derive(Debug, thiserror::Error)]
#[error("token record of kind {kind}, schema {schema} cannot be read: {reason}; start the version that wrote it")]
pub struct UnreadableRecord {
    kind: u16,
    schema: u16,
    reason: String,
}

impl UnreadableRecord {
    pub(super) fn new(kind: u16, schema: u16, reason: &dyn ToString) -> Self {
        Self { kind, schema, reason: reason.to_string() }
    }
}

/// The payload of a record of an issued token.
///
/// # Errors
///
/// None in practice: rkyv's signature has one.
pub fn encode_issued(
    digest: TokenDigest,
    issued_at: u32,
    expires_at: u32,
    terms: &ClientTerms,
) -> Result<AlignedVec, rancor::Error> {
    let ClientTerms { id, generation, scope, audience, .. } = terms;
    rkyv::to_bytes(&TokenIssued {
        digest: *digest.as_bytes(),
        issued_at,
        expires_at,
        client_generation: *generation,
        client_id: id.as_str(),
        scope: scope.as_str(),
        audience: audience.members().map(str::to_owned).collect(),
    })
}

/// The payload of a record of a revoked token.
///
/// # Errors
///
/// None in practice: rkyv's signature has one.
pub fn encode_revoked(digest: TokenDigest, expires_at: u32) -> Result<AlignedVec, rancor::Error> {
    rkyv::to_bytes(&TokenRevoked { digest: *digest.as_bytes(), expires_at })
}

impl<'a> TokenEvent<'a> {
    /// Whether records of this kind are this room's.
    #[must_use]
    pub fn has_kind(kind: u16) -> bool {
        KINDS.iter().any(|(own, _)| *own == kind)
    }

    /// Reads a record. `None` for a kind that is another room's.
    ///
    /// # Errors
    ///
    /// [`UnreadableRecord`] when the record is ours and cannot be read. Nothing may be skipped: the caller refuses to start.
    pub fn decode(kind: u16, schema: u16, payload: &'a [u8]) -> Result<Option<Self>, UnreadableRecord> {
        let unreadable = |reason: &dyn ToString| UnreadableRecord::new(kind, schema, reason);
        let event = match (kind, schema) {
            (KIND_ISSUED, SCHEMA_ISSUED) => Self::issued(payload),
            (KIND_REVOKED, SCHEMA_REVOKED) => Self::revoked(payload),
            (KIND_REVOKED, 1) => Self::revoked_1(payload),
            (KIND_PROOF_USED, SCHEMA_PROOF_USED) => {
                decode_proof_used(payload).map(|(digest, expires_at)| Self::ProofUsed { digest, expires_at })
            }
            (KIND_ISSUED | KIND_REVOKED | KIND_PROOF_USED, _) => return Err(unreadable(&"unknown schema")),
            _ => match PersonEvent::decode(kind, schema, payload) {
                Some(event) => event.map(Self::Person),
                None => return Ok(None),
            },
        };
        event.map(Some).map_err(|error| unreadable(&error))
    }

    fn issued(payload: &'a [u8]) -> Result<Self, rancor::Error> {
        let issued = rkyv::access::<ArchivedTokenIssued<'_>, _>(payload)?;
        Ok(Self::Issued {
            digest: TokenDigest::from_bytes(issued.digest),
            issued_at: issued.issued_at.to_native(),
            expires_at: issued.expires_at.to_native(),
            terms: TermsView {
                client_id: &issued.client_id,
                client_generation: issued.client_generation.to_native(),
                scope: &issued.scope,
                audience: issued.audience.iter().map(|member| member.as_str()).collect(),
                claims: None,
                person: None,
            },
        })
    }

    fn revoked(payload: &[u8]) -> Result<Self, rancor::Error> {
        let revoked = rkyv::access::<ArchivedTokenRevoked, _>(payload)?;
        let expires_at = Some(revoked.expires_at.to_native());
        Ok(Self::Revoked { digest: TokenDigest::from_bytes(revoked.digest), expires_at })
    }

    fn revoked_1(payload: &[u8]) -> Result<Self, rancor::Error> {
        let revoked = rkyv::access::<ArchivedTokenRevoked1, _>(payload)?;
        Ok(Self::Revoked { digest: TokenDigest::from_bytes(revoked.digest), expires_at: None })
    }
}

/// Reads a record and checks all of it, as a replay does. `None` for a kind that is another room's.
pub(super) fn read(kind: u16, schema: u16, payload: &[u8]) -> Result<Option<TokenEvent<'_>>, UnreadableRecord> {
    let event = TokenEvent::decode(kind, schema, payload)?;
    let checked = match &event {
        Some(TokenEvent::Issued { terms, .. }) => terms.check(),
        Some(TokenEvent::Person(event)) => event.check(),
        Some(TokenEvent::Revoked { .. } | TokenEvent::ProofUsed { .. }) | None => Ok(()),
    };
    let invalid = |InvalidRecord(member)| UnreadableRecord::new(kind, schema, &format!("its {member} is not valid"));
    checked.map_err(invalid)?;
    Ok(event)
}

/// Whether a record is of this room. Checks all of it, as a replay does.
///
/// # Errors
///
/// [`UnreadableRecord`] when it is ours and cannot be read.
pub fn check(kind: u16, schema: u16, payload: &[u8]) -> Result<bool, UnreadableRecord> {
    Ok(read(kind, schema, payload)?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::grant::tests::client_terms;

    const DIGEST: TokenDigest = TokenDigest::from_bytes(*b"0123456789abcdef");

    #[test]
    fn an_event_survives_the_round_trip() {
        let payload = encode_issued(DIGEST, 5, 6, &client_terms("read write")).unwrap();
        let terms = TermsView {
            client_id: "app",
            client_generation: 0,
            scope: "read write",
            audience: vec!["https://api.example"],
            claims: None,
            person: None,
        };
        let expected = TokenEvent::Issued { digest: DIGEST, issued_at: 5, expires_at: 6, terms };
        assert_eq!(TokenEvent::decode(KIND_ISSUED, SCHEMA_ISSUED, &payload).unwrap(), Some(expected));
        let payload = encode_revoked(DIGEST, 7).unwrap();
        let expected = TokenEvent::Revoked { digest: DIGEST, expires_at: Some(7) };
        assert_eq!(TokenEvent::decode(KIND_REVOKED, SCHEMA_REVOKED, &payload).unwrap(), Some(expected));
    }

    #[test]
    fn a_record_of_another_room_is_left_alone_and_an_unknown_schema_is_not_skipped() {
        assert_eq!(TokenEvent::decode(1, 1, &[]).unwrap(), None);
        assert!(TokenEvent::decode(KIND_REVOKED, 3, &encode_revoked(DIGEST, 7).unwrap()).is_err());
        assert!(TokenEvent::decode(KIND_ISSUED, SCHEMA_ISSUED, &[0; 16]).is_err());
    }
}

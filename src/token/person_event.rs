//! What the journal holds of a person's grant. Each record states the whole of what it is about, never a difference, so that
//! replaying one twice changes nothing.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::with::{InlineAsBox, Map};
use rkyv::{Archive, Serialize};

use crate::client::registry::Generation;
use crate::oauth::audience::Audience;
use crate::oauth::authentication_context::AuthenticationContext;
use crate::oauth::claims::ClaimsRequest;
use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;
use crate::token::digest::TokenDigest;
use crate::token::event::{InvalidRecord, TermsView};
use crate::token::grant::GrantTerms;
use crate::token::grant_id::GrantId;
use crate::token::person::{
    DeviceDecision, Kept, Pending, PendingCode, PendingDevice, PersonGrant, PersonTerms, RefreshState, Standing,
};

/// The `kind` of a journal record of a code that waits to be redeemed.
pub const KIND_CODE_STORED: u16 = 18;
/// The `kind` of a journal record of a device that waits for a person.
pub const KIND_DEVICE_STORED: u16 = 19;
/// The `kind` of a journal record of a person's grant that was made or refreshed.
pub const KIND_GRANT_STORED: u16 = 20;
/// The `kind` of a journal record of a person's grant that was ended.
pub const KIND_GRANT_ENDED: u16 = 21;
/// The newest `schema` of all four.
pub const SCHEMA: u16 = 1;

/// The terms of a grant, with or without a person.
#[derive(Archive, Serialize)]
pub(super) struct Terms<'a> {
    client_generation: u64,
    #[rkyv(with = InlineAsBox)]
    client_id: &'a str,
    #[rkyv(with = InlineAsBox)]
    scope: &'a str,
    audience: Vec<String>,
    #[rkyv(with = Map<InlineAsBox>)]
    claims: Option<&'a str>,
    person: Option<Person<'a>>,
}

#[derive(Archive, Serialize)]
struct Person<'a> {
    grant_id: [u8; 16],
    subject_generation: u64,
    auth_time: u32,
    #[rkyv(with = InlineAsBox)]
    subject: &'a str,
    amr: Vec<String>,
    #[rkyv(with = Map<InlineAsBox>)]
    acr: Option<&'a str>,
}

#[derive(Archive, Serialize)]
struct CodeStored<'a> {
    grant_id: [u8; 16],
    digest: [u8; 16],
    expires_at: u32,
    code_challenge: Option<[u8; 32]>,
    #[rkyv(with = Map<InlineAsBox>)]
    redirect_uri: Option<&'a str>,
    #[rkyv(with = Map<InlineAsBox>)]
    nonce: Option<&'a str>,
    terms: Terms<'a>,
}

#[derive(Archive, Serialize)]
struct DeviceStored<'a> {
    grant_id: [u8; 16],
    digest: [u8; 16],
    requested_at: u32,
    expires_at: u32,
    /// As IPv6; an IPv4 address is mapped (RFC 4291 §2.5.5.2).
    requested_from: Option<[u8; 16]>,
    /// 0 awaited, 1 approved, 2 denied.
    decision: u8,
    terms: Terms<'a>,
}

#[derive(Archive, Serialize)]
struct GrantStored<'a> {
    grant_id: [u8; 16],
    redeemed: [u8; 16],
    created_at: u32,
    access_expires_at: u32,
    refresh: Option<Refresh>,
    access: Option<Access<'a>>,
    terms: Terms<'a>,
}

#[derive(Archive, Serialize)]
struct Refresh {
    generation: u32,
    refreshed_at: u32,
    idle_until: u32,
    expires_at: u32,
    current: [u8; 16],
    previous: Option<[u8; 16]>,
}

/// The access token that was issued with the change.
#[derive(Archive, Serialize)]
struct Access<'a> {
    digest: [u8; 16],
    issued_at: u32,
    expires_at: u32,
    /// Where it is narrower than that of the grant.
    #[rkyv(with = Map<InlineAsBox>)]
    scope: Option<&'a str>,
    /// Likewise.
    audience: Option<Vec<String>>,
}

#[derive(Archive, Serialize)]
struct GrantEnded {
    grant_id: [u8; 16],
}

/// An access token that is issued under a person's grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessIssued {
    /// Which token.
    pub digest: TokenDigest,
    /// When, in seconds since the epoch.
    pub issued_at: u32,
    /// When it expires, in seconds since the epoch.
    pub expires_at: u32,
    /// Where it is narrower than that of the grant.
    pub scope: Option<Scope>,
    /// Likewise.
    pub audience: Option<Audience>,
}

/// A record about a person's grant as the state machine takes it.
#[derive(Debug, PartialEq, Eq)]
pub enum PersonEvent<'a> {
    /// A code waits to be redeemed.
    CodeStored {
        /// The grant that it will open.
        grant_id: GrantId,
        /// The code.
        code: CodeView<'a>,
    },
    /// A device waits for a person.
    DeviceStored {
        /// The grant that its code will open.
        grant_id: GrantId,
        /// The request.
        device: DeviceView<'a>,
    },
    /// A grant was made or refreshed.
    GrantStored {
        /// Which grant.
        grant_id: GrantId,
        /// What it is from now on.
        grant: GrantView<'a>,
    },
    /// A grant was ended.
    GrantEnded {
        /// Which grant.
        grant_id: GrantId,
    },
}

/// See [`PendingCode`].
#[derive(Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the members are those of PendingCode")]
pub struct CodeView<'a> {
    pub digest: TokenDigest,
    pub expires_at: u32,
    pub code_challenge: Option<[u8; 32]>,
    pub redirect_uri: Option<&'a str>,
    pub nonce: Option<&'a str>,
    pub terms: TermsView<'a>,
}

/// See [`PendingDevice`].
#[derive(Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the members are those of PendingDevice")]
pub struct DeviceView<'a> {
    pub digest: TokenDigest,
    pub requested_at: u32,
    pub requested_from: Option<IpAddr>,
    pub expires_at: u32,
    pub decision: DeviceDecision,
    pub terms: TermsView<'a>,
}

/// See [`PersonGrant`].
#[derive(Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the members are those of PersonGrant")]
pub struct GrantView<'a> {
    pub redeemed: TokenDigest,
    pub created_at: u32,
    pub access_expires_at: u32,
    pub refresh: Option<RefreshState>,
    /// The access token that was issued with the change.
    pub access: Option<AccessView<'a>>,
    pub terms: TermsView<'a>,
}

/// See [`AccessIssued`].
#[derive(Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the members are those of AccessIssued")]
pub struct AccessView<'a> {
    pub digest: TokenDigest,
    pub issued_at: u32,
    pub expires_at: u32,
    pub scope: Option<&'a str>,
    pub audience: Option<Vec<&'a str>>,
}

/// The person of a grant's terms as a record holds them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct PersonView<'a> {
    /// See [`PersonTerms::grant_id`]. It is a part of the texts of codes and refresh tokens, so nothing prints it.
    #[serde(skip)]
    pub grant_id: GrantId,
    /// See [`PersonTerms::subject`].
    pub subject: &'a str,
    /// See [`PersonTerms::subject_generation`].
    pub subject_generation: u64,
    /// See [`PersonTerms::auth_time`].
    pub auth_time: u32,
    /// See [`AuthenticationContext::amr`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<&'a str>,
    /// See [`AuthenticationContext::acr`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<&'a str>,
}

impl PersonView<'_> {
    /// Whether these are those terms.
    pub(super) fn describes(&self, terms: &PersonTerms) -> bool {
        self.grant_id == terms.grant_id
            && self.subject == terms.subject.as_str()
            && self.subject_generation == terms.subject_generation
            && self.auth_time == terms.auth_time
            && self.amr.iter().copied().eq(terms.context.amr())
            && self.acr == terms.context.acr()
    }

    pub(super) fn context(&self) -> AuthenticationContext {
        AuthenticationContext::new(self.amr.iter().copied(), self.acr)
    }

    /// The person's part of the terms of which this is the record. `in_force` has the generation of a subject; `context` is
    /// [`Self::context`], in a copy that others may share.
    pub(super) fn parse(
        &self,
        in_force: impl FnOnce(&Subject) -> Arc<Generation>,
        context: AuthenticationContext,
    ) -> Result<PersonTerms, InvalidRecord> {
        let subject = Subject::parse(self.subject).map_err(|_| InvalidRecord("subject"))?;
        Ok(PersonTerms {
            grant_id: self.grant_id,
            subject_generation: self.subject_generation,
            auth_time: self.auth_time,
            context,
            standing: Standing::new(in_force(&subject)),
            subject,
        })
    }
}

impl<'a> Terms<'a> {
    pub(super) fn of(terms: &'a GrantTerms) -> Self {
        Self {
            client_generation: terms.client.generation,
            client_id: terms.client.id.as_str(),
            scope: terms.client.scope.as_str(),
            audience: terms.client.audience.members().map(str::to_owned).collect(),
            claims: terms.client.claims.as_ref().map(ClaimsRequest::as_str),
            person: terms.person.as_ref().map(|person| Person {
                grant_id: *person.grant_id.as_bytes(),
                subject_generation: person.subject_generation,
                auth_time: person.auth_time,
                subject: person.subject.as_str(),
                amr: person.context.amr().map(str::to_owned).collect(),
                acr: person.context.acr(),
            }),
        }
    }
}

impl ArchivedTerms<'_> {
    pub(super) fn view(&self) -> TermsView<'_> {
        TermsView {
            client_id: &self.client_id,
            client_generation: self.client_generation.to_native(),
            scope: &self.scope,
            audience: self.audience.iter().map(|member| member.as_str()).collect(),
            claims: self.claims.as_deref(),
            person: self.person.as_ref().map(|person| PersonView {
                grant_id: GrantId::from_bytes(person.grant_id),
                subject: &person.subject,
                subject_generation: person.subject_generation.to_native(),
                auth_time: person.auth_time.to_native(),
                amr: person.amr.iter().map(|method| method.as_str()).collect(),
                acr: person.acr.as_deref(),
            }),
        }
    }
}

/// The kind and the payload of the record of what a walk came by, or of what is pending from now on.
///
/// # Errors
///
/// None in practice: rkyv's signature has one.
pub fn encode_kept(grant_id: GrantId, kept: Kept<'_>) -> Result<(u16, AlignedVec), rancor::Error> {
    match kept {
        Kept::Grant(grant) => Ok((KIND_GRANT_STORED, encode_grant(grant_id, grant, None)?)),
        Kept::Pending(Pending::Code(code)) => Ok((KIND_CODE_STORED, encode_code(grant_id, code)?)),
        Kept::Pending(Pending::Device(device)) => Ok((KIND_DEVICE_STORED, encode_device(grant_id, device)?)),
    }
}

/// The payload of a record of a code.
///
/// # Errors
///
/// None in practice: rkyv's signature has one.
pub fn encode_code(grant_id: GrantId, code: &PendingCode) -> Result<AlignedVec, rancor::Error> {
    rkyv::to_bytes(&CodeStored {
        grant_id: *grant_id.as_bytes(),
        digest: *code.digest.as_bytes(),
        expires_at: code.expires_at,
        code_challenge: code.code_challenge,
        redirect_uri: code.redirect_uri.as_deref(),
        nonce: code.nonce.as_deref(),
        terms: Terms::of(&code.terms),
    })
}

/// The payload of a record of a device.
///
/// # Errors
///
/// None in practice: rkyv's signature has one.
pub fn encode_device(grant_id: GrantId, device: &PendingDevice) -> Result<AlignedVec, rancor::Error> {
    let as_ipv6 = |address| match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    rkyv::to_bytes(&DeviceStored {
        grant_id: *grant_id.as_bytes(),
        digest: *device.digest.as_bytes(),
        requested_at: device.requested_at,
        expires_at: device.expires_at,
        requested_from: device.requested_from.map(|address| as_ipv6(address).octets()),
        decision: match device.decision {
            DeviceDecision::Awaited => 0,
            DeviceDecision::Approved => 1,
            DeviceDecision::Denied => 2,
        },
        terms: Terms::of(&device.terms),
    })
}

/// The payload of a record of a grant, with the access token that is issued with the change.
///
/// # Errors
///
/// None in practice: rkyv's signature has one.
pub fn encode_grant(
    grant_id: GrantId,
    grant: &PersonGrant,
    access: Option<&AccessIssued>,
) -> Result<AlignedVec, rancor::Error> {
    rkyv::to_bytes(&GrantStored {
        grant_id: *grant_id.as_bytes(),
        redeemed: *grant.redeemed.as_bytes(),
        created_at: grant.created_at,
        access_expires_at: grant.access_expires_at,
        refresh: grant.refresh.map(|refresh| Refresh {
            generation: refresh.generation,
            refreshed_at: refresh.refreshed_at,
            idle_until: refresh.idle_until,
            expires_at: refresh.expires_at,
            current: *refresh.current.as_bytes(),
            previous: refresh.previous.map(|digest| *digest.as_bytes()),
        }),
        access: access.map(|access| Access {
            digest: *access.digest.as_bytes(),
            issued_at: access.issued_at,
            expires_at: access.expires_at,
            scope: access.scope.as_ref().map(Scope::as_str),
            audience: access.audience.as_ref().map(|audience| audience.members().map(str::to_owned).collect()),
        }),
        terms: Terms::of(&grant.terms),
    })
}

/// The payload of a record of a grant's end.
///
/// # Errors
///
/// None in practice: rkyv's signature has one.
pub fn encode_grant_ended(grant_id: GrantId) -> Result<AlignedVec, rancor::Error> {
    rkyv::to_bytes(&GrantEnded { grant_id: *grant_id.as_bytes() })
}

impl<'a> PersonEvent<'a> {
    /// Reads a record. `None` for a kind that is none of these.
    pub(super) fn decode(kind: u16, schema: u16, payload: &'a [u8]) -> Option<Result<Self, rancor::Error>> {
        let decoded = match kind {
            KIND_CODE_STORED => Self::code_stored,
            KIND_DEVICE_STORED => Self::device_stored,
            KIND_GRANT_STORED => Self::grant_stored,
            KIND_GRANT_ENDED => Self::grant_ended,
            _ => return None,
        };
        Some(if schema == SCHEMA { decoded(payload) } else { Err(rancor::Source::new(UnknownSchema)) })
    }

    /// Whether a replay would take it.
    pub(super) fn check(&self) -> Result<(), InvalidRecord> {
        let (Self::CodeStored { grant_id, code: CodeView { terms, .. } }
        | Self::DeviceStored { grant_id, device: DeviceView { terms, .. } }
        | Self::GrantStored { grant_id, grant: GrantView { terms, .. } }) = self
        else {
            return Ok(());
        };
        terms.check()?;
        if let Self::GrantStored { grant: GrantView { access: Some(access), .. }, .. } = self {
            access.parse()?;
        }
        let is_device_request =
            matches!(self, Self::DeviceStored { device, .. } if device.decision != DeviceDecision::Approved);
        match &terms.person {
            Some(person) if person.grant_id == *grant_id => Ok(()),
            None if is_device_request => Ok(()),
            _ => Err(InvalidRecord("person")),
        }
    }

    fn code_stored(payload: &'a [u8]) -> Result<Self, rancor::Error> {
        let stored = rkyv::access::<ArchivedCodeStored<'_>, rancor::Error>(payload)?;
        let code = CodeView {
            digest: TokenDigest::from_bytes(stored.digest),
            expires_at: stored.expires_at.to_native(),
            code_challenge: stored.code_challenge.as_ref().copied(),
            redirect_uri: stored.redirect_uri.as_deref(),
            nonce: stored.nonce.as_deref(),
            terms: stored.terms.view(),
        };
        Ok(Self::CodeStored { grant_id: GrantId::from_bytes(stored.grant_id), code })
    }

    fn device_stored(payload: &'a [u8]) -> Result<Self, rancor::Error> {
        let stored = rkyv::access::<ArchivedDeviceStored<'_>, rancor::Error>(payload)?;
        let device = DeviceView {
            digest: TokenDigest::from_bytes(stored.digest),
            requested_at: stored.requested_at.to_native(),
            requested_from: stored.requested_from.as_ref().map(|octets| Ipv6Addr::from(*octets).to_canonical()),
            expires_at: stored.expires_at.to_native(),
            decision: match stored.decision {
                0 => DeviceDecision::Awaited,
                1 => DeviceDecision::Approved,
                2 => DeviceDecision::Denied,
                _ => return Err(rancor::Source::new(UnknownDecision)),
            },
            terms: stored.terms.view(),
        };
        Ok(Self::DeviceStored { grant_id: GrantId::from_bytes(stored.grant_id), device })
    }

    fn grant_stored(payload: &'a [u8]) -> Result<Self, rancor::Error> {
        let stored = rkyv::access::<ArchivedGrantStored<'_>, rancor::Error>(payload)?;
        let grant = GrantView {
            redeemed: TokenDigest::from_bytes(stored.redeemed),
            created_at: stored.created_at.to_native(),
            access_expires_at: stored.access_expires_at.to_native(),
            refresh: stored.refresh.as_ref().map(|refresh| RefreshState {
                generation: refresh.generation.to_native(),
                current: TokenDigest::from_bytes(refresh.current),
                previous: refresh.previous.as_ref().map(|digest| TokenDigest::from_bytes(*digest)),
                refreshed_at: refresh.refreshed_at.to_native(),
                idle_until: refresh.idle_until.to_native(),
                expires_at: refresh.expires_at.to_native(),
            }),
            access: stored.access.as_ref().map(|access| AccessView {
                digest: TokenDigest::from_bytes(access.digest),
                issued_at: access.issued_at.to_native(),
                expires_at: access.expires_at.to_native(),
                scope: access.scope.as_deref(),
                audience: access
                    .audience
                    .as_ref()
                    .map(|members| members.iter().map(|member| member.as_str()).collect()),
            }),
            terms: stored.terms.view(),
        };
        Ok(Self::GrantStored { grant_id: GrantId::from_bytes(stored.grant_id), grant })
    }

    fn grant_ended(payload: &'a [u8]) -> Result<Self, rancor::Error> {
        let ended = rkyv::access::<ArchivedGrantEnded, rancor::Error>(payload)?;
        Ok(Self::GrantEnded { grant_id: GrantId::from_bytes(ended.grant_id) })
    }
}

impl AccessView<'_> {
    pub(super) fn parse(&self) -> Result<AccessIssued, InvalidRecord> {
        let scope = self.scope.map(Scope::parse).transpose().map_err(|_| InvalidRecord("scope"))?;
        let audience = self.audience.as_ref().map(|members| Audience::parse(members.iter().copied())).transpose();
        let audience = audience.map_err(|_| InvalidRecord("audience"))?;
        let Self { digest, issued_at, expires_at, .. } = *self;
        Ok(AccessIssued { digest, issued_at, expires_at, scope, audience })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("unknown schema")]
struct UnknownSchema;

#[derive(Debug, thiserror::Error)]
#[error("unknown decision")]
struct UnknownDecision;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::event::TokenEvent;
    use crate::token::grant::ClientTerms;

    const CLAIMS: &str = r#"{"userinfo":{"email":null}}"#;

    const GRANT: GrantId = GrantId::from_bytes(*b"0123456789abcdef");
    const DIGEST: TokenDigest = TokenDigest::from_bytes(*b"fedcba9876543210");

    fn terms(grant_id: GrantId) -> GrantTerms {
        let subject = Subject::parse("ada").unwrap();
        let standing = Standing::default();
        let context = AuthenticationContext::new(["pwd", "otp"], Some("urn:x"));
        let person = PersonTerms { grant_id, subject, subject_generation: 2, auth_time: 3, context, standing };
        let claims = ClaimsRequest::stored(CLAIMS).ok();
        let client = ClientTerms { claims, ..crate::token::grant::tests::client_terms("read write") };
        GrantTerms::from(client).granted_by(person)
    }

    fn code() -> PendingCode {
        PendingCode {
            digest: DIGEST,
            terms: terms(GRANT),
            redirect_uri: Some(Box::from("https://app.example/cb")),
            code_challenge: Some([9; 32]),
            nonce: None,
            expires_at: 60,
        }
    }

    fn grant() -> PersonGrant {
        let refresh = RefreshState {
            generation: 2,
            current: DIGEST,
            previous: None,
            refreshed_at: 5,
            idle_until: 50,
            expires_at: 100,
        };
        PersonGrant {
            terms: terms(GRANT),
            created_at: 4,
            redeemed: DIGEST,
            refresh: Some(refresh),
            access_expires_at: 20,
        }
    }

    #[track_caller]
    fn check(kind: u16, payload: &[u8], is_expected: impl Fn(&PersonEvent<'_>) -> bool) {
        let Some(TokenEvent::Person(event)) = TokenEvent::decode(kind, SCHEMA, payload).unwrap() else { panic!() };
        assert!(is_expected(&event), "{event:?}");
        assert_eq!(event.check(), Ok(()));
        assert!(TokenEvent::decode(kind, SCHEMA + 1, payload).is_err(), "an unknown schema is not skipped");
    }

    #[test]
    fn an_event_survives_the_round_trip() {
        check(KIND_CODE_STORED, &encode_code(GRANT, &code()).unwrap(), |event| {
            matches!(event, PersonEvent::CodeStored { grant_id: GRANT, code } if *code == CodeView {
                digest: DIGEST,
                expires_at: 60,
                code_challenge: Some([9; 32]),
                redirect_uri: Some("https://app.example/cb"),
                nonce: None,
                terms: TermsView {
                    client_id: "app",
                    client_generation: 0,
                    scope: "read write",
                    audience: vec!["https://api.example"],
                    claims: Some(CLAIMS),
                    person: Some(PersonView {
                        grant_id: GRANT,
                        subject: "ada",
                        subject_generation: 2,
                        auth_time: 3,
                        amr: vec!["pwd", "otp"],
                        acr: Some("urn:x"),
                    }),
                },
            })
        });
        let (scope, audience) = (Scope::parse("read").unwrap(), Audience::parse(["urn:a", "urn:b"]).unwrap());
        let access =
            AccessIssued { digest: DIGEST, issued_at: 5, expires_at: 20, scope: Some(scope), audience: Some(audience) };
        check(KIND_GRANT_STORED, &encode_grant(GRANT, &grant(), Some(&access)).unwrap(), |event| {
            let PersonEvent::GrantStored { grant_id: GRANT, grant: view } = event else { return false };
            view.refresh == grant().refresh
                && view.access.as_ref().unwrap().parse().unwrap() == access
                && (view.created_at, view.access_expires_at, view.redeemed) == (4, 20, DIGEST)
        });
        check(KIND_GRANT_ENDED, &encode_grant_ended(GRANT).unwrap(), |event| {
            *event == PersonEvent::GrantEnded { grant_id: GRANT }
        });
    }

    #[test]
    fn a_device_keeps_from_where_it_asked_and_what_it_was_told() {
        for (address, decision) in [
            (None, DeviceDecision::Awaited),
            (Some(IpAddr::from([192, 0, 2, 1])), DeviceDecision::Approved),
            (Some(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])), DeviceDecision::Denied),
        ] {
            let device = PendingDevice {
                digest: DIGEST,
                terms: terms(GRANT),
                requested_at: 1,
                requested_from: address,
                expires_at: 600,
                decision,
            };
            check(KIND_DEVICE_STORED, &encode_device(GRANT, &device).unwrap(), |event| {
                matches!(event, PersonEvent::DeviceStored { device, .. }
                    if device.requested_from == address && device.decision == decision)
            });
        }
    }

    #[test]
    fn a_record_about_another_grant_than_its_terms_is_refused() {
        let mut code = code();
        code.terms = terms(GrantId::from_bytes([7; 16]));
        let payload = encode_code(GRANT, &code).unwrap();
        assert!(crate::token::event::check(KIND_CODE_STORED, SCHEMA, &payload).is_err());
    }
}

//! What the journal holds of users, sessions and consents. Events carry the whole state, so that replaying one twice changes
//! nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use rkyv::rancor;
use rkyv::util::AlignedVec;
use serde::Serialize;

use crate::client::id::ClientId;
use crate::clock::UnixTime;
use crate::journal::Entry;
use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;
use crate::password::hash::PasswordHash;
use crate::user::User;
use crate::user::consent::Consent;
use crate::user::name::UserName;
use crate::user::profile::{Profile, ProfileDocument};
use crate::user::registry::UserRegistry;
use crate::user::session::{Session, SessionDigest};

/// The `kind` of a journal record that stores a user. Kinds 32 to 47 are this room's.
pub const KIND_USER_STORED: u16 = 32;
/// The `kind` of a journal record that deletes a user.
pub const KIND_USER_DELETED: u16 = 33;
/// The `kind` of a journal record that revokes all that was granted to a subject.
pub const KIND_SUBJECT_REVOKED: u16 = 34;
/// The `kind` of a journal record that stores a session.
pub const KIND_SESSION_STORED: u16 = 35;
/// The `kind` of a journal record that ends sessions.
pub const KIND_SESSIONS_ENDED: u16 = 36;
/// The `kind` of a journal record that stores a consent.
pub const KIND_CONSENT_STORED: u16 = 37;
/// The `kind` of a journal record that withdraws a consent.
pub const KIND_CONSENT_WITHDRAWN: u16 = 38;
/// The kinds of this room with their names.
pub const KINDS: &[(u16, &str)] = &[
    (KIND_USER_STORED, "user_stored"),
    (KIND_USER_DELETED, "user_deleted"),
    (KIND_SUBJECT_REVOKED, "subject_revoked"),
    (KIND_SESSION_STORED, "session_stored"),
    (KIND_SESSIONS_ENDED, "sessions_ended"),
    (KIND_CONSENT_STORED, "consent_stored"),
    (KIND_CONSENT_WITHDRAWN, "consent_withdrawn"),
];

/// The `schema` that a kind is written in. Those before are read for ever.
const fn newest_schema(kind: u16) -> u16 {
    if kind == KIND_SESSION_STORED { 2 } else { 1 }
}

/// A user was registered or changed.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct UserStored {
    subject: String,
    username: String,
    generation: u64,
    is_disabled: bool,
    created_at_ms: u64,
    updated_at_ms: u64,
    password_hash: Option<String>,
    /// JSON of [`ProfileDocument`]: a member that a later version adds needs no new schema.
    profile: String,
}

/// A user was deleted, or all that was granted to a subject was revoked.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct GenerationRaised {
    subject: String,
    generation: u64,
}

/// A session began or was used: schema 1.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct SessionStoredBefore {
    digest: [u8; 32],
    subject: String,
    generation: u64,
    auth_time_ms: u64,
    amr: Vec<String>,
    created_at_ms: u64,
    expires_at_ms: u64,
    idle_seconds: u32,
    last_seen_at_ms: u64,
    user_agent: Option<String>,
    address: Option<String>,
}

/// A session began or was used: schema 2.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct SessionStored {
    digest: [u8; 32],
    subject: String,
    generation: u64,
    auth_time_ms: u64,
    amr: Vec<String>,
    acr: Option<String>,
    created_at_ms: u64,
    expires_at_ms: u64,
    idle_seconds: u32,
    last_seen_at_ms: u64,
    user_agent: Option<String>,
    address: Option<String>,
}

/// Sessions of one subject ended.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct SessionsEnded {
    subject: String,
    digests: Vec<[u8; 32]>,
}

/// A consent was given or widened.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct ConsentStored {
    subject: String,
    subject_generation: u64,
    client_id: String,
    client_generation: u64,
    scope: String,
    granted_at_ms: u64,
}

/// A consent was withdrawn.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct ConsentWithdrawn {
    subject: String,
    client_id: String,
}

/// A record that cannot be read although its bytes are what was written: of a newer version, or a bug.
#[derive(Debug, thiserror::Error)]
#[error("user record of kind {kind}, schema {schema} cannot be read: {reason}; start the version that wrote it")]
pub struct UnreadableRecord {
    kind: u16,
    schema: u16,
    reason: String,
}

/// What a record of this room says, all of it checked.
#[derive(Clone, Debug)]
pub enum UserEvent {
    /// A user was registered or changed.
    UserStored {
        /// The user.
        user: Arc<User>,
        /// The subject's generation that is in force from now on.
        generation: u64,
    },
    /// A user was deleted, with their consents.
    UserDeleted {
        /// Who.
        subject: Subject,
        /// The subject's generation that is in force from now on.
        generation: u64,
    },
    /// All that was granted to a subject was revoked, with its sessions and consents.
    SubjectRevoked {
        /// Whose.
        subject: Subject,
        /// The generation that is in force from now on.
        generation: u64,
    },
    /// A session began or was used.
    SessionStored(Box<Session>),
    /// Sessions ended.
    SessionsEnded {
        /// Whose.
        subject: Subject,
        /// Which.
        digests: Vec<SessionDigest>,
    },
    /// A consent was given or widened.
    ConsentStored {
        /// Whose.
        subject: Subject,
        /// What.
        consent: Consent,
    },
    /// A consent was withdrawn.
    ConsentWithdrawn {
        /// Whose.
        subject: Subject,
        /// From which client.
        client_id: ClientId,
    },
}

macro_rules! from_bytes {
    ($record:ty, $payload:expr) => {
        rkyv::from_bytes::<$record, rancor::Error>($payload).map_err(|error| error.to_string())?
    };
}

impl UserEvent {
    /// Reads a record. `None` for a kind that is another room's.
    ///
    /// # Errors
    ///
    /// [`UnreadableRecord`] when the record is ours and cannot be read.
    pub fn decode(kind: u16, schema: u16, payload: &[u8]) -> Result<Option<Self>, UnreadableRecord> {
        if !KINDS.iter().any(|(known, _)| *known == kind) {
            return Ok(None);
        }
        let unreadable = |reason: &dyn ToString| UnreadableRecord { kind, schema, reason: reason.to_string() };
        if !(1..=newest_schema(kind)).contains(&schema) {
            return Err(unreadable(&"unknown schema"));
        }
        Self::read(kind, schema, payload).map(Some).map_err(|reason| unreadable(&reason))
    }

    fn read(kind: u16, schema: u16, payload: &[u8]) -> Result<Self, String> {
        match kind {
            KIND_USER_STORED => from_bytes!(UserStored, payload).parse(),
            KIND_USER_DELETED | KIND_SUBJECT_REVOKED => {
                let GenerationRaised { subject, generation } = from_bytes!(GenerationRaised, payload);
                let subject = parse_subject(&subject)?;
                Ok(if kind == KIND_USER_DELETED {
                    Self::UserDeleted { subject, generation }
                } else {
                    Self::SubjectRevoked { subject, generation }
                })
            }
            KIND_SESSION_STORED if schema == 1 => {
                SessionStored::from(from_bytes!(SessionStoredBefore, payload)).parse()
            }
            KIND_SESSION_STORED => from_bytes!(SessionStored, payload).parse(),
            KIND_SESSIONS_ENDED => {
                let SessionsEnded { subject, digests } = from_bytes!(SessionsEnded, payload);
                let digests = digests.into_iter().map(SessionDigest::from_bytes).collect();
                Ok(Self::SessionsEnded { subject: parse_subject(&subject)?, digests })
            }
            KIND_CONSENT_STORED => from_bytes!(ConsentStored, payload).parse(),
            _ => {
                let ConsentWithdrawn { subject, client_id } = from_bytes!(ConsentWithdrawn, payload);
                let client_id = ClientId::parse(&client_id).map_err(|error| error.to_string())?;
                Ok(Self::ConsentWithdrawn { subject: parse_subject(&subject)?, client_id })
            }
        }
    }

    /// The record that says this.
    ///
    /// # Errors
    ///
    /// None in practice: rkyv's signature has one.
    pub fn encode(&self) -> Result<Entry, rancor::Error> {
        let (kind, payload) = match self {
            Self::UserStored { user, generation } => (KIND_USER_STORED, encode_user(user, *generation)?),
            Self::UserDeleted { subject, generation } => (KIND_USER_DELETED, encode_raised(subject, *generation)?),
            Self::SubjectRevoked { subject, generation } => {
                (KIND_SUBJECT_REVOKED, encode_raised(subject, *generation)?)
            }
            Self::SessionStored(session) => (KIND_SESSION_STORED, encode_session(session)?),
            Self::SessionsEnded { subject, digests } => {
                let digests = digests.iter().map(|digest| *digest.as_bytes()).collect();
                let ended = SessionsEnded { subject: subject.as_str().to_owned(), digests };
                (KIND_SESSIONS_ENDED, rkyv::to_bytes(&ended)?)
            }
            Self::ConsentStored { subject, consent } => (KIND_CONSENT_STORED, encode_consent(subject, consent)?),
            Self::ConsentWithdrawn { subject, client_id } => {
                let (subject, client_id) = (subject.as_str().to_owned(), client_id.as_str().to_owned());
                (KIND_CONSENT_WITHDRAWN, rkyv::to_bytes(&ConsentWithdrawn { subject, client_id })?)
            }
        };
        Ok(Entry { kind, schema: newest_schema(kind), routing_id: 0, payload })
    }

    /// Shows what is durable now.
    pub(super) fn apply(self, registry: &UserRegistry) {
        match self {
            Self::UserStored { user, generation } => registry.publish(&user, generation),
            Self::UserDeleted { subject, generation } => registry.withdraw(&subject, generation),
            Self::SubjectRevoked { subject, generation } => registry.raise(&subject, generation),
            Self::SessionStored(session) => registry.publish_session(*session),
            Self::SessionsEnded { subject, digests } => registry.end_sessions(&subject, &digests),
            Self::ConsentStored { subject, consent } => registry.publish_consent(&subject, &consent),
            Self::ConsentWithdrawn { subject, client_id } => registry.withdraw_consent(&subject, &client_id),
        }
    }
}

fn parse_subject(subject: &str) -> Result<Subject, String> {
    Subject::parse(subject).map_err(|error| error.to_string())
}

fn encode_user(user: &User, generation: u64) -> Result<AlignedVec, rancor::Error> {
    rkyv::to_bytes(&UserStored {
        subject: user.subject.as_str().to_owned(),
        username: user.name.as_str().to_owned(),
        generation,
        is_disabled: user.is_disabled,
        created_at_ms: user.created_at.as_millis(),
        updated_at_ms: user.updated_at.as_millis(),
        password_hash: user.password.as_ref().map(|hash| hash.as_str().to_owned()),
        profile: serde_json::to_string(&user.profile.to_document()).unwrap_or_default(),
    })
}

impl UserStored {
    fn parse(self) -> Result<UserEvent, String> {
        let profile: ProfileDocument = serde_json::from_str(&self.profile).map_err(|error| error.to_string())?;
        let password = self.password_hash.as_deref().map(PasswordHash::parse).transpose();
        let user = User {
            subject: parse_subject(&self.subject)?,
            name: UserName::parse(&self.username).map_err(|error| error.to_string())?,
            profile: Profile::parse(profile).map_err(|error| error.to_string())?,
            password: password.map_err(|error| error.to_string())?,
            is_disabled: self.is_disabled,
            created_at: UnixTime::from_millis(self.created_at_ms),
            updated_at: UnixTime::from_millis(self.updated_at_ms),
        };
        Ok(UserEvent::UserStored { user: Arc::new(user), generation: self.generation })
    }
}

fn encode_raised(subject: &Subject, generation: u64) -> Result<AlignedVec, rancor::Error> {
    rkyv::to_bytes(&GenerationRaised { subject: subject.as_str().to_owned(), generation })
}

fn encode_session(session: &Session) -> Result<AlignedVec, rancor::Error> {
    rkyv::to_bytes(&SessionStored {
        digest: *session.digest.as_bytes(),
        subject: session.subject.as_str().to_owned(),
        generation: session.generation,
        auth_time_ms: session.auth_time.as_millis(),
        amr: session.amr.clone(),
        acr: session.acr.clone(),
        created_at_ms: session.created_at.as_millis(),
        expires_at_ms: session.expires_at.as_millis(),
        idle_seconds: session.idle_seconds,
        last_seen_at_ms: session.last_seen_at.as_millis(),
        user_agent: session.user_agent.clone(),
        address: session.address.map(|address| address.to_string()),
    })
}

impl From<SessionStoredBefore> for SessionStored {
    fn from(before: SessionStoredBefore) -> Self {
        Self {
            digest: before.digest,
            subject: before.subject,
            generation: before.generation,
            auth_time_ms: before.auth_time_ms,
            amr: before.amr,
            acr: None,
            created_at_ms: before.created_at_ms,
            expires_at_ms: before.expires_at_ms,
            idle_seconds: before.idle_seconds,
            last_seen_at_ms: before.last_seen_at_ms,
            user_agent: before.user_agent,
            address: before.address,
        }
    }
}

impl SessionStored {
    fn parse(self) -> Result<UserEvent, String> {
        let address = self.address.as_deref().map(str::parse::<IpAddr>).transpose();
        Ok(UserEvent::SessionStored(Box::new(Session {
            digest: SessionDigest::from_bytes(self.digest),
            subject: parse_subject(&self.subject)?,
            generation: self.generation,
            auth_time: UnixTime::from_millis(self.auth_time_ms),
            amr: self.amr,
            acr: self.acr,
            created_at: UnixTime::from_millis(self.created_at_ms),
            expires_at: UnixTime::from_millis(self.expires_at_ms),
            idle_seconds: self.idle_seconds,
            last_seen_at: UnixTime::from_millis(self.last_seen_at_ms),
            user_agent: self.user_agent,
            address: address.map_err(|error| error.to_string())?,
            in_force: Arc::default(),
        })))
    }
}

fn encode_consent(subject: &Subject, consent: &Consent) -> Result<AlignedVec, rancor::Error> {
    rkyv::to_bytes(&ConsentStored {
        subject: subject.as_str().to_owned(),
        subject_generation: consent.subject_generation,
        client_id: consent.client_id.as_str().to_owned(),
        client_generation: consent.client_generation,
        scope: consent.scope.as_str().to_owned(),
        granted_at_ms: consent.granted_at.as_millis(),
    })
}

impl ConsentStored {
    fn parse(self) -> Result<UserEvent, String> {
        let consent = Consent {
            client_id: ClientId::parse(&self.client_id).map_err(|error| error.to_string())?,
            client_generation: self.client_generation,
            subject_generation: self.subject_generation,
            scope: Scope::parse(&self.scope).map_err(|error| error.to_string())?,
            granted_at: UnixTime::from_millis(self.granted_at_ms),
        };
        Ok(UserEvent::ConsentStored { subject: parse_subject(&self.subject)?, consent })
    }
}

/// Hands out records that make the registry what it is now, while it changes: a snapshot of this room. What changes meanwhile
/// is in it or not, and is in later records of the journal in any case.
///
/// # Errors
///
/// None in practice: rkyv's signature has one.
pub fn records_of(registry: &UserRegistry, push: &mut dyn FnMut(&Entry)) -> Result<(), rancor::Error> {
    let generations = registry.generations();
    let of_subject: HashMap<&Subject, u64> = generations.iter().map(|(subject, value)| (subject, *value)).collect();
    let mut stored = HashMap::new();
    for user in registry.all() {
        let generation = of_subject.get(&user.subject).copied().unwrap_or_default();
        stored.insert(user.subject.clone(), generation);
        push(&UserEvent::UserStored { user, generation }.encode()?);
    }
    for (subject, generation) in generations.iter().filter(|(subject, _)| !stored.contains_key(subject)) {
        let revoked = UserEvent::SubjectRevoked { subject: subject.clone(), generation: *generation };
        push(&revoked.encode()?);
    }
    for session in registry.all_sessions() {
        push(&UserEvent::SessionStored(Box::new(Session::clone(&session))).encode()?);
    }
    for (subject, consents) in registry.all_consents() {
        for consent in consents.iter() {
            push(&UserEvent::ConsentStored { subject: subject.clone(), consent: consent.clone() }.encode()?);
        }
    }
    Ok(())
}

/// Applies a record of this room to the registry, at recovery. Records of other rooms are none of its business:
/// the answer says whether it was one of ours.
///
/// # Errors
///
/// [`UnreadableRecord`] when the record is ours and cannot be read. Nothing may be skipped: the caller refuses to start.
pub fn replay(registry: &UserRegistry, kind: u16, schema: u16, payload: &[u8]) -> Result<bool, UnreadableRecord> {
    let event = UserEvent::decode(kind, schema, payload)?;
    let is_ours = event.is_some();
    if let Some(event) = event {
        event.apply(registry);
    }
    Ok(is_ours)
}

/// Whether a record is of this room. Checks all of it, as [`replay`] does.
///
/// # Errors
///
/// [`UnreadableRecord`] when it is ours and cannot be read.
pub fn check(kind: u16, schema: u16, payload: &[u8]) -> Result<bool, UnreadableRecord> {
    Ok(UserEvent::decode(kind, schema, payload)?.is_some())
}

/// What a record of this room says, for people: that there is a password, but nothing of it.
#[derive(Serialize)]
#[serde(untagged)]
pub enum UserSummary {
    /// A user was registered or changed.
    UserStored {
        /// Their `sub`.
        sub: String,
        /// What they log in with.
        username: String,
        /// The subject's generation.
        generation: u64,
        /// See [`User::is_disabled`].
        disabled: bool,
        /// When, as RFC 3339 writes it.
        created_at_rfc3339: String,
        /// When the record last changed, likewise.
        updated_at_rfc3339: String,
        /// Whether they have a password.
        has_password: bool,
        /// See [`User::profile`].
        #[serde(flatten)]
        profile: ProfileDocument,
    },
    /// A user was deleted, or all that was granted to a subject was revoked.
    Raised {
        /// The subject.
        sub: String,
        /// The generation that is in force from now on.
        generation: u64,
    },
    /// A session began or was used.
    SessionStored {
        /// Names it in lists.
        session: String,
        /// Whose.
        sub: String,
        /// The subject's generation then.
        generation: u64,
        /// By what the person proved who they are.
        amr: Vec<String>,
        /// How sure that is.
        #[serde(skip_serializing_if = "Option::is_none")]
        acr: Option<String>,
        /// When, as RFC 3339 writes it.
        auth_time_rfc3339: String,
        /// When it ends at the latest, likewise.
        expires_at_rfc3339: String,
        /// How long it may lie unused.
        idle_seconds: u32,
        /// When it was last used, about, likewise.
        last_seen_at_rfc3339: String,
        /// From where.
        #[serde(skip_serializing_if = "Option::is_none")]
        address: Option<String>,
        /// With what.
        #[serde(skip_serializing_if = "Option::is_none")]
        user_agent: Option<String>,
    },
    /// Sessions ended.
    SessionsEnded {
        /// Whose.
        sub: String,
        /// What names them in lists.
        sessions: Vec<String>,
    },
    /// A consent was given or widened.
    ConsentStored {
        /// Whose.
        sub: String,
        /// The subject's generation then.
        generation: u64,
        /// To whom.
        client_id: String,
        /// The client's generation then.
        client_generation: u64,
        /// What.
        scope: String,
        /// When, as RFC 3339 writes it.
        granted_at_rfc3339: String,
    },
    /// A consent was withdrawn.
    ConsentWithdrawn {
        /// Whose.
        sub: String,
        /// From whom.
        client_id: String,
    },
}

impl UserSummary {
    /// Reads a record as [`replay`] does. `None` for a kind that is another room's.
    ///
    /// # Errors
    ///
    /// [`UnreadableRecord`] when the record is ours and cannot be read.
    pub fn of(kind: u16, schema: u16, payload: &[u8]) -> Result<Option<Self>, UnreadableRecord> {
        Ok(UserEvent::decode(kind, schema, payload)?.map(Self::of_event))
    }

    fn of_event(event: UserEvent) -> Self {
        let sub = |subject: Subject| subject.as_str().to_owned();
        match event {
            UserEvent::UserStored { user, generation } => Self::UserStored {
                sub: user.subject.as_str().to_owned(),
                username: user.name.as_str().to_owned(),
                generation,
                disabled: user.is_disabled,
                created_at_rfc3339: user.created_at.to_string(),
                updated_at_rfc3339: user.updated_at.to_string(),
                has_password: user.password.is_some(),
                profile: user.profile.to_document(),
            },
            UserEvent::UserDeleted { subject, generation } | UserEvent::SubjectRevoked { subject, generation } => {
                Self::Raised { sub: sub(subject), generation }
            }
            UserEvent::SessionStored(session) => Self::SessionStored {
                session: session.id(),
                sub: session.subject.as_str().to_owned(),
                generation: session.generation,
                amr: session.amr,
                acr: session.acr,
                auth_time_rfc3339: session.auth_time.to_string(),
                expires_at_rfc3339: session.expires_at.to_string(),
                idle_seconds: session.idle_seconds,
                last_seen_at_rfc3339: session.last_seen_at.to_string(),
                address: session.address.map(|address| address.to_string()),
                user_agent: session.user_agent,
            },
            UserEvent::SessionsEnded { subject, digests } => {
                Self::SessionsEnded { sub: sub(subject), sessions: digests.iter().map(SessionDigest::id).collect() }
            }
            UserEvent::ConsentStored { subject, consent } => Self::ConsentStored {
                sub: sub(subject),
                generation: consent.subject_generation,
                client_id: consent.client_id.as_str().to_owned(),
                client_generation: consent.client_generation,
                scope: consent.scope.as_str().to_owned(),
                granted_at_rfc3339: consent.granted_at.to_string(),
            },
            UserEvent::ConsentWithdrawn { subject, client_id } => {
                Self::ConsentWithdrawn { sub: sub(subject), client_id: client_id.as_str().to_owned() }
            }
        }
    }
}

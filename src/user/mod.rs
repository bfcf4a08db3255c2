//! Users: the people whose grants clients use.
//!
//! [`registry::UserRegistry`] is what workers read. [`actor::UserActor`] is its single writer: it journals a change, and publishes
//! it to the registry once it is durable. [`logins::Logins`] decides who may try a password, and has it checked.
//!
//! A person of another system, whom this one has never seen but as a subject (`--login-url`), has sessions, consents and a
//! generation too, but no [`User`].

pub mod actor;
pub mod claims;
pub mod consent;
pub mod event;
pub mod logins;
pub mod name;
pub mod profile;
pub mod registry;
pub mod session;

use crate::clock::UnixTime;
use crate::oauth::subject::Subject;
use crate::password::hash::PasswordHash;
use crate::user::name::UserName;
use crate::user::profile::Profile;

/// A person who can log in here. Never changed in place: an update replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The `sub` of their tokens: for ever theirs.
    pub subject: Subject,
    /// What they log in with.
    pub name: UserName,
    /// What is known of them.
    pub profile: Profile,
    /// `None` for who cannot log in yet.
    pub password: Option<PasswordHash>,
    /// Whether they may not log in, and all that was granted is dead.
    pub is_disabled: bool,
    /// When they were registered.
    pub created_at: UnixTime,
    /// When the record last changed.
    pub updated_at: UnixTime,
}

//! Consents: what a person has allowed a client, once and for later.

use crate::client::id::ClientId;
use crate::clock::UnixTime;
use crate::oauth::scope::Scope;

/// That a person let a client have a scope. Remembered until it is withdrawn, or until the client is deleted or all of the person's
/// grants are revoked, which raise a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// To whom.
    pub client_id: ClientId,
    /// The client's generation then.
    pub client_generation: u64,
    /// The subject's generation then.
    pub subject_generation: u64,
    /// What.
    pub scope: Scope,
    /// When.
    pub granted_at: UnixTime,
}

//! What the workers share.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::Addr;
use ipnet::IpNet;
use ring::rand::SecureRandom;

use crate::client::actor::ClientActor;
use crate::client::metadata::{ClientKeys, ClientMetadata, InvalidClientMetadata};
use crate::client::registry::ClientRegistry;
use crate::clock::Clock;
use crate::endpoint::guesses::Guesses;
use crate::endpoint::operator_login::OperatorLogin;
use crate::endpoint::page::Pages;
use crate::endpoint::page::csrf::Csrf;
use crate::endpoint::register::RegistrationQuota;
use crate::fetch::key_sets::KeySets;
use crate::grant::Defaults;
use crate::oauth::algorithm::SigningAlgorithm;
use crate::password::pool::PasswordPool;
use crate::shard::Shards;
use crate::shard::snapshot::Snapshots;
use crate::signing::actor::KeyActor;
use crate::signing::registry::KeyRegistry;
use crate::signing::seal::Sealer;
use crate::telemetry::exposition::Exposition;
use crate::telemetry::http::WorkerMetrics;
use crate::telemetry::progress::StartProgress;
use crate::telemetry::projection::DatabaseHealth;
use crate::token::proof::ProofKey;
use crate::token::refresh_token::RefreshKey;
use crate::token::user_code::UserCodeKey;
use crate::user::actor::UserActor;
use crate::user::logins::Logins;
use crate::user::registry::UserRegistry;

/// Everything that answers requests, once the journal has been read to its end.
pub struct Service {
    /// The `iss` of everything.
    pub issuer: Arc<str>,
    /// The clients, to read.
    pub registry: Arc<ClientRegistry>,
    /// The clients, to change.
    pub clients: Addr<ClientActor>,
    /// The users, their sessions and consents, to read.
    pub users: Arc<UserRegistry>,
    /// The users, their sessions and consents, to change.
    pub user_actor: Addr<UserActor>,
    /// Checks passwords.
    pub logins: Arc<Logins>,
    /// Checks the secrets of clients that came with a hash.
    pub secret_pool: Arc<PasswordPool>,
    /// The keys of clients that are behind a `jwks_uri`.
    pub key_sets: KeySets,
    /// The tokens.
    pub shards: Arc<Shards>,
    /// Snapshots and backups; `None` with durability `memory`.
    pub snapshots: Option<Snapshots>,
    /// Limits guesses of user codes.
    pub guesses: Guesses,
    /// Limits clients that register themselves.
    pub registration_quota: RegistrationQuota,
    /// Whose word on where a request comes from counts.
    pub trusted_proxies: Vec<IpNet>,
    /// What is granted when the client does not say otherwise.
    pub defaults: Defaults,
    /// What people see.
    pub pages: Pages,
    /// Makes and checks the tokens of forms.
    pub csrf: Csrf,
    /// Where people log in, if not at a page of the server's own.
    pub operator_login: Option<OperatorLogin>,
    /// What seals the requests that browsers and clients carry.
    pub sealer: Sealer,
    /// The keys that sign, to read.
    pub keys: Arc<KeyRegistry>,
    /// The keys that sign, to change.
    pub key_actor: Addr<KeyActor>,
    /// For what algorithms a first key is made.
    pub key_algorithms: Vec<SigningAlgorithm>,
    /// How long a new key is published before it signs, in seconds.
    pub key_publish_seconds: u32,
    /// Makes refresh tokens.
    pub refresh_key: RefreshKey,
    /// Finds devices by their user codes.
    pub user_code_key: UserCodeKey,
    /// Makes the digests of proofs that count once.
    pub proof_key: ProofKey,
    /// Where tokens come from.
    pub random: Arc<dyn SecureRandom + Send + Sync>,
    /// The metrics.
    pub exposition: Exposition,
    /// How the database is; `None` where there is none.
    pub database: Option<Box<dyn Fn() -> DatabaseHealth + Send + Sync>>,
}

impl fmt::Debug for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Service").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Service {
    /// Whether what a client's metadata has the server fetch may be fetched.
    ///
    /// # Errors
    ///
    /// [`InvalidClientMetadata`] names the member.
    pub(super) fn check_fetch(&self, metadata: &ClientMetadata) -> Result<(), InvalidClientMetadata> {
        let Some(ClientKeys::At(uri)) = &metadata.keys else { return Ok(()) };
        let allow = self.key_sets.allow();
        if allow.find(uri).is_some() {
            return Ok(());
        }
        let reason = if allow.is_empty() {
            "this server fetches nothing, for its setting fetch_allow names no host; register the keys themselves as jwks".to_owned()
        } else {
            let (host, port) = (uri.host(), uri.port());
            format!(
                "this server's setting fetch_allow does not allow {host} at port {port}; register the keys themselves as jwks"
            )
        };
        Err(InvalidClientMetadata { member: "jwks_uri", reason })
    }
}

/// Opens once. Before that, every request is answered 503: a revocation may be in the part of the journal that has not been
/// read yet.
#[derive(Debug)]
pub struct Gate {
    service: OnceLock<Service>,
    /// The time.
    pub clock: Arc<Clock>,
    /// How far the start has come, while the gate is closed.
    pub progress: Arc<StartProgress>,
    /// How long the body of a request may take to arrive; then 408.
    pub body_timeout: Duration,
    /// How long a client may leave an answer unread before it is gone.
    pub answer_timeout: Duration,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub const fn new(
        clock: Arc<Clock>,
        progress: Arc<StartProgress>,
        body_timeout: Duration,
        answer_timeout: Duration,
    ) -> Self {
        Self { service: OnceLock::new(), clock, progress, body_timeout, answer_timeout }
    }

    /// Lets requests in. A second call changes nothing.
    pub fn open(&self, service: Service) {
        let _ = self.service.set(service);
    }

    /// The service, if the gate is open.
    #[must_use]
    pub fn service(&self) -> Option<&Service> {
        self.service.get()
    }
}

/// What one worker has.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) gate: Arc<Gate>,
    pub(super) metrics: Arc<WorkerMetrics>,
}

//! What the workers share.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::Addr;
use ring::rand::SecureRandom;

use crate::client::actor::ClientActor;
use crate::client::registry::ClientRegistry;
use crate::clock::Clock;
use crate::grant::Defaults;
use crate::shard::Shards;
use crate::shard::snapshot::Snapshots;
use crate::telemetry::exposition::Exposition;
use crate::telemetry::http::WorkerMetrics;
use crate::telemetry::progress::StartProgress;
use crate::telemetry::projection::DatabaseHealth;

/// Everything that answers requests, once the journal has been read to its end.
pub struct Service {
    /// The `iss` of everything.
    pub issuer: Arc<str>,
    /// The clients, to read.
    pub registry: Arc<ClientRegistry>,
    /// The clients, to change.
    pub clients: Addr<ClientActor>,
    /// The tokens.
    pub shards: Arc<Shards>,
    /// Snapshots and backups; `None` with durability `memory`.
    pub snapshots: Option<Snapshots>,
    /// What is granted when the client does not say otherwise.
    pub defaults: Defaults,
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

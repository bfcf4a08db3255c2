//! Looks after clients that have registered themselves: those that nobody uses go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use actix::Addr;

use crate::client::actor::{ClientActor, ClientError, SweepIdleClient, ask};
use crate::clock::UnixTime;
use crate::telemetry::cell::Gauge;

/// Sweeps now and then, in steps that each wait for the disk.
#[derive(Clone)]
pub(super) struct IdleSweep {
    actor: Addr<ClientActor>,
    /// `None`: no client is too old.
    idle_seconds: Option<u64>,
    /// When the last one began, or the server started, in milliseconds since the epoch.
    begun_ms: Arc<AtomicU64>,
    is_busy: Arc<AtomicBool>,
    /// How many clients have gone since the start.
    deleted: Arc<Gauge>,
}

/// From the start to the first sweep, and from one to the next.
const EVERY_MS: u64 = 600_000;
const DAY_SECONDS: u64 = 86_400;

impl IdleSweep {
    /// Deletes clients after so many days; 0 is never.
    pub(super) fn new(actor: Addr<ClientActor>, idle_days: u32, now: UnixTime) -> Self {
        Self {
            actor,
            idle_seconds: (idle_days > 0).then(|| u64::from(idle_days) * DAY_SECONDS),
            begun_ms: Arc::new(AtomicU64::new(now.as_millis())),
            is_busy: Arc::default(),
            deleted: Arc::default(),
        }
    }

    pub(super) fn deleted(&self) -> Arc<Gauge> {
        Arc::clone(&self.deleted)
    }

    /// Does what is due. Call it about once a second.
    pub(super) fn tick(&self, now: UnixTime) {
        let is_due = now.as_millis() >= self.begun_ms.load(Ordering::Relaxed).saturating_add(EVERY_MS);
        if !is_due || self.is_busy.swap(true, Ordering::AcqRel) {
            return;
        }
        self.begun_ms.store(now.as_millis(), Ordering::Relaxed);
        let sweep = self.clone();
        actix_rt::spawn(async move {
            if let Err(error) = sweep.work().await {
                tracing::warn!(%error, "the clients that have registered themselves cannot be looked at now; it is tried again");
            }
            sweep.is_busy.store(false, Ordering::Release);
        });
    }

    async fn work(&self) -> Result<(), ClientError> {
        let mut after = None;
        loop {
            let swept = ask(&self.actor, SweepIdleClient { after, idle_seconds: self.idle_seconds }).await?;
            if let Some(client_id) = &swept.deleted {
                self.deleted.set(self.deleted.value() + 1);
                tracing::info!(
                    client_id = client_id.as_str(),
                    "deleted a client that had registered itself and lay idle"
                );
            }
            if swept.after.is_none() {
                return Ok(());
            }
            after = swept.after;
        }
    }
}

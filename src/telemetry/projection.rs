//! How far the database is behind the journal.

use std::sync::atomic::{AtomicU8, Ordering};

use serde::Serialize;

use crate::telemetry::cell::{Counter, Gauge};

/// What the projector counts. Written by its thread alone.
#[derive(Debug, Default)]
pub struct ProjectionMetrics {
    state: AtomicU8,
    /// The last record that is in the database.
    pub applied_lsn: Gauge,
    /// When that was written, in milliseconds since 1970.
    pub applied_at_ms: Gauge,
    /// The last record that a crash of the database cannot take back.
    pub confirmed_lsn: Gauge,
    /// Rows that were written.
    pub rows: Counter,
    /// Transactions that wrote some.
    pub batches: Counter,
    /// Attempts that failed and were made again.
    pub failures: Counter,
    /// Records that the database refused.
    pub dead_letters: Counter,
}

/// How the database is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseState {
    /// It does not answer, or answers that it cannot serve now; it is asked again.
    #[default]
    Unreachable,
    /// It is written.
    Connected,
    /// It answers, and cannot be written until somebody has seen to it; it is asked again.
    Refused,
}

impl ProjectionMetrics {
    /// Notes how the database is.
    pub fn set_state(&self, state: DatabaseState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// How the database is.
    #[must_use]
    pub fn state(&self) -> DatabaseState {
        let state = self.state.load(Ordering::Relaxed);
        let all = [DatabaseState::Unreachable, DatabaseState::Connected, DatabaseState::Refused];
        all.into_iter().find(|own| *own as u8 == state).unwrap_or_default()
    }
}

/// The database as `/readyz` shows it.
#[derive(Debug, Serialize)]
pub struct DatabaseHealth {
    /// How it is. Why is in the log: anybody may ask for this.
    pub state: DatabaseState,
    /// By how much it is behind.
    #[serde(flatten)]
    pub lag: Lag,
    /// Records that it refused since the start.
    pub dead_letters: u64,
}

/// By how much the database is behind the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// Durable records that it lacks.
    #[serde(rename = "lag_records")]
    pub records: u64,
    /// The blocks that hold them, in bytes, to about a mebibyte.
    #[serde(rename = "lag_bytes")]
    pub bytes: u64,
    /// How long ago the first of them was written, about; 0 where it lacks none.
    #[serde(rename = "lag_seconds")]
    pub seconds: u64,
}

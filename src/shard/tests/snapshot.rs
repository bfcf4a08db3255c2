//! The thread that takes snapshots, beside a shard whose journal commits when it is told to.

use tokio::task::JoinHandle;

use super::panic::{HandDriven, until};
use super::*;
use crate::journal::snapshot::SnapshotStore;
use crate::shard::snapshot::{RunningSnapshots, SnapshotError, SnapshotParts, SnapshotReport};
use crate::telemetry::cell::HistogramTotals;
use crate::telemetry::message::MessageCells;
use crate::token::state::Registries;

/// Such a shard, and the thread.
struct Beside {
    shard: HandDriven,
    store: SnapshotStore,
    thread: RunningSnapshots,
}

impl Beside {
    fn new() -> Self {
        let shard = HandDriven::new();
        let store = SnapshotStore::new(Arc::clone(&shard.rig.committer.shared));
        let parts = SnapshotParts {
            shards: shard.running.shards(),
            registries: Registries::default(),
            store: store.clone(),
            clock: clock_on(&shard.rig.time),
            tail_bytes_min: u64::MAX,
            tail_bytes_max: u64::MAX,
        };
        Self { shard, store, thread: RunningSnapshots::start(parts).unwrap() }
    }

    /// Has a snapshot taken until it waits for the shard.
    async fn take_until_it_waits(&self) -> JoinHandle<Result<SnapshotReport, SnapshotError>> {
        let snapshots = self.thread.snapshots();
        let taking = actix_rt::spawn(async move { snapshots.take().await });
        until("the shard is asked, or all is over", || self.has_asked() || taking.is_finished()).await;
        assert!(!taking.is_finished(), "it waits for what it has seen");
        assert_eq!(self.store.newest_bytes(), 0, "it does not count yet");
        taking
    }

    /// Whether the shard was asked to answer once all is durable: at the end of a walk.
    fn has_asked(&self) -> bool {
        let is_asked = |(name, cells): (&str, &MessageCells)| {
            let mut totals = HistogramTotals::default();
            cells.duration.add_to(&mut totals);
            name == "settle" && totals.count() > 0
        };
        self.shard.view().metrics.messages.cells().any(is_asked)
    }

    fn end(self) {
        self.thread.stop();
        self.shard.running.stop();
    }
}

#[test]
fn a_snapshot_counts_once_what_it_has_seen_is_durable() {
    actix_rt::System::new().block_on(async {
        let mut beside = Beside::new();
        let issues = beside.shard.append(5).await;
        let taking = beside.take_until_it_waits().await;
        beside.shard.acknowledge(issues).await;
        let report = taking.await.unwrap().unwrap();
        assert_eq!((report.extent.items, report.bytes), (5, beside.store.newest_bytes()));
        beside.end();
    });
}

#[test]
fn a_snapshot_beside_a_panic_does_not_count() {
    actix_rt::System::new().block_on(async {
        let mut beside = Beside::new();
        let issues = beside.shard.append(5).await;
        let taking = beside.take_until_it_waits().await;
        beside.shard.panic().await;
        beside.shard.acknowledge(issues).await;
        assert!(matches!(taking.await.unwrap(), Err(SnapshotError::Disturbed)), "the shard panicked before it settled");
        assert_eq!(beside.store.newest_bytes(), 0);

        beside.shard.until_rebuilt().await;
        let report = beside.thread.snapshots().take().await.unwrap();
        assert_eq!(report.extent.items, 5);
        beside.end();
    });
}

#[test]
fn while_a_shard_is_rebuilt_no_snapshot_begins() {
    actix_rt::System::new().block_on(async {
        let mut beside = Beside::new();
        let issues = beside.shard.append(5).await;
        // Its rebuild waits for what is not durable.
        beside.shard.panic().await;
        assert!(matches!(beside.thread.snapshots().take().await, Err(SnapshotError::Disturbed)));
        assert!(!beside.has_asked(), "nothing was walked");
        beside.shard.acknowledge(issues).await;
        beside.shard.until_rebuilt().await;
        beside.end();
    });
}

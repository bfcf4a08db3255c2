//! From the journal to shards: at the start for all of them at once, and after a panic for one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use actix::Addr;
use actix::dev::SendError;
use crossbeam_channel::{Sender, bounded};

use crate::client::registry::ClientRegistry;
use crate::clock::Clock;
use crate::journal::{Block, JournalError, JournalReader, Lsn, Record};
use crate::shard::actor::Shard;
use crate::shard::message::Rebuilt;
use crate::shard::{Router, ShardView};
use crate::token::access_token::{Partition, RoutingId};
use crate::token::event::TokenEvent;
use crate::token::state::{Replay, ShardState};

/// A record that cannot be applied, with its place in the journal. Nothing is ever skipped: the server refuses to start.
#[derive(Debug, thiserror::Error)]
#[error("journal record {lsn}: {reason}")]
pub struct RecoveryError {
    lsn: Lsn,
    reason: String,
}

/// Replays the journal into all shards. One thread reads; the shards are dealt out to as many threads as there are cores.
pub struct Recovery {
    registry: Arc<ClientRegistry>,
    appliers: Vec<Applier>,
    shards: usize,
    first_error: Option<RecoveryError>,
}

struct Applier {
    blocks: Sender<Arc<Block>>,
    thread: JoinHandle<Result<Vec<(usize, ShardState)>, RecoveryError>>,
}

/// Blocks that may wait for an applier, of up to 1 MiB each.
const BLOCKS_WAITING_MAX: usize = 16;

impl Recovery {
    /// Begins with empty shards. `threads` apply what one thread, the caller's, reads.
    #[must_use]
    pub fn begin(
        router: &Router,
        shards: usize,
        threads: usize,
        issuer: &Arc<str>,
        registry: &Arc<ClientRegistry>,
        now: u32,
    ) -> Self {
        let threads = threads.clamp(1, shards.max(1));
        let appliers = (0..threads).map(|applier| {
            let replay = || Replay::new(Arc::clone(issuer), Arc::clone(registry), now);
            let own = (0..shards).map(|shard| (shard % threads == applier).then(replay)).collect();
            Applier::spawn(router.clone(), own)
        });
        Self { registry: Arc::clone(registry), appliers: appliers.collect(), shards, first_error: None }
    }

    /// Takes the next block of the journal.
    pub fn apply(&mut self, block: &Arc<Block>) {
        for record in block.records() {
            let replayed = crate::client::event::replay(&self.registry, record.kind, record.schema, record.payload);
            if let Err(error) = replayed {
                self.first_error.get_or_insert_with(|| error_at(&record, &error));
            }
        }
        for applier in &self.appliers {
            // An applier that has met an error takes no more; `finish` tells.
            let _ = applier.blocks.send(Arc::clone(block));
        }
    }

    /// Waits for the last block to be applied. The states are in the order of the shards.
    ///
    /// # Errors
    ///
    /// [`RecoveryError`] for the first record that could not be applied.
    pub fn finish(self) -> Result<Vec<ShardState>, RecoveryError> {
        let mut states: Vec<Option<ShardState>> = (0..self.shards).map(|_| None).collect();
        let mut first_error = self.first_error;
        for Applier { blocks, thread } in self.appliers {
            drop(blocks);
            match thread.join() {
                Ok(Ok(own)) => {
                    for (shard, state) in own {
                        if let Some(place) = states.get_mut(shard) {
                            *place = Some(state);
                        }
                    }
                }
                Ok(Err(error)) => first_error = first_error.or(Some(error)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        match first_error {
            None => Ok(states.into_iter().flatten().collect()),
            Some(error) => Err(error),
        }
    }
}

impl Applier {
    fn spawn(router: Router, mut own: Vec<Option<Replay>>) -> Self {
        let (blocks, received) = bounded::<Arc<Block>>(BLOCKS_WAITING_MAX);
        let thread = std::thread::spawn(move || {
            for block in received {
                for record in block.records() {
                    let partition = router.partition_of(RoutingId(record.routing_id));
                    if let Some(Some(replay)) = own.get_mut(router.shard_of(partition)) {
                        apply_record(replay, &record, partition)?;
                    }
                }
            }
            Ok(own.into_iter().enumerate().filter_map(|(shard, replay)| Some((shard, replay?.finish()))).collect())
        });
        Self { blocks, thread }
    }
}

fn apply_record(replay: &mut Replay, record: &Record<'_>, partition: Partition) -> Result<(), RecoveryError> {
    let event = TokenEvent::decode(record.kind, record.schema, record.payload);
    match event.map_err(|error| error_at(record, &error))? {
        Some(event) => replay.apply(&event, partition).map_err(|error| error_at(record, &error)),
        None => Ok(()),
    }
}

fn error_at(record: &Record<'_>, reason: &dyn ToString) -> RecoveryError {
    RecoveryError { lsn: record.lsn, reason: reason.to_string() }
}

/// Makes the state of one shard anew from the journal, while the others go on.
#[derive(Clone)]
pub struct Rebuild {
    /// The journal.
    pub reader: JournalReader,
    /// Which records are the shard's.
    pub router: Router,
    /// Which shard.
    pub shard: usize,
    /// See [`ShardState::new`].
    pub issuer: Arc<str>,
    /// The clients' generations.
    pub registry: Arc<ClientRegistry>,
    /// The time, to leave out what has expired.
    pub clock: Arc<Clock>,
}

impl Rebuild {
    /// Reads the journal on a thread of its own, and sends the state to the actor. A journal that cannot be read ends the
    /// process: the shard would be without its tokens.
    pub(super) fn spawn(self, actor: Addr<Shard>, view: Arc<ShardView>) {
        std::thread::spawn(move || match self.run() {
            Ok(state) => deliver(&actor, &view, state),
            Err(error) => {
                tracing::error!(%error, "a shard cannot be rebuilt; the process stops, restart it to recover what is durable");
                std::process::abort();
            }
        });
    }

    fn run(&self) -> Result<ShardState, RebuildError> {
        let now = self.clock.now().as_seconds_u32();
        let mut replay = Replay::new(Arc::clone(&self.issuer), Arc::clone(&self.registry), now);
        let mut applied = Ok(());
        self.reader.read(Lsn::new(1), &mut |block| {
            for record in block.records() {
                let partition = self.router.partition_of(RoutingId(record.routing_id));
                if applied.is_ok() && self.router.shard_of(partition) == self.shard {
                    applied = apply_record(&mut replay, &record, partition);
                }
            }
        })?;
        applied?;
        Ok(replay.finish())
    }
}

#[derive(Debug, thiserror::Error)]
enum RebuildError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
}

/// Puts the state into the actor's mailbox, however full that is. The actor answers 503 meanwhile, so it empties soon.
fn deliver(actor: &Addr<Shard>, view: &ShardView, state: ShardState) {
    let mut message = Rebuilt { state: Box::new(state) };
    loop {
        view.mailbox.fetch_add(1, Ordering::Relaxed);
        match actor.try_send(message) {
            Ok(()) => return,
            Err(SendError::Full(unsent)) => message = unsent,
            // The server is stopping.
            Err(SendError::Closed(_)) => return,
        }
        view.mailbox.fetch_sub(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(1));
    }
}

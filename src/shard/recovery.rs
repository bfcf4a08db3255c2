//! From the journal to shards: at the start for all of them at once, and after a panic for one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use actix::Addr;
use actix::dev::SendError;
use crossbeam_channel::{Sender, bounded};

use crate::clock::Clock;
use crate::journal::snapshot::{SECTION_RECORDS, Section, SnapshotRead, SnapshotStore};
use crate::journal::{Block, JournalError, JournalReader, Lsn, Record, Records};
use crate::shard::actor::Shard;
use crate::shard::message::Rebuilt;
use crate::shard::{Router, ShardView};
use crate::token::access_token::{Partition, RoutingId};
use crate::token::event::TokenEvent;
use crate::token::section::{SECTION_TOKENS, TokenSectionView, partitions_of};
use crate::token::state::{Registries, Replay, ShardState};

/// What cannot be applied. Nothing is ever skipped: the server refuses to start.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// A record of the journal.
    #[error("journal record {lsn}: {reason}")]
    Record {
        /// Its number.
        lsn: Lsn,
        /// Why.
        reason: String,
    },
    /// A section of the snapshot.
    #[error("snapshot section of kind {kind}: {reason}")]
    Section {
        /// What it holds.
        kind: u16,
        /// Why.
        reason: String,
    },
}

/// Replays a snapshot and the journal into all shards. One thread reads; the shards are dealt out to as many threads as there are cores.
pub struct Recovery {
    registries: Registries,
    appliers: Vec<Applier>,
    shards: usize,
    first_error: Option<RecoveryError>,
}

struct Applier {
    work: Sender<Work>,
    thread: JoinHandle<Result<Vec<(usize, ShardState)>, RecoveryError>>,
}

/// What an applier takes its part of.
#[derive(Clone)]
enum Work {
    Section(Arc<Section>),
    Block(Arc<Block>),
}

/// Blocks and sections that may wait for an applier, of about 1 MiB at most each.
const WORK_WAITING_MAX: usize = 16;

impl Recovery {
    /// Begins with empty shards. `threads` apply what one thread, the caller's, reads.
    #[must_use]
    pub fn begin(
        router: &Router,
        shards: usize,
        threads: usize,
        issuer: &Arc<str>,
        registries: &Registries,
        now: u32,
    ) -> Self {
        let threads = threads.clamp(1, shards.max(1));
        let appliers = (0..threads).map(|applier| {
            let replay = || Replay::new(Arc::clone(issuer), registries.clone(), now);
            let own = (0..shards).map(|shard| (shard % threads == applier).then(replay)).collect();
            Applier::spawn(router.clone(), own)
        });
        Self { registries: registries.clone(), appliers: appliers.collect(), shards, first_error: None }
    }

    /// Takes the next section of the snapshot.
    pub fn load(&mut self, section: Arc<Section>) {
        self.apply_to_clients(section.records());
        self.send(&Work::Section(section));
    }

    /// Takes the next block of the journal.
    pub fn apply(&mut self, block: Arc<Block>) {
        self.apply_to_clients(block.records());
        self.send(&Work::Block(block));
    }

    fn apply_to_clients(&mut self, records: Records<'_>) {
        for record in records {
            if let Err(error) = self.apply_to_registries(&record) {
                self.first_error.get_or_insert(error);
            }
        }
    }

    fn apply_to_registries(&self, record: &Record<'_>) -> Result<(), RecoveryError> {
        let Record { kind, schema, payload, .. } = *record;
        let Registries { clients, users, keys } = &self.registries;
        let is_a_clients =
            crate::client::event::replay(clients, kind, schema, payload).map_err(|error| error_at(record, &error))?;
        let is_a_users =
            crate::user::event::replay(users, kind, schema, payload).map_err(|error| error_at(record, &error))?;
        let is_a_keys =
            crate::signing::event::replay(keys, kind, schema, payload).map_err(|error| error_at(record, &error))?;
        if is_a_clients || is_a_users || is_a_keys || TokenEvent::has_kind(kind) {
            return Ok(());
        }
        Err(error_at(record, &"no room knows its kind; start the version that wrote it"))
    }

    fn send(&self, work: &Work) {
        for applier in &self.appliers {
            // An applier that has met an error takes no more; `finish` tells.
            let _ = applier.work.send(work.clone());
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
        for Applier { work, thread } in self.appliers {
            drop(work);
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
    fn spawn(router: Router, own: Vec<Option<Replay>>) -> Self {
        let (work, received) = bounded::<Work>(WORK_WAITING_MAX);
        let thread = std::thread::spawn(move || {
            let mut part = Part { router, own };
            for work in received {
                match work {
                    Work::Section(section) => part.load(&section)?,
                    Work::Block(block) => part.apply(block.records())?,
                }
            }
            let own = part.own.into_iter().enumerate();
            Ok(own.filter_map(|(shard, replay)| Some((shard, replay?.finish()))).collect())
        });
        Self { work, thread }
    }
}

/// The shards that one thread replays: by their index, `None` where another has them.
pub(super) struct Part {
    pub(super) router: Router,
    pub(super) own: Vec<Option<Replay>>,
}

impl Part {
    /// The states, in the order of their shards.
    #[cfg(test)]
    pub(super) fn finish(self) -> Vec<ShardState> {
        self.own.into_iter().flatten().map(Replay::finish).collect()
    }

    pub(super) fn load(&mut self, section: &Section) -> Result<(), RecoveryError> {
        let unreadable =
            |reason: &dyn ToString| RecoveryError::Section { kind: section.kind, reason: reason.to_string() };
        match section.kind {
            SECTION_RECORDS => self.apply(section.records()),
            SECTION_TOKENS => {
                let (first, last) = partitions_of(section.scope);
                let (first, last) = (self.router.shard_of(first), self.router.shard_of(last));
                let concerned = self.own.iter_mut().enumerate().filter(|(shard, _)| (first..=last).contains(shard));
                let mut concerned = concerned.filter_map(|(shard, replay)| Some((shard, replay.as_mut()?))).peekable();
                if concerned.peek().is_none() {
                    return Ok(());
                }
                let tokens = TokenSectionView::decode(section.schema, section.payload());
                let tokens = tokens.map_err(|error| unreadable(&error))?;
                for (shard, replay) in concerned {
                    let is_own = |partition| self.router.shard_of(partition) == shard;
                    replay.load(&tokens, is_own).map_err(|error| unreadable(&error))?;
                }
                Ok(())
            }
            _ => Err(unreadable(&"unknown; start the version that wrote it")),
        }
    }

    pub(super) fn apply(&mut self, records: Records<'_>) -> Result<(), RecoveryError> {
        for record in records {
            let partition = self.router.partition_of(RoutingId(record.routing_id));
            if let Some(Some(replay)) = self.own.get_mut(self.router.shard_of(partition)) {
                apply_record(replay, &record, partition)?;
            }
        }
        Ok(())
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
    RecoveryError::Record { lsn: record.lsn, reason: reason.to_string() }
}

/// Makes the state of one shard anew from the journal, while the others go on.
#[derive(Clone)]
pub struct Rebuild {
    /// The journal.
    pub reader: JournalReader,
    /// Its snapshots.
    pub snapshots: SnapshotStore,
    /// Which records are the shard's.
    pub router: Router,
    /// Which shard.
    pub shard: usize,
    /// See [`ShardState::new`].
    pub issuer: Arc<str>,
    /// The generations of clients and subjects.
    pub registries: Registries,
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

    /// Tries again when the journal was retired meanwhile, for then there is a newer snapshot.
    fn run(&self) -> Result<ShardState, RebuildError> {
        loop {
            match self.attempt() {
                Err(RebuildError::Journal(JournalError::NotRetained { .. })) => {}
                outcome => return outcome,
            }
        }
    }

    fn attempt(&self) -> Result<ShardState, RebuildError> {
        let (mut part, mut applied) = (self.part(), Ok(()));
        let start_lsn = self.snapshots.read_newest(&mut |read| match read {
            SnapshotRead::Section(section) if applied.is_ok() => applied = part.load(&section),
            SnapshotRead::Section(_) => {}
            SnapshotRead::Anew => (part, applied) = (self.part(), Ok(())),
        })?;
        self.reader.read(start_lsn.after(1), &mut |block| {
            if applied.is_ok() {
                applied = part.apply(block.records());
            }
        })?;
        applied?;
        let state = part.own.into_iter().flatten().next().map(Replay::finish);
        Ok(state.unwrap_or_else(|| ShardState::new(Arc::clone(&self.issuer))))
    }

    /// Nothing yet, of this shard alone.
    fn part(&self) -> Part {
        let now = self.clock.now().as_seconds_u32();
        let replay = || Replay::new(Arc::clone(&self.issuer), self.registries.clone(), now);
        let own = (0..=self.shard).map(|shard| (shard == self.shard).then(replay)).collect();
        Part { router: self.router.clone(), own }
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

//! Snapshots and backups of all shards and clients, taken while they go on.
//!
//! A thread of its own, at the lowest priority, walks the tables as any reader does: no lock, no message, no stall. What it
//! has seen may not be durable yet, so before a snapshot counts every shard is asked to answer once all that it has done is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use sdd::Guard;
use tokio::sync::{mpsc, oneshot};

use crate::clock::{Clock, UnixTime};
use crate::journal::snapshot::{RecordsSection, SectionContent, SnapshotExtent, SnapshotStore};
use crate::journal::{Entry, JournalError, run_at_lowest_priority, stop_process};
use crate::shard::people::{PersonError, WalkPlace, WalkedGrants};
use crate::shard::{ShardError, ShardView, Shards, message};
use crate::telemetry::cell::{Counter, Gauge};
use crate::token::section::{SECTION_SCHEMA, SECTION_TOKENS, TokenSection, TokenWalk};
use crate::token::state::Registries;
use crate::token::table::TokenReader;

/// What snapshots and backups are made of, and when.
pub struct SnapshotParts {
    /// The tokens.
    pub shards: Arc<Shards>,
    /// The clients, and the users with their sessions and consents.
    pub registries: Registries,
    /// Where snapshots go.
    pub store: SnapshotStore,
    /// The time.
    pub clock: Arc<Clock>,
    /// A snapshot is taken when a restart would read more of the journal than this, and than half of the last snapshot;
    pub tail_bytes_min: u64,
    /// or more than this, whatever there is: the journal keeps the tails of two snapshots, and its budget must bear them.
    pub tail_bytes_max: u64,
}

/// Asks for snapshots and backups. Cheap to clone.
#[derive(Clone)]
pub struct Snapshots {
    requests: Sender<Request>,
    metrics: Arc<SnapshotMetrics>,
}

/// What the thread that takes snapshots counts.
#[derive(Debug, Default)]
pub struct SnapshotMetrics {
    /// Snapshots that were taken since the start.
    pub taken: Counter,
    /// Attempts since the start that came to nothing: a full disk, or a shard that panicked meanwhile.
    pub failed: Counter,
    /// Length of the newest, in bytes.
    pub bytes: Gauge,
    /// How long the last took, in milliseconds.
    pub duration_ms: Gauge,
    /// Bytes of the journal that a restart would read after the newest.
    pub tail_bytes: Gauge,
    /// Segments that were retired since the start.
    pub retired_segments: Counter,
}

/// The thread that takes them.
pub struct RunningSnapshots {
    snapshots: Snapshots,
    is_stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// A snapshot that was taken.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotReport {
    /// What it covers.
    pub extent: SnapshotExtent,
    /// Its length.
    pub bytes: u64,
    /// How long it took.
    pub duration: Duration,
    /// How many segments of the journal went.
    pub retired_segments: usize,
}

/// Why there is no snapshot, or no backup. What was there before stays in force.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A shard is being rebuilt, or was put off its core for long: the walk may have seen what never was.
    #[error("a shard was disturbed meanwhile: try again in a moment")]
    Disturbed,
    /// The thread has enough to do, or ends.
    #[error("another snapshot or backup is being made, or the server is stopping: try again in a moment")]
    Busy,
    /// The disk or the journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Who asked for a backup has gone away.
    #[error("the receiver of the backup has gone away")]
    ReceiverGone,
}

enum Request {
    Snapshot(oneshot::Sender<Result<SnapshotReport, SnapshotError>>),
    Backup(mpsc::Sender<Result<Vec<u8>, SnapshotError>>),
    Stop,
}

impl Snapshots {
    /// Takes a snapshot now, and answers when it counts.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`]; the snapshots from before stay in force.
    pub async fn take(&self) -> Result<SnapshotReport, SnapshotError> {
        let (reply, replied) = oneshot::channel();
        self.request(Request::Snapshot(reply))?;
        replied.await.unwrap_or(Err(SnapshotError::Busy))
    }

    /// Makes a backup: its bytes come piece by piece. It is whole only when the pieces end without an error.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Busy`].
    pub fn back_up(&self) -> Result<mpsc::Receiver<Result<Vec<u8>, SnapshotError>>, SnapshotError> {
        let (pieces, received) = mpsc::channel(PIECES_WAITING_MAX);
        self.request(Request::Backup(pieces))?;
        Ok(received)
    }

    fn request(&self, request: Request) -> Result<(), SnapshotError> {
        self.requests.try_send(request).map_err(|_| SnapshotError::Busy)
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> Arc<SnapshotMetrics> {
        Arc::clone(&self.metrics)
    }
}

/// Pieces of a backup, of about 1 MiB each, that may wait for their receiver.
const PIECES_WAITING_MAX: usize = 2;
/// Requests that may wait.
const REQUESTS_MAX: usize = 4;

impl RunningSnapshots {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// What the system answers when it has no thread to give.
    pub fn start(parts: SnapshotParts) -> std::io::Result<Self> {
        let (requests, received) = bounded(REQUESTS_MAX);
        let (metrics, is_stopping) = (Arc::default(), Arc::default());
        let (own_metrics, own_stopping) = (Arc::clone(&metrics), Arc::clone(&is_stopping));
        let thread = move || {
            run_at_lowest_priority();
            Taker { parts, is_stopping: own_stopping, metrics: own_metrics, not_before: Duration::ZERO }.run(&received);
        };
        let thread = std::thread::Builder::new().name("snapshot".to_owned()).spawn(thread)?;
        Ok(Self { snapshots: Snapshots { requests, metrics }, is_stopping, thread })
    }

    /// For those who ask.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        self.snapshots.clone()
    }

    /// Gives up what is being made, and ends the thread.
    pub fn stop(self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        let _ = self.snapshots.requests.send(Request::Stop);
        let _ = self.thread.join();
    }
}

/// The thread's own.
struct Taker {
    parts: SnapshotParts,
    is_stopping: Arc<AtomicBool>,
    metrics: Arc<SnapshotMetrics>,
    /// After a failure the next attempt waits until then.
    not_before: Duration,
}

impl Taker {
    fn run(mut self, requests: &Receiver<Request>) {
        loop {
            match requests.recv_timeout(LOOK_EVERY) {
                Ok(Request::Snapshot(reply)) => drop(reply.send(self.take())),
                Ok(Request::Backup(pieces)) => self.back_up(&pieces),
                Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    self.take_when_due();
                    // What the database was behind with may have come there since.
                    self.metrics.retired_segments.add(self.retire() as u64);
                }
            }
            self.metrics.tail_bytes.set(self.parts.store.tail_bytes());
        }
    }

    fn take_when_due(&mut self) {
        let SnapshotParts { store, clock, tail_bytes_min, tail_bytes_max, .. } = &self.parts;
        let due_bytes = (*tail_bytes_min).max(store.newest_bytes() / 2).min(*tail_bytes_max);
        if store.tail_bytes() > due_bytes && clock.monotonic() >= self.not_before {
            // Logged where it failed.
            let _ = self.take();
        }
    }

    fn take(&mut self) -> Result<SnapshotReport, SnapshotError> {
        let started = self.parts.clock.monotonic();
        let taken = self.write(started);
        match &taken {
            Ok(report) => {
                self.metrics.taken.increment();
                self.metrics.bytes.set(report.bytes);
                self.metrics.duration_ms.set(u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX));
                self.metrics.retired_segments.add(report.retired_segments as u64);
                let SnapshotReport { extent, bytes, retired_segments, .. } = report;
                let (items, start_lsn, end_lsn) = (extent.items, extent.start_lsn.value(), extent.end_lsn.value());
                let ms = report.duration.as_millis();
                tracing::info!(items, bytes, start_lsn, end_lsn, ms, retired_segments, "took a snapshot");
            }
            Err(error) => {
                self.metrics.failed.increment();
                self.not_before = self.parts.clock.monotonic() + RETRY_AFTER;
                if !self.is_stopping.load(Ordering::Relaxed) {
                    tracing::warn!(%error, source = std::error::Error::source(error), "a snapshot could not be taken; the last one stays in force, and the next attempt follows");
                }
            }
        }
        taken
    }

    fn write(&self, started: Duration) -> Result<SnapshotReport, SnapshotError> {
        let SnapshotParts { store, clock, .. } = &self.parts;
        let mut writer = store.begin(clock.now())?;
        self.walk(&mut |content| Ok(writer.section(content)?))?;
        let extent = writer.finish(clock.now())?;
        let retired_segments = self.retire();
        let (bytes, duration) = (store.newest_bytes(), clock.monotonic().saturating_sub(started));
        Ok(SnapshotReport { extent, bytes, duration, retired_segments })
    }

    /// Answers how many segments went. A failure is one of the log itself.
    fn retire(&self) -> usize {
        self.parts.store.retire().unwrap_or_else(|error| {
            stop_process(&error);
            0
        })
    }

    fn back_up(&self, pieces: &mpsc::Sender<Result<Vec<u8>, SnapshotError>>) {
        if let Err(error) = self.emit_backup(pieces) {
            tracing::warn!(%error, "a backup could not be made");
            // Without an end the receiver knows that it is not whole.
            let _ = pieces.blocking_send(Err(error));
        }
    }

    fn emit_backup(&self, pieces: &mpsc::Sender<Result<Vec<u8>, SnapshotError>>) -> Result<(), SnapshotError> {
        let SnapshotParts { store, clock, .. } = &self.parts;
        let emit =
            &mut |bytes: &[u8]| pieces.blocking_send(Ok(bytes.to_vec())).map_err(|_| SnapshotError::ReceiverGone);
        let mut writer = store.begin_backup(clock.now(), emit)?;
        self.walk(&mut |content| writer.section(content, emit))?;
        let extent = writer.finish(clock.now(), emit)?;
        tracing::info!(items = extent.items, end_lsn = extent.end_lsn.value(), "made a backup");
        Ok(())
    }

    /// Hands out all sections, with a pause after each that is longer than what it took, so that commits find the disk free;
    /// then waits until all that is in them is durable.
    fn walk(&self, out: &mut dyn FnMut(&SectionContent<'_>) -> Result<(), SnapshotError>) -> Result<(), SnapshotError> {
        let SnapshotParts { shards, registries, clock, .. } = &self.parts;
        let mut walk = Walk::begin(shards.shared_views(), registries, clock.now())?;
        // People's grants come before the tokens that hang on them: one that ends in between is then in the snapshot, and its
        // end in what is read after that.
        let mut people = PeopleWalk::default();
        loop {
            let started = clock.monotonic();
            let section = match walk.next_records() {
                Some(clients) => Some(clients),
                None => self.next_people(&mut people)?,
            };
            match section {
                Some(records) => out(&records.content())?,
                None => match walk.next_tokens()? {
                    Some(tokens) => out(&tokens.content())?,
                    None => break,
                },
            }
            if self.is_stopping.load(Ordering::Relaxed) {
                return Err(SnapshotError::Busy);
            }
            std::thread::sleep((clock.monotonic().saturating_sub(started) * 2).clamp(PAUSE_MIN, PAUSE_MAX));
        }
        self.settle()?;
        walk.finish()
    }

    /// The next records of people's grants; `None` at the end.
    fn next_people(&self, walk: &mut PeopleWalk) -> Result<Option<RecordsSection>, SnapshotError> {
        let shards = &self.parts.shards;
        walk.next_section(shards.shards.len(), |shard, after| {
            loop {
                match shards.walk_grants(shard, after) {
                    Err(PersonError::Shard(ShardError::Busy)) if !self.is_stopping.load(Ordering::Relaxed) => {
                        std::thread::sleep(PAUSE_MIN);
                    }
                    walked => return walked,
                }
            }
        })
    }

    /// Waits until all that any shard has done so far is durable.
    fn settle(&self) -> Result<(), SnapshotError> {
        let mut unsettled: VecDeque<_> = self.parts.shards.shards.iter().collect();
        while let Some(shard) = unsettled.pop_front() {
            let (reply, replied) = oneshot::channel();
            let sent = shard.send(message::Settle { reply });
            match sent.and_then(|()| replied.blocking_recv().unwrap_or(Err(ShardError::Unavailable))) {
                Ok(()) => {}
                Err(ShardError::Busy) if !self.is_stopping.load(Ordering::Relaxed) => {
                    unsettled.push_back(shard);
                    std::thread::sleep(PAUSE_MIN);
                }
                Err(_) => return Err(SnapshotError::Disturbed),
            }
        }
        Ok(())
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
const RETRY_AFTER: Duration = Duration::from_secs(10);
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// A walk through clients, users and tokens while they change, section by section.
pub(super) struct Walk {
    records: VecDeque<RecordsSection>,
    shards: VecDeque<WalkedShard>,
    walked: Vec<WalkedShard>,
}

struct WalkedShard {
    view: Arc<ShardView>,
    reader: TokenReader,
    walk: TokenWalk,
}

/// How far a walk through people's grants is. It asks the shards, for nobody else may look at them.
#[derive(Default)]
pub(super) struct PeopleWalk {
    shard: usize,
    after: Option<WalkPlace>,
}

impl PeopleWalk {
    /// The next records; `None` at the end. `walk` answers what a shard has behind an id.
    pub(super) fn next_section(
        &mut self,
        shards: usize,
        mut walk: impl FnMut(usize, Option<WalkPlace>) -> Result<WalkedGrants, PersonError>,
    ) -> Result<Option<RecordsSection>, SnapshotError> {
        let mut section = RecordsSection::default();
        while self.shard < shards && section.len_bytes() < RECORDS_BYTES {
            let WalkedGrants { records, after } = walk(self.shard, self.after).map_err(|_| SnapshotError::Disturbed)?;
            records.iter().for_each(|entry| section.push(entry));
            self.after = after;
            self.shard += usize::from(after.is_none());
        }
        Ok((section.len_bytes() > 0).then_some(section))
    }
}

/// A part of the tokens of a shard.
pub(super) struct WalkedTokens(TokenSection);

impl WalkedTokens {
    pub(super) fn content(&self) -> SectionContent<'_> {
        let section = &self.0;
        SectionContent {
            kind: SECTION_TOKENS,
            schema: SECTION_SCHEMA,
            scope: section.scope(),
            items: section.tokens,
            payload: &section.payload,
        }
    }
}

impl Walk {
    pub(super) fn begin(
        views: impl Iterator<Item = Arc<ShardView>>,
        registries: &Registries,
        now: UnixTime,
    ) -> Result<Self, SnapshotError> {
        let mut records = VecDeque::from([RecordsSection::default()]);
        let mut push = |entry: &Entry| {
            if records.back().is_none_or(|section| section.len_bytes() >= RECORDS_BYTES) {
                records.push_back(RecordsSection::default());
            }
            if let Some(section) = records.back_mut() {
                section.push(entry);
            }
        };
        crate::client::event::records_of(&registries.clients, &mut push).map_err(|_| SnapshotError::Disturbed)?;
        crate::user::event::records_of(&registries.users, &mut push).map_err(|_| SnapshotError::Disturbed)?;
        crate::signing::event::records_of(&registries.keys, &mut push).map_err(|_| SnapshotError::Disturbed)?;
        let shards = views.map(|view| {
            let reader = view.reader(&Guard::new()).map_err(|_| SnapshotError::Disturbed)?.clone();
            let walk = TokenWalk::new(reader.clone(), now.as_seconds_u32());
            if view.is_available.load(Ordering::Acquire) {
                Ok(WalkedShard { view, reader, walk })
            } else {
                Err(SnapshotError::Disturbed)
            }
        });
        Ok(Self { records, shards: shards.collect::<Result<_, _>>()?, walked: Vec::new() })
    }

    /// The next records; `None` at the end.
    pub(super) fn next_records(&mut self) -> Option<RecordsSection> {
        self.records.pop_front()
    }

    /// The next tokens; `None` at the end.
    pub(super) fn next_tokens(&mut self) -> Result<Option<WalkedTokens>, SnapshotError> {
        while let Some(shard) = self.shards.front_mut() {
            match shard.walk.next_section() {
                Ok(Some(section)) => return Ok(Some(WalkedTokens(section))),
                Ok(None) => self.walked.extend(self.shards.pop_front()),
                Err(_) => return Err(SnapshotError::Disturbed),
            }
        }
        Ok(None)
    }

    /// Refuses what a shard may have spoiled that panicked since the walk began. Call it once all shards have settled.
    pub(super) fn finish(self) -> Result<(), SnapshotError> {
        let guard = Guard::new();
        let is_as_it_was = |shard: &WalkedShard| {
            shard.view.is_available.load(Ordering::Acquire)
                && shard.view.reader(&guard).is_ok_and(|reader| reader.is_of_the_same_table(&shard.reader))
        };
        if self.walked.iter().all(is_as_it_was) { Ok(()) } else { Err(SnapshotError::Disturbed) }
    }
}

/// Records in one section take about this much.
const RECORDS_BYTES: usize = 1 << 20;

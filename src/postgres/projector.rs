//! The thread that keeps the database up to date.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::clock::{Clock, UnixTime};
use crate::journal::snapshot::SnapshotStore;
use crate::journal::{JournalError, JournalReader, Lsn, run_in_batches};
use crate::postgres::batch::{Batch, BatchReader, DeadLetter, PartitionOf};
use crate::postgres::error::PostgresError;
use crate::postgres::migrate::migrate_on;
use crate::postgres::partitions::{DAY_SECONDS, Partitions};
use crate::postgres::proofs::delete_expired;
use crate::postgres::seed::seed;
use crate::postgres::session::{connect, read_mark, signed, within};
use crate::postgres::write::{Author, Novelty, confirm, write};
use crate::telemetry::projection::{DatabaseState, ProjectionMetrics};

/// What a projector works with.
pub struct ProjectorParts {
    /// Where the database is.
    pub url: String,
    /// Identifies the master key, for a rebuild.
    pub key_id: u64,
    /// What is to be copied.
    pub reader: JournalReader,
    /// What to fill up from, and whom to tell what the journal may let go.
    pub snapshots: SnapshotStore,
    /// The time.
    pub clock: Arc<Clock>,
    /// To which part of the shards a token belongs.
    pub partition_of: PartitionOf,
    /// How long expired tokens stay in the database, in days.
    pub history_retention_days: u32,
    /// What is counted.
    pub metrics: Arc<ProjectionMetrics>,
}

/// The thread.
pub struct RunningProjector {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl RunningProjector {
    /// Starts the thread. From now on the journal keeps what the database lacks.
    ///
    /// # Errors
    ///
    /// What the system answers when it has no thread to give.
    pub fn start(parts: ProjectorParts) -> std::io::Result<Self> {
        parts.snapshots.confirm(Lsn::ZERO);
        // Until the database says how far it is, it lacks all that the journal has, and at least since now.
        parts.metrics.applied_lsn.set(parts.reader.first_lsn().before().value());
        parts.metrics.applied_at_ms.set(parts.clock.now().as_millis());
        let (stop, stopping) = watch::channel(false);
        let runtime = Builder::new_current_thread().enable_all().on_thread_start(run_in_batches).build()?;
        let thread = move || {
            run_in_batches();
            runtime.block_on(Projector::new(parts, stopping).run());
            // A read from disk may still go on: its thread is not waited for.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("projector".to_owned()).spawn(thread)?;
        Ok(Self { stop, thread })
    }

    /// Brings the database up to date if that is quickly done, and ends the thread.
    pub fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.thread.join();
    }
}

struct Projector {
    parts: ProjectorParts,
    /// `None` while it reads ahead.
    reader: Option<BatchReader>,
    stopping: watch::Receiver<bool>,
    retry: Retry,
    letters_in_a_row: u64,
    /// Of a batch: fewer after one took too long.
    rows_max: usize,
    /// Why the last attempt failed; empty while none has.
    last_reason: String,
}

/// What is missing may be a revocation, so nobody is answered any more; the next start says what to do.
fn stop_process(error: &PostgresError) -> ! {
    tracing::error!(%error, "the process stops");
    std::process::abort();
}

/// How a connection's work ended, if it did not fail.
struct Stopped;

impl Projector {
    fn new(parts: ProjectorParts, stopping: watch::Receiver<bool>) -> Self {
        let reader = Some(BatchReader::new(parts.reader.clone(), Arc::clone(&parts.partition_of)));
        Self {
            parts,
            reader,
            stopping,
            retry: Retry::default(),
            letters_in_a_row: 0,
            rows_max: ROWS_MAX,
            last_reason: String::new(),
        }
    }

    async fn run(mut self) {
        let mut stopping = self.stopping.clone();
        let too_late = async {
            drop(stopping.wait_for(|stopping| *stopping).await.map(drop));
            sleep(STOP_MAX).await;
        };
        tokio::pin!(too_late);
        loop {
            let worked = tokio::select! {
                worked = self.connected() => worked,
                () = &mut too_late => return,
            };
            match worked {
                Ok(Stopped) => return,
                Err(error @ PostgresError::Ahead { .. }) => stop_process(&error),
                Err(error) => self.note(&error),
            }
            let pause = self.retry.next_pause();
            if timeout(pause, self.stopping.wait_for(|stopping| *stopping)).await.is_ok() {
                return;
            }
        }
    }

    fn note(&mut self, error: &PostgresError) {
        let reason = error.to_string();
        if self.last_reason != reason {
            tracing::warn!(
                reason,
                "the database is not written; requests do not notice, the journal keeps what it lacks, and the next attempt follows"
            );
        }
        self.last_reason = reason;
        self.parts.metrics.failures.increment();
        self.parts.metrics.set_state(error.state());
        if matches!(error, PostgresError::TimedOut { .. }) {
            self.rows_max = (self.rows_max / 2).max(ROWS_MIN);
        }
    }

    /// Works on one connection until it fails or the server stops.
    async fn connected(&mut self) -> Result<Stopped, PostgresError> {
        let mut connection = connect(&self.parts.url).await?;
        let outcome = self.project(&mut connection).await;
        if matches!(outcome, Ok(Stopped)) {
            drop(timeout(CLOSE_MAX, connection.close()).await);
        }
        outcome
    }

    async fn project(&mut self, connection: &mut PgConnection) -> Result<Stopped, PostgresError> {
        within(PREPARE_SECONDS, "make its tables", migrate_on(connection)).await?;
        let author = Author { instance: self.parts.reader.instance(), epoch: self.parts.reader.epoch() };
        let applied = within(PREPARE_SECONDS, "say how far it is", self.begin(connection, author)).await?;
        let mut partitions = within(PREPARE_SECONDS, "list its partitions", Partitions::load(connection)).await?;
        let mut work = Work { author, applied, unknown_until: Lsn::ZERO, confirmed: Duration::ZERO, upkept: None };
        if applied.after(1) < self.parts.reader.first_lsn() {
            let (store, now) = (self.parts.snapshots.clone(), self.parts.clock.now());
            let seeded = seed(connection, author, &store, &mut partitions, applied, now).await?;
            (work.applied, work.unknown_until) = (seeded.applied, seeded.unknown_until);
        }
        self.parts.metrics.set_state(DatabaseState::Connected);
        tracing::info!(applied_lsn = work.applied.value(), "the database is written");
        loop {
            self.keep_up(connection, &mut work, &mut partitions).await?;
            let started = self.parts.clock.monotonic();
            self.copy_some(connection, &mut work, &mut partitions).await?;
            if *self.stopping.borrow() {
                // What came up to the stop is copied too, a batch of it.
                self.copy_some(connection, &mut work, &mut partitions).await?;
                self.confirm(connection, &mut work).await?;
                return Ok(Stopped);
            }
            let spent = self.parts.clock.monotonic().saturating_sub(started);
            let rest = BATCH_EVERY.saturating_sub(spent);
            drop(timeout(rest, self.stopping.wait_for(|stopping| *stopping)).await);
        }
    }

    /// Takes the database over for this start. Answers the last record that is there.
    async fn begin(&self, connection: &mut PgConnection, author: Author) -> Result<Lsn, PostgresError> {
        let mark = read_mark(connection).await?;
        if let Some(mark) = mark {
            if mark.instance != author.instance {
                return Err(JournalError::OtherCopy.into());
            }
            if mark.epoch > author.epoch {
                return Err(PostgresError::Superseded);
            }
            let (applied, last) = (mark.applied_lsn, self.parts.reader.durable_lsn());
            if applied > last {
                return Err(PostgresError::Ahead { applied, last });
            }
        }
        let mut transaction = connection.begin().await?;
        // All that was written before is safe then.
        sqlx::raw_sql("SET LOCAL synchronous_commit = on").execute(&mut *transaction).await?;
        let taken = sqlx::query_scalar::<_, i64>(
            "INSERT INTO tessera.projection AS known (instance, key_id, epoch, applied_lsn, high_water, confirmed_at) \
             VALUES (encode($1, 'hex')::uuid, $2, $3, 0, to_timestamp(0), now()) \
             ON CONFLICT (only_row) DO UPDATE SET epoch = excluded.epoch, key_id = excluded.key_id, confirmed_at = now() \
             WHERE known.instance = excluded.instance AND known.epoch <= excluded.epoch RETURNING applied_lsn",
        )
        .bind(author.instance.as_slice())
        .bind(i64::from_le_bytes(self.parts.key_id.to_le_bytes()))
        .bind(signed(author.epoch))
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.commit().await?;
        // A later start has come since the mark was read.
        let applied = taken.ok_or(PostgresError::Superseded)?;
        let applied = Lsn::new(u64::try_from(applied).unwrap_or_default());
        self.note_applied(applied, mark.map_or(0, |mark| mark.high_water_ms));
        self.note_confirmed(applied);
        Ok(applied)
    }

    /// What is due besides copying.
    async fn keep_up(
        &self,
        connection: &mut PgConnection,
        work: &mut Work,
        partitions: &mut Partitions,
    ) -> Result<(), PostgresError> {
        let now = self.parts.clock.monotonic();
        if now.saturating_sub(work.confirmed) >= CONFIRM_EVERY {
            self.confirm(connection, work).await?;
        }
        if work.upkept.is_none_or(|upkept| now.saturating_sub(upkept) >= UPKEEP_EVERY) {
            let first_kept = self.kept_from() / DAY_SECONDS;
            let today = self.parts.clock.now().as_seconds_u32() / DAY_SECONDS;
            within(PREPARE_SECONDS, "make and drop partitions", async {
                partitions.ensure_ahead(connection, today).await?;
                partitions.drop_before(connection, first_kept).await?;
                delete_expired(connection).await
            })
            .await?;
            work.upkept = Some(self.parts.clock.monotonic());
        }
        Ok(())
    }

    async fn confirm(&self, connection: &mut PgConnection, work: &mut Work) -> Result<(), PostgresError> {
        let confirmed = Lsn::new(self.parts.metrics.confirmed_lsn.value());
        if work.applied > confirmed {
            confirm(connection, work.author).await?;
            self.note_confirmed(work.applied);
        }
        work.confirmed = self.parts.clock.monotonic();
        Ok(())
    }

    /// Copies the next records, and all that follow at once; one batch when the server stops.
    async fn copy_some(
        &mut self,
        connection: &mut PgConnection,
        work: &mut Work,
        partitions: &mut Partitions,
    ) -> Result<(), PostgresError> {
        let mut batch = self.read(work.applied).await?;
        loop {
            if batch.to == work.applied {
                return Ok(());
            }
            let (to, high_water, rows) = (batch.to, batch.high_water, batch.rows());
            // While the database takes this one, the next is read.
            let ahead = batch.is_full.then(|| self.begin_read(to));
            let days = batch.tokens.iter().map(|row| row.expires_at / DAY_SECONDS);
            let ensured = within(PREPARE_SECONDS, "make partitions", partitions.ensure(connection, days)).await;
            let written = match ensured {
                Ok(()) => self.write(connection, work, batch).await,
                Err(error) => Err(error),
            };
            let next = match ahead {
                Some(ahead) => Some(self.end_read(ahead.await)?),
                None => None,
            };
            written?;
            self.retry = Retry::default();
            self.last_reason.clear();
            self.rows_max = (self.rows_max * 2).min(ROWS_MAX);
            self.parts.metrics.batches.increment();
            self.parts.metrics.rows.add(rows as u64);
            self.note_applied(to, high_water.as_millis());
            self.keep_up(connection, work, partitions).await?;
            match next {
                Some(next) if !*self.stopping.borrow() => batch = next,
                _ => return Ok(()),
            }
        }
    }

    /// Writes a batch; where the database refuses a record by its content, the others go on without it.
    async fn write(
        &mut self,
        connection: &mut PgConnection,
        work: &mut Work,
        batch: Batch,
    ) -> Result<(), PostgresError> {
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            let novelty = if part.from < work.unknown_until { Novelty::Unknown } else { Novelty::New };
            match write(connection, work.author, &mut part, novelty).await {
                Ok(()) => {
                    work.applied = part.to;
                    if part.only_lsn().is_some() || part.rows() > 1 {
                        self.letters_in_a_row = 0;
                    }
                }
                Err(PostgresError::Record { sqlstate, message }) => match part.only_lsn() {
                    Some(lsn) => {
                        let letter = self.letter(lsn, sqlstate, message).await?;
                        parts.push(part.of_dead_letter(letter));
                    }
                    None if part.rows() > 1 => {
                        let (first, second) = part.split();
                        parts.extend([second, first]);
                    }
                    // Not about a record, then.
                    None => return Err(PostgresError::Record { sqlstate, message }),
                },
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn letter(
        &mut self,
        lsn: Lsn,
        sqlstate: String,
        message: String,
    ) -> Result<Option<DeadLetter>, PostgresError> {
        self.letters_in_a_row += 1;
        if self.letters_in_a_row > LETTERS_MAX {
            return Err(PostgresError::Poisoned(LETTERS_MAX));
        }
        self.parts.metrics.dead_letters.increment();
        tracing::error!(
            lsn = lsn.value(),
            sqlstate,
            reason = message,
            "the database refuses a record, which goes to dead_letters: what refuses it is to be mended"
        );
        let (reader, partition_of) = (self.parts.reader.clone(), Arc::clone(&self.parts.partition_of));
        let read = spawn_blocking(move || BatchReader::new(reader, partition_of).dead_letter(lsn, &sqlstate, &message));
        Ok(read.await.map_err(|_| gone())??)
    }

    async fn read(&mut self, from: Lsn) -> Result<Batch, PostgresError> {
        let reading = self.begin_read(from);
        self.end_read(reading.await)
    }

    fn begin_read(&mut self, from: Lsn) -> tokio::task::JoinHandle<(BatchReader, Result<Batch, JournalError>)> {
        let new = || BatchReader::new(self.parts.reader.clone(), Arc::clone(&self.parts.partition_of));
        let mut reader = self.reader.take().unwrap_or_else(new);
        let (kept_from, rows_max) = (self.kept_from(), self.rows_max);
        spawn_blocking(move || {
            let batch = reader.read(from, kept_from, rows_max);
            (reader, batch)
        })
    }

    fn end_read(
        &mut self,
        read: Result<(BatchReader, Result<Batch, JournalError>), tokio::task::JoinError>,
    ) -> Result<Batch, PostgresError> {
        let (reader, batch) = read.map_err(|_| gone())?;
        self.reader = Some(reader);
        Ok(batch?)
    }

    /// What expired before then is no longer kept, in seconds since 1970: the beginning of a day.
    fn kept_from(&self) -> u32 {
        let today = self.parts.clock.now().as_seconds_u32() / DAY_SECONDS;
        today.saturating_sub(self.parts.history_retention_days) * DAY_SECONDS
    }

    fn note_applied(&self, lsn: Lsn, at_ms: u64) {
        self.parts.metrics.applied_lsn.set(lsn.value());
        self.parts.metrics.applied_at_ms.set(UnixTime::from_millis(at_ms).as_millis());
    }

    fn note_confirmed(&self, lsn: Lsn) {
        self.parts.metrics.confirmed_lsn.set(lsn.value());
        self.parts.snapshots.confirm(lsn);
    }
}

fn gone() -> JournalError {
    let source = std::io::Error::other("the thread that reads it ended");
    JournalError::Io { action: "read", name: "the journal".to_owned(), source }
}

/// Where the work on a connection stands.
struct Work {
    author: Author,
    applied: Lsn,
    /// What comes up to here may be there already.
    unknown_until: Lsn,
    /// When a commit last was synchronous.
    confirmed: Duration,
    /// When partitions were last made and dropped.
    upkept: Option<Duration>,
}

/// Rows of a transaction.
const ROWS_MAX: usize = 100_000;
const ROWS_MIN: usize = 100;
/// Few records wait so long for more.
const BATCH_EVERY: Duration = Duration::from_millis(200);
const CONFIRM_EVERY: Duration = Duration::from_secs(1);
const UPKEEP_EVERY: Duration = Duration::from_secs(600);
/// What is not copied then is copied after the next start.
const STOP_MAX: Duration = Duration::from_secs(5);
const CLOSE_MAX: Duration = Duration::from_secs(1);
const PREPARE_SECONDS: u64 = 60;
/// So many refused records without one that is taken are not the records' fault.
const LETTERS_MAX: u64 = 100;

/// How long to wait after a failure.
#[derive(Debug, Default)]
struct Retry {
    failures: u32,
}

impl Retry {
    /// Twice as long each time, up to 5 s, and up to half less by chance, so that many servers do not come at once.
    fn next_pause(&mut self) -> Duration {
        let longest = Duration::from_millis(100 << self.failures.min(6)).min(Duration::from_secs(5));
        self.failures = self.failures.saturating_add(1);
        let mut random = [0];
        let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random);
        let [random] = random;
        longest - longest / 2 * u32::from(random) / u32::from(u8::MAX)
    }
}

//! A run: start, look everything up, load, kill, again.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::client::{BATCH_TOKENS_MAX, Bearer, Connection};
use crate::cluster::ClusterError;
use crate::crash::Options;
use crate::crash::oracle::{ClientNumber, DeviceNumber, GrantNumber, Oracle, TokenNumber};
use crate::crash::secrets;
use crate::crash::tables::{self, CatchUp, Tables};
use crate::crash::tally::{Kind, Tally};
use crate::crash::violation::Violation;
use crate::crash::worker::{Gone, KEPT_CLIENTS, LIFETIME, Load, SHORT_LIFETIME, Worker};
use crate::projection::Projection;
use crate::server::{Installation, Server, ServerError};

/// A run that is under way.
pub(super) struct Driver<'a> {
    installation: &'a Installation,
    kills: usize,
    random: fastrand::Rng,
    workers: Vec<Worker>,
    /// What the server writes behind, if that is to be looked at.
    tables: Option<Tables>,
    is_database_up: Rc<Cell<bool>>,
    /// Opens the admin API of the server that runs now.
    bearer: Bearer,
    oracle: RefCell<Oracle>,
    tally: RefCell<Tally>,
    counts: Counts,
    /// How long the last start took that was not killed.
    last_ready: Duration,
}

/// What a run has found.
pub(super) struct Found {
    pub(super) counts: Counts,
    pub(super) tally: Tally,
    pub(super) issued: usize,
    pub(super) granted: usize,
    pub(super) devices: usize,
    pub(super) tables: Option<tables::Counts>,
    pub(super) violations: Vec<Violation>,
    pub(super) journal: JournalVerdict,
}

/// What a run has done.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Kills under load.
    pub(super) kills: usize,
    /// Kills of a start that was not ready yet.
    pub(super) kills_before_ready: usize,
    /// Kills of a start that had just become ready.
    pub(super) kills_after_ready: usize,
    /// Starts while PostgreSQL was down or paused.
    pub(super) starts_without_database: usize,
    /// Answers about tokens and clients that were looked up after a restart.
    pub(super) tokens_checked: usize,
    pub(super) clients_checked: usize,
    pub(super) grants_checked: usize,
    pub(super) devices_checked: usize,
    /// How long each start took that was not killed.
    pub(super) ready: Vec<Duration>,
}

/// What `tessera journal verify` said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum JournalVerdict {
    Whole,
    Damaged,
    /// This server has no such command, or the run ended before it.
    Skipped,
}

/// How long the server is under load before it is killed.
const LOAD_MILLIS: std::ops::Range<u64> = 10..400;
/// The most starts in a row that are killed.
const KILLED_STARTS_MAX: usize = 4;
/// Tokens and clients that are looked up after each restart although nothing has happened to them since the last.
const TOKENS_SAMPLED: usize = 3000;
const CLIENTS_SAMPLED: usize = 20;
const GRANTS_SAMPLED: usize = 50;
const DEVICES_SAMPLED: usize = 20;
/// Connections over which grants and devices are looked up.
const LOOKERS: usize = 32;
/// Where nobody sees the progress bar there is a line for every so many kills.
const KILLS_A_LINE: usize = 20;
/// How long a probe of a starting server waits before the next.
const PROBE_PAUSE: Duration = Duration::from_millis(2);
const PROBE_TOKENS: usize = 100;
/// How long the database may take to catch up in the end, and how often it is looked at.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(60);
const CATCH_UP_PAUSE: Duration = Duration::from_millis(20);

/// Why a run ends before its time.
enum Trouble {
    Server(ServerError),
    Cluster(ClusterError),
    /// Noted by whoever asked.
    Gone,
}

impl From<ServerError> for Trouble {
    fn from(error: ServerError) -> Self {
        Self::Server(error)
    }
}

impl From<ClusterError> for Trouble {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(error)
    }
}

impl From<Gone> for Trouble {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        installation: &'a Installation,
        options: &Options,
        mut random: fastrand::Rng,
        tables: Option<Tables>,
    ) -> Self {
        let workers = (0..usize::from(options.connections)).map(|number| Worker::new(number, random.fork())).collect();
        Self {
            installation,
            kills: options.kills,
            random,
            workers,
            is_database_up: tables.as_ref().map_or_else(|| Rc::new(Cell::new(true)), Tables::is_up),
            tables,
            bearer: Bearer::default(),
            oracle: RefCell::default(),
            tally: RefCell::default(),
            counts: Counts::default(),
            last_ready: Duration::from_millis(50),
        }
    }

    /// Runs until all is done or something is wrong.
    pub(super) async fn run(mut self) -> Found {
        let mut journal = JournalVerdict::Skipped;
        match self.kill_and_look().await {
            Ok(()) => journal = self.verify_journal().await,
            Err(Trouble::Server(error)) => self.note(Violation::Server(error.to_string())),
            Err(Trouble::Cluster(error)) => self.note(Violation::Server(error.to_string())),
            Err(Trouble::Gone) => {}
        }
        self.search_for_secrets();
        let (oracle, tables) = (self.oracle.into_inner(), self.tables.map(|tables| tables.counts));
        let (issued, granted, devices) =
            (oracle.all_tokens().len(), oracle.all_grants().len(), oracle.all_devices().len());
        let violations = oracle.violations();
        Found {
            counts: self.counts,
            tally: self.tally.into_inner(),
            issued,
            granted,
            devices,
            tables,
            violations,
            journal,
        }
    }

    async fn kill_and_look(&mut self) -> Result<(), Trouble> {
        let progress = progress(self.kills);
        let mut tables = self.tables.take();
        let killed = match &mut tables {
            Some(tables) => tokio::select! {
                killed = self.kill_again(&progress) => killed,
                error = tables.disturb() => Err(error.into()),
            },
            None => self.kill_again(&progress).await,
        };
        self.tables = tables;
        if !killed? {
            return Ok(());
        }
        let server = self.start().await?;
        progress.set_message("looking up everything");
        let (tokens, clients) = (self.oracle.borrow().all_tokens(), self.oracle.borrow().all_clients());
        self.look_at(&tokens, &clients).await?;
        let devices = self.oracle.borrow().all_devices();
        self.look_at_devices(&devices).await?;
        let grants = self.oracle.borrow().all_grants();
        self.look_at_grants(&grants).await?;
        progress.set_message("comparing with the tables");
        self.look_at_tables().await?;
        progress.finish_and_clear();
        Ok(server.stop().await?)
    }

    /// Whether everything held so far. It ends when something did not.
    async fn kill_again(&mut self, progress: &ProgressBar) -> Result<bool, Trouble> {
        for kill in 0..self.kills {
            self.kill_starts().await?;
            let server = self.start().await?;
            if kill == 0 {
                self.register_kept().await?;
                self.make_people().await?;
            }
            self.look_at_changed().await?;
            if !self.oracle.borrow().is_content() {
                server.kill().await?;
                return Ok(false);
            }
            self.load_until_killed(server).await?;
            let said = format!("{} requests", self.tally.borrow().total());
            if progress.is_hidden() && (kill + 1) % KILLS_A_LINE == 0 {
                eprintln!("{} of {} kills, {said}", kill + 1, self.kills);
            }
            progress.inc(1);
            progress.set_message(said);
        }
        Ok(true)
    }

    /// Kills starts at random moments, before they are ready or just after.
    async fn kill_starts(&mut self) -> Result<(), Trouble> {
        for _ in 0..KILLED_STARTS_MAX {
            if self.random.bool() {
                break;
            }
            let mut server = self.begin_start()?;
            let moment = Instant::now() + self.last_ready.mul_f64(1.3 * self.random.f64());
            if let Ok(ready) = timeout_at(moment, self.wait_until_ready(&mut server)).await {
                ready?;
                sleep_until(moment).await;
            }
            let was_ready = server.kill().await?;
            *if was_ready { &mut self.counts.kills_after_ready } else { &mut self.counts.kills_before_ready } += 1;
        }
        Ok(())
    }

    /// A server that is ready.
    async fn start(&mut self) -> Result<Server, Trouble> {
        let mut server = self.begin_start()?;
        self.last_ready = self.wait_until_ready(&mut server).await?;
        self.counts.ready.push(self.last_ready);
        let mut connection = self.load().connect(Kind::Issue).await?;
        self.bearer = self.load().bearer(&mut connection).await?;
        Ok(server)
    }

    async fn register_kept(&self) -> Result<(), Gone> {
        let load = self.load();
        let mut connection = load.connect(Kind::Register).await?;
        for number in 0..KEPT_CLIENTS {
            let lifetime = if number == 0 { SHORT_LIFETIME } else { LIFETIME };
            load.register(format!("kept-{number}"), lifetime, &mut connection).await?;
        }
        Ok(())
    }

    async fn make_people(&mut self) -> Result<(), Gone> {
        let mut random = self.random.fork();
        let load = self.load();
        let mut connection = load.connect(Kind::Register).await?;
        load.make_people(&mut random, &mut connection).await
    }

    fn load(&self) -> Load<'_> {
        Load {
            address: self.installation.address,
            admin: &self.installation.admin,
            bearer: &self.bearer,
            oracle: &self.oracle,
            tally: &self.tally,
            is_ending: Cell::new(false),
        }
    }

    fn begin_start(&mut self) -> Result<Server, ServerError> {
        self.oracle.borrow_mut().started();
        if !self.is_database_up.get() {
            self.counts.starts_without_database += 1;
        }
        let shards = self.random.u8(1..=4);
        self.installation.start(&["--shards".to_owned(), shards.to_string()])
    }

    /// Asks for tokens until the server is ready: it may refuse to answer, but not answer wrongly.
    async fn wait_until_ready(&mut self, server: &mut Server) -> Result<Duration, ServerError> {
        let tokens = self.oracle.borrow().sample_tokens(PROBE_TOKENS, &mut self.random);
        let load = self.load();
        load.is_ending.set(true);
        tokio::select! {
            ready = server.ready() => ready,
            never = probe(&load, &tokens) => match never {},
        }
    }

    async fn look_at_changed(&mut self) -> Result<(), Gone> {
        let tokens = self.oracle.borrow_mut().take_changed(TOKENS_SAMPLED, &mut self.random);
        let clients = self.oracle.borrow_mut().take_changed_clients(CLIENTS_SAMPLED, &mut self.random);
        self.look_at(&tokens, &clients).await?;
        // What a device gets now is looked at with the grants.
        let devices = self.oracle.borrow_mut().take_changed_devices(DEVICES_SAMPLED, &mut self.random);
        self.look_at_devices(&devices).await?;
        let grants = self.oracle.borrow_mut().take_changed_grants(GRANTS_SAMPLED, &mut self.random);
        self.look_at_grants(&grants).await
    }

    /// Looks up each device by a poll.
    async fn look_at_devices(&mut self, devices: &[DeviceNumber]) -> Result<(), Gone> {
        let look =
            async |load: &Load<'_>, device, connection: &mut Connection| load.look_at_device(device, connection).await;
        self.look_at_each(devices, look).await?;
        self.counts.devices_checked += devices.len();
        Ok(())
    }

    /// Looks up each grant by a refresh.
    async fn look_at_grants(&mut self, grants: &[GrantNumber]) -> Result<(), Gone> {
        let look =
            async |load: &Load<'_>, grant, connection: &mut Connection| load.look_at_grant(grant, connection).await;
        self.look_at_each(grants, look).await?;
        self.counts.grants_checked += grants.len();
        Ok(())
    }

    /// Many at once, for each may wait for the disk.
    async fn look_at_each<T: Copy>(
        &self,
        all: &[T],
        look: impl AsyncFn(&Load<'_>, T, &mut Connection) -> Result<(), Gone>,
    ) -> Result<(), Gone> {
        let load = self.load();
        let share = all.len().div_ceil(LOOKERS).max(1);
        let looking = all.chunks(share).map(async |some| {
            let mut connection = load.connect(Kind::LookUp).await?;
            for one in some {
                look(&load, *one, &mut connection).await?;
            }
            Ok(())
        });
        join_all(looking).await.into_iter().collect()
    }

    /// Looks up what the server knows while nobody else asks it for anything.
    async fn look_at(&mut self, tokens: &[TokenNumber], clients: &[ClientNumber]) -> Result<(), Gone> {
        let load = self.load();
        let mut connection = load.connect(Kind::LookUp).await?;
        for tokens in tokens.chunks(BATCH_TOKENS_MAX) {
            load.introspect_batch(Kind::LookUp, tokens, Oracle::ask_alone, &mut connection).await?;
        }
        for client in clients {
            load.log_in(Kind::LookUp, *client, &mut connection).await?;
        }
        self.counts.tokens_checked += tokens.len();
        self.counts.clients_checked += clients.len();
        Ok(())
    }

    async fn look_at_tables(&mut self) -> Result<(), Trouble> {
        let Some(mut tables) = self.tables.take() else { return Ok(()) };
        let looked = self.look_at_these(&mut tables).await;
        self.tables = Some(tables);
        looked
    }

    /// Brings PostgreSQL up, waits until it has caught up, and compares it with what was looked up last.
    async fn look_at_these(&self, tables: &mut Tables) -> Result<(), Trouble> {
        tables.start().await?;
        let Some((catch_up, durable_lsn)) = self.catch_up().await? else { return Ok(()) };
        tables.counts.catch_up = Some(catch_up);
        tables.compare(&self.oracle).await?;
        for fault in tables.faults(durable_lsn).await? {
            self.note(fault);
        }
        Ok(())
    }

    /// Waits until the database has everything: how long that took, and the last record of the journal. `None`, and a
    /// violation, where it takes too long.
    async fn catch_up(&self) -> Result<Option<(CatchUp, u64)>, Gone> {
        let (load, began) = (self.load(), Instant::now());
        let mut connection = load.connect(Kind::LookUp).await?;
        let mut lag_records_max = 0;
        loop {
            let asked = Projection::ask(&mut connection).await;
            let seen = asked.map_err(|reason| load.gone(Kind::LookUp, &reason))?;
            lag_records_max = lag_records_max.max(seen.as_ref().map_or(0, |seen| seen.lag_records));
            match seen {
                Some(seen) if seen.is_caught_up() => {
                    let catch_up = CatchUp { seconds: began.elapsed().as_secs_f64(), records: lag_records_max };
                    return Ok(Some((catch_up, seen.durable_lsn)));
                }
                seen if began.elapsed() > CATCH_UP_LIMIT => {
                    let (state, lag_records) =
                        seen.map_or_else(|| ("no database".to_owned(), 0), |seen| (seen.state, seen.lag_records));
                    self.note(Violation::Behind { seconds: CATCH_UP_LIMIT.as_secs(), state, lag_records });
                    return Ok(None);
                }
                _ => sleep(CATCH_UP_PAUSE).await,
            }
        }
    }

    async fn load_until_killed(&mut self, server: Server) -> Result<(), Trouble> {
        let time = Duration::from_millis(self.random.u64(LOAD_MILLIS));
        let mut workers = std::mem::take(&mut self.workers);
        let load = self.load();
        let killed = async {
            sleep(time).await;
            load.is_ending.set(true);
            server.kill().await
        };
        let (_, killed) = tokio::join!(join_all(workers.iter_mut().map(|worker| worker.run(&load))), killed);
        killed?;
        self.workers = workers;
        self.counts.kills += 1;
        Ok(())
    }

    async fn verify_journal(&self) -> JournalVerdict {
        let reason = match self.installation.run(&["journal", "verify"]).await {
            Ok((status, _)) if status.success() => return JournalVerdict::Whole,
            Ok((_, words)) if words.contains("unrecognized subcommand") => return JournalVerdict::Skipped,
            Ok((status, words)) => format!("{status}: {}", words.trim()),
            Err(error) => error.to_string(),
        };
        self.note(Violation::Journal(reason));
        JournalVerdict::Damaged
    }

    fn search_for_secrets(&mut self) {
        let found = secrets::search(self.installation, &self.oracle.borrow(), &mut self.random);
        match found {
            Ok(found) => found.into_iter().for_each(|violation| self.note(violation)),
            Err(error) => self.note(Violation::Server(format!("the data directory cannot be searched: {error}"))),
        }
    }

    fn note(&self, violation: Violation) {
        self.oracle.borrow_mut().note(violation);
    }
}

/// Asks a starting server for tokens, again and again.
async fn probe(load: &Load<'_>, tokens: &[TokenNumber]) -> Infallible {
    loop {
        if let Ok(mut connection) = Connection::open(load.address).await {
            while load.introspect_batch(Kind::WhileStarting, tokens, Oracle::ask, &mut connection).await.is_ok() {
                sleep(PROBE_PAUSE).await;
            }
        }
        sleep(PROBE_PAUSE).await;
    }
}

fn progress(kills: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} kills, {elapsed}, {msg}");
    let progress = ProgressBar::new(u64::try_from(kills).unwrap_or(u64::MAX));
    progress.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

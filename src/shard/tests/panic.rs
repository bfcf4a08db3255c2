//! A shard that panics loses nothing that was acknowledged, and does not stop the others.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::*;
use crate::journal::disk::{DiskFile, DiskLock};
use crate::journal::sim::{Rig, SimDisk, keys, options};
use crate::journal::snapshot::SnapshotStore;
use crate::journal::{Disk, Journal, JournalReader, Lane, Opened, Options, RealDisk};
use crate::shard::message::Explode;
use crate::shard::recovery::{Rebuild, Recovery};
use crate::token::state::{Registries, ShardState};

#[test]
fn a_shard_that_panics_under_load_loses_nothing() {
    actix_rt::System::new().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let time = ManualTime::new(START);
        let house = House::open(directory.path(), 2, &time);
        let load = Rc::new(Load::new(house.shards()));
        let workers: Vec<_> = (0..8).map(|_| actix_rt::spawn(Rc::clone(&load).work())).collect();
        for round in 0..3 {
            if round == 2 {
                // The third panic within a minute would end the process.
                time.advance(Duration::from_secs(60));
            }
            explode_under_load(&house, &load).await;
        }
        load.is_over.set(true);
        join_all(workers).await;
        let told = |number| house.shards().read().find_active(reference(number), START).unwrap().is_some();
        load.check(told);
        assert_eq!(house.shards().shards[0].view.metrics.rebuilds.value(), 3);
        house.close();

        let house = House::open(directory.path(), 1, &time);
        load.check(|number| house.shards().read().find_active(reference(number), START).unwrap().is_some());
        house.close();
    });
}

/// Lets shard 0 panic, and holds its rebuild back until it has been seen that the other goes on.
async fn explode_under_load(house: &House, load: &Load) {
    let shards = house.shards();
    load.until_acknowledged([30, 30]).await;
    let own = |number: &u64| shards.router.shard_of(shards.router.partition_of(RoutingId(*number))) == 0;
    let spoiled: Vec<u64> = load.active.borrow().iter().copied().filter(own).take(5).collect();
    house.gate.close();
    explode(&shards, &spoiled);
    until("it is unavailable", || !shards.shards[0].view.is_available.load(Ordering::Acquire)).await;

    load.until_acknowledged([0, 30]).await;
    let unavailable = ShardError::Unavailable;
    let fresh = (u64::MAX / 2..).find(own).unwrap();
    assert_eq!(shards.issue(token(fresh)).await, Err(unavailable));
    for number in &spoiled {
        assert_eq!(shards.read().find_active(reference(*number), START).err(), Some(unavailable));
        assert_eq!(shards.revoke(reference(*number), &client("app"), START).await, Err(unavailable));
    }

    house.gate.open();
    load.until_acknowledged([30, 30]).await;
    for number in &spoiled {
        let is_active = shards.read().find_active(reference(*number), START).unwrap().is_some();
        assert!(is_active, "token {number} was revoked in no record");
    }
}

pub(super) fn explode(shards: &Shards, spoiled: &[u64]) {
    let spoiled = spoiled.iter().map(|number| reference(*number).digest).collect();
    shards.shards[0].send(Explode { spoiled }).unwrap();
}

pub(super) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(1)).await;
    }
}

/// Issues tokens, revokes every other one, and notes what was acknowledged.
struct Load {
    shards: Arc<Shards>,
    next: Cell<u64>,
    is_over: Cell<bool>,
    active: RefCell<Vec<u64>>,
    revoked: RefCell<Vec<u64>>,
    /// Acknowledgements of each shard.
    acknowledged: [Cell<u64>; 2],
}

impl Load {
    fn new(shards: Arc<Shards>) -> Self {
        Self {
            shards,
            next: Cell::new(0),
            is_over: Cell::new(false),
            active: RefCell::default(),
            revoked: RefCell::default(),
            acknowledged: Default::default(),
        }
    }

    async fn work(self: Rc<Self>) {
        while !self.is_over.get() {
            let number = self.next.replace(self.next.get() + 1);
            match self.work_on(number).await {
                Ok(()) => {
                    let router = &self.shards.router;
                    let shard = router.shard_of(router.partition_of(RoutingId(number)));
                    let acknowledged = &self.acknowledged[shard];
                    acknowledged.set(acknowledged.get() + 1);
                }
                Err(error) => {
                    assert_eq!(error, ShardError::Unavailable);
                    sleep(Duration::from_millis(1)).await;
                }
            }
        }
    }

    async fn work_on(&self, number: u64) -> Result<(), ShardError> {
        self.shards.issue(token(number)).await?;
        if number.is_multiple_of(2) {
            self.active.borrow_mut().push(number);
            return Ok(());
        }
        self.shards.revoke(reference(number), &client("app"), START).await?;
        self.revoked.borrow_mut().push(number);
        Ok(())
    }

    /// Waits for that many more acknowledgements of each shard.
    async fn until_acknowledged(&self, more: [u64; 2]) {
        let goals = [0, 1].map(|shard| self.acknowledged[shard].get() + more[shard]);
        until("the load goes on", || self.acknowledged.iter().zip(goals).all(|(count, goal)| count.get() >= goal))
            .await;
    }

    fn check(&self, is_active: impl Fn(u64) -> bool) {
        for number in self.active.borrow().iter() {
            assert!(is_active(*number), "token {number} was acknowledged");
        }
        for number in self.revoked.borrow().iter() {
            assert!(!is_active(*number), "the revocation of token {number} was acknowledged");
        }
        assert!(self.active.borrow().len() > 100 && self.revoked.borrow().len() > 100);
    }
}

/// Shards over a journal on the disk.
pub(super) struct House {
    running: RunningShards,
    journal: Journal,
    gate: Arc<Gate>,
}

impl House {
    fn open(directory: &Path, shards: usize, time: &ManualTime) -> Self {
        Self::open_with(directory, shards, time, Registries::default(), 8 << 20)
    }

    pub(super) fn open_with(
        directory: &Path,
        shards: usize,
        time: &ManualTime,
        registries: Registries,
        journal_bytes_max: u64,
    ) -> Self {
        let (clock, issuer) = (clock_on(time), Arc::from("i"));
        let router = Router::new([5; 16], shards);
        let mut recovery = Recovery::begin(&router, shards, 2, &issuer, &registries, START.as_seconds_u32());
        let gate = Arc::new(Gate::default());
        let disk = GatedDisk { disk: RealDisk::new(directory).unwrap(), gate: Arc::clone(&gate) };
        let options = Options { segment_bytes: 256 << 10, journal_bytes_max, ..Options::new(keys(), shards, 1024) };
        let Opened { journal, lanes, .. } =
            crate::journal::open(Arc::new(disk), options, Arc::clone(&clock), &mut |block| recovery.apply(block))
                .unwrap();
        let rebuilds = Rebuild {
            reader: journal.reader(),
            snapshots: journal.snapshots(),
            router: router.clone(),
            shard: 0,
            issuer,
            registries,
            clock,
        };
        let states = recovery.finish().unwrap();
        let parts = states.into_iter().zip(lanes).enumerate();
        let parts = parts.map(|(shard, (state, lane))| parts_of(state, lane, Rebuild { shard, ..rebuilds.clone() }));
        Self { running: RunningShards::start(router, parts), journal, gate }
    }

    pub(super) fn shards(&self) -> Arc<Shards> {
        self.running.shards()
    }

    pub(super) fn close(self) {
        self.running.stop();
        self.journal.close().unwrap();
    }
}

fn parts_of(state: ShardState, lane: Lane, rebuild: Rebuild) -> ShardParts {
    ShardParts { state, lane, clock: Arc::clone(&rebuild.clock), relaxed_window: None, rebuild: Some(rebuild) }
}

/// The disk, where nobody opens a file while the gate is closed: the journal opens one to be read, and writes go on.
struct GatedDisk {
    disk: RealDisk,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    is_closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn close(&self) {
        *self.is_closed.lock().unwrap() = true;
    }

    fn open(&self) {
        *self.is_closed.lock().unwrap() = false;
        self.opened.notify_all();
    }

    fn pass(&self) {
        drop(self.opened.wait_while(self.is_closed.lock().unwrap(), |is_closed| *is_closed).unwrap());
    }
}

impl Disk for GatedDisk {
    fn lock(&self) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.gate.pass();
        self.disk.open(name)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.disk.create(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }
}

/// One shard whose journal commits when it is told to.
pub(super) struct HandDriven {
    pub(super) rig: Rig,
    pub(super) running: RunningShards,
}

impl HandDriven {
    pub(super) fn new() -> Self {
        let mut rig = Rig::open_with(&SimDisk::new(), options(1)).unwrap();
        let router = Router::new([0; 16], 1);
        let rebuild = Rebuild {
            reader: JournalReader::new(Arc::clone(&rig.committer.shared)),
            snapshots: SnapshotStore::new(Arc::clone(&rig.committer.shared)),
            router: router.clone(),
            shard: 0,
            issuer: Arc::from("i"),
            registries: Registries::default(),
            clock: clock_on(&rig.time),
        };
        let parts = parts_of(ShardState::new(Arc::from("i")), rig.lanes.remove(0), rebuild);
        Self { rig, running: RunningShards::start(router, [parts]) }
    }

    /// Issues tokens 0 to `count`; they are appended, and not durable before [`Self::acknowledge`].
    pub(super) async fn append(&self, count: u64) -> Vec<JoinHandle<Result<(), ShardError>>> {
        let shards = self.running.shards();
        // The mailbox has its bound only once the actor runs.
        shards.tick(START);
        until("the actor runs", || shards.shards[0].view.mailbox_depth() == 0).await;
        let issues = (0..count).map(|number| {
            let shards = Arc::clone(&shards);
            actix_rt::spawn(async move { shards.issue(token(number)).await })
        });
        let issues = issues.collect();
        until("all are appended", || shards.shards[0].view.metrics.tokens.value() == count).await;
        issues
    }

    pub(super) async fn panic(&self) {
        let shards = self.running.shards();
        explode(&shards, &[]);
        // A message is counted when it has been handled to its end: an error, as a panic is.
        let messages = &shards.shards[0].view.metrics.messages;
        until("it has panicked", || messages.cells().any(|(_, cells)| cells.errors.value() == 1)).await;
    }

    pub(super) async fn acknowledge(&mut self, issues: Vec<JoinHandle<Result<(), ShardError>>>) {
        self.rig.commit();
        for issue in issues {
            assert_eq!(issue.await.unwrap(), Ok(()), "what was appended before the commit is acknowledged");
        }
    }

    /// Issues tokens 0 to `count`, lets the shard panic before they are durable, and then makes them so. Answers whether
    /// the shard was available by then.
    async fn panic_with_waiting(&mut self, count: u64) -> bool {
        let issues = self.append(count).await;
        self.panic().await;
        let was_available = self.view().is_available.load(Ordering::Acquire);
        self.acknowledge(issues).await;
        was_available
    }

    pub(super) fn view(&self) -> Arc<ShardView> {
        Arc::clone(&self.running.shards().shards[0].view)
    }

    pub(super) async fn until_rebuilt(&self) {
        let view = self.view();
        until("it is rebuilt", || view.is_available.load(Ordering::Acquire)).await;
    }

    async fn end(self, count: u64) {
        self.until_rebuilt().await;
        let shards = self.running.shards();
        assert!((0..count).all(|number| shards.read().find_active(reference(number), START).unwrap().is_some()));
        self.running.stop();
    }
}

#[test]
fn a_rebuild_waits_until_all_that_the_shard_sent_is_durable() {
    actix_rt::System::new().block_on(async {
        let mut shard = HandDriven::new();
        assert!(!shard.panic_with_waiting(5).await);
        shard.end(5).await;
    });
}

#[test]
fn a_shard_that_panics_while_its_lane_is_full_is_rebuilt_at_a_later_tick() {
    actix_rt::System::new().block_on(async {
        let count = options(1).lane_capacity as u64;
        let mut shard = HandDriven::new();
        assert!(!shard.panic_with_waiting(count).await);
        shard.running.shards().tick(START);
        shard.end(count).await;
    });
}

#[test]
fn three_panics_within_a_minute_end_the_process() {
    let child = "shard::tests::panic::ends_its_process_by_three_panics";
    // Without a limit it would leave a core dump behind.
    let status = Command::new("sh")
        .args(["-c", r#"ulimit -c 0; exec "$@" >/dev/null 2>&1"#, "sh", &this_program(), "--ignored", "--exact", child])
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(rustix::process::Signal::ABORT.as_raw()), "{status}");
}

fn this_program() -> String {
    std::fs::read_link("/proc/self/exe").unwrap().into_os_string().into_string().unwrap()
}

#[test]
#[ignore = "ends its process; three_panics_within_a_minute_end_the_process runs it"]
fn ends_its_process_by_three_panics() {
    actix_rt::System::new().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let house = House::open(directory.path(), 1, &ManualTime::new(START));
        let view = &house.shards().shards[0].view;
        for panics in 1..=3 {
            explode(&house.shards(), &[]);
            until("it is rebuilt", || view.metrics.rebuilds.value() == panics).await;
        }
    });
}

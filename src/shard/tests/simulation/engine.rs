//! One machine through several lives: its disk, its clock, its database, and the process that runs on it.

use std::collections::HashMap;
use std::time::Duration;

use actix::{Context, Handler};
use tokio::sync::oneshot;

use super::database::Database;
use super::oracle::{Answer, Expected, Known, KnownClient};
use super::people::{KnownGrant, Told, draw};
use super::*;
use crate::client::Client;
use crate::client::actor::{ClientActor, ClientError, CreateClient, DeleteClient};
use crate::client::metadata::{ClientMetadata, ClientMetadataDocument};
use crate::client::registry::ClientRegistry;
use crate::client::secret::ClientSecret;
use crate::clock::ManualTime;
use crate::grant::terms_of;
use crate::journal::commit::{CommitOutcome, Committer};
use crate::journal::sim::{keys, options};
use crate::journal::snapshot::{RecordsSection, SnapshotRead, SnapshotStore, SnapshotWriter, restore};
use crate::journal::{JournalError, JournalReader, Lane, Opening, Options};
use crate::shard::message::{Issue, Revoke, Settle};
use crate::shard::people::{AboutPerson, PeopleIndex, PersonRequest};
use crate::shard::recovery::Part;
use crate::shard::snapshot::{PeopleWalk, SnapshotError, Walk};
use crate::token::state::{Replay as ShardReplay, ShardState};

/// The process has ended, or the power is cut.
#[derive(Debug)]
pub(super) struct Crash;

/// What outlives a process.
pub(super) struct Machine {
    disk: SimDisk,
    time: ManualTime,
    database: Database,
    tokens: Vec<Known>,
    clients: Vec<KnownClient>,
    grants: Vec<KnownGrant>,
    process: Option<Process>,
    next_number: u64,
    /// The time at the last start.
    begun_at: UnixTime,
    /// Tokens that each shard took in this life, in their order.
    history: HashMap<usize, Vec<usize>>,
    pub(super) tally: Tally,
}

/// A running engine.
pub(super) struct Process {
    committer: Committer,
    shards: Vec<(Shard, Arc<ShardView>)>,
    router: Router,
    pub(super) registry: Arc<ClientRegistry>,
    actor: ClientActor,
    asked: Vec<(usize, Asked)>,
    store: SnapshotStore,
    reader: JournalReader,
    pub(super) clock: Arc<Clock>,
    taking: Option<Taking>,
    used_snapshot: bool,
}

/// Something that the client actor has not answered yet.
enum Asked {
    Create(oneshot::Receiver<Result<Created, ClientError>>),
    Delete(u64, oneshot::Receiver<Result<(), ClientError>>),
}

/// A client, and its secret if it has one.
type Created = (Arc<Client>, Option<ClientSecret>);

/// A snapshot in the making.
struct Taking {
    walk: Walk,
    people: PeopleWalk,
    writer: SnapshotWriter,
    settling: Option<Vec<Answer>>,
}

const CLIENTS: usize = 3;

impl Machine {
    pub(super) fn new(random: &mut Random) -> Self {
        let mut machine = Self {
            disk: SimDisk::new(),
            time: ManualTime::new(START),
            database: Database::default(),
            tokens: Vec::new(),
            clients: (0..CLIENTS).map(|_| KnownClient::default()).collect(),
            grants: Vec::new(),
            process: None,
            next_number: random.next() >> 8,
            begun_at: START,
            history: HashMap::new(),
            tally: Tally::default(),
        };
        machine.database.flush();
        machine
    }

    /// Starts a process, again and again where the power fails meanwhile, and holds it against what callers were told.
    pub(super) fn start(&mut self, random: &mut Random) {
        if random.below(4) == 0 {
            let wall = START.as_millis() + random.below(7_200_000);
            self.time.set_wall(UnixTime::from_millis(wall));
        }
        loop {
            if random.below(4) == 0 {
                let operations = random.below(40);
                self.disk.faults(|faults| faults.power_cut_in = Some(operations));
            }
            match Process::start(&self.disk, &self.time, &self.database, 1 + random.below(3)) {
                Ok(process) => {
                    self.tally.lives += 1;
                    self.tally.starts_from_snapshots += u64::from(process.used_snapshot);
                    self.disk.faults(|faults| faults.power_cut_in = None);
                    let now = process.clock.now();
                    assert!(now >= self.begun_at, "the clock is behind the last start");
                    self.begun_at = now;
                    self.process = Some(process);
                    self.check_start();
                    break;
                }
                Err(JournalError::Io { .. }) => {
                    self.tally.failed_starts += 1;
                    self.disk = self.disk.crash(random.next());
                }
                Err(error) => panic!("{error}"),
            }
        }
        match random.below(6) {
            0 => {
                let operations = random.below(60);
                self.disk.faults(|faults| faults.power_cut_in = Some(operations));
            }
            1 => {
                let syncs = random.below(20);
                self.disk.faults(|faults| faults.sync_in = Some(syncs));
            }
            2 => {
                let writes = random.below(20);
                self.disk.faults(|faults| faults.write_in = Some(writes));
            }
            3 => self.disk.set_capacity(Some(self.disk.used_bytes() + 100_000)),
            _ => {}
        }
    }

    /// After a start nothing is on its way, so a look settles what is so.
    fn check_start(&mut self) {
        let Some(process) = &self.process else { return };
        for (number, client) in self.clients.iter_mut().enumerate() {
            let generation = process.registry.generation(&name(number)).value();
            assert!(generation >= client.generation, "client {number} is of an older generation");
            assert!(generation == client.generation || client.is_open, "client {number} was changed by nobody");
            (client.generation, client.is_open) = (generation, false);
        }
        let now = process.clock.now().as_seconds_u32();
        for (shard, history) in &self.history {
            let kept = history.iter().map(|index| &self.tokens[*index]).filter(|token| now < token.expires_at);
            let lives = |token: &&Known| self.clients[token.client].generation == token.client_generation;
            let kept: Vec<_> = kept.filter(lives).map(|token| process.has(token.number)).collect();
            assert!(kept.is_sorted_by(|before, after| before >= after), "shard {shard} has a hole: {kept:?}");
        }
        self.history.clear();
        for grant in &mut self.grants {
            let lives = self.clients[grant.client].lives(grant.client_generation);
            grant.settle(process, lives);
        }
        self.look_at_all(true);
    }

    fn look_at_all(&mut self, is_settled: bool) {
        let Some(process) = &self.process else { return };
        let now = process.clock.now().as_seconds_u32();
        for token in &mut self.tokens {
            let lives = self.clients[token.client].lives(token.client_generation);
            token.seen(process.is_active(token.number), now, lives, is_settled);
            self.tally.looks += 1;
        }
        for grant in &mut self.grants {
            let lives = self.clients[grant.client].lives(grant.client_generation);
            grant.look(process, lives);
        }
    }

    /// Holds a process of another disk against what callers were told, and learns nothing from it.
    fn check_copy(&self, process: &Process) {
        let now = process.clock.now().as_seconds_u32();
        for token in &self.tokens {
            let lives = self.clients[token.client].lives(token.client_generation);
            let Expected { may, must } = token.expected(now, lives);
            let is_active = process.is_active(token.number);
            assert!(is_active || !must, "token {} is not in the copy", token.number);
            assert!(!is_active || may, "token {} is back in the copy", token.number);
        }
        for grant in &self.grants {
            grant.check(process, self.clients[grant.client].lives(grant.client_generation));
        }
    }

    /// One thing happens.
    pub(super) fn step(&mut self, random: &mut Random) -> Step {
        match random.below(40) {
            0..7 => self.issue(random),
            7..11 => self.revoke(random),
            11 => self.look_at_all(false),
            12..16 => self.commit()?,
            16 => self.prepare_spare()?,
            17 => self.pass_time(random),
            18..23 => self.go_on_with_snapshot()?,
            23..25 => self.write_behind(random),
            25 => self.change_client(random),
            26 => match random.below(16) {
                0 => self.back_up_and_restore()?,
                1..4 => self.burst(random)?,
                _ => self.commit()?,
            },
            27 => self.disk.set_capacity(None),
            28..31 => self.store_code(random),
            _ => self.step_grant(random),
        }
        Ok(())
    }

    fn store_code(&mut self, random: &mut Random) {
        let client = index(random.below(CLIENTS as u64));
        let stored = KnownGrant::store(self.process(), random, client);
        self.tally.codes += u64::from(stored.is_some());
        self.grants.extend(stored);
        self.listen();
    }

    fn step_grant(&mut self, random: &mut Random) {
        let Some(place) = draw(random, self.grants.len()) else { return };
        let Some(process) = &mut self.process else { return };
        let grant = &mut self.grants[place];
        let lives = self.clients[grant.client].lives(grant.client_generation);
        grant.step(process, lives, random);
        self.listen();
    }

    /// So many commits that segments are begun.
    fn burst(&mut self, random: &mut Random) -> Step {
        for _ in 0..random.below(60) {
            self.issue(random);
            self.commit()?;
            self.prepare_spare()?;
            match random.below(4) {
                0 => self.write_behind(random),
                1 | 2 => self.go_on_with_snapshot()?,
                _ => {}
            }
        }
        Ok(())
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a process runs")
    }

    fn issue(&mut self, random: &mut Random) {
        let client = index(random.below(CLIENTS as u64));
        let number = self.next_number;
        let lifetime = 30 + u32::try_from(random.below(3600)).unwrap();
        let process = self.process();
        let Some(registered) = process.registry.find(name(client).as_str()) else { return };
        let issued_at = process.clock.now().as_seconds_u32();
        let mut issue = token(number);
        let ClientTerms { scope, audience, .. } = ClientTerms::clone(&issue.terms.client);
        issue.terms = terms_of(&registered, scope, audience);
        (issue.issued_at, issue.expires_at) = (issued_at, issued_at + lifetime);
        let partition = process.router.partition_of(RoutingId(number));
        let shard = process.router.shard_of(partition);
        let answer = process.tell(shard, |reply| Issue { token: issue, partition, reply });
        let mut known = Known::new(number, client, registered.generation, issued_at + lifetime, answer);
        known.listen();
        if known.issued != Some(false) {
            self.history.entry(shard).or_default().push(self.tokens.len());
        }
        self.tokens.push(known);
        self.next_number += 1;
        self.tally.issues += 1;
    }

    fn revoke(&mut self, random: &mut Random) {
        if self.tokens.is_empty() {
            return;
        }
        let place = index(random.below(self.tokens.len() as u64));
        let (number, client) = (self.tokens[place].number, self.tokens[place].client);
        let process = self.process();
        // The registry may not have the client any more; its tokens are dead then, and nobody can ask.
        let now = process.clock.now();
        let shard = process.router.shard_of(process.router.partition_of(RoutingId(number)));
        let token = RevokeToken { reference: reference(number), caller: name(client), now };
        let answer = process.tell(shard, |reply| Revoke { token, reply });
        self.tokens[place].revoke(answer, now.as_seconds_u32());
        self.tally.revocations += 1;
    }

    fn commit(&mut self) -> Step {
        let committed = self.process().committer.commit_ready();
        self.listen();
        committed.map(|_| ()).map_err(|_| Crash)
    }

    /// Takes in what was answered.
    fn listen(&mut self) {
        self.tokens.iter_mut().for_each(Known::listen);
        let mut told = Told::default();
        self.grants.iter_mut().for_each(|grant| grant.listen(&mut told));
        self.tally.hear(&told);
        let Some(process) = &mut self.process else { return };
        let clients = &mut self.clients;
        process.asked.retain_mut(|(number, asked)| {
            let Some(client) = clients.get_mut(*number) else { return false };
            let generation = match asked {
                Asked::Create(answer) => match answer.try_recv() {
                    Ok(answer) => answer.ok().map(|(client, _)| client.generation),
                    Err(_) => return true,
                },
                Asked::Delete(generation, answer) => match answer.try_recv() {
                    Ok(answer) => answer.ok().map(|()| *generation),
                    Err(_) => return true,
                },
            };
            client.generation = client.generation.max(generation.unwrap_or_default());
            false
        });
        for (number, client) in clients.iter_mut().enumerate() {
            client.is_open = process.asked.iter().any(|(asked, _)| *asked == number);
        }
    }

    fn prepare_spare(&mut self) -> Step {
        self.process().committer.prepare_spare_step().map(|_| ()).map_err(|_| Crash)
    }

    fn pass_time(&mut self, random: &mut Random) {
        self.time.advance(Duration::from_millis(random.below(30_000)));
        if random.below(4) == 0 {
            let wall = START.as_millis() + random.below(7_200_000);
            self.time.set_wall(UnixTime::from_millis(wall));
        }
        let process = self.process();
        process.clock.tick();
        let now = process.clock.now();
        for (shard, view) in &mut process.shards {
            view.mailbox.fetch_add(1, Ordering::Relaxed);
            shard.handle(message::Tick { now }, &mut Context::new());
        }
    }

    fn change_client(&mut self, random: &mut Random) {
        let number = index(random.below(CLIENTS as u64));
        let process = self.process();
        // An actor answers in its order; one question at a time keeps the oracle simple.
        if process.asked.iter().any(|(asked, _)| *asked == number) {
            return;
        }
        let generation = process.registry.generation(&name(number)).value();
        let asked = if process.registry.find(name(number).as_str()).is_some() {
            self.tally.deletions += 1;
            Asked::Delete(generation + 1, self.process().actor.tell(DeleteClient { id: name(number) }))
        } else {
            let metadata = ClientMetadata::parse(&ClientMetadataDocument::default()).unwrap();
            Asked::Create(process.actor.tell(CreateClient { id: Some(name(number)), metadata }))
        };
        self.clients[number].is_open = true;
        self.process().asked.push((number, asked));
        self.listen();
    }

    fn write_behind(&mut self, random: &mut Random) {
        let Some(process) = &self.process else { return };
        match random.below(4) {
            0 => {
                self.database.copy(&process.reader);
                process.store.confirm(self.database.flush());
                self.tally.confirmations += 1;
            }
            1 => self.database.crash(),
            _ => self.database.copy(&process.reader),
        }
    }

    /// Takes a snapshot piece by piece, while everything else goes on.
    fn go_on_with_snapshot(&mut self) -> Step {
        let process = self.process();
        let Some(mut taking) = process.taking.take() else {
            process.taking = process.begin_snapshot();
            return Ok(());
        };
        if let Some(settling) = &mut taking.settling {
            settling.retain_mut(|answer| answer.try_recv().is_err());
            if !settling.is_empty() {
                process.taking = Some(taking);
                return Ok(());
            }
            if taking.walk.finish().is_err() || taking.writer.finish(process.clock.now()).is_err() {
                return Ok(());
            }
            let retired = process.store.retire().map_err(|_| Crash)?;
            self.tally.snapshots += 1;
            self.tally.retired += retired as u64;
            return Ok(());
        }
        if let Some(records) = next_records(&mut taking.walk, &mut taking.people, &process.shards) {
            if taking.writer.section(&records.content()).is_ok() {
                process.taking = Some(taking);
            }
            return Ok(());
        }
        match taking.walk.next_tokens() {
            Ok(Some(section)) => {
                // What cannot be written is given up; the next attempt begins anew.
                if taking.writer.section(&section.content()).is_ok() {
                    process.taking = Some(taking);
                }
            }
            Ok(None) => {
                taking.settling = Some(process.settle());
                process.taking = Some(taking);
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// A backup of the running process, restored on another machine.
    fn back_up_and_restore(&mut self) -> Step {
        let mut bytes = Vec::new();
        let emit = &mut |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok::<_, SnapshotError>(())
        };
        let process = self.process();
        let now = process.clock.now();
        let Ok(mut writer) = process.store.begin_backup(now, emit) else { return Ok(()) };
        let mut walk = Walk::begin(process.views(), &process.registries(), now).unwrap();
        let mut people = PeopleWalk::default();
        while let Some(records) = next_records(&mut walk, &mut people, &process.shards) {
            writer.section(&records.content(), emit).unwrap();
        }
        while let Some(tokens) = walk.next_tokens().unwrap() {
            writer.section(&tokens.content(), emit).unwrap();
        }
        let mut settling = process.settle();
        while !settling.is_empty() {
            self.commit()?;
            settling.retain_mut(|answer| answer.try_recv().is_err());
        }
        writer.finish(now, emit).unwrap();
        let (source, target) = (SimDisk::new(), SimDisk::new());
        source.put("backup", bytes);
        restore(Arc::new(source), "backup", Arc::new(target.clone()), &keys()).unwrap();
        let restored = Process::start(&target, &self.time, &Database::default(), 2).unwrap();
        self.check_copy(&restored);
        self.tally.restores += 1;
        Ok(())
    }

    /// The process ends in one way or another.
    pub(super) fn end(&mut self, random: &mut Random) {
        self.listen();
        let Some(process) = self.process.take() else { return };
        let is_stopped = random.below(3) == 0 && process.stop().is_ok();
        self.tokens.iter_mut().for_each(Known::forget_answers);
        let mut told = Told::default();
        self.grants.iter_mut().for_each(|grant| grant.forget_answers(&mut told));
        self.tally.hear(&told);
        if is_stopped {
            self.tally.stops += 1;
            self.disk = self.disk.killed();
            self.flip_a_bit(random);
        } else if random.below(2) == 0 {
            self.tally.kills += 1;
            self.disk = self.disk.killed();
        } else {
            self.tally.crashes += 1;
            self.disk = self.disk.crash(random.next());
        }
        self.disk.set_capacity(None);
        if random.below(3) == 0 {
            self.database.crash();
        }
    }

    /// A bit of the disk flips while the machine is off. The next start refuses, or nothing of what callers were told is
    /// touched; then the bit flips back. (Where the end of the journal is stated by nobody, a flip in the last block is a torn
    /// tail: so only after a stop.)
    fn flip_a_bit(&mut self, random: &mut Random) {
        let flipped = self.disk.killed();
        flipped.set_capacity(None);
        let names: Vec<_> = flipped.names().into_iter().filter(|name| !name.ends_with(".tmp")).collect();
        let name = &names[index(random.below(names.len() as u64))];
        flipped.change(name, |bytes| {
            if bytes.is_empty() {
                return;
            }
            // Where something is written, mostly.
            let written = bytes.iter().rposition(|byte| *byte != 0).unwrap_or_default() as u64 + 1;
            let position = index(random.below(written));
            bytes[position] ^= 1 << random.below(8);
        });
        match Process::start(&flipped, &self.time, &self.database, 2) {
            Ok(process) => {
                self.tally.flips_survived += 1;
                self.check_copy(&process);
            }
            Err(JournalError::Io { action, name, source }) => panic!("cannot {action} {name}: {source}"),
            Err(_) => self.tally.flips_refused += 1,
        }
    }

    /// A last start; then the journal, the tables and the memory are held against each other.
    pub(super) fn finish(&mut self, random: &mut Random) {
        self.disk = self.disk.killed();
        self.disk.set_capacity(None);
        self.start(random);
        self.disk.faults(|faults| *faults = crate::journal::sim::Faults::default());
        self.disk.set_capacity(None);
        let Some(process) = &self.process else { return };
        self.database.copy(&process.reader);
        let fold = self.database.fold();
        let now = process.clock.now().as_seconds_u32();
        for token in self.tokens.iter().filter(|token| now < token.expires_at) {
            // A snapshot leaves out what a deleted client had.
            if self.clients[token.client].generation != token.client_generation {
                continue;
            }
            let digest = reference(token.number).digest;
            let guard = Guard::new();
            let found = process.view_of(token.number).reader(&guard).unwrap().find(digest, &guard).unwrap();
            assert_eq!(
                found.is_some(),
                fold.issued.contains(&digest),
                "token {} in memory and in the tables",
                token.number
            );
            let is_revoked = found.is_some_and(|found| found.revoked != 0);
            assert_eq!(
                is_revoked,
                fold.revoked.contains(&digest),
                "token {} in memory and in the tables",
                token.number
            );
        }
        for grant in &self.grants {
            if self.clients[grant.client].generation == grant.client_generation {
                grant.check_fold(process, &fold);
            }
        }
    }
}

impl Process {
    /// Opens the directory as a server does, but on this thread alone.
    fn start(disk: &SimDisk, time: &ManualTime, database: &Database, shards: u64) -> Result<Self, JournalError> {
        let clock = clock_on(time);
        let shards = index(shards);
        let confirmed = database.confirmed();
        let options = Options { confirmed_lsn: Some(confirmed), ..options(shards + 1) };
        let router = Router::new([3; 16], shards);
        let mut opening = Opening::begin(Arc::new(disk.clone()), options, Arc::default())?;
        let mut recovery = Recovering::new(&router, shards, &clock);
        let loaded = opening.load_newest_snapshot(&mut |read| match read {
            SnapshotRead::Section(section) => recovery.load(&section),
            SnapshotRead::Anew => recovery = Recovering::new(&router, shards, &clock),
        })?;
        let (committer, mut lanes, _) = opening.open_without_threads(Arc::clone(&clock), &mut |block| {
            for record in block.records() {
                database.check(record.lsn.value(), record.payload);
            }
            recovery.apply(&block);
        })?;
        let registry = recovery.registries.clients;
        let random = Arc::new(ring::rand::SystemRandom::new());
        let lane = lanes.pop().expect("a lane for the clients");
        let actor = ClientActor::new(Arc::clone(&registry), lane, Arc::clone(&clock), random, Arc::default());
        let shards = recovery.part.finish().into_iter().zip(lanes).map(|(state, lane)| shard_of(state, lane, &clock));
        let store = SnapshotStore::new(Arc::clone(&committer.shared));
        store.confirm(confirmed);
        Ok(Self {
            reader: JournalReader::new(Arc::clone(&committer.shared)),
            shards: shards.collect(),
            committer,
            router,
            registry,
            actor,
            asked: Vec::new(),
            store,
            clock,
            taking: None,
            used_snapshot: loaded.is_some(),
        })
    }

    fn tell<M>(&mut self, shard: usize, message: impl FnOnce(Reply) -> M) -> Answer
    where
        M: actix::Message<Result = ()>,
        Shard: Handler<M, Result = ()>,
    {
        let (reply, answer) = oneshot::channel();
        let (shard, view) = &mut self.shards[shard];
        view.mailbox.fetch_add(1, Ordering::Relaxed);
        shard.handle(message(reply), &mut Context::new());
        answer
    }

    pub(super) fn tell_about_person(&mut self, routing_id: RoutingId, request: PersonRequest) {
        let partition = self.router.partition_of(routing_id);
        let (shard, view) = &mut self.shards[self.router.shard_of(partition)];
        view.mailbox.fetch_add(1, Ordering::Relaxed);
        shard.handle(AboutPerson { partition, request }, &mut Context::new());
    }

    fn settle(&mut self) -> Vec<Answer> {
        (0..self.shards.len()).map(|shard| self.tell(shard, |reply| Settle { reply })).collect()
    }

    fn views(&self) -> impl Iterator<Item = Arc<ShardView>> {
        self.shards.iter().map(|(_, view)| Arc::clone(view))
    }

    fn view_of(&self, number: u64) -> &ShardView {
        &self.shards[self.router.shard_of(self.router.partition_of(RoutingId(number)))].1
    }

    fn is_active(&self, number: u64) -> bool {
        self.view_of(number).find_active(reference(number), self.clock.now(), &Guard::new()).unwrap().is_some()
    }

    fn shard_of(&self, routing_id: RoutingId) -> &(Shard, Arc<ShardView>) {
        &self.shards[self.router.shard_of(self.router.partition_of(routing_id))]
    }

    pub(super) fn state_of(&self, routing_id: RoutingId) -> &ShardState {
        self.shard_of(routing_id).0.state().expect("no shard has panicked")
    }

    pub(super) fn serving_since(&self, routing_id: RoutingId) -> u32 {
        self.shard_of(routing_id).0.serving_since()
    }

    pub(super) fn is_access_active(&self, reference: TokenReference) -> bool {
        let view = &self.shard_of(reference.routing_id).1;
        view.find_active(reference, self.clock.now(), &Guard::new()).unwrap().is_some()
    }

    /// Whether it is there, revoked or not.
    fn has(&self, number: u64) -> bool {
        let guard = Guard::new();
        self.view_of(number).reader(&guard).unwrap().find(reference(number).digest, &guard).unwrap().is_some()
    }

    fn registries(&self) -> Registries {
        Registries { clients: Arc::clone(&self.registry), ..Registries::default() }
    }

    fn begin_snapshot(&self) -> Option<Taking> {
        let now = self.clock.now();
        let writer = self.store.begin(now).ok()?;
        let walk = Walk::begin(self.views(), &self.registries(), now).ok()?;
        Some(Taking { walk, people: PeopleWalk::default(), writer, settling: None })
    }

    /// Ends as a server does that is told to stop.
    fn stop(self) -> Result<(), JournalError> {
        let Self { mut committer, shards, actor, taking, .. } = self;
        drop((shards, actor, taking));
        while committer.commit_ready()? != CommitOutcome::Closed {}
        committer.finish()
    }
}

/// The records of a snapshot that come before its tokens.
fn next_records(
    walk: &mut Walk,
    people: &mut PeopleWalk,
    shards: &[(Shard, Arc<ShardView>)],
) -> Option<RecordsSection> {
    let walk_grants = |shard: usize, after| shards[shard].0.walk_grants(after);
    walk.next_records().or_else(|| people.next_section(shards.len(), walk_grants).unwrap())
}

/// A start that is reading.
struct Recovering {
    registries: Registries,
    part: Part,
}

impl Recovering {
    fn new(router: &Router, shards: usize, clock: &Arc<Clock>) -> Self {
        let registries = Registries::default();
        let now = clock.now().as_seconds_u32();
        let replay = || ShardReplay::new(Arc::from("https://as.example"), registries.clone(), now);
        let part = Part { router: router.clone(), own: (0..shards).map(|_| Some(replay())).collect() };
        Self { registries, part }
    }

    fn load(&mut self, section: &crate::journal::snapshot::Section) {
        self.apply_to_clients(section.records());
        self.part.load(section).unwrap();
    }

    fn apply(&mut self, block: &crate::journal::Block) {
        self.apply_to_clients(block.records());
        self.part.apply(block.records()).unwrap();
    }

    fn apply_to_clients(&self, records: crate::journal::Records<'_>) {
        for record in records {
            crate::client::event::replay(&self.registries.clients, record.kind, record.schema, record.payload).unwrap();
        }
    }
}

fn shard_of(state: ShardState, lane: Lane, clock: &Arc<Clock>) -> (Shard, Arc<ShardView>) {
    let clock = Arc::clone(clock);
    let shard =
        Shard::new(ShardParts { state, lane, clock, relaxed_window: None, rebuild: None }, PeopleIndex::default());
    let view = shard.view();
    (shard, view)
}

pub(super) fn name(client: usize) -> ClientId {
    super::client(&format!("app-{client}"))
}

pub(super) fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

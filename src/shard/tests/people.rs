//! People's grants: each code is used once and each refresh token has one successor, however many ask at once; what was ended
//! stays so; and no answer rests on what a crash could take back.
//!
//! `TESSERA_ROUNDS=1000` runs as many rounds of what is repeated, and ten times as many races.

use std::thread;
use std::time::Duration;

use actix::{Context, Handler};
use futures_util::future::{join, join_all};
use ring::rand::SystemRandom;
use tokio::sync::oneshot::Receiver;

use super::panic::{House, explode, until};
use super::*;
use crate::client::registry::Generation;
use crate::journal::open_without_threads;
use crate::journal::sim::{Rig, SimDisk, options};
use crate::oauth::authentication_context::AuthenticationContext;
use crate::oauth::error::OAuthErrorCode;
use crate::oauth::subject::Subject;
use crate::shard::people::{
    AboutPerson, DEVICES_PENDING_MAX, DeviceAnswer, DeviceQuota, Exchanged, GrantedToken, MintedAccess, MintedRefresh,
    NewCode, NewDevice, PersonError, PersonRequest, Proof, RedeemCode, RefreshGrant, Refreshed,
};
use crate::shard::recovery::Recovery;
use crate::token::access_token::AccessToken;
use crate::token::code::{Code, CodeKind, CodeReference};
use crate::token::grant_id::GrantId;
use crate::token::person::{PersonTerms, Standing};
use crate::token::refresh_token::RefreshKey;

/// [`START`] in seconds.
const NOW: u32 = 1_800_000_000;
const CODE_SECONDS: u32 = 60;
const DEVICE_SECONDS: u32 = 600;
const RETRY_SECONDS: u32 = 30;
/// How many ask at once.
const AT_ONCE: usize = 100;
/// Rounds of what is repeated, and a tenth of the races, unless more are asked for.
const ROUNDS: usize = 20;

#[expect(clippy::disallowed_methods, reason = "a test is asked for more by the environment")]
fn rounds() -> usize {
    std::env::var("TESSERA_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a whole number"))
}

/// Mints what a worker mints, for the client `app` and the person `ada`.
struct Worker {
    key: RefreshKey,
    random: SystemRandom,
    registries: Registries,
    now: UnixTime,
}

/// A request, and what its client gets if it is a success.
struct Minted<R> {
    request: R,
    access: TokenReference,
    refresh: String,
}

impl Worker {
    fn new() -> Self {
        let (random, registries) = (SystemRandom::new(), Registries::default());
        Self { key: RefreshKey::new(&[6; 32]), random, registries, now: START }
    }

    fn client_generation(&self) -> Arc<Generation> {
        self.registries.clients.generation(&client("app"))
    }

    fn subject_generation(&self) -> Arc<Generation> {
        self.registries.users.generation(&ada())
    }

    fn client_terms(&self) -> GrantTerms {
        let in_force = self.client_generation();
        let terms = ClientTerms::clone(&token(0).terms.client);
        ClientTerms { generation: in_force.value(), in_force, ..terms }.into()
    }

    fn code_of(&self, kind: CodeKind, id: GrantId) -> CodeReference {
        Code::random(kind, id, &self.random).unwrap().reference()
    }

    fn new_code(&self) -> NewCode {
        let grant_id = GrantId::random(&self.random).unwrap();
        let subject_generation = self.subject_generation().value();
        let standing = Standing::new(self.subject_generation());
        let context = AuthenticationContext::new(["pwd"], None);
        let person = PersonTerms { grant_id, subject: ada(), subject_generation, auth_time: NOW, context, standing };
        NewCode {
            code: self.code_of(CodeKind::Authorization, grant_id),
            terms: self.client_terms().granted_by(person),
            redirect_uri: None,
            code_challenge: None,
            nonce: None,
            expires_at: self.now.as_seconds_u32() + CODE_SECONDS,
        }
    }

    /// A device whose user code leads to that routing id.
    fn new_device(&self, routing_id: RoutingId) -> NewDevice {
        let id = GrantId::random_of(routing_id, &self.random).unwrap();
        let requested_at = self.now.as_seconds_u32();
        NewDevice {
            code: self.code_of(CodeKind::Device, id),
            terms: self.client_terms(),
            requested_from: None,
            requested_at,
            expires_at: requested_at + DEVICE_SECONDS,
        }
    }

    fn approval(&self) -> DeviceAnswer {
        DeviceAnswer::Approve {
            subject: ada(),
            subject_generation: self.subject_generation().value(),
            subject_in_force: self.subject_generation(),
            auth_time: NOW,
            context: AuthenticationContext::new(["pwd"], None),
        }
    }

    fn redemption(&self, code: CodeReference) -> Minted<RedeemCode> {
        self.redemption_with(code, Proof::Authorization { redirect_uri: None, code_challenge: None })
    }

    fn redemption_with(&self, code: CodeReference, proof: Proof) -> Minted<RedeemCode> {
        let access = AccessToken::random_of(code.grant_id.routing_id(), &self.random).unwrap().reference();
        let refresh = self.key.first(code.grant_id, &self.random).unwrap();
        let minted = MintedRefresh { digest: refresh.digest(), lifetime_seconds: 7_200, idle_seconds: 3_600 };
        let (client_id, refresh, now) = (client("app"), refresh.reveal().to_owned(), self.now);
        let (access_minted, refresh_minted) = (Some(minted_access(access)), Some(minted));
        let request =
            RedeemCode { code, client_id, proof, resources: None, access: access_minted, refresh: refresh_minted, now };
        Minted { request, access, refresh }
    }

    fn refreshing(&self, refresh: &str) -> Minted<RefreshGrant> {
        let presented = self.key.read(refresh).unwrap();
        let (access, successor) = (self.key.access_token(&presented).reference(), self.key.successor(&presented));
        let request = RefreshGrant {
            reference: presented.reference,
            client_id: client("app"),
            scope: None,
            resources: None,
            access: Some(minted_access(access)),
            is_access_new: false,
            successor: Some(successor.digest()),
            retry_seconds: RETRY_SECONDS,
            idle_seconds: 3_600,
            now: self.now,
        };
        Minted { request, access, refresh: successor.reveal().to_owned() }
    }
}

fn ada() -> Subject {
    Subject::parse("ada").unwrap()
}

fn minted_access(access: TokenReference) -> MintedAccess {
    MintedAccess { digest: access.digest, lifetime_seconds: 600 }
}

fn refused<T>(answer: &Result<T, PersonError>) -> Option<OAuthErrorCode> {
    match answer {
        Err(PersonError::Refused(error)) => Some(error.code),
        _ => None,
    }
}

const INVALID_GRANT: Option<OAuthErrorCode> = Some(OAuthErrorCode::InvalidGrant);

/// Shards over a journal on the disk, and who asks them.
struct Town {
    house: House,
    worker: Worker,
    directory: tempfile::TempDir,
    time: ManualTime,
}

impl Town {
    fn new() -> Self {
        let (worker, time) = (Worker::new(), ManualTime::new(START));
        let directory = tempfile::tempdir().unwrap();
        let house = Self::open(&directory, &worker, &time);
        Self { house, worker, directory, time }
    }

    fn open(directory: &tempfile::TempDir, worker: &Worker, time: &ManualTime) -> House {
        let bytes_max = (8 << 20) + rounds() as u64 * (1 << 20);
        House::open_with(directory.path(), 2, time, worker.registries.clone(), bytes_max)
    }

    /// Starts anew from what is in the journal.
    fn restarted(self) -> Self {
        let Self { house, worker, directory, time } = self;
        house.close();
        let house = Self::open(&directory, &worker, &time);
        Self { house, worker, directory, time }
    }

    fn shards(&self) -> Arc<Shards> {
        self.house.shards()
    }

    fn pass(&mut self, time: Duration) {
        self.time.advance(time);
        let now_ms = self.worker.now.as_millis() + u64::try_from(time.as_millis()).unwrap();
        self.worker.now = UnixTime::from_millis(now_ms);
    }

    fn is_active(&self, access: TokenReference) -> bool {
        self.shards().read().find_active(access, self.worker.now).unwrap().is_some()
    }

    async fn code(&self) -> CodeReference {
        let code = self.worker.new_code();
        self.shards().store_code(code.clone()).await.unwrap();
        code.code
    }

    async fn approved_device(&self, routing_id: RoutingId) -> CodeReference {
        let device = self.worker.new_device(routing_id);
        self.shards().store_device(device.clone()).await.unwrap();
        let decided = self.shards().decide_device(routing_id, self.worker.approval(), self.worker.now).await;
        assert_eq!(decided, Ok(true));
        device.code
    }

    /// What a grant of a fresh code has.
    async fn granted(&self) -> (GrantId, TokenReference, String) {
        let code = self.code().await;
        let Minted { request, access, refresh } = self.worker.redemption(code);
        self.shards().redeem(request).await.unwrap();
        (code.grant_id, access, refresh)
    }

    /// What a hundred callers on four threads are told who ask at once.
    fn ask_at_once<R: Send, T: Send>(
        &self,
        mint: impl Fn(&Worker) -> Minted<R> + Sync,
        ask: impl AsyncFn(&Shards, R) -> Result<T, PersonError> + Sync,
    ) -> Vec<(Minted<()>, Result<T, PersonError>)> {
        let (shards, worker) = (&*self.shards(), &self.worker);
        let call = async || {
            let Minted { request, access, refresh } = mint(worker);
            (Minted { request: (), access, refresh }, ask(shards, request).await)
        };
        let calls = || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(join_all((0..AT_ONCE / 4).map(|_| call())))
        };
        thread::scope(|scope| {
            let callers = [(); 4].map(|()| scope.spawn(calls));
            callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
        })
    }

    /// `is_described` where each learns of the terms first, as whoever signs its token does.
    async fn redeem_at_once(&self, code: CodeReference, proof: Proof, is_described: bool) -> Minted<()> {
        let redeem = async |shards: &Shards, request: RedeemCode| {
            if is_described {
                shards.describe_code(request.clone()).await?;
            }
            shards.redeem(request).await
        };
        let answers = self.ask_at_once(|worker| worker.redemption_with(code, proof.clone()), redeem);
        let (granted, others): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, answer)| answer.is_ok());
        assert!(others.iter().all(|(_, answer)| refused(answer) == INVALID_GRANT));
        assert!(others.iter().all(|(minted, _)| !self.is_active(minted.access)), "only one has tokens");
        let [(granted, _)] = <[_; 1]>::try_from(granted).map_err(|granted| granted.len()).expect("one success");
        granted
    }
}

fn in_town(test: impl AsyncFnOnce(Town)) {
    actix_rt::System::new().block_on(async {
        let town = Town::new();
        // A mailbox has its bound only once its actor runs.
        for number in 0..32 {
            town.shards().find_grant(GrantId::from_bytes([number; 16]), START).await.unwrap();
        }
        test(town).await;
    });
}

#[test]
fn of_a_hundred_redemptions_of_a_code_one_succeeds_and_the_second_revokes_what_it_gave() {
    in_town(async |town| {
        for round in 0..rounds() {
            let code = town.code().await;
            let proof = Proof::Authorization { redirect_uri: None, code_challenge: None };
            let granted = town.redeem_at_once(code, proof, round % 2 == 0).await;
            assert!(!town.is_active(granted.access), "the code was used again");
            let refreshed = town.shards().refresh(town.worker.refreshing(&granted.refresh).request).await;
            assert_eq!(refused(&refreshed), INVALID_GRANT);
        }
        town.house.close();
    });
}

#[test]
fn of_a_hundred_redemptions_of_a_device_code_one_succeeds() {
    in_town(async |town| {
        for round in 0..rounds() {
            let code = town.approved_device(RoutingId(round as u64)).await;
            let granted = town.redeem_at_once(code, Proof::Device, round % 2 == 0).await;
            assert!(town.is_active(granted.access));
            town.shards().refresh(town.worker.refreshing(&granted.refresh).request).await.unwrap();
        }
        town.house.close();
    });
}

#[test]
fn a_hundred_refreshes_inside_the_window_give_the_same_to_all() {
    in_town(async |town| {
        for _ in 0..rounds() {
            let (_, _, refresh) = town.granted().await;
            let answers = town.ask_at_once(
                |worker| worker.refreshing(&refresh),
                async |shards, request| shards.refresh(request).await,
            );
            let (first, told) = &answers[0];
            let told = told.as_ref().unwrap();
            for (minted, answer) in &answers {
                assert_eq!(answer.as_ref(), Ok(told));
                assert_eq!((minted.access, &minted.refresh), (first.access, &first.refresh));
            }
            assert!(town.is_active(first.access));
            let next = town.worker.refreshing(&first.refresh);
            town.shards().refresh(next.request).await.unwrap();
            // Now that the successor was used, the first is reuse, by a hundred as by one.
            let late = town.shards().refresh(town.worker.refreshing(&refresh).request).await;
            assert_eq!(refused(&late), INVALID_GRANT);
            assert!(!town.is_active(first.access) && !town.is_active(next.access), "reuse ends the grant");
        }
        town.house.close();
    });
}

#[test]
fn after_an_acknowledged_end_nothing_lives_whatever_raced_with_it() {
    in_town(async |town| {
        let mut all = Vec::new();
        for round in 0..rounds() / 10 {
            let grants = join_all((0..AT_ONCE).map(|_| town.granted())).await;
            let shards = town.shards();
            let races = grants.iter().enumerate().map(async |(number, (id, _, refresh))| {
                let refreshing = town.worker.refreshing(refresh);
                let (access, successor) = (refreshing.access, refreshing.refresh);
                let (refresh, end) = (shards.refresh(refreshing.request), shards.end_grant(*id, None));
                // Who comes first is sent first, and then by turns what both wait for.
                let ended = if (number + round).is_multiple_of(2) {
                    join(refresh, end).await.1
                } else {
                    join(end, refresh).await.0
                };
                assert_eq!(ended, Ok(true));
                assert!(!town.is_active(access), "it was refreshed behind its end");
                (access, successor)
            });
            let successors = join_all(races).await;
            all.extend(grants.into_iter().zip(successors));
        }
        assert!(!all.is_empty());
        check_ended(&town, &all).await;
        let town = town.restarted();
        check_ended(&town, &all).await;
        town.house.close();
    });
}

type Raced = ((GrantId, TokenReference, String), (TokenReference, String));

async fn check_ended(town: &Town, all: &[Raced]) {
    for ((id, access, refresh), (next_access, successor)) in all {
        assert!(!town.is_active(*access) && !town.is_active(*next_access));
        for text in [refresh, successor] {
            let answer = town.shards().refresh(town.worker.refreshing(text).request).await;
            assert_eq!(refused(&answer), INVALID_GRANT);
        }
        assert!(town.shards().find_grant(*id, START).await.unwrap().is_none());
    }
}

#[test]
fn whoever_raises_a_generation_kills_what_was_granted_under_it() {
    in_town(async |town| {
        for generation in [Worker::subject_generation, Worker::client_generation] {
            let (id, access, refresh) = town.granted().await;
            let code = town.code().await;
            generation(&town.worker).raise_to(1 + generation(&town.worker).value());
            assert!(!town.is_active(access));
            let refreshed = town.shards().refresh(town.worker.refreshing(&refresh).request).await;
            assert_eq!(refused(&refreshed), INVALID_GRANT);
            let redeemed = town.shards().redeem(town.worker.redemption(code).request).await;
            assert_eq!(refused(&redeemed), INVALID_GRANT);
            assert!(town.shards().find_grant(id, START).await.unwrap().is_none());
            let (.., refresh) = town.granted().await;
            town.shards().refresh(town.worker.refreshing(&refresh).request).await.unwrap();
        }
        assert_eq!(
            town.shards().grants_of(&ada(), START).await.unwrap().len(),
            1,
            "that of the client's last generation"
        );
        town.house.close();
    });
}

#[test]
fn a_lost_answer_is_given_again_after_a_restart_and_reuse_is_remembered() {
    in_town(async |town| {
        let (_, _, first) = town.granted().await;
        let second = town.worker.refreshing(&first);
        let told = town.shards().refresh(second.request).await.unwrap();
        let (_, _, other) = town.granted().await;
        town.shards().refresh(town.worker.refreshing(&other).request).await.unwrap();
        // Nobody was served for five minutes.
        town.time.set_wall(UnixTime::from_seconds(u64::from(NOW) + 300));
        let mut town = town.restarted();
        town.worker.now = UnixTime::from_seconds(u64::from(NOW) + 320);
        let again = town.shards().refresh(town.worker.refreshing(&first).request).await;
        assert_eq!(again, Ok(told));
        town.worker.now = UnixTime::from_seconds(u64::from(NOW) + 340);
        let late = town.shards().refresh(town.worker.refreshing(&other).request).await;
        assert_eq!(refused(&late), INVALID_GRANT, "the window counts from the start");
        let third = town.worker.refreshing(&second.refresh);
        town.shards().refresh(third.request).await.unwrap();
        let town = town.restarted();
        let reuse = town.shards().refresh(town.worker.refreshing(&first).request).await;
        assert_eq!(refused(&reuse), INVALID_GRANT);
        let last = town.shards().refresh(town.worker.refreshing(&third.refresh).request).await;
        assert_eq!(refused(&last), INVALID_GRANT, "reuse has ended the grant");
        town.house.close();
    });
}

/// A shard without a thread, whose journal commits when it is told to.
struct Desk {
    shard: Shard,
    view: Arc<ShardView>,
    rig: Rig,
    index: PeopleIndex,
    worker: Worker,
}

type Answer<T> = Receiver<Result<T, PersonError>>;

/// What was answered so far.
fn told<T>(answer: &mut Answer<T>) -> Option<Result<T, PersonError>> {
    answer.try_recv().ok()
}

impl Desk {
    fn new() -> Self {
        Self::open(&SimDisk::new(), Worker::new())
    }

    fn open(disk: &SimDisk, worker: Worker) -> Self {
        let router = Router::new([0; 16], 1);
        let seconds = worker.now.as_seconds_u32();
        let mut recovery = Recovery::begin(&router, 1, 1, &Arc::from("i"), &worker.registries, seconds);
        let clock = clock_on(&ManualTime::new(worker.now));
        let opened = open_without_threads(Arc::new(disk.clone()), options(1), Arc::clone(&clock), &mut |block| {
            recovery.apply(block);
        });
        let (committer, mut lanes, recovered) = opened.unwrap();
        let (state, lane) = (recovery.finish().unwrap().remove(0), lanes.remove(0));
        let rig = Rig::of(disk, committer, lanes, recovered);
        let index = PeopleIndex::default();
        let shard = Shard::new(ShardParts { state, lane, clock, relaxed_window: None, rebuild: None }, index.clone());
        Self { view: shard.view(), shard, rig, index, worker }
    }

    /// The power is cut: what was not synced is gone.
    fn crashed(self) -> Self {
        Self::open(&self.rig.disk.synced(), self.worker)
    }

    fn tell<T>(&mut self, request: impl FnOnce(oneshot::Sender<Result<T, PersonError>>) -> PersonRequest) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        self.view.mailbox.fetch_add(1, Ordering::Relaxed);
        let about = AboutPerson { partition: Partition(0), request: request(reply) };
        self.shard.handle(about, &mut Context::new());
        answer
    }

    /// What is answered once all is durable.
    fn ask<T>(
        &mut self,
        request: impl FnOnce(oneshot::Sender<Result<T, PersonError>>) -> PersonRequest,
    ) -> Result<T, PersonError> {
        let mut answer = self.tell(request);
        self.rig.commit();
        told(&mut answer).expect("an answer")
    }

    fn pass(&mut self, seconds: u64) {
        self.worker.now = UnixTime::from_millis(self.worker.now.as_millis() + seconds * 1000);
        let now = self.worker.now;
        self.view.mailbox.fetch_add(1, Ordering::Relaxed);
        self.shard.handle(message::Tick { now }, &mut Context::new());
    }

    fn code(&mut self) -> CodeReference {
        let code = self.worker.new_code();
        let reference = code.code;
        assert_eq!(self.ask(|reply| PersonRequest::StoreCode(code, reply)), Ok(true));
        reference
    }

    fn device(&mut self, number: u64) -> CodeReference {
        let device = self.worker.new_device(RoutingId(number));
        let reference = device.code;
        assert!(self.index.devices.take(&client("app")));
        assert_eq!(self.ask(|reply| PersonRequest::StoreDevice(device, reply)), Ok(()));
        reference
    }

    fn poll(&mut self, code: CodeReference) -> Result<GrantedToken, PersonError> {
        let request = self.worker.redemption_with(code, Proof::Device).request;
        self.ask(|reply| PersonRequest::Redeem(request, reply)).and_then(Exchanged::done)
    }

    /// A refresh whose access token lives ten seconds, by a client that may ask again for five minutes.
    fn refresh(
        &mut self,
        refresh: &str,
        new: Option<TokenReference>,
    ) -> (TokenReference, Result<Refreshed, PersonError>) {
        let Minted { request, access, .. } = self.worker.refreshing(refresh);
        let access = new.unwrap_or(access);
        let minted = Some(MintedAccess { digest: access.digest, lifetime_seconds: 10 });
        let request = RefreshGrant { access: minted, is_access_new: new.is_some(), retry_seconds: 300, ..request };
        (access, self.ask(|reply| PersonRequest::Refresh(request, reply)).and_then(Exchanged::done))
    }

    fn revoke(&mut self, reference: TokenReference) {
        let (reply, _) = oneshot::channel();
        self.view.mailbox.fetch_add(1, Ordering::Relaxed);
        let token = RevokeToken { reference, caller: client("app"), now: self.worker.now };
        self.shard.handle(message::Revoke { token, reply }, &mut Context::new());
    }

    fn decide(&mut self, number: u64, answer: DeviceAnswer) -> Result<bool, PersonError> {
        let now = self.worker.now;
        self.ask(|reply| PersonRequest::DecideDevice(RoutingId(number), answer, now, reply))
    }

    fn is_active(&self, access: TokenReference) -> bool {
        self.view.find_active(access, self.worker.now, &Guard::new()).unwrap().is_some()
    }

    fn free_devices(&self) -> u32 {
        free_devices(&self.index.devices)
    }
}

/// How many devices more may wait.
fn free_devices(quota: &DeviceQuota) -> u32 {
    let mut taken = 0;
    while quota.take(&client("app")) {
        taken += 1;
    }
    (0..taken).for_each(|_| quota.give_back(&client("app")));
    taken
}

#[test]
fn nothing_is_told_of_a_redemption_before_it_is_durable() {
    let mut desk = Desk::new();
    let code = desk.code();
    let redemptions = [(); 2].map(|()| desk.worker.redemption(code));
    let accesses = redemptions.each_ref().map(|minted| minted.access);
    let mut answers = redemptions.map(|minted| desk.tell(|reply| PersonRequest::Redeem(minted.request, reply)));
    let mut look = desk.tell(|reply| PersonRequest::Describe(code.grant_id, START, reply));
    let mut end = desk.tell(|reply| PersonRequest::End(code.grant_id, None, reply));
    assert!(answers.iter_mut().all(|answer| told(answer).is_none()), "not even that the code was used before");
    assert!(told(&mut look).is_none() && told(&mut end).is_none());

    let mut desk = desk.crashed();
    assert!(accesses.iter().all(|access| !desk.is_active(*access)));
    let again = desk.worker.redemption(code);
    assert!(desk.ask(|reply| PersonRequest::Redeem(again.request, reply)).is_ok(), "nobody was told that it was used");
    assert!(desk.is_active(again.access));
}

#[test]
fn an_end_is_neither_seen_nor_told_before_it_is_durable() {
    let mut desk = Desk::new();
    let code = desk.code();
    let minted = desk.worker.redemption(code);
    desk.ask(|reply| PersonRequest::Redeem(minted.request, reply)).unwrap();
    let mut end = desk.tell(|reply| PersonRequest::End(code.grant_id, None, reply));
    let refreshing = desk.worker.refreshing(&minted.refresh);
    let mut refresh = desk.tell(|reply| PersonRequest::Refresh(refreshing.request, reply));
    assert!(told(&mut end).is_none() && told(&mut refresh).is_none() && desk.is_active(minted.access));
    desk.rig.commit();
    assert_eq!(told(&mut end), Some(Ok(true)));
    assert_eq!(refused(&told(&mut refresh).unwrap()), INVALID_GRANT);
    assert!(!desk.is_active(minted.access));
    let desk = desk.crashed();
    assert!(!desk.is_active(minted.access), "it stays so");
}

#[test]
fn an_answer_whose_access_token_lives_no_more_is_given_again_with_a_new_one() {
    let revoked = |desk: &mut Desk, access| desk.revoke(access);
    let expired = |desk: &mut Desk, _| desk.pass(10);
    let removed = |desk: &mut Desk, _| desk.pass(60);
    for (number, end) in [revoked as fn(&mut Desk, TokenReference), expired, removed].into_iter().enumerate() {
        let mut desk = Desk::new();
        let code = desk.code();
        let granted = desk.worker.redemption(code);
        desk.ask(|reply| PersonRequest::Redeem(granted.request, reply)).unwrap();
        let (access, told) = desk.refresh(&granted.refresh, None);
        assert!(matches!(told, Ok(Refreshed::Granted(_))) && desk.is_active(access));
        assert_eq!(desk.refresh(&granted.refresh, None), (access, told), "while it lives it is the same");
        end(&mut desk, access);
        assert_eq!(desk.refresh(&granted.refresh, None), (access, Ok(Refreshed::Outlived)), "{number}");
        for _ in 0..2 {
            let new = AccessToken::random_of(code.grant_id.routing_id(), &desk.worker.random).unwrap().reference();
            let (new, told) = desk.refresh(&granted.refresh, Some(new));
            let Ok(Refreshed::Granted(token)) = told else { panic!("{told:?}") };
            assert_eq!(token.expires_at, desk.worker.now.as_seconds_u32() + 10);
            assert!(desk.is_active(new) && !desk.is_active(access), "{number}");
            desk = desk.crashed();
            assert!(desk.is_active(new) && !desk.is_active(access), "{number}");
        }
        let successor = desk.worker.refreshing(&granted.refresh).refresh;
        let (last, told) = desk.refresh(&successor, None);
        assert!(matches!(told, Ok(Refreshed::Granted(_))) && desk.is_active(last), "the successor stayed what it was");
    }
}

#[test]
fn what_would_be_granted_is_told_at_once_and_grants_nothing() {
    let mut desk = Desk::new();
    let code = desk.code();
    let granted = desk.worker.redemption(code);
    let describe = |request: &RedeemCode| RedeemCode { access: None, ..request.clone() };
    for _ in 0..2 {
        let request = describe(&granted.request);
        let mut answer = desk.tell(|reply| PersonRequest::Redeem(request, reply));
        let terms = told(&mut answer).expect("it rests on nothing that is not durable").and_then(Exchanged::described);
        assert_eq!(terms.unwrap().subject(), "ada");
        assert!(!desk.is_active(granted.access));
    }
    desk.ask(|reply| PersonRequest::Redeem(granted.request.clone(), reply)).unwrap();
    for _ in 0..2 {
        let request = RefreshGrant { access: None, ..desk.worker.refreshing(&granted.refresh).request };
        let scope = Some(Scope::parse("read").unwrap());
        let request = RefreshGrant { scope, ..request };
        let mut answer = desk.tell(|reply| PersonRequest::Refresh(request, reply));
        let terms = told(&mut answer).expect("likewise").and_then(Exchanged::described).unwrap();
        assert_eq!(terms.client.scope.as_str(), "read");
    }
    let (access, refreshed) = desk.refresh(&granted.refresh, None);
    assert!(matches!(refreshed, Ok(Refreshed::Granted(_))) && desk.is_active(access), "it was not used");
    // Who comes again with a code is found out as soon as they ask what it would give, and that is durable before it is told.
    let request = describe(&granted.request);
    let mut answer = desk.tell(|reply| PersonRequest::Redeem(request, reply));
    assert!(told(&mut answer).is_none() && desk.is_active(access));
    desk.rig.commit();
    assert_eq!((refused(&told(&mut answer).unwrap()), desk.is_active(access)), (INVALID_GRANT, false));
}

#[test]
fn a_new_access_token_beside_an_answer_is_given_inside_the_window_alone() {
    let mut desk = Desk::new();
    let code = desk.code();
    let granted = desk.worker.redemption(code);
    desk.ask(|reply| PersonRequest::Redeem(granted.request, reply)).unwrap();
    desk.refresh(&granted.refresh, None).1.unwrap();
    desk.pass(299);
    assert_eq!(desk.refresh(&granted.refresh, None).1, Ok(Refreshed::Outlived));
    desk.pass(1);
    let new = AccessToken::random_of(code.grant_id.routing_id(), &desk.worker.random).unwrap().reference();
    let (new, late) = desk.refresh(&granted.refresh, Some(new));
    assert_eq!((refused(&late), desk.is_active(new)), (INVALID_GRANT, false));
    let successor = desk.worker.refreshing(&granted.refresh).refresh;
    assert_eq!(refused(&desk.refresh(&successor, None).1), INVALID_GRANT, "it was reuse");
}

#[test]
fn a_grant_is_ended_by_its_own_client_or_by_nobodys() {
    let mut desk = Desk::new();
    let code = desk.code();
    let minted = desk.worker.redemption(code);
    desk.ask(|reply| PersonRequest::Redeem(minted.request, reply)).unwrap();
    let id = code.grant_id;
    let foreign = desk.ask(|reply| PersonRequest::End(id, Some(client("other")), reply));
    assert_eq!((foreign, desk.is_active(minted.access)), (Err(ShardError::NotOwner.into()), true));
    assert_eq!(desk.ask(|reply| PersonRequest::End(id, Some(client("app")), reply)), Ok(true));
    assert_eq!(desk.ask(|reply| PersonRequest::End(id, Some(client("app")), reply)), Ok(true), "whoever ended it");
    assert_eq!(desk.ask(|reply| PersonRequest::End(GrantId::from_bytes([9; 16]), None, reply)), Ok(false));
    assert!(!desk.is_active(minted.access));
}

#[test]
fn a_code_is_not_another_clients_nor_good_when_it_has_expired() {
    let mut desk = Desk::new();
    let code = desk.code();
    let foreign = RedeemCode { client_id: client("other"), ..desk.worker.redemption(code).request };
    assert_eq!(refused(&desk.ask(|reply| PersonRequest::Redeem(foreign, reply))), INVALID_GRANT);
    let unlike = desk.worker.code_of(CodeKind::Authorization, code.grant_id);
    let unlike = desk.worker.redemption(unlike).request;
    assert_eq!(refused(&desk.ask(|reply| PersonRequest::Redeem(unlike, reply))), INVALID_GRANT);
    desk.pass(u64::from(CODE_SECONDS) - 1);
    let good = desk.worker.redemption(code);
    assert!(desk.ask(|reply| PersonRequest::Redeem(good.request, reply)).is_ok(), "none of that has used it up");
    let late = desk.code();
    desk.pass(u64::from(CODE_SECONDS));
    let late = desk.worker.redemption(late).request;
    assert_eq!(refused(&desk.ask(|reply| PersonRequest::Redeem(late, reply))), INVALID_GRANT);
}

#[test]
fn a_device_waits_asks_slower_when_told_to_and_gets_its_tokens_once() {
    use OAuthErrorCode::{AccessDenied, AuthorizationPending, ExpiredToken, SlowDown};
    let mut desk = Desk::new();
    let [approved, denied, late] = [1, 2, 3].map(|number| desk.device(number));
    assert_eq!(refused(&desk.poll(approved)), Some(AuthorizationPending));
    desk.pass(4);
    assert_eq!(refused(&desk.poll(approved)), Some(SlowDown));
    desk.pass(9);
    assert_eq!(refused(&desk.poll(approved)), Some(SlowDown), "five seconds more");
    desk.pass(15);
    assert_eq!(refused(&desk.poll(approved)), Some(AuthorizationPending));
    assert_eq!(desk.decide(1, desk.worker.approval()), Ok(true));
    assert_eq!(desk.decide(1, DeviceAnswer::Deny), Ok(false), "it was decided");
    assert_eq!(desk.decide(2, DeviceAnswer::Deny), Ok(true));
    assert_eq!(desk.decide(9, DeviceAnswer::Deny), Ok(false), "there is none");
    let mut desk = desk.crashed();
    assert_eq!(refused(&desk.poll(denied)), Some(AccessDenied));
    assert!(desk.poll(approved).is_ok());
    assert_eq!(refused(&desk.poll(approved)), INVALID_GRANT);
    desk.pass(u64::from(DEVICE_SECONDS) - 28);
    assert_eq!(refused(&desk.poll(late)), Some(ExpiredToken));
    assert_eq!(desk.decide(3, desk.worker.approval()), Ok(false), "nobody waits for it");
}

#[test]
fn a_user_code_is_one_devices_at_a_time() {
    let mut desk = Desk::new();
    let first = desk.device(1);
    let other = desk.worker.new_device(RoutingId(1));
    assert_eq!(desk.ask(|reply| PersonRequest::StoreDevice(other, reply)), Err(ShardError::Busy.into()));
    assert_eq!(desk.decide(1, desk.worker.approval()), Ok(true));
    assert!(desk.poll(first).is_ok());
    let since = desk.worker.new_device(RoutingId(1));
    let code = since.code;
    assert_eq!(desk.ask(|reply| PersonRequest::StoreDevice(since, reply)), Ok(()), "it is free again");
    assert_eq!(refused(&desk.poll(code)), Some(OAuthErrorCode::AuthorizationPending));
    assert_eq!(refused(&desk.poll(first)), INVALID_GRANT);
}

#[test]
fn devices_count_until_they_are_redeemed_or_expire_also_after_a_restart() {
    let mut desk = Desk::new();
    let codes = [1, 2, 3].map(|number| desk.device(number));
    assert_eq!(desk.free_devices(), DEVICES_PENDING_MAX - 3);
    assert_eq!(desk.decide(1, desk.worker.approval()), Ok(true));
    assert!(desk.poll(codes[0]).is_ok());
    assert_eq!(desk.free_devices(), DEVICES_PENDING_MAX - 2);
    let mut desk = desk.crashed();
    desk.pass(0);
    assert_eq!(desk.free_devices(), DEVICES_PENDING_MAX - 2);
    desk.pass(u64::from(DEVICE_SECONDS) + 60);
    assert_eq!(desk.free_devices(), DEVICES_PENDING_MAX);
}

#[test]
fn devices_that_expire_before_their_shard_is_rebuilt_after_a_panic_count_no_more() {
    in_town(async |mut town| {
        let shards = town.shards();
        let is_of_first = |id: &RoutingId| shards.router.shard_of(shards.router.partition_of(*id)) == 0;
        let mut routing_ids = (0..).map(RoutingId).filter(is_of_first);
        let store = async |town: &Town, routing_id| {
            assert!(town.shards().device_quota().take(&client("app")));
            town.shards().store_device(town.worker.new_device(routing_id)).await.unwrap();
        };
        store(&town, routing_ids.next().unwrap()).await;
        store(&town, routing_ids.next().unwrap()).await;
        let half = Duration::from_secs(u64::from(DEVICE_SECONDS) / 2);
        town.pass(half);
        store(&town, routing_ids.next().unwrap()).await;
        assert_eq!(free_devices(shards.device_quota()), DEVICES_PENDING_MAX - 3);
        // Two have expired, and the shard panics before it looks at them.
        town.pass(half);
        explode(&shards, &[]);
        let view = &shards.shards[0].view;
        until("it is rebuilt", || view.metrics.rebuilds.value() == 1).await;
        assert_eq!(free_devices(shards.device_quota()), DEVICES_PENDING_MAX - 1);
        store(&town, routing_ids.next().unwrap()).await;
        assert_eq!(free_devices(shards.device_quota()), DEVICES_PENDING_MAX - 2);
        town.pass(4 * half);
        shards.tick(town.worker.now);
        until("the others have expired", || free_devices(shards.device_quota()) == DEVICES_PENDING_MAX).await;
        town.house.close();
    });
}

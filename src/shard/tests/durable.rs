//! Answers wait for what they rest on. The commit thread is a call here, and the disk is in memory.

use std::sync::mpsc;
use std::time::Duration;

use actix::{Context, Handler};
use futures_util::future::poll_immediate;
use tokio::sync::oneshot::Receiver;

use super::*;
use crate::journal::sim::{Random, Rig, SimDisk, options};
use crate::journal::{Lane, Pressure, open_without_threads};
use crate::shard::message::{Issue, Revoke};
use crate::shard::recovery::Recovery;
use crate::token::state::{Registries, ShardState};

/// A shard without a thread, whose journal commits when it is told to.
struct Desk {
    shard: Shard,
    view: Arc<ShardView>,
    rig: Rig,
}

type Answer = Receiver<Result<(), ShardError>>;

const PENDING: Option<Result<(), ShardError>> = None;
const DONE: Option<Result<(), ShardError>> = Some(Ok(()));
const WINDOW: Duration = Duration::from_millis(50);

/// What was answered so far.
fn told(answer: &mut Answer) -> Option<Result<(), ShardError>> {
    answer.try_recv().ok()
}

impl Desk {
    fn new(relaxed_window: Option<Duration>) -> Self {
        let mut rig = Rig::open_with(&SimDisk::new(), options(1)).unwrap();
        let (lane, clock) = (rig.lanes.remove(0), clock_on(&rig.time));
        let state = ShardState::new(Arc::from("https://as.example"));
        let shard =
            Shard::new(ShardParts { state, lane, clock, relaxed_window, rebuild: None }, PeopleIndex::default());
        Self { view: shard.view(), shard, rig }
    }

    fn issue(&mut self, number: u64) -> Answer {
        self.tell(|reply| Issue { token: token(number), partition: Partition(0), reply })
    }

    fn revoke_as(&mut self, caller: &str, number: u64) -> Answer {
        let token = RevokeToken { reference: reference(number), caller: client(caller), now: START };
        self.tell(|reply| Revoke { token, reply })
    }

    fn revoke(&mut self, number: u64) -> Answer {
        self.revoke_as("app", number)
    }

    fn tell<M>(&mut self, message: impl FnOnce(Reply) -> M) -> Answer
    where
        M: actix::Message<Result = ()>,
        Shard: Handler<M, Result = ()>,
    {
        let (reply, answer) = oneshot::channel();
        self.view.mailbox.fetch_add(1, Ordering::Relaxed);
        self.shard.handle(message(reply), &mut Context::new());
        answer
    }

    fn commit(&mut self) {
        self.rig.commit();
    }

    fn is_active(&self, number: u64) -> bool {
        self.view.find_active(reference(number), START, &Guard::new()).unwrap().is_some()
    }

    /// A token that is durable.
    fn issued(&mut self, number: u64) {
        let mut answer = self.issue(number);
        self.commit();
        assert_eq!(told(&mut answer), DONE);
    }
}

#[test]
fn an_issue_is_answered_once_it_is_durable() {
    let mut desk = Desk::new(None);
    let mut answer = desk.issue(1);
    assert_eq!(told(&mut answer), PENDING);
    desk.commit();
    assert_eq!(told(&mut answer), DONE);
    assert!(desk.is_active(1));
}

#[test]
fn a_revocation_is_neither_seen_nor_answered_before_it_is_durable() {
    let mut desk = Desk::new(None);
    desk.issued(1);
    let mut answer = desk.revoke(1);
    assert_eq!((told(&mut answer), desk.is_active(1)), (PENDING, true));
    desk.commit();
    assert_eq!((told(&mut answer), desk.is_active(1)), (DONE, false));
}

#[test]
fn a_revocation_that_changes_nothing_waits_for_the_one_that_did() {
    let mut desk = Desk::new(None);
    desk.issued(1);
    let [mut first, mut second] = [desk.revoke(1), desk.revoke(1)];
    assert_eq!([told(&mut first), told(&mut second)], [PENDING; 2]);
    desk.commit();
    assert_eq!([told(&mut first), told(&mut second)], [DONE; 2]);
    assert_eq!(told(&mut desk.revoke(1)), DONE, "all is durable: there is nothing to wait for");
}

#[test]
fn the_revocation_of_an_unknown_token_waits_for_what_is_before_it() {
    let mut desk = Desk::new(None);
    desk.issue(1);
    let mut answer = desk.revoke(2);
    assert_eq!(told(&mut answer), PENDING);
    desk.commit();
    assert_eq!(told(&mut answer), DONE);
}

#[test]
fn a_refusal_waits_for_the_token_that_it_speaks_of() {
    for relaxed_window in [None, Some(WINDOW)] {
        let mut desk = Desk::new(relaxed_window);
        desk.issue(1);
        let mut answer = desk.revoke_as("other", 1);
        assert_eq!(told(&mut answer), PENDING);
        desk.commit();
        assert_eq!((told(&mut answer), desk.is_active(1)), (Some(Err(ShardError::NotOwner)), true));
    }
}

#[test]
fn relaxed_answers_an_issue_early_and_nothing_else() {
    let mut desk = Desk::new(Some(WINDOW));
    assert_eq!(told(&mut desk.issue(1)), DONE);
    let mut answers = [desk.revoke(1), desk.revoke(1), desk.revoke(2)];
    assert_eq!(answers.each_mut().map(told), [PENDING; 3]);
    assert!(desk.is_active(1));
    desk.commit();
    assert_eq!(answers.each_mut().map(told), [DONE; 3]);
    assert!(!desk.is_active(1));
}

#[test]
fn relaxed_waits_once_a_token_has_been_usable_for_the_window_and_is_not_durable() {
    let mut desk = Desk::new(Some(WINDOW));
    desk.issue(1);
    desk.rig.time.advance(WINDOW);
    let mut late = desk.issue(2);
    assert_eq!(told(&mut late), PENDING);
    desk.commit();
    assert_eq!(told(&mut late), DONE);
    assert_eq!(told(&mut desk.issue(3)), DONE);
}

#[test]
fn a_full_lane_refuses_at_once_and_changes_nothing() {
    for relaxed_window in [None, Some(WINDOW)] {
        let mut desk = Desk::new(relaxed_window);
        desk.issued(0);
        let capacity = options(1).lane_capacity as u64;
        let mut accepted: Vec<Answer> = (1..=capacity).map(|number| desk.issue(number)).collect();
        let answers = [desk.issue(900), desk.revoke(0), desk.revoke(1), desk.revoke(901), desk.revoke_as("other", 0)];
        assert_eq!(answers.map(|mut answer| told(&mut answer)), [Some(Err(ShardError::Busy)); 5]);
        desk.commit();
        assert!(accepted.iter_mut().all(|answer| told(answer) == DONE));
        assert!((0..=capacity).all(|number| desk.is_active(number)));
        assert!(!desk.is_active(900));
        let mut again = desk.revoke(0);
        desk.commit();
        assert_eq!((told(&mut again), desk.is_active(0)), (DONE, false));
    }
}

#[test]
fn without_room_on_the_disk_issue_is_refused_and_revocation_goes_on_until_there_is_none_at_all() {
    let refused = Some(Err(ShardError::NoDiskSpace));
    let mut desk = Desk::new(None);
    desk.issued(1);
    // The next commit measures, and finds that there is room after all.
    let level = desk.rig.committer.shared.space.pressure.clone();
    for (pressure, issue, revocation) in [
        (Pressure::NoLongLived, PENDING, PENDING),
        (Pressure::RevocationsOnly, refused, PENDING),
        (Pressure::Full, refused, refused),
    ] {
        let number = 10 + u64::from(pressure.number());
        desk.issued(number);
        level.set(pressure);
        let appended = desk.shard.lane.appended();
        let mut answers = [desk.issue(100 + number), desk.revoke(number)];
        assert_eq!(answers.each_mut().map(told), [issue, revocation], "{pressure}");
        let accepted = [issue, revocation].iter().filter(|answer| **answer == PENDING).count() as u64;
        assert_eq!(desk.shard.lane.appended(), appended + accepted);
        assert!(desk.is_active(1) && desk.is_active(number), "reading goes on, and nothing is changed yet");
        desk.commit();
        assert_eq!((desk.is_active(100 + number), desk.is_active(number)), (issue == PENDING, revocation != PENDING));
    }
    level.set(Pressure::Normal);
    assert_eq!(told(&mut desk.issue(2)), PENDING, "it works again once there is room");
}

/// Issues and revokes at random, and cuts the power at a random operation of the disk, which keeps, drops or tears what was
/// not synced.
#[test]
fn what_was_answered_or_seen_survives_every_crash() {
    let mut revocations_told = 0;
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let relaxed_window = (seed % 3 == 0).then_some(WINDOW);
        let mut desk = Desk::new(relaxed_window);
        let power_cut_in = 5 + random.below(40);
        desk.rig.disk.faults(|faults| faults.power_cut_in = Some(power_cut_in));
        let mut tokens: Vec<Told> = Vec::new();
        loop {
            match random.below(8) {
                0..4 => tokens.push(Told::of(desk.issue(tokens.len() as u64))),
                number @ 4..7 if !tokens.is_empty() => {
                    let place = random.below(tokens.len() as u64);
                    let index = usize::try_from(place).unwrap();
                    match number {
                        6 => tokens[index].refusals.push(desk.revoke_as("other", place)),
                        _ => tokens[index].revocations.push(desk.revoke(place)),
                    }
                }
                _ if desk.rig.committer.commit_ready().is_err() => break,
                _ => {}
            }
            for (token, number) in tokens.iter_mut().zip(0..) {
                token.seen_revoked |= !desk.is_active(number);
            }
        }
        let after = recovered(&desk.rig.disk.crash(seed));
        for (mut token, number) in tokens.into_iter().zip(0_u64..) {
            let context = format!("token {number} of seed {seed}");
            let known = after.find(reference(number).digest);
            let issue = told(&mut token.issue);
            if issue == Some(Err(ShardError::Busy)) {
                assert!(known.is_none(), "{context}");
                continue;
            }
            let is_revoked = known.as_ref().is_some_and(|known| known.is_revoked);
            let was_told = |answers: &mut Vec<Answer>, what| answers.iter_mut().any(|answer| told(answer) == what);
            let was_revoked = was_told(&mut token.revocations, DONE);
            let was_refused = was_told(&mut token.refusals, Some(Err(ShardError::NotOwner)));
            let was_issued = issue == DONE && relaxed_window.is_none();
            assert!(known.is_some() || !(was_issued || was_revoked || was_refused), "{context} is gone");
            assert!(is_revoked || !(was_revoked || token.seen_revoked), "{context} came back");
            assert!(!is_revoked || !token.revocations.is_empty(), "{context} was revoked by nobody");
            revocations_told += u32::from(was_revoked);
        }
    }
    assert!(revocations_told > 100, "{revocations_told} revocations say little");
}

/// What the world was told of a token before the crash.
struct Told {
    issue: Answer,
    revocations: Vec<Answer>,
    /// Revocations by who does not own it.
    refusals: Vec<Answer>,
    seen_revoked: bool,
}

impl Told {
    const fn of(issue: Answer) -> Self {
        Self { issue, revocations: Vec::new(), refusals: Vec::new(), seen_revoked: false }
    }
}

fn recovered(disk: &SimDisk) -> ShardState {
    let router = Router::new([0; 16], 1);
    let mut recovery = Recovery::begin(&router, 1, 1, &Arc::from("i"), &Registries::default(), START.as_seconds_u32());
    let clock = clock_on(&ManualTime::new(START));
    open_without_threads(Arc::new(disk.clone()), options(1), clock, &mut |block| recovery.apply(block)).unwrap();
    recovery.finish().unwrap().remove(0)
}

#[test]
fn a_full_mailbox_refuses_at_once_and_changes_nothing() {
    actix_rt::System::new().block_on(async {
        let state = ShardState::new(Arc::from("i"));
        let clock = clock_on(&ManualTime::new(START));
        let parts = ShardParts { state, lane: Lane::memory(), clock, relaxed_window: None, rebuild: None };
        let running = RunningShards::start(Router::new([0; 16], 1), [parts]);
        let shards = running.shards();
        // The mailbox has its bound only once the actor runs.
        shards.issue(token(0)).await.unwrap();
        let (release, held) = mpsc::channel::<()>();
        let (standing, stands) = oneshot::channel();
        running.arbiters[0].spawn_fn(move || {
            let _ = standing.send(());
            let _ = held.recv();
        });
        stands.await.unwrap();
        let mut accepted = Vec::new();
        let refused = loop {
            let number = accepted.len() as u64 + 1;
            let mut issuing = Box::pin(shards.issue(token(number)));
            match poll_immediate(issuing.as_mut()).await {
                None => accepted.push(issuing),
                Some(answer) => break (number, answer),
            }
            assert!(number < 10_000, "the mailbox has no bound");
        };
        assert_eq!(refused.1, Err(ShardError::Busy));
        assert_eq!(shards.revoke(reference(0), &client("app"), START).await, Err(ShardError::Busy));
        assert_eq!(shards.views().map(ShardView::mailbox_depth).sum::<u64>(), accepted.len() as u64);
        drop(release);
        for issuing in &mut accepted {
            issuing.await.unwrap();
        }
        let is_active = |number| shards.read().find_active(reference(number), START).unwrap().is_some();
        assert!((0..refused.0).all(is_active));
        assert!(!is_active(refused.0));
        running.stop();
    });
}

//! The actor that owns a shard.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::{Actor, AsyncContext as _, Context, Handler};
use rkyv::util::AlignedVec;

use crate::clock::{Clock, UnixTime};
use crate::journal::{self, Entry, Lane, Pressure};
use crate::shard::message::{Issue, IssueToken, Rebuilt, Reply, Revoke, RevokeToken, Settle, ShardMessage, Tick};
use crate::shard::people::{Indexed, PeopleIndex};
use crate::shard::recovery::Rebuild;
use crate::shard::{ShardError, ShardView};
use crate::token::access_token::{Partition, TokenReference};
use crate::token::event::{KIND_ISSUED, KIND_REVOKED, SCHEMA_ISSUED, SCHEMA_REVOKED, encode_issued, encode_revoked};
use crate::token::state::{NewToken, ShardState};

/// Owns the tokens of one shard. Applies a change to its own state at once, appends the record with the waiting reply, and
/// goes on; the commit that makes the record durable answers.
pub struct Shard {
    /// `None` while the shard is being rebuilt.
    state: Option<ShardState>,
    pub(super) lane: Lane,
    view: Arc<ShardView>,
    clock: Arc<Clock>,
    early_answers: Option<EarlyAnswers>,
    rebuild: Option<Rebuild>,
    rebuild_phase: RebuildPhase,
    /// When the shard panicked lately.
    panics: Vec<Duration>,
    people: Indexed,
    /// Since when it has answered without a break, in seconds since the epoch.
    serving_since: u32,
}

/// Where the rebuild after a panic stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RebuildPhase {
    NotNeeded,
    /// The lane had no room to wait for what was sent before: tried again at every tick.
    Waiting,
    Running,
}

/// This many panics within [`PANIC_WINDOW`] end the process.
const PANICS_MAX: usize = 3;
const PANIC_WINDOW: Duration = Duration::from_secs(60);

/// What a shard is made of.
pub struct ShardParts {
    /// Its state after recovery.
    pub state: ShardState,
    /// Its way to the journal.
    pub lane: Lane,
    /// The time.
    pub clock: Arc<Clock>,
    /// How long a token may be usable before it is durable (durability class `relaxed`); `None` waits for each.
    pub relaxed_window: Option<Duration>,
    /// How to make the state anew after a panic; without it a panic ends the process.
    pub rebuild: Option<Rebuild>,
}

impl Shard {
    pub(super) fn new(parts: ShardParts, people: PeopleIndex) -> Self {
        let ShardParts { state, lane, clock, relaxed_window, rebuild } = parts;
        let people = Indexed::new(people, &state);
        let view = Arc::new(ShardView::new(state.reader(), lane.durable()));
        view.metrics.tokens.set(state.tokens() as u64);
        let early_answers = relaxed_window.map(EarlyAnswers::new);
        let rebuild_phase = RebuildPhase::NotNeeded;
        let serving_since = clock.now().as_seconds_u32();
        let (state, panics) = (Some(state), Vec::new());
        Self { state, lane, view, clock, early_answers, rebuild, rebuild_phase, panics, people, serving_since }
    }

    pub(super) fn view(&self) -> Arc<ShardView> {
        Arc::clone(&self.view)
    }

    fn issue(&mut self, token: &IssueToken, partition: Partition, reply: Reply) -> Result<(), Refusal> {
        let (state, payload) = match self.ready(Pressure::RevocationsOnly, || encode_issued_token(token)) {
            Ok(ready) => ready,
            Err(error) => return Err(Refusal::at_once(error, reply)),
        };
        let TokenReference { digest, routing_id } = token.reference;
        let new = NewToken { digest, partition, issued_at: token.issued_at, expires_at: token.expires_at };
        state.issue(&new, &token.terms);
        let entry = Entry { kind: KIND_ISSUED, schema: SCHEMA_ISSUED, routing_id: routing_id.0, payload };
        let now = self.clock.monotonic();
        let durable = self.lane.durable().value();
        if self.early_answers.as_mut().is_some_and(|early| early.may_answer(now, durable)) {
            let sequence = self.lane.append(entry, None);
            if let Some(early) = &mut self.early_answers {
                early.note(sequence, now);
            }
            let _ = reply.send(Ok(()));
        } else {
            self.lane.append(entry, Some(answering(reply, Ok(()))));
        }
        Ok(())
    }

    fn revoke(&mut self, token: &RevokeToken, reply: Reply) -> Result<(), Refusal> {
        let digest = token.reference.digest;
        let sequence = self.lane.appended() + 1;
        let known = self.state.as_ref().and_then(|state| state.find(digest));
        let expires_at = known.as_ref().map_or(0, |known| known.expires_at);
        let is_live = known.as_ref().is_some_and(|known| !known.is_revoked && token.now.as_seconds_u32() < expires_at);
        let is_owner = known.is_none_or(|known| known.terms.client.id == token.caller);
        let (state, payload) = match self.ready(Pressure::Full, || encode_revoked(digest, expires_at)) {
            Ok(ready) => ready,
            Err(error) => return Err(Refusal::at_once(error, reply)),
        };
        if !is_owner {
            return Err(Refusal::when_durable(ShardError::NotOwner, reply));
        }
        let answer = answering(reply, Ok(()));
        if is_live {
            state.revoke(digest, sequence);
            let routing_id = token.reference.routing_id.0;
            let entry = Entry { kind: KIND_REVOKED, schema: SCHEMA_REVOKED, routing_id, payload };
            self.lane.append(entry, Some(answer));
        } else {
            // It was revoked before, perhaps not durably yet: this answer says so too, and waits for it.
            self.lane.reply_when_durable(answer);
        }
        Ok(())
    }

    pub(super) const fn state(&self) -> Option<&ShardState> {
        self.state.as_ref()
    }

    /// The state, for who puts it back.
    pub(super) const fn take_state(&mut self) -> Option<ShardState> {
        self.state.take()
    }

    pub(super) fn put_state(&mut self, state: ShardState) {
        self.state = Some(state);
    }

    pub(super) const fn indexed(&mut self) -> &mut Indexed {
        &mut self.people
    }

    pub(super) fn now(&self) -> UnixTime {
        self.clock.now()
    }

    pub(super) const fn serving_since(&self) -> u32 {
        self.serving_since
    }

    fn settle(&mut self, reply: Reply) -> Result<(), Refusal> {
        Err(match &self.state {
            None => Refusal::at_once(ShardError::Unavailable, reply),
            Some(_) if !self.lane.has_room() => Refusal::at_once(ShardError::Busy, reply),
            Some(_) => {
                self.lane.reply_when_durable(answering(reply, Ok(())));
                return Ok(());
            }
        })
    }

    /// The state and the encoded record, if there is a state, and room for the record: on the lane, and on the disk as long
    /// as the pressure is below `refused_from`.
    fn ready(
        &mut self,
        refused_from: Pressure,
        encode: impl FnOnce() -> Result<AlignedVec, rkyv::rancor::Error>,
    ) -> Result<(&mut ShardState, AlignedVec), ShardError> {
        if self.state.is_some() {
            self.lane.check_room(Some(refused_from))?;
        }
        let state = self.state.as_mut().ok_or(ShardError::Unavailable)?;
        let payload = encode().map_err(|_| ShardError::Busy)?;
        Ok((state, payload))
    }

    /// Handles one message, with a step of expiry, and stands up again if it panics. `handle` answers whether it was a success.
    pub(super) fn handle_with(
        &mut self,
        kind: ShardMessage,
        context: &Context<Self>,
        handle: impl FnOnce(&mut Self) -> bool,
    ) {
        self.view.mailbox.fetch_sub(1, Ordering::Relaxed);
        let started = self.clock.monotonic();
        let handled = catch_unwind(AssertUnwindSafe(|| {
            let is_ok = handle(self);
            self.expire(self.clock.at(started));
            is_ok
        }));
        let is_ok = handled.unwrap_or_else(|_| {
            self.on_panic(started);
            self.begin_rebuild(context);
            false
        });
        let duration = self.clock.monotonic().saturating_sub(started);
        self.view.metrics.messages.record(kind, duration, is_ok);
    }

    fn conclude(&mut self, outcome: Result<(), Refusal>) -> bool {
        outcome.map_err(|refusal| self.refuse(refusal)).is_ok()
    }

    /// A refusal too may rest on a change that a crash would take back, so it waits for what is before it.
    fn refuse(&mut self, Refusal { error, reply, waits }: Refusal) {
        if waits {
            self.lane.reply_when_durable(answering(reply, Err(error)));
        } else {
            let _ = reply.send(Err(error));
        }
    }

    /// One bounded step of expiry. Answers whether there may be more to do.
    fn expire(&mut self, now: UnixTime) -> bool {
        let Some(state) = &mut self.state else { return false };
        let has_more = state.expire(now.as_seconds_u32());
        self.people.take_out(state.take_gone());
        self.view.metrics.tokens.set(state.tokens() as u64);
        self.view.metrics.expired.set(state.expired());
        has_more
    }

    /// The state may be half changed: it is given up, and nobody reads it any more.
    fn on_panic(&mut self, now: Duration) {
        self.view.is_available.store(false, Ordering::Release);
        self.state = None;
        self.panics.retain(|panic| now.saturating_sub(*panic) < PANIC_WINDOW);
        self.panics.push(now);
        if self.panics.len() >= PANICS_MAX || self.rebuild.is_none() {
            tracing::error!(
                panics = self.panics.len(),
                "a shard panicked and cannot be rebuilt; the process stops, restart it to recover what is durable"
            );
            std::process::abort();
        }
        self.rebuild_phase = RebuildPhase::Waiting;
        tracing::error!("a shard panicked; it answers 503 until it is rebuilt from the journal");
    }

    /// Waits until all that was sent is durable, then lets a thread of its own read the journal.
    fn begin_rebuild(&mut self, context: &Context<Self>) {
        if self.rebuild_phase != RebuildPhase::Waiting || !self.lane.has_room() {
            return;
        }
        let Some(rebuild) = self.rebuild.clone() else { return };
        self.rebuild_phase = RebuildPhase::Running;
        let (actor, view) = (context.address(), Arc::clone(&self.view));
        self.lane.reply_when_durable(Box::new(move || rebuild.spawn(actor, view)));
    }

    fn end_rebuild(&mut self, state: ShardState) {
        self.view.replace_reader(state.reader());
        self.people.replace(&state);
        self.serving_since = self.clock.now().as_seconds_u32();
        self.state = Some(state);
        self.rebuild_phase = RebuildPhase::NotNeeded;
        self.view.metrics.rebuilds.set(self.view.metrics.rebuilds.value() + 1);
        self.view.is_available.store(true, Ordering::Release);
        tracing::info!("the shard is rebuilt and answers again");
    }
}

/// An answer that is no success.
struct Refusal {
    error: ShardError,
    reply: Reply,
    /// Whether it rests on the state, and so waits until that is durable.
    waits: bool,
}

impl Refusal {
    const fn at_once(error: ShardError, reply: Reply) -> Self {
        Self { error, reply, waits: false }
    }

    const fn when_durable(error: ShardError, reply: Reply) -> Self {
        Self { error, reply, waits: true }
    }
}

fn answering(reply: Reply, answer: Result<(), ShardError>) -> journal::Reply {
    Box::new(move || {
        // Who asked may have gone away meanwhile.
        let _ = reply.send(answer);
    })
}

fn encode_issued_token(token: &IssueToken) -> Result<AlignedVec, rkyv::rancor::Error> {
    encode_issued(token.reference.digest, token.issued_at, token.expires_at, &token.terms.client)
}

/// Whether a token may be answered before it is durable: only while nothing older than the window waits for its commit.
/// Exact to the millisecond.
struct EarlyAnswers {
    window: Duration,
    /// Sequences that were appended and when, oldest first, at most one per millisecond.
    pending: VecDeque<(u64, Duration)>,
}

impl EarlyAnswers {
    const fn new(window: Duration) -> Self {
        Self { window, pending: VecDeque::new() }
    }

    fn may_answer(&mut self, now: Duration, durable: u64) -> bool {
        while self.pending.front().is_some_and(|(sequence, _)| *sequence <= durable) {
            self.pending.pop_front();
        }
        self.pending.front().is_none_or(|(_, since)| now.saturating_sub(*since) < self.window)
    }

    fn note(&mut self, sequence: u64, now: Duration) {
        if self.pending.back().is_none_or(|(_, since)| now.saturating_sub(*since) >= Duration::from_millis(1)) {
            self.pending.push_back((sequence, now));
        }
    }
}

impl Actor for Shard {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_CAPACITY);
    }
}

/// Messages that may wait in a shard's mailbox; one more is refused with 503.
const MAILBOX_CAPACITY: usize = 4096;

impl Handler<Issue> for Shard {
    type Result = ();

    fn handle(&mut self, Issue { token, partition, reply }: Issue, context: &mut Self::Context) {
        self.handle_with(ShardMessage::Issue, context, |shard| {
            let issued = shard.issue(&token, partition, reply);
            shard.conclude(issued)
        });
    }
}

impl Handler<Revoke> for Shard {
    type Result = ();

    fn handle(&mut self, Revoke { token, reply }: Revoke, context: &mut Self::Context) {
        self.handle_with(ShardMessage::Revoke, context, |shard| {
            let revoked = shard.revoke(&token, reply);
            shard.conclude(revoked)
        });
    }
}

impl Handler<Settle> for Shard {
    type Result = ();

    fn handle(&mut self, Settle { reply }: Settle, context: &mut Self::Context) {
        self.handle_with(ShardMessage::Settle, context, |shard| {
            let settled = shard.settle(reply);
            shard.conclude(settled)
        });
    }
}

impl Handler<Tick> for Shard {
    type Result = ();

    fn handle(&mut self, Tick { now }: Tick, context: &mut Self::Context) {
        self.begin_rebuild(context);
        let mut has_more = false;
        self.handle_with(ShardMessage::Tick, context, |shard| {
            has_more = shard.expire(now);
            true
        });
        if has_more {
            self.view.mailbox.fetch_add(1, Ordering::Relaxed);
            if context.address().try_send(Tick { now }).is_err() {
                self.view.mailbox.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

impl Handler<Rebuilt> for Shard {
    type Result = ();

    fn handle(&mut self, Rebuilt { state }: Rebuilt, context: &mut Self::Context) {
        self.handle_with(ShardMessage::Rebuilt, context, |shard| {
            shard.end_rebuild(*state);
            true
        });
    }
}

#[cfg(test)]
impl Handler<crate::shard::message::Explode> for Shard {
    type Result = ();

    fn handle(&mut self, message: crate::shard::message::Explode, context: &mut Self::Context) {
        self.handle_with(ShardMessage::Tick, context, |shard| {
            let never_appended = shard.lane.appended() + 1;
            if let Some(state) = &mut shard.state {
                message.spoiled.iter().for_each(|digest| state.revoke(*digest, never_appended));
            }
            panic!("a test made the shard panic");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_answer_waits_once_the_disk_is_slower_than_the_window() {
        let ms = Duration::from_millis;
        let mut early = EarlyAnswers::new(ms(50));
        assert!(early.may_answer(ms(0), 1));
        early.note(2, ms(0));
        early.note(3, ms(49));
        assert!(early.may_answer(ms(49), 1));
        assert!(!early.may_answer(ms(50), 1));
        assert!(early.may_answer(ms(50), 2));
        assert!(!early.may_answer(ms(99), 2));
        assert!(early.may_answer(ms(99), 3));
    }
}

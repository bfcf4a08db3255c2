//! Shards: each owns a part of the tokens, and handles one message at a time.
//!
//! Workers read a shard through its [`ShardView`], without a message; what changes a token goes through its mailbox. A token
//! belongs to the shard that a keyed hash of its routing id names.

pub mod actor;
#[cfg(feature = "bench")]
pub(crate) mod benching;
pub mod message;
pub mod people;
pub mod proof;
pub mod recovery;
pub mod snapshot;

use std::hash::Hasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use actix::dev::ToEnvelope;
use actix::{Actor as _, Addr, Arbiter};
use sdd::{AtomicOwned, Guard, Owned, Tag};
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::client::id::ClientId;
use crate::clock::UnixTime;
use crate::journal::{DurableSequence, NoRoom, run_in_batches};
use crate::shard::actor::{Shard, ShardParts};
use crate::shard::message::{IssueToken, Reply, RevokeToken, ShardMessage};
use crate::shard::people::PeopleIndex;
use crate::telemetry::cell::Gauge;
use crate::telemetry::message::MessageMetrics;
use crate::token::access_token::{Partition, RoutingId, TokenReference};
use crate::token::grant::Grant;
use crate::token::table::{FoundToken, TokenPlace, TokenReader};

/// Finds the shard of a token. Keyed, so that nobody can make tokens that all aim at one actor.
#[derive(Clone)]
pub struct Router {
    key: [u8; 16],
    shards: u64,
}

impl Router {
    /// Spreads tokens over `shards` shards, at least one, by `key`, which is the installation's own.
    #[must_use]
    pub fn new(key: [u8; 16], shards: usize) -> Self {
        Self { key, shards: u64::try_from(shards).unwrap_or(u64::MAX).max(1) }
    }

    /// The partition that a routing id is in, for as long as the installation has its key.
    #[must_use]
    pub fn partition_of(&self, routing_id: RoutingId) -> Partition {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write_u64(routing_id.0);
        Partition(u16::try_from(hasher.finish() >> 48).unwrap_or_default())
    }

    /// The index of the shard that has a partition.
    #[must_use]
    pub fn shard_of(&self, partition: Partition) -> usize {
        usize::try_from((u64::from(partition.0) * self.shards) >> 16).unwrap_or_default()
    }
}

/// Why a shard did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// Its mailbox or its lane to the journal is full; nothing was changed.
    #[error("the shard has too much to do")]
    Busy,
    /// The journal has too little room left for this; nothing was changed.
    #[error("the journal is near its disk budget, or its disk is full, so this is refused until there is room again")]
    NoDiskSpace,
    /// It is being rebuilt from the journal, or stopping.
    #[error("the shard is being rebuilt")]
    Unavailable,
    /// The token was issued to another client.
    #[error("the token was issued to another client")]
    NotOwner,
}

impl From<NoRoom> for ShardError {
    fn from(reason: NoRoom) -> Self {
        match reason {
            NoRoom::OnTheWay => Self::Busy,
            NoRoom::OnDisk => Self::NoDiskSpace,
        }
    }
}

/// Everything that is known of one shard outside of its actor.
pub struct ShardView {
    reader: AtomicOwned<TokenReader>,
    durable: DurableSequence,
    is_available: AtomicBool,
    /// Messages that have been sent and not yet handled.
    mailbox: AtomicU64,
    /// What the actor counts.
    pub metrics: ShardMetrics,
}

/// What a shard counts of itself.
#[derive(Debug, Default)]
pub struct ShardMetrics {
    /// By type of message.
    pub messages: Arc<MessageMetrics<ShardMessage>>,
    /// Tokens in memory.
    pub tokens: Gauge,
    /// Tokens removed since the start because they had expired.
    pub expired: Gauge,
    /// Rebuilds after a panic.
    pub rebuilds: Gauge,
}

impl ShardView {
    fn new(reader: TokenReader, durable: DurableSequence) -> Self {
        Self {
            reader: AtomicOwned::new(reader),
            durable,
            is_available: AtomicBool::new(true),
            mailbox: AtomicU64::new(0),
            metrics: ShardMetrics::default(),
        }
    }

    /// Messages that wait in the mailbox.
    #[must_use]
    pub fn mailbox_depth(&self) -> u64 {
        self.mailbox.load(Ordering::Relaxed)
    }

    /// The tokens, as they are read now.
    fn reader<'g>(&self, guard: &'g Guard) -> Result<&'g TokenReader, ShardError> {
        self.reader.load(Ordering::Acquire, guard).as_ref().ok_or(ShardError::Unavailable)
    }

    /// From now on these tokens are read.
    fn replace_reader(&self, reader: TokenReader) {
        self.reader.swap((Some(Owned::new(reader)), Tag::None), Ordering::AcqRel);
    }

    /// Where a token will be looked up.
    fn place<'g>(&'g self, reference: TokenReference, guard: &'g Guard) -> Result<Option<Lookup<'g>>, ShardError> {
        if !self.is_available.load(Ordering::Acquire) {
            return Err(ShardError::Unavailable);
        }
        let reader = self.reader(guard)?;
        Ok(reader.place(reference.digest, guard).map(|place| Lookup { view: self, reader, place }))
    }

    /// A token that is active: known, not expired, not durably revoked, its grant in force.
    fn find_active<'g>(
        &'g self,
        reference: TokenReference,
        now: UnixTime,
        guard: &'g Guard,
    ) -> Result<Option<FoundToken<'g>>, ShardError> {
        let Some(lookup) = self.place(reference, guard)? else { return Ok(None) };
        Ok(lookup.find(guard)?.and_then(|found| found.active(now)))
    }

    fn is_active(&self, token: &FoundToken<'_>, now: UnixTime) -> bool {
        now.as_seconds_u32() < token.expires_at
            && !self.is_durable(token.revoked)
            && token.grant.is_in_force()
            && !self.is_durable(token.grant.ended())
    }

    /// Whether what happened at that sequence has happened, and counts: what is not durable yet a crash could take back after
    /// somebody had seen it. 0 is what has not happened.
    fn is_durable(&self, sequence: u64) -> bool {
        sequence != 0 && sequence <= self.durable.value()
    }
}

/// A look-up that has begun. Its memory comes near while whoever began it does something else.
#[derive(Clone, Copy)]
pub struct Lookup<'g> {
    view: &'g ShardView,
    reader: &'g TokenReader,
    place: TokenPlace<'g>,
}

impl<'g> Lookup<'g> {
    fn find(self, guard: &'g Guard) -> Result<Option<Found<'g>>, ShardError> {
        let token = self.reader.find_at(self.place, guard).map_err(|_| ShardError::Busy)?;
        Ok(token.map(|token| Found { view: self.view, token }))
    }
}

/// A token that is there, active or not.
#[derive(Clone, Copy)]
struct Found<'g> {
    view: &'g ShardView,
    token: FoundToken<'g>,
}

impl<'g> Found<'g> {
    /// The token, if it is active.
    fn active(self, now: UnixTime) -> Option<FoundToken<'g>> {
        self.view.is_active(&self.token, now).then_some(self.token)
    }
}

/// The tokens while they are looked at: see [`Shards::read`].
pub struct ReadShards<'a> {
    shards: &'a Shards,
    guard: Guard,
}

impl ReadShards<'_> {
    /// Looks up a token that is active now. Reads memory: no message, no lock, no wait.
    ///
    /// # Errors
    ///
    /// [`ShardError::Unavailable`] while the shard is being rebuilt, [`ShardError::Busy`] when its writer is in the way.
    pub fn find_active(&self, reference: TokenReference, now: UnixTime) -> Result<Option<FoundToken<'_>>, ShardError> {
        self.shards.shard_of(reference.routing_id)?.view.find_active(reference, now, &self.guard)
    }

    /// Begins to look up a token: what [`Self::finish`] will read is on its way meanwhile. Where there is no reference there is
    /// no token.
    ///
    /// # Errors
    ///
    /// [`ShardError::Unavailable`] while the shard is being rebuilt.
    pub fn begin(&self, reference: Option<TokenReference>) -> Result<Option<Lookup<'_>>, ShardError> {
        let lookup = self.place(reference)?;
        Ok(lookup.inspect(|lookup| lookup.place.prefetch_slots()))
    }

    /// The token of a look-up, if it is active now.
    ///
    /// # Errors
    ///
    /// [`ShardError::Busy`] when the shard's writer is in the way.
    pub fn finish<'g>(
        &'g self,
        lookup: Option<Lookup<'g>>,
        now: UnixTime,
    ) -> Result<Option<FoundToken<'g>>, ShardError> {
        Ok(self.find(lookup)?.and_then(|found| found.active(now)))
    }

    /// Looks up many, in their order, as [`Self::find_active`] does for one. The processor waits for memory once for a group of
    /// them, and not once for each.
    pub fn find_all_active(
        &self,
        references: &[Option<TokenReference>],
        now: UnixTime,
    ) -> impl Iterator<Item = Result<Option<FoundToken<'_>>, ShardError>> {
        references.chunks(NEAR_MAX).flat_map(move |near| self.find_near(near, now))
    }

    /// Each round has what the next one looks at fetched, and none of its looks depends on another: all of a round are on their way
    /// together.
    fn find_near(
        &self,
        references: &[Option<TokenReference>],
        now: UnixTime,
    ) -> Near<Result<Option<FoundToken<'_>>, ShardError>> {
        let placed: Near<_> = references.iter().map(|reference| self.place(*reference)).collect();
        let places = || placed.iter().flatten().flatten().map(|lookup| lookup.place);
        places().for_each(|place| place.prefetch_table());
        places().for_each(|place| place.prefetch_slots());
        let found: Near<_> = placed.iter().map(|lookup| self.find((*lookup)?)).collect();
        let grants = || found.iter().flatten().flatten().map(|found| found.token.grant);
        grants().for_each(Grant::prefetch);
        grants().for_each(Grant::prefetch_introspection);
        found.into_iter().map(|found| Ok(found?.and_then(|found| found.active(now)))).collect()
    }

    fn place(&self, reference: Option<TokenReference>) -> Result<Option<Lookup<'_>>, ShardError> {
        let Some(reference) = reference else { return Ok(None) };
        self.shards.shard_of(reference.routing_id)?.view.place(reference, &self.guard)
    }

    fn find<'g>(&'g self, lookup: Option<Lookup<'g>>) -> Result<Option<Found<'g>>, ShardError> {
        lookup.map_or(Ok(None), |lookup| lookup.find(&self.guard))
    }
}

type Near<T> = SmallVec<[T; NEAR_MAX]>;

/// How many tokens are brought near at once.
const NEAR_MAX: usize = 16;

/// All shards, for those who send to them and read from them.
pub struct Shards {
    router: Router,
    shards: Box<[ShardHandle]>,
    people: PeopleIndex,
}

struct ShardHandle {
    actor: Addr<Shard>,
    view: Arc<ShardView>,
}

impl Shards {
    fn shard(&self, partition: Partition) -> Result<&ShardHandle, ShardError> {
        self.shards.get(self.router.shard_of(partition)).ok_or(ShardError::Unavailable)
    }

    fn shard_of(&self, routing_id: RoutingId) -> Result<&ShardHandle, ShardError> {
        self.shard(self.router.partition_of(routing_id))
    }

    pub(super) fn shared_views(&self) -> impl Iterator<Item = Arc<ShardView>> {
        self.shards.iter().map(|shard| Arc::clone(&shard.view))
    }

    /// The views of all shards in their order.
    pub fn views(&self) -> impl ExactSizeIterator<Item = &ShardView> {
        self.shards.iter().map(|shard| &*shard.view)
    }

    /// The tokens, to look at without a count that other workers share. What is removed meanwhile is freed afterwards, so do
    /// not wait with it in hand.
    #[must_use]
    pub fn read(&self) -> ReadShards<'_> {
        ReadShards { shards: self, guard: Guard::new() }
    }

    /// Keeps a new token. Answers when it is durable, or as the durability class has it.
    ///
    /// # Errors
    ///
    /// [`ShardError::Busy`], [`ShardError::NoDiskSpace`] or [`ShardError::Unavailable`]; the token is then not
    /// acknowledged.
    pub async fn issue(&self, token: IssueToken) -> Result<(), ShardError> {
        let partition = self.router.partition_of(token.reference.routing_id);
        self.shard(partition)?.ask(|reply| message::Issue { token, partition, reply }).await
    }

    /// Revokes a token of `caller` (RFC 7009 §2.1). Answers when the revocation is durable, whoever made it. A token that is
    /// not there, or has expired, is as good as revoked.
    ///
    /// # Errors
    ///
    /// [`ShardError::NotOwner`], [`ShardError::Busy`], [`ShardError::NoDiskSpace`] when the journal has no room even for
    /// this, or [`ShardError::Unavailable`]; the token is then as it was.
    pub async fn revoke(&self, reference: TokenReference, caller: &ClientId, now: UnixTime) -> Result<(), ShardError> {
        let shard = self.shard_of(reference.routing_id)?;
        // Garbage never reaches the actor. What a reader sees as gone is durably so.
        let is_own = match self.read().find_active(reference, now)? {
            None => return Ok(()),
            Some(token) => token.grant.terms().client.id == *caller,
        };
        if !is_own {
            return Err(ShardError::NotOwner);
        }
        let token = RevokeToken { reference, caller: caller.clone(), now };
        shard.ask(|reply| message::Revoke { token, reply }).await
    }

    /// Lets every shard remove what has expired. Call it about once a second.
    pub fn tick(&self, now: UnixTime) {
        for shard in &self.shards {
            // A full mailbox is no loss: every message in it makes a step of expiry too.
            let _ = shard.send(message::Tick { now });
        }
    }
}

/// The shards with their threads.
pub struct RunningShards {
    shards: Arc<Shards>,
    arbiters: Vec<Arbiter>,
}

impl RunningShards {
    /// Starts the shards in their order, each on a thread of its own, on the actix system that this is called in.
    pub fn start(router: Router, parts: impl IntoIterator<Item = ShardParts>) -> Self {
        let people = PeopleIndex::default();
        let started = parts.into_iter().map(|parts| start_shard(parts, people.clone()));
        let (shards, arbiters) = started.unzip::<_, _, Vec<_>, Vec<_>>();
        Self { shards: Arc::new(Shards { router, shards: shards.into_boxed_slice(), people }), arbiters }
    }

    /// For those who send to them and read from them.
    #[must_use]
    pub fn shards(&self) -> Arc<Shards> {
        Arc::clone(&self.shards)
    }

    /// Ends the threads. What was appended goes on to the journal.
    pub fn stop(self) {
        for arbiter in self.arbiters {
            arbiter.stop();
            let _ = arbiter.join();
        }
    }
}

fn start_shard(parts: ShardParts, people: PeopleIndex) -> (ShardHandle, Arbiter) {
    let arbiter = Arbiter::new();
    arbiter.spawn_fn(run_in_batches);
    let shard = Shard::new(parts, people);
    let view = shard.view();
    let actor = Shard::start_in_arbiter(&arbiter.handle(), move |_| shard);
    (ShardHandle { actor, view }, arbiter)
}

impl ShardHandle {
    async fn ask<M>(&self, message: impl FnOnce(Reply) -> M) -> Result<(), ShardError>
    where
        M: actix::Message<Result = ()> + Send + 'static,
        Shard: actix::Handler<M>,
        actix::Context<Shard>: ToEnvelope<Shard, M>,
    {
        let (reply, replied) = oneshot::channel();
        self.send(message(reply))?;
        replied.await.unwrap_or(Err(ShardError::Unavailable))
    }

    fn send<M>(&self, message: M) -> Result<(), ShardError>
    where
        M: actix::Message<Result = ()> + Send + 'static,
        Shard: actix::Handler<M>,
        actix::Context<Shard>: ToEnvelope<Shard, M>,
    {
        self.view.mailbox.fetch_add(1, Ordering::Relaxed);
        self.actor.try_send(message).map_err(|error| {
            self.view.mailbox.fetch_sub(1, Ordering::Relaxed);
            match error {
                actix::dev::SendError::Full(_) => ShardError::Busy,
                actix::dev::SendError::Closed(_) => ShardError::Unavailable,
            }
        })
    }
}

#[cfg(test)]
mod tests;

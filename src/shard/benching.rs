//! A shard without a thread: see `crate::benching`.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::journal::Lane;
use crate::shard::actor::{Shard, ShardParts};
use crate::shard::people::{NewCode, PeopleIndex, PersonRequest, RedeemCode, RefreshGrant};
use crate::token::access_token::Partition;
use crate::token::state::ShardState;

/// A shard that does at once what it is asked, and writes nothing. What it is asked about must be new: an answer that it
/// repeats counts as a success too.
pub struct PeopleShard(Shard);

impl PeopleShard {
    /// The shard of that state, with what its grants have in the index of subjects.
    #[must_use]
    pub fn new(state: ShardState) -> Self {
        let (lane, clock) = (Lane::memory(), Arc::new(Clock::system()));
        let parts = ShardParts { state, lane, clock, relaxed_window: None, rebuild: None };
        Self(Shard::new(parts, PeopleIndex::default()))
    }

    /// Keeps a code. Answers whether it was let in.
    pub fn store_code(&mut self, code: NewCode) -> bool {
        self.0.answer_about_person(PersonRequest::StoreCode(code, oneshot::channel().0), PARTITION)
    }

    /// Redeems a code: decides, encodes the record, applies it. Answers whether it is a success.
    pub fn redeem(&mut self, request: RedeemCode) -> bool {
        self.0.answer_about_person(PersonRequest::Redeem(request, oneshot::channel().0), PARTITION)
    }

    /// Refreshes a grant, likewise.
    pub fn refresh(&mut self, request: RefreshGrant) -> bool {
        self.0.answer_about_person(PersonRequest::Refresh(request, oneshot::channel().0), PARTITION)
    }
}

const PARTITION: Partition = Partition(0);

//! What a shard promises when the disk is slow, when it crashes, when the shard itself panics, and when a snapshot
//! is taken meanwhile.

mod durable;
mod panic;
mod people;
mod simulation;
mod snapshot;

use super::*;
use crate::clock::{Clock, ManualTime};
use crate::journal::sim::START;
use crate::oauth::audience::Audience;
use crate::oauth::scope::Scope;
use crate::token::digest::TokenDigest;
use crate::token::grant::{ClientTerms, GrantTerms};
use crate::token::state::Registries;

#[test]
fn routing_ids_spread_evenly_and_the_key_decides_where() {
    let [router, other] = [[7; 16], [8; 16]].map(|key| Router::new(key, 8));
    let mut counts = [0; 8];
    let mut moved = 0;
    for routing_id in (0..8000).map(RoutingId) {
        let [shard, other] = [&router, &other].map(|router| router.shard_of(router.partition_of(routing_id)));
        counts[shard] += 1;
        moved += u32::from(shard != other);
    }
    assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    assert!((6800..7200).contains(&moved), "{moved}");
}

fn client(name: &str) -> ClientId {
    ClientId::parse(name).unwrap()
}

fn reference(number: u64) -> TokenReference {
    TokenReference { routing_id: RoutingId(number), digest: TokenDigest::of(&number.to_string()) }
}

/// A token of the client `app` that lives for an hour.
fn token(number: u64) -> IssueToken {
    let terms = ClientTerms {
        id: client("app"),
        generation: 0,
        in_force: Arc::default(),
        scope: Scope::parse("read").unwrap(),
        audience: Audience::empty(),
        claims: None,
    };
    let issued_at = START.as_seconds_u32();
    let (reference, expires_at) = (reference(number), issued_at + 3600);
    IssueToken { reference, issued_at, expires_at, terms: terms.into() }
}

fn clock_on(time: &ManualTime) -> Arc<Clock> {
    Arc::new(Clock::on(Box::new(time.clone())))
}

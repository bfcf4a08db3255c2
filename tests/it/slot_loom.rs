//! The slot's sequence lock under every order that the memory model allows.

mod sync {
    pub(super) use loom::hint::spin_loop;
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering, fence};
    pub(super) use loom::thread::yield_now;
}

#[path = "../../src/token/slot.rs"]
#[expect(dead_code, reason = "the test uses what it needs")]
mod slot;

use loom::sync::Arc;
use loom::thread;

use slot::{Occupant, Slot, SlotData};
use sync::{AtomicU64, Ordering};

/// A token all of whose fields follow from its number: a mix of two of them is none of them.
const fn token(number: u32) -> SlotData {
    let word = number as u64;
    let digest = [word << 8, word << 16];
    SlotData { digest, grant_id: word, issued_at: number, expires_at: number * 10, revoked: 0, partition: 7 }
}

const fn revoked(number: u32, sequence: u64) -> SlotData {
    SlotData { revoked: sequence, ..token(number) }
}

/// Another token of the grant of token 1.
const fn sibling(number: u32) -> SlotData {
    SlotData { grant_id: 1, ..token(number) }
}

/// Runs `writer` and `reader` on threads of their own, over a slot that holds `first`, in every order. Each has a word
/// beside the slot.
///
/// The writer goes on first and the reader is spawned, not the other way round: loom looks back at the last access to a
/// word alone, and so never learns that a writer which loads a word before it stores to it could have come before a reader.
/// A reader that comes after the writer still sees every stale value that the memory model allows.
fn explore(
    first: SlotData,
    writer: impl Fn(&Slot, &AtomicU64) + Copy + Send + Sync + 'static,
    reader: impl Fn(&Slot, &AtomicU64) + Copy + Send + Sync + 'static,
) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS_MAX);
    model.check(move || {
        let shared = Arc::new((Slot::empty(), AtomicU64::new(first.grant_id)));
        shared.0.write(first);
        let theirs = Arc::clone(&shared);
        let reading = thread::spawn(move || reader(&theirs.0, &theirs.1));
        writer(&shared.0, &shared.1);
        reading.join().unwrap();
    });
}

/// Without a bound the models hold too, in 20 seconds; a wrong order shows with few.
const PREEMPTIONS_MAX: usize = 3;

/// What a reader found; a model has no reader that gives up.
fn read(slot: &Slot) -> Occupant {
    slot.read().unwrap().0
}

#[test]
fn a_reader_never_sees_a_mix_of_two_tokens() {
    explore(
        token(1),
        |slot, _| slot.write(token(2)),
        |slot, _| assert!([token(1), token(2)].map(Occupant::Token).contains(&read(slot))),
    );
}

/// Both tokens are of one grant, so that nothing but the version tells them apart.
#[test]
fn a_slot_that_is_used_again_never_shows_the_old_token_in_part() {
    explore(
        token(1),
        |slot, _| {
            slot.remove();
            slot.write(sibling(2));
        },
        |slot, _| match read(slot) {
            Occupant::Removed => {}
            found => assert!([token(1), sibling(2)].map(Occupant::Token).contains(&found), "{found:?}"),
        },
    );
}

#[test]
fn a_reader_sees_a_slot_cleared_or_whole() {
    explore(
        token(1),
        |slot, _| {
            slot.clear();
            slot.write(token(2));
        },
        |slot, _| match read(slot) {
            Occupant::Empty => {}
            found => assert!([token(1), token(2)].map(Occupant::Token).contains(&found), "{found:?}"),
        },
    );
}

#[test]
fn a_revocation_stays_with_its_token() {
    explore(
        revoked(1, 7),
        |slot, _| {
            slot.remove();
            slot.write(sibling(2));
        },
        |slot, _| match read(slot) {
            Occupant::Removed => {}
            found => assert!([revoked(1, 7), sibling(2)].map(Occupant::Token).contains(&found), "{found:?}"),
        },
    );
}

/// The shard writes the slot, then appends; what the word here stands for is the durable sequence that follows.
#[test]
fn who_sees_a_revocation_durable_sees_it_in_the_slot() {
    explore(
        token(1),
        |slot, durable| {
            slot.write(revoked(1, 7));
            durable.store(7, Ordering::Release);
        },
        |slot, durable| {
            let is_durable = durable.load(Ordering::Acquire) == 7;
            let found = read(slot);
            assert!(!is_durable || found == Occupant::Token(revoked(1, 7)), "{found:?}");
        },
    );
}

/// The word here stands for the directory of grants: it changes only after the slot that leads to it. No order but the
/// slot's own is to make the two belong together.
#[test]
fn an_unchanged_slot_belongs_to_the_grant_that_it_led_to() {
    explore(
        token(1),
        |slot, grant| {
            slot.remove();
            grant.store(0, Ordering::Release);
        },
        |slot, grant| {
            let (found, version) = slot.read().unwrap();
            let followed = grant.load(Ordering::Relaxed);
            if found != Occupant::Removed && slot.is_unchanged(version) {
                assert_eq!((found, followed), (Occupant::Token(token(1)), 1));
            }
        },
    );
}

/// The other way round, a grant is there before the slot that leads to it.
#[test]
fn a_slot_leads_to_a_grant_that_is_there() {
    explore(
        token(1),
        |slot, grant| {
            grant.store(2, Ordering::Relaxed);
            slot.write(token(2));
        },
        |slot, grant| {
            let found = read(slot);
            let followed = grant.load(Ordering::Relaxed);
            assert!(found == Occupant::Token(token(1)) || followed == 2, "{found:?} leads to {followed}");
        },
    );
}

//! `kill -9` under load.

use super::load::{Ledger, Walk};
use super::program::{Home, Program};

const ROUNDS: u64 = 20;

#[test]
fn what_was_acknowledged_survives_kill_9_in_every_round() {
    let (home, mut ledger, mut walk) = (Home::new(), Ledger::default(), Walk::new(ROUNDS));
    for round in 0..ROUNDS {
        // Records carry the routing id and not the shard, so the number of shards may change.
        let shards = (1 + round % 4).to_string();
        let program = home.start(&["--shards", &shards]);
        ledger.check(&program);
        ledger.load(program, 50 + walk.below(600), round, Program::kill);
    }
    ledger.check(&home.start(&[]));
    let (active, revoked, clients) = ledger.counts();
    assert!(active > 1000 && revoked > 1000 && clients == 20, "{active} {revoked} {clients}");
}

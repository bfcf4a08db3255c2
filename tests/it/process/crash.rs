//! `kill -9` under load.

use std::thread;
use std::time::Duration;

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
        // The next start is killed too, wherever it is by then: in the middle of reading and rewriting the journal, or ready.
        let starting = Program::spawn(&mut home.serve(&[]));
        thread::sleep(Duration::from_millis(walk.below(100) as u64));
        starting.kill();
    }
    ledger.check(&home.start(&[]));
    let (active, revoked, clients) = ledger.counts();
    assert!(active > 100 && revoked > 100 && clients == 20, "{active} {revoked} {clients}");
}

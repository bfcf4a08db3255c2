//! What may happen to a connection in the middle of a batch.

use std::time::Duration;

use super::cluster::{Database, until};
use super::proxy::{Mode, Proxy, Trap};
use super::scene::{Scene, await_caught_up, await_state, database_of};
use crate::process::program::Home;

/// A server that reaches its database through a proxy.
fn behind_a_proxy() -> (Proxy, Scene) {
    let database = Database::shared();
    let proxy = Proxy::to(&database.address.host);
    let url = database.address.of_host(&proxy.host).to_string();
    (proxy, Scene::through(database, &url))
}

#[track_caller]
fn check_trap(proxy: &Proxy, scene: &mut Scene, trap: Trap) {
    scene.load(|load, _, _| {
        load.goes_on(20);
        proxy.lay(trap);
        until(&format!("{trap:?} has sprung"), || proxy.has_sprung());
        load.goes_on(20);
    });
    scene.check();
}

#[test]
fn a_batch_whose_commit_was_done_and_not_answered_is_not_written_twice() {
    let (proxy, mut scene) = behind_a_proxy();
    for _ in 0..4 {
        check_trap(&proxy, &mut scene, Trap::LoseCommitReply);
    }
}

#[test]
fn a_batch_whose_commit_never_arrived_is_written_again() {
    let (proxy, mut scene) = behind_a_proxy();
    for _ in 0..4 {
        check_trap(&proxy, &mut scene, Trap::BeforeCommit);
    }
}

#[test]
fn a_connection_that_is_cut_anywhere_in_a_batch_leaves_no_half_of_it() {
    let (proxy, mut scene) = behind_a_proxy();
    for bytes in [1, 50, 120, 300, 700, 1500, 4000, 12_000] {
        check_trap(&proxy, &mut scene, Trap::AfterBytes(bytes));
    }
}

#[test]
fn a_connection_that_is_cut_while_it_is_opened_is_opened_again() {
    let (proxy, mut scene) = behind_a_proxy();
    for bytes in [0, 20, 200] {
        proxy.set(Mode::Cut);
        await_state(&scene.program, "unreachable");
        proxy.lay(Trap::AfterBytes(bytes));
        proxy.set(Mode::Pass);
        until("the trap has sprung", || proxy.has_sprung());
    }
    scene.load(|load, _, _| load.goes_on(20));
    scene.check();
}

#[test]
fn tables_that_were_half_made_are_made_whole() {
    let database = Database::shared();
    let proxy = Proxy::to(&database.address.host);
    let home = Home::new();
    proxy.lay(Trap::AfterBytes(600));
    let program = home.start(&["--database-url", &database.address.of_host(&proxy.host).to_string()]);
    for bytes in [1500, 4000, 7000] {
        until("the trap has sprung", || proxy.has_sprung());
        proxy.lay(Trap::AfterBytes(bytes));
    }
    await_caught_up(&program, &database);
}

/// The bytes that it sends are taken and no answer comes, for ever.
#[test]
fn a_connection_that_is_half_open_is_given_up() {
    let (proxy, mut scene) = behind_a_proxy();
    scene.load(|load, _, _| {
        load.goes_on(50);
        proxy.set(Mode::Swallow);
        load.goes_on(200);
    });
    let accepted = proxy.accepted();
    // The one from before stays as it is.
    proxy.set(Mode::Pass);
    until("it opens another", || proxy.accepted() > accepted);
    scene.load(|load, _, _| load.goes_on(50));
    scene.check();
}

#[test]
fn a_slow_database_slows_nobody_else() {
    let (proxy, mut scene) = behind_a_proxy();
    proxy.set(Mode::Slow(Duration::from_millis(50), 16 << 10));
    scene.load(|load, program, _| {
        load.goes_on(600);
        assert_eq!(database_of(program)["state"], "connected");
    });
    // It catches up at its own speed.
    scene.check();
}

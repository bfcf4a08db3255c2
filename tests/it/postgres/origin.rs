//! A database is the copy of one journal, and never ahead of it. One that is behind is filled up.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::cluster::{Database, until};
use super::grants::{append_codes, end, redeem, refresh, register_web, web_generation};
use super::oracle::Oracle;
use super::proxy::{Mode, Proxy, Trap};
use super::scene::{Scene, await_state, check_refused, run};
use crate::process::program::{Home, admin};

/// Rows that no server but the right one may change.
fn marks(database: &Database) -> Vec<Vec<String>> {
    database.rows(
        "SELECT instance, key_id, epoch, applied_lsn, (SELECT count(*) FROM tessera.token_events)
         FROM tessera.projection",
    )
}

#[track_caller]
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn the_database_of_another_installation_is_refused() {
    let mut scene = Scene::shared();
    scene.load(|load, _, _| load.goes_on(100));
    scene.check();
    let url = scene.url();
    let Scene { program, home, oracle, database } = scene;
    program.stop();
    let before = marks(&database);

    let fresh = Home::new();
    assert!(check_refused(&fresh, &url).contains("database"));
    let other = Home::new();
    other.start(&[]).issue(&admin());
    check_refused(&other, &url);
    let third = Scene::shared();
    check_refused(&third.home_after_stop(), &url);
    assert_eq!(marks(&database), before);

    let program = home.start(&["--database-url", &url]);
    oracle.check(&program, &database);
}

#[test]
fn a_database_that_turns_out_to_be_anothers_is_not_written() {
    let scene = Scene::shared();
    let before = marks(&scene.database);
    let proxy = Proxy::to(&scene.database.address.host);
    proxy.set(Mode::Cut);
    let other = Home::new();
    let url = scene.database.address.of_host(&proxy.host).to_string();
    let program = other.start(&["--database-url", &url]);
    // More than the database has.
    let tokens: Vec<_> = (0..20).map(|_| program.issue(&admin())).collect();
    proxy.set(Mode::Pass);
    await_state(&program, "refused");
    assert!(program.are_active(&tokens).iter().all(|is_active| *is_active));
    assert_eq!(marks(&scene.database), before);
}

#[test]
fn a_database_that_is_ahead_of_the_journal_is_refused() {
    let mut scene = Scene::shared();
    scene.load(|load, _, _| load.goes_on(50));
    scene.check();
    let url = scene.url();
    let Scene { program, home, mut oracle, database } = scene;
    program.stop();
    let (old, new) = (home.path().join("old"), home.path().join("new"));
    copy(&home.data_dir(), &old);
    let program = home.start(&["--database-url", &url]);
    oracle.load(&program, |load| load.goes_on(50));
    oracle.check(&program, &database);
    program.stop();
    let before = marks(&database);
    std::fs::rename(home.data_dir(), &new).unwrap();
    copy(&old, &home.data_dir());
    let said = check_refused(&home, &url);
    assert!(said.contains(&before[0][3]), "it says how far the database is: {said}");
    assert_eq!(marks(&database), before);

    std::fs::remove_dir_all(home.data_dir()).unwrap();
    std::fs::rename(new, home.data_dir()).unwrap();
    oracle.check(&home.start(&["--database-url", &url]), &database);
}

#[test]
fn a_server_that_has_been_replaced_writes_no_more() {
    let mut scene = Scene::shared();
    scene.database.rows("UPDATE tessera.projection SET epoch = epoch + 1");
    let before = marks(&scene.database);
    scene.load(|load, program, _| {
        load.goes_on(50);
        await_state(program, "refused");
    });
    assert_eq!(marks(&scene.database), before);
    scene.database.rows("UPDATE tessera.projection SET epoch = epoch - 1");
    scene.check();
}

/// As one that was restored from a backup of its own.
#[test]
fn a_database_that_is_older_than_the_journal_gets_what_it_lacks() {
    let mut scene = Scene::shared();
    for _ in 0..2 {
        scene.load(|load, _, _| load.goes_on(100));
    }
    scene.check();
    let url = scene.url();
    for back in [1, 30, 200] {
        scene.program.end();
        make_older(&scene.database, scene.database.number("SELECT applied_lsn FROM tessera.projection") - back);
        scene.restart_through(&url);
        scene.check();
    }
    assert_eq!(scene.database.number("SELECT count(*) FROM tessera.gaps"), 0);
}

fn make_older(database: &Database, lsn: i64) {
    database.rows(&format!(
        "BEGIN; DELETE FROM tessera.token_events WHERE lsn > {lsn}; DELETE FROM tessera.grants WHERE first_lsn > {lsn};
         DELETE FROM tessera.client_records WHERE lsn > {lsn}; UPDATE tessera.projection SET applied_lsn = {lsn}; COMMIT"
    ));
}

/// A server whose journal has let go of its beginning, with clients, live tokens and dead ones from before. Of that `older`
/// has a part.
fn retired(older: &Database) -> (Home, Oracle) {
    let (home, mut oracle) = (Home::new(), Oracle::default());
    let program = home.start(&["--database-url", &older.address.to_string()]);
    let [doomed, app] = ["doomed", "revoker"].map(|name| oracle.register_app(&program, name));
    oracle.issue(&program, &doomed);
    let tokens: Vec<_> = (0..20).map(|_| oracle.issue(&program, &app)).collect();
    oracle.load(&program, |load| load.goes_on(300));
    let web = register_web(&mut oracle, &program);
    oracle.check(&program, older);
    program.stop();
    let ada = ("ada", "read");
    let codes = append_codes(&home, [ada, ada, ada, ada], web_generation(older));
    let program = home.start(&["--database-url", &older.address.to_string()]);
    let [kept, ended] = [0, 1].map(|index: usize| redeem(&mut oracle, &program, &web, &codes[index]));
    oracle.check(&program, older);
    program.stop();

    // Its database cannot be reached from now on.
    let proxy = Proxy::to(&older.address.host);
    proxy.set(Mode::Cut);
    let program = home.start(&["--database-url", &older.address.of_host(&proxy.host).to_string()]);
    oracle.delete(&program, &doomed);
    refresh(&mut oracle, &program, &web, &kept);
    end(&mut oracle, &program, &web, &ended.refresh, &[&ended.access]);
    let [_, unseen] = [2, 3].map(|index: usize| redeem(&mut oracle, &program, &web, &codes[index]));
    end(&mut oracle, &program, &web, &unseen.refresh, &[&unseen.access]);
    tokens[..10].iter().for_each(|token| oracle.revoke(&program, &app, token));
    // A record of a token has its terms in it: 20 KB of them.
    let audience: Vec<_> = (0..32).map(|number| format!("{number:02}{}", "a".repeat(500))).collect();
    let document = json!({ "client_id": "fat", "scope": "s".repeat(4000), "audience": audience });
    let fat = oracle.register(&program, &document);
    let segments = || {
        let names = std::fs::read_dir(home.data_dir()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.filter(|name| name.to_string_lossy().ends_with(".seg")).collect();
        names.sort();
        names
    };
    let first = segments()[0].clone();
    oracle.load_of(&program, &fat, |_| until("there are two segments", || segments().len() >= 2));
    for _ in 0..3 {
        oracle.load(&program, |load| load.goes_on(50));
        run(&home, &["snapshot"], 0);
    }
    assert!(segments().contains(&first), "the database lacks what is in it");
    program.stop();

    // Without a database two snapshots are enough.
    let program = home.start(&[]);
    run(&home, &["snapshot"], 0);
    until("the first segment is retired", || !segments().contains(&first));
    oracle.load(&program, |load| load.goes_on(50));
    program.stop();
    (home, oracle)
}

#[test]
fn what_the_journal_has_let_go_of_comes_from_a_snapshot_and_the_gap_is_noted() {
    let (older, database) = (Database::shared(), Database::shared());
    let (home, oracle) = retired(&older);
    let proxy = Proxy::to(&database.address.host);
    let url = database.address.to_string();
    // Begun, and broken off twice.
    let proxied = database.address.of_host(&proxy.host).to_string();
    let program = home.start(&["--database-url", &proxied]);
    for bytes in [30_000, 200_000] {
        proxy.lay(Trap::AfterBytes(bytes));
        until("the trap has sprung", || proxy.has_sprung());
    }
    program.kill();
    let program = home.start(&["--database-url", &url]);
    oracle.check(&program, &database);
    let gaps = |database: &Database| database.rows("SELECT first_lsn FROM tessera.gaps ORDER BY first_lsn");
    // Of the other ones it need not know, and if it does, that they have ended.
    let chains = |database: &Database| {
        database.rows(
            "SELECT refresh_generation, code IS NOT NULL, live_until > now() FROM tessera.grants
             WHERE subject = 'ada' AND ended_at IS NULL ORDER BY 1",
        )
    };
    assert_eq!(chains(&database), [["1", "t", "t"], ["2", "t", "t"]]);
    assert_eq!(gaps(&database), [["1"]]);
    program.stop();

    // This one has the beginning, and lacks what was let go after that: tokens that it thinks live are dead.
    let next = older.number("SELECT applied_lsn + 1 FROM tessera.projection");
    let program = home.start(&["--database-url", &older.address.to_string()]);
    oracle.check(&program, &older);
    assert_eq!(gaps(&older), [[next.to_string()]]);
    assert_eq!(chains(&older), chains(&database));
}

impl Scene {
    /// Its directory, once its server has stopped.
    fn home_after_stop(self) -> Home {
        self.program.stop();
        self.home
    }
}

//! The database stops, dies, stands still or refuses, and no request notices.

use super::cluster::{Cluster, Database, Session, until};
use super::scene::{Scene, await_state, database_of, metric};
use crate::process::program::Program;

/// Requests that are answered meanwhile.
const MEANWHILE: usize = 150;

/// What a commit that is not synchronous has written stays in memory, for a kill to take. What a sync would add is safe from
/// a kill anyway.
const FORGETFUL: &[&str] = &["wal_writer_delay=10s", "fsync=off", "restart_after_crash=on"];

#[test]
fn requests_go_on_while_the_database_is_stopped() {
    let cluster = Cluster::start(&["fsync=off"]);
    let mut scene = Scene::on(Database::on(&cluster.address));
    scene.load(|load, program, _| {
        load.goes_on(MEANWHILE);
        cluster.stop();
        await_state(program, "unreachable");
        load.goes_on(MEANWHILE);
        assert!(database_of(program)["lag_records"].as_u64().unwrap() >= MEANWHILE as u64);
        assert!(metric(program, "tessera_projection_lag_bytes") > 0.0);
        cluster.start_again();
        await_state(program, "connected");
        load.goes_on(MEANWHILE);
    });
    scene.check();
    assert!(metric(&scene.program, "tessera_projection_failures_total") >= 1.0);
}

/// A commit that was answered is not safe before a later one is synchronous: what a kill takes back is sent again.
#[test]
fn a_database_that_is_killed_again_and_again_misses_nothing_and_has_nothing_twice() {
    let cluster = Cluster::start(FORGETFUL);
    let mut scene = Scene::on(Database::on(&cluster.address));
    for round in 0..5 {
        scene.load(|load, program, _| {
            load.goes_on(40 + 70 * round);
            cluster.kill().unwrap();
            load.goes_on(MEANWHILE / 3);
            cluster.start_again();
            if round % 2 == 0 {
                await_state(program, "connected");
            }
        });
        // Every other time the next kill comes while it catches up.
        if round % 2 == 0 {
            scene.check();
        }
    }
    scene.check();
}

#[test]
fn a_session_that_is_killed_takes_all_others_along_and_nothing_is_missing() {
    let cluster = Cluster::start(FORGETFUL);
    let mut scene = Scene::on(Database::on(&cluster.address));
    let kill_session = "SELECT pid FROM pg_stat_activity WHERE application_name = 'tessera'";
    scene.load(|load, program, database| {
        for round in 0..4 {
            load.goes_on(30 + 50 * round);
            await_state(program, "connected");
            let Ok(rows) = database.try_rows(kill_session) else { continue };
            for pid in rows.concat() {
                let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
                // It may have ended by itself.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    });
    scene.check();
}

#[test]
fn requests_go_on_while_the_database_stands_still() {
    let cluster = Cluster::start(&["fsync=off"]);
    let mut scene = Scene::on(Database::on(&cluster.address));
    scene.load(|load, program, _| {
        for _ in 0..2 {
            load.goes_on(MEANWHILE);
            cluster.pause();
            load.goes_on(10 * MEANWHILE);
            assert!(database_of(program)["lag_records"].as_u64().unwrap() >= MEANWHILE as u64);
            cluster.resume();
        }
    });
    scene.check();
}

#[test]
fn a_server_starts_and_stops_though_its_database_stands_still() {
    let cluster = Cluster::start(&["fsync=off"]);
    let mut scene = Scene::on(Database::on(&cluster.address));
    scene.load(|load, _, _| load.goes_on(MEANWHILE));
    let url = scene.url();
    cluster.pause();
    let client = scene.oracle.register_app(&scene.program, "late");
    let Scene { program, home, mut oracle, database } = scene;
    program.stop();
    let program = home.start(&["--database-url", &url]);
    oracle.issue(&program, &client);
    program.kill();
    cluster.resume();
    oracle.check(&home.start(&["--database-url", &url]), &database);
}

/// Lets the database refuse everything in the middle of a load, and mends it.
#[track_caller]
fn check_refusal(scene: &mut Scene, breaks: &dyn Fn(&Database), mends: &dyn Fn(&Database)) {
    scene.load(|load, program, database| {
        load.goes_on(MEANWHILE);
        breaks(database);
        await_state(program, "refused");
        load.goes_on(MEANWHILE);
        let failures = metric(program, "tessera_projection_failures_total");
        until("it tries again", || metric(program, "tessera_projection_failures_total") > failures);
        assert!(database_of(program)["lag_records"].as_u64().unwrap() >= MEANWHILE as u64);
        mends(database);
        await_state(program, "connected");
    });
    scene.check();
    assert_eq!(database_of(&scene.program)["dead_letters"], 0, "no record was to blame");
}

#[test]
fn a_database_that_is_read_only_for_a_while_is_said_to_refuse() {
    let cluster = Cluster::start(&["fsync=off"]);
    let mut scene = Scene::on(Database::on(&cluster.address));
    let set = |database: &Database, value: &str| {
        database.rows(&format!("ALTER SYSTEM SET default_transaction_read_only = {value}"));
        database.rows("SELECT pg_reload_conf()");
    };
    check_refusal(&mut scene, &|database| set(database, "on"), &|database| set(database, "off"));
}

#[test]
fn a_table_that_is_gone_for_a_while_is_said_to_be_refused() {
    let mut scene = Scene::shared();
    for table in ["grants", "projection", "token_events"] {
        let (away, back) = (
            format!("ALTER TABLE tessera.{table} RENAME TO away"),
            format!("ALTER TABLE tessera.away RENAME TO {table}"),
        );
        check_refusal(&mut scene, &|database| drop(database.rows(&away)), &|database| drop(database.rows(&back)));
    }
}

#[test]
fn privileges_that_are_lost_for_a_while_are_said_to_be_refused() {
    let database = Database::shared();
    let address = database.create_role("owner", true);
    let mut scene = Scene::through(database, &address.to_string());
    let (role, _) = address.user.split_once(':').unwrap();
    let [revoke, grant] = [("REVOKE", "FROM"), ("GRANT", "TO")]
        .map(|(verb, word)| format!("{verb} INSERT ON tessera.token_events {word} {role}"));
    check_refusal(&mut scene, &|database| drop(database.rows(&revoke)), &|database| drop(database.rows(&grant)));

    let [off, on] = ["NOLOGIN", "LOGIN"].map(|may| format!("ALTER ROLE {role} {may}"));
    let lock_out = |database: &Database| {
        database.rows(&off);
        database.end_sessions();
    };
    check_refusal(&mut scene, &lock_out, &|database| drop(database.rows(&on)));
}

#[test]
fn requests_go_on_while_somebody_locks_the_table() {
    let mut scene = Scene::shared();
    scene.load(|load, program, database| {
        load.goes_on(MEANWHILE);
        let mut session = Session::open(&database.address).unwrap();
        session.rows("BEGIN").unwrap();
        session.rows("LOCK TABLE tessera.token_events IN ACCESS EXCLUSIVE MODE").unwrap();
        load.goes_on(4 * MEANWHILE);
        until("it waits", || lag(program) >= MEANWHILE as u64);
        session.rows("COMMIT").unwrap();
    });
    scene.check();
}

fn lag(program: &Program) -> u64 {
    database_of(program)["lag_records"].as_u64().unwrap()
}

/// The same for the server's own end, wherever it is with its batch.
#[test]
fn a_server_that_is_killed_while_it_writes_goes_on_where_the_database_is() {
    use super::proxy::{Mode, Proxy};
    let database = Database::shared();
    let proxy = Proxy::to(&database.address.host);
    let url = database.address.of_host(&proxy.host).to_string();
    let mut scene = Scene::through(database, &url);
    for round in 0..5 {
        // So slow that it is always behind.
        proxy.set(Mode::Slow(std::time::Duration::from_millis(10), 4096));
        scene.load(|load, program, _| {
            load.goes_on(30 + 90 * round);
            program.signal(rustix::process::Signal::KILL);
        });
        proxy.set(Mode::Pass);
        scene.restart_through(&url);
        if round % 2 == 0 {
            scene.check();
        }
    }
    scene.check();
}

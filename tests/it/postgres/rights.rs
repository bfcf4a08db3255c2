//! What the server's role has to be allowed, and what an owner does for it.

use std::thread;

use super::cluster::Database;
use super::oracle::Oracle;
use super::scene::{await_state, run};
use crate::process::program::Home;

#[test]
fn the_tables_are_made_by_hand_and_once() {
    let (home, database) = (Home::new(), Database::shared());
    let url = database.address.to_string();
    let (first, _) = run(&home, &["database", "migrate", "--database-url", &url], 0);
    let tables = "SELECT string_agg(table_name, ' ' ORDER BY table_name) FROM information_schema.tables
         WHERE table_schema = 'tessera'";
    let made = database.value(tables);
    assert!(made.contains("token_events") && made.contains("live_tokens"), "{made}");
    let (second, _) = run(&home, &["database", "migrate", "--database-url", &url], 0);
    assert!(first != second && !first.is_empty() && !second.is_empty(), "{first}{second}");
    assert_eq!(database.value(tables), made);
    let unknown = database.address.of_database("there_is_none").to_string();
    run(&home, &["database", "migrate", "--database-url", &unknown], 1);
}

#[test]
fn tables_that_several_make_at_once_are_made_once() {
    let (home, database) = (Home::new(), Database::shared());
    let url = database.address.to_string();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| run(&home, &["database", "migrate", "--database-url", &url], 0));
        }
    });
    assert_eq!(database.number("SELECT count(*) FROM tessera._sqlx_migrations"), 9);
}

#[test]
fn a_role_that_may_make_no_tables_works_once_their_owner_has() {
    let database = Database::shared();
    let address = database.create_role("writer", false);
    let (home, mut oracle) = (Home::new(), Oracle::default());
    let mut program = home.start(&["--database-url", &address.to_string()]);
    await_state(&program, "refused");
    let reason = program.wait_for("the database is not written")["reason"].to_string();
    assert!(reason.contains("tessera database migrate"), "it says what to do: {reason}");
    oracle.load(&program, |load| load.goes_on(100));

    run(&home, &["database", "migrate", "--database-url", &database.address.to_string()], 0);
    let (role, _) = address.user.split_once(':').unwrap();
    database.rows(&format!(
        "GRANT USAGE ON SCHEMA tessera TO {role}; GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA tessera TO {role}"
    ));
    await_state(&program, "connected");
    oracle.load(&program, |load| load.goes_on(100));
    oracle.check(&program, &database);
}

//! A record that the database refuses by its content is put aside, and the others go on.

use serde_json::json;

use super::cluster::Database;
use super::oracle::{fold, id_of};
use super::scene::{Scene, await_caught_up, await_state, database_of, metric};

/// The numbers of the records that were put aside.
fn letters(database: &Database) -> Vec<Vec<String>> {
    database
        .rows("SELECT lsn, sqlstate, octet_length(payload) > 0, reason <> '' FROM tessera.dead_letters ORDER BY lsn")
}

#[test]
fn a_token_that_the_database_refuses_is_put_aside_and_all_others_arrive() {
    let mut scene = Scene::shared();
    let document = json!({ "client_id": "app", "scope": "good poison" });
    let Scene { program, oracle, database, .. } = &mut scene;
    let app = oracle.register(program, &document);
    await_caught_up(program, database);
    database.rows("ALTER TABLE tessera.grants ADD CONSTRAINT antidote CHECK (scope <> 'poison')");
    let (mut lsns, mut poisoned) = (Vec::new(), Vec::new());
    scene.load(|load, _, _| load.goes_on(40));
    for round in 0..3 {
        let Scene { program, oracle, .. } = &mut scene;
        (0..30).for_each(|_| drop(oracle.issue_scope(program, &app, "good")));
        for _ in 0..=round {
            let token = oracle.issue_scope(program, &app, "poison");
            lsns.push(metric(program, "tessera_journal_durable_lsn").to_string());
            oracle.live.remove(&token);
            poisoned.push(token);
        }
        (0..30).for_each(|_| drop(oracle.issue_scope(program, &app, "good")));
    }
    scene.check();
    let Scene { program, database, .. } = &scene;
    let expected: Vec<_> = lsns.iter().map(|lsn| [lsn, "23514", "t", "t"]).collect();
    assert_eq!(letters(database), expected);
    assert!(poisoned.iter().all(|token| program.is_active(token)), "the server knows nothing of this");
    let there = fold(database).tokens;
    assert!(!poisoned.iter().any(|token| there.contains(&id_of(token))));
    assert_eq!(database_of(program)["dead_letters"], 6);
    assert_eq!(metric(program, "tessera_dead_letters_total"), 6.0);
    let payloads = database.value("SELECT string_agg(encode(payload, 'escape'), '') FROM tessera.dead_letters");
    assert!(!payloads.contains("tsr_at_") && payloads.contains("poison"), "{payloads}");
}

/// Then it is not the records' fault.
#[test]
fn a_database_that_refuses_every_record_is_said_to_refuse_and_most_of_them_wait() {
    let mut scene = Scene::shared();
    let Scene { program, oracle, database, .. } = &mut scene;
    let app = oracle.register_app(program, "app");
    await_caught_up(program, database);
    database.rows("ALTER TABLE tessera.grants ADD CONSTRAINT overdone CHECK (scope = 'none of these') NOT VALID");
    let tokens: Vec<_> = (0..120).map(|_| oracle.issue(program, &app)).collect();
    await_state(program, "refused");
    database.rows("ALTER TABLE tessera.grants DROP CONSTRAINT overdone");
    await_caught_up(program, database);
    let (there, letters) = (fold(database).tokens, letters(database).len());
    let lost = tokens.iter().filter(|token| !there.contains(&id_of(token))).count();
    assert!(lost == letters && (1..120).contains(&lost), "{lost} lost, {letters} letters");
    tokens.iter().filter(|token| !there.contains(&id_of(token))).for_each(|token| drop(oracle.live.remove(token)));
    assert!(tokens.iter().all(|token| program.is_active(token)));
    scene.load(|load, _, _| load.goes_on(50));
    // Those that were put aside are unknown to the database alone.
    scene.check();
}

#[test]
fn a_client_that_the_database_refuses_is_put_aside_and_all_others_arrive() {
    let mut scene = Scene::shared();
    let Scene { program, oracle, database, .. } = &mut scene;
    database.rows("ALTER TABLE tessera.client_records ADD CONSTRAINT antidote CHECK (client_id <> 'bad')");
    oracle.register_app(program, "good");
    let bad = oracle.register_app(program, "bad");
    let lsn = metric(program, "tessera_journal_durable_lsn").to_string();
    let other = oracle.register_app(program, "other");
    // Its tokens arrive, and have no client there.
    let token = oracle.issue(program, &bad);
    oracle.issue(program, &other);
    oracle.clients.remove("bad");
    oracle.live.remove(&token);
    oracle.check(program, database);
    assert_eq!(letters(database), [[&*lsn, "23514", "t", "t"]]);
    assert!(program.is_active(&token));
    let history = format!("SELECT client_id FROM tessera.token_history WHERE token = '{}'", id_of(&token));
    assert_eq!(database.value(&history), "bad");
}

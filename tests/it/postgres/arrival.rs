//! What is acknowledged arrives as it is.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tessera::client::secret::SecretDigest;

use super::cluster::{Cluster, Database, until};
use super::oracle::{Oracle, fold, id_of};
use super::scene::{Scene, await_state, database_of, metric};
use crate::http::Request;
use crate::process::program::Home;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

#[test]
fn what_is_issued_revoked_registered_changed_and_deleted_arrives() {
    let mut scene = Scene::shared();
    let Scene { program, oracle, database, .. } = &mut scene;
    let [kept, brief, doomed] = ["kept", "brief", "doomed"].map(|name| oracle.register_app(program, name));
    for client in [&kept, &brief, &doomed] {
        let [first, _] = [(); 2].map(|()| oracle.issue(program, client));
        oracle.revoke(program, client, &first);
    }
    let document = json!({ "client_name": "New name", "scope": "read" });
    oracle.administer(program, Request::new("PUT", "/admin/v1/clients/brief").json(&document), 200);
    let rotated = oracle.administer(program, Request::post("/admin/v1/clients/kept/secret"), 200);
    oracle.delete(program, &doomed);
    oracle.issue(program, &brief);
    oracle.check(program, database);

    let name = "SELECT client_name FROM tessera.clients WHERE client_id = 'brief'";
    assert_eq!(database.value(name), "New name");
    let secret = "SELECT encode(secret_sha256, 'hex') FROM tessera.client_records WHERE client_id = ";
    let digest = |secret: &str| hex(SecretDigest::of(secret).as_bytes());
    assert_eq!(database.value(&format!("{secret}'kept'")), digest(&rotated.text("client_secret")));
    assert_eq!(database.value(&format!("{secret}'brief'")), digest(&brief.secret));
    assert_eq!(database.value(&format!("{secret}'operator'")), "", "it is in the configuration");
    let doomed_row = "SELECT deleted_at IS NOT NULL, secret_sha256, metadata FROM tessera.client_records
         WHERE client_id = 'doomed'";
    assert_eq!(database.rows(doomed_row), [["t", "", ""]]);
}

#[test]
fn a_client_that_is_registered_anew_does_not_revive_the_tokens_of_the_one_before() {
    let mut scene = Scene::shared();
    let Scene { program, oracle, database, .. } = &mut scene;
    for _ in 0..3 {
        let client = oracle.register_app(program, "phoenix");
        oracle.issue(program, &client);
        oracle.issue(program, &client);
        oracle.check(program, database);
        oracle.delete(program, &client);
        oracle.check(program, database);
    }
    oracle.register_app(program, "phoenix");
    oracle.check(program, database);
}

/// What breaks out of a quoted text, a `COPY`, an array or a format, if anything does.
const NASTY: &[&str] = &[
    "'); DROP TABLE tessera.grants; --",
    "Robert\"; DELETE FROM tessera.client_records; --",
    "\\N",
    "\\.",
    "back\\slash \\x00 \\u0000 %s $1 :name ?",
    "NULL",
    "{a,\"b\",NULL}",
    "名前 ünïcödé 🦀 \u{202e}rtl\u{2028}line",
    "e\u{301} is not \u{e9}",
    " spaces at the ends ",
];

#[test]
fn any_name_scope_and_audience_arrives_unharmed() {
    let mut scene = Scene::shared();
    let Scene { program, oracle, database, .. } = &mut scene;
    let mut documents = Vec::new();
    for (number, nasty) in NASTY.iter().enumerate() {
        let visible: String = nasty.chars().filter(char::is_ascii_graphic).collect();
        let scope: String = visible.chars().filter(|character| !"\"\\".contains(*character)).collect();
        let audience: String =
            nasty.chars().filter(|character| !character.is_whitespace() && !character.is_control()).collect();
        // Names are shown to people, and refused where these would not see all of them.
        let name: String = nasty.chars().filter(|character| !"\u{202e}\u{2028}\u{301}".contains(*character)).collect();
        let document = json!({
            "client_id": format!("{number}{visible}"), "client_name": name.trim(), "scope": format!("a {scope}{number} {{}}"),
            "audience": [audience, format!("{audience},\"{number}\""), "null", "{}"],
        });
        let client = oracle.register(program, &document);
        oracle.issue(program, &client);
        documents.push(document);
    }
    oracle.check(program, database);
    let quoted = |text: &Value| format!("'{}'", text.as_str().unwrap().replace('\'', "''"));
    for document in documents {
        let client_id = quoted(&document["client_id"]);
        let client = format!("SELECT client_name FROM tessera.clients WHERE client_id = {client_id}");
        assert_eq!(database.value(&client), document["client_name"], "{document}");
        let grants = "SELECT subject, scope, to_json(audience) FROM tessera.grants WHERE client_id = ";
        let rows = database.rows(&format!("{grants}{client_id}"));
        let [grant] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!(
            [&grant[0], &grant[1]],
            [&document["client_id"], &document["scope"]].map(|text| text.as_str().unwrap())
        );
        assert_eq!(serde_json::from_str::<Value>(&grant[2]).unwrap(), document["audience"], "{document}");
    }
}

#[test]
fn a_copy_is_counted_as_it_grows() {
    let mut scene = Scene::shared();
    scene.load(|load, _, _| load.goes_on(2000));
    scene.check();
    let Scene { program, database, .. } = &scene;
    let value = |name: &str| metric(program, &format!("tessera_{name}"));
    let durable = value("journal_durable_lsn");
    assert_eq!([value("database_connected"), value("projection_applied_lsn")], [1.0, durable]);
    for name in ["projection_lag_records", "projection_lag_bytes", "projection_failures_total", "dead_letters_total"] {
        assert_eq!(value(name), 0.0, "{name}");
    }
    assert!(value("projection_lag_seconds") < 1.0);
    let rows = database.number("SELECT count(*) FROM tessera.token_events");
    let (told, batches) = (value("projection_rows_total"), value("projection_batches_total"));
    assert!(told >= rows as f64 && batches * 3.0 < told, "{told} of {rows} rows in {batches} batches");
    until("all of it is confirmed", || value("projection_confirmed_lsn") == durable);
    let state = database_of(program);
    assert_eq!([&state["lag_bytes"], &state["lag_seconds"], &state["dead_letters"]], [0, 0, 0], "{state}");
}

/// What is answered before it is durable arrives once it is.
#[test]
fn with_durability_relaxed_it_arrives_too() {
    let (home, database, mut oracle) = (Home::new(), Database::shared(), Oracle::default());
    let url = database.address.to_string();
    let program = home.start(&["--database-url", &url, "--durability", "relaxed", "--relaxed-window-ms", "100"]);
    oracle.load(&program, |load| load.goes_on(1000));
    oracle.check(&program, &database);
}

#[test]
fn without_a_database_nothing_is_said_of_one() {
    let home = Home::new();
    let program = home.start(&[]);
    assert_eq!(program.ask(&Request::get("/readyz")).body, r#"{"status":"ready"}"#);
    assert!(!program.ask(&Request::get("/metrics")).body.contains("tessera_projection"));
}

#[test]
fn a_server_starts_and_serves_without_its_database_and_fills_it_when_it_comes() {
    let cluster = Cluster::start(&["fsync=off"]);
    let database = Database::on(&cluster.address);
    cluster.stop();
    let (home, mut oracle) = (Home::new(), Oracle::default());
    let program = home.start(&["--database-url", &database.address.to_string()]);
    await_state(&program, "unreachable");
    oracle.load(&program, |load| load.goes_on(300));
    assert!(database_of(&program)["lag_records"].as_u64().unwrap() > 300);
    assert_eq!(metric(&program, "tessera_database_connected"), 0.0);
    cluster.start_again();
    oracle.check(&program, &database);
    drop(program);

    // Another database gets all of it too, as the journal has it still.
    let empty = Database::on(&cluster.address);
    let program = home.start(&["--database-url", &empty.address.to_string()]);
    oracle.check(&program, &empty);
    assert_eq!(empty.number("SELECT count(*) FROM tessera.gaps"), 0);
    let events = "SELECT count(*) FROM tessera.token_events";
    assert_eq!(database.number(events), empty.number(events));
}

#[test]
fn a_stopped_server_leaves_nothing_behind() {
    let mut scene = Scene::shared();
    let tokens = {
        let Scene { program, oracle, .. } = &mut scene;
        let client = oracle.register_app(program, "app");
        (0..100).map(|_| id_of(&oracle.issue(program, &client))).collect::<Vec<_>>()
    };
    let Scene { program, database, .. } = scene;
    // With the tokens that were issued a moment ago.
    program.stop();
    let there = fold(&database).tokens;
    assert_eq!(tokens.iter().filter(|token| !there.contains(*token)).count(), 0);
}

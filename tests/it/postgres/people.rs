//! Users, generations and consents: they arrive, and come back.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tessera::client::id::ClientId;
use tessera::clock::UnixTime;
use tessera::config::Config;
use tessera::config::secret::DatabaseUrl;
use tessera::config::value::Durability;
use tessera::journal::{JournalKeys, RealDisk};
use tessera::oauth::scope::Scope;
use tessera::oauth::subject::Subject;
use tessera::postgres::{Restored, rebuild};
use tessera::signing::derivation::DerivedKeys;
use tessera::user::actor::{StoreConsent, WithdrawConsent, ask};

use super::cluster::{Database, until};
use crate::harness::{START_SECONDS, TestServer};
use crate::http::{Credentials, Request};

thread_local! {
    /// Of the database of the test that runs on this thread.
    static URL: RefCell<String> = const { RefCell::new(String::new()) };
}

fn configure(config: &mut Config) {
    config.storage.durability = Durability::Sync;
    config.database.url = URL.with_borrow(|url| DatabaseUrl::parse(url));
}

fn start(database: &Database) -> TestServer {
    URL.set(database.address.to_string());
    TestServer::start_with(configure)
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[track_caller]
fn administer(
    server: &TestServer,
    method: &str,
    path: &str,
    document: Option<&serde_json::Value>,
) -> serde_json::Value {
    let request = Request::new(method, &format!("/admin/v1/{path}"));
    let answer = server.ask_socket(&document.into_iter().fold(request, |request, json| request.json(json)));
    assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
    if answer.body.is_empty() { json!(null) } else { answer.json() }
}

fn allow(server: &TestServer, subject: &str, client_id: &str, scope: &str) {
    let (subject, client_id) = (Subject::parse(subject).unwrap(), ClientId::parse(client_id).unwrap());
    let scope = Scope::parse(scope).unwrap();
    wait(ask(&server.people.user_actor, StoreConsent { subject, client_id, client_generation: 1, scope })).unwrap();
}

fn withdraw(server: &TestServer, subject: &str, client_id: &str) {
    let (subject, client_id) = (Subject::parse(subject).unwrap(), ClientId::parse(client_id).unwrap());
    wait(ask(&server.people.user_actor, WithdrawConsent { subject, client_id })).unwrap();
}

/// Waits until a user is there that was made last of all.
fn await_last(server: &TestServer, database: &Database, name: &str) {
    administer(server, "POST", "users", Some(&json!({ "username": name })));
    until("the database has the last user", || {
        let users = database.try_rows(&format!("SELECT FROM tessera.users WHERE username = '{name}'"));
        users.is_ok_and(|rows| rows.len() == 1)
    });
}

/// Of "correct horse".
const HASH: &str = "$2b$04$.q7HRqjabY2c352Ir0WJdeVmf0i1ngkBmBHD61YINN/0d6QHMe6bm";

#[test]
fn people_arrive_and_a_rebuild_brings_them_back() {
    let database = Database::shared();
    let server = start(&database);
    let alice = json!({
        "sub": "a|1", "username": "alice", "name": "Ада '); DROP TABLE tessera.user_records; --", "email": "ada@example.com",
        "email_verified": true, "password_hash": HASH,
    });
    administer(&server, "POST", "users", Some(&alice));
    for (name, sub) in [("gone", "gone"), ("disabled", "disabled")] {
        administer(&server, "POST", "users", Some(&json!({ "username": name, "sub": sub })));
    }
    administer(
        &server,
        "POST",
        "clients",
        Some(&json!({ "client_id": "app", "scope": "read", "client_secret_hash": HASH })),
    );
    server.register_app("other");
    allow(&server, "a|1", "app", "read");
    allow(&server, "a|1", "app", "write");
    allow(&server, "a|1", "other", "read");
    allow(&server, "disabled", "app", "read");
    withdraw(&server, "a|1", "other");
    administer(&server, "DELETE", "users/gone", None);
    administer(&server, "PATCH", "users/disabled", Some(&json!({ "disabled": true })));
    administer(&server, "POST", "users/of-another-system/revoke", None);
    await_last(&server, &database, "last");

    let users = "SELECT username, email, is_disabled FROM tessera.users ORDER BY username";
    let expected = [["alice", "ada@example.com", "f"], ["disabled", "", "t"], ["last", "", "f"]];
    assert_eq!(database.rows(users), expected);
    let gone =
        "SELECT username, password_hash, deleted_at IS NOT NULL FROM tessera.user_records WHERE subject = 'gone'";
    assert_eq!(database.rows(gone), [["", "", "t"]]);
    let generations = "SELECT subject, generation FROM tessera.subject_generations ORDER BY subject";
    assert_eq!(database.rows(generations), [["disabled", "1"], ["gone", "1"], ["of-another-system", "1"]]);
    assert_eq!(database.rows("SELECT subject, client_id, scope FROM tessera.consents"), [["a|1", "app", "read write"]]);

    let shown = administer(&server, "GET", "users/a%7C1", None);
    let url = database.address.to_string();
    let server = server.restart_after(|data_dir| {
        fs::remove_dir_all(data_dir).unwrap();
        let restored = rebuild_in(data_dir, &url);
        assert_eq!((restored.users, restored.clients), (3, 3));
    });
    assert_eq!(administer(&server, "GET", "users/a%7C1", None), shown);
    let now = UnixTime::from_seconds(START_SECONDS);
    let log_in = |name: &str| wait(server.people.logins.authenticate(name, "correct horse", None, now)).is_ok();
    assert!(log_in("alice") && !log_in("disabled") && !log_in("gone"));
    let generation = |subject: &str| server.people.users.generation(&Subject::parse(subject).unwrap()).value();
    assert_eq!(["a|1", "disabled", "gone", "of-another-system"].map(generation), [0, 1, 1, 1]);
    let [alices, disabled] =
        ["a|1", "disabled"].map(|sub| server.people.users.consents_of(&Subject::parse(sub).unwrap()));
    assert_eq!((alices.len(), alices[0].scope.as_str(), disabled.len()), (1, "read write", 0));
    let token = server.issue(&Credentials::new("app", "correct horse"));
    assert!(server.is_active(&Credentials::new("app", "correct horse"), &token));
    // It goes on where the lost one was.
    administer(&server, "DELETE", "users/a%7C1", None);
    await_last(&server, &database, "first");
    assert_eq!(database.rows("SELECT subject FROM tessera.consents"), Vec::<Vec<String>>::new());
    assert_eq!(database.number("SELECT generation FROM tessera.subject_generations WHERE subject = 'a|1'"), 1);
}

pub(super) fn rebuild_in(data_dir: &Path, url: &str) -> Restored {
    let keys = JournalKeys::from(&DerivedKeys::of(&[7; 32]));
    let disk = Arc::new(RealDisk::new(data_dir.to_owned()).unwrap());
    wait(rebuild(url, keys, disk, UnixTime::from_seconds(START_SECONDS))).unwrap()
}

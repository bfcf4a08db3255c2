//! Keys that sign: they arrive sealed, and come back.

use std::cell::RefCell;
use std::fs;

use serde_json::json;
use tessera::config::Config;
use tessera::config::secret::DatabaseUrl;
use tessera::config::value::{Durability, KeyAlgorithms};

use super::cluster::{Database, until};
use super::people::rebuild_in;
use crate::harness::TestServer;
use crate::http::Request;

thread_local! {
    /// Of the database of the test that runs on this thread.
    static URL: RefCell<String> = const { RefCell::new(String::new()) };
}

fn configure(config: &mut Config) {
    config.storage.durability = Durability::Sync;
    config.database.url = URL.with_borrow(|url| DatabaseUrl::parse(url));
    config.tokens.key_algorithms = KeyAlgorithms::parse("EdDSA,ES384").unwrap();
}

#[test]
fn keys_arrive_and_a_rebuild_brings_them_back() {
    let database = Database::shared();
    URL.set(database.address.to_string());
    let server = TestServer::start_with(configure);
    let rotate = Request::post("/admin/v1/keys/rotate").json(&json!({ "alg": "EdDSA" }));
    assert_eq!(server.ask_socket(&rotate).status, 201);
    until("the database has the keys", || {
        database.try_rows("SELECT FROM tessera.keys").is_ok_and(|rows| rows.len() == 3)
    });
    let listed = server.ask_socket(&Request::get("/admin/v1/keys"));
    let jwks = server.ask(&Request::get("/oauth2/jwks"));
    let url = database.address.to_string();
    let server = server.restart_after(|data_dir| {
        fs::remove_dir_all(data_dir).unwrap();
        rebuild_in(data_dir, &url);
    });
    assert_eq!(server.ask_socket(&Request::get("/admin/v1/keys")).json(), listed.json());
    assert_eq!(server.ask(&Request::get("/oauth2/jwks")).body, jwks.body);

    server.time.advance(std::time::Duration::from_secs(3_600));
    server.tick();
    until("the spent key is marked", || {
        let removed = "SELECT sealed FROM tessera.key_records WHERE removed_at IS NOT NULL";
        database.try_rows(removed).is_ok_and(|rows| rows == [[""]])
    });
}

//! Clients that have registered themselves, and their initial access tokens: they arrive, and come back.

use std::cell::RefCell;
use std::fs;

use serde_json::json;
use tessera::config::Config;
use tessera::config::secret::DatabaseUrl;
use tessera::config::value::Durability;

use super::cluster::{Database, until};
use super::people::rebuild_in;
use super::secrets::{content_of, holds_a_piece};
use crate::harness::TestServer;
use crate::http::{Answer, Request};

const TOKENS: &str = "/admin/v1/initial-access-tokens";

thread_local! {
    /// Of the database of the test that runs on this thread.
    static URL: RefCell<String> = const { RefCell::new(String::new()) };
}

fn configure(config: &mut Config) {
    config.storage.durability = Durability::Sync;
    config.database.url = URL.with_borrow(|url| DatabaseUrl::parse(url));
}

fn register(server: &TestServer, token: &str) -> Answer {
    let metadata = json!({ "grant_types": ["client_credentials"], "client_name": "Partner" });
    server.ask(&Request::post("/oauth2/register").bearer(token).json(&metadata))
}

#[test]
fn registrations_arrive_and_a_rebuild_brings_them_back() {
    let database = Database::shared();
    URL.set(database.address.to_string());
    let server = TestServer::start_with(configure);
    let document = json!({ "label": "a", "registrations_max": 2, "policy": { "grant_types": ["client_credentials"] } });
    let [token, revoked] = [(); 2].map(|()| server.ask_socket(&Request::post(TOKENS).json(&document)));
    let path = format!("{TOKENS}/{}", revoked.text("id"));
    assert_eq!(server.ask_socket(&Request::new("DELETE", &path)).status, 204);
    let token = token.text("initial_access_token");
    let [first, second] = [(); 2].map(|()| register(&server, &token));
    assert_eq!([first.status, second.status], [201; 2]);
    let path = format!("/admin/v1/clients/{}", second.text("client_id"));
    assert_eq!(server.ask_socket(&Request::new("DELETE", &path)).status, 204);
    until("the database has the client and the end of the other", || {
        let ended = "SELECT FROM tessera.client_records WHERE deleted_at IS NOT NULL";
        database.try_rows(ended).is_ok_and(|rows| rows.len() == 1)
    });
    assert_eq!(database.rows("SELECT client_name FROM tessera.dynamic_clients"), [["Partner"]]);
    let tokens = "SELECT label, registrations, registrations_max FROM tessera.initial_access_tokens";
    assert_eq!(database.rows(tokens), [["a", "2", "2"]]);
    let content = content_of(&database);
    for secret in [&token["tsr_ia_".len() + 11..], &*first.text("client_secret")] {
        assert!(!holds_a_piece(&content, secret));
    }
    let described = |server: &TestServer| {
        let clients = server.ask_socket(&Request::get("/admin/v1/clients")).json();
        (clients, server.ask_socket(&Request::get(TOKENS)).json())
    };
    let before = described(&server);
    let url = database.address.to_string();
    let server = server.restart_after(|data_dir| {
        fs::remove_dir_all(data_dir).unwrap();
        rebuild_in(data_dir, &url);
    });
    assert_eq!(described(&server), before);
    assert_eq!(register(&server, &token).status, 401, "it is used up");
}

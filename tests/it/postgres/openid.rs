//! Claims that were asked for by name (`OpenID` Connect Core §5.5): what the copy has of them, and the way back.

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
use crate::openid::{id_token, register, sign_in};
use crate::person::{self, SUBJECT, log_in, refreshing};

thread_local! {
    /// Of the database of the test that runs on this thread.
    static URL: RefCell<String> = const { RefCell::new(String::new()) };
}

fn configure(config: &mut Config) {
    config.storage.durability = Durability::Sync;
    config.database.url = URL.with_borrow(|url| DatabaseUrl::parse(url));
    config.tokens.key_algorithms = KeyAlgorithms::parse("EdDSA").unwrap();
    person::log_in_elsewhere(config);
}

#[test]
fn a_rebuild_knows_what_was_asked_for_by_name() {
    let database = Database::shared();
    URL.set(database.address.to_string());
    let server = TestServer::start_with(configure);
    let document = json!({ "sub": SUBJECT, "username": "ann", "name": "Ann Bee", "nickname": "A" });
    assert_eq!(server.ask_socket(&Request::post("/admin/v1/users").json(&document)).status, 201);
    let app = register(&server, "app", &json!({}));
    let claims = r#"{"userinfo":{"nickname":null},"id_token":{"name":{"essential":true}}}"#;
    let answer = sign_in(&server, &mut log_in(&server, "app"), &app, &[("claims", claims)]);
    let plain = sign_in(&server, &mut log_in(&server, "app"), &app, &[]);
    let rows = "SELECT claims FROM tessera.grants WHERE subject = 'ann' AND code IS NOT NULL ORDER BY claims";
    until("the database has the grants", || database.try_rows(rows).is_ok_and(|rows| rows.len() == 2));
    assert_eq!(database.rows(rows)[0], [claims]);
    let url = database.address.to_string();
    let server = server.restart_after(|data_dir| {
        fs::remove_dir_all(data_dir).unwrap();
        rebuild_in(data_dir, &url);
    });
    for (answer, nickname, name) in [(answer, json!("A"), json!("Ann Bee")), (plain, json!(null), json!(null))] {
        let info = server.ask(&Request::get("/oauth2/userinfo").bearer(&answer.text("access_token")));
        assert_eq!((info.status, &info.json()["nickname"]), (200, &nickname));
        let refreshed = server.ask_for_token(&app, &refreshing(&answer.text("refresh_token")));
        assert_eq!(id_token(&server, "app", "EdDSA", &refreshed)["name"], name);
    }
}

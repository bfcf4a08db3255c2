//! Proofs that count once: they arrive, and a rebuild knows them.

use std::cell::RefCell;
use std::fs;

use serde_json::json;
use tessera::config::Config;
use tessera::config::secret::DatabaseUrl;
use tessera::config::value::{Durability, Issuer};

use super::cluster::{Database, until};
use super::people::rebuild_in;
use crate::client_assertion::{Signer, ask_for_token};
use crate::harness::TestServer;

thread_local! {
    /// Of the database of the test that runs on this thread.
    static URL: RefCell<String> = const { RefCell::new(String::new()) };
}

fn configure(config: &mut Config) {
    config.storage.durability = Durability::Sync;
    config.database.url = URL.with_borrow(|url| DatabaseUrl::parse(url));
    config.http.issuer = Issuer::parse("https://as.example");
}

#[test]
fn what_was_used_stays_used_in_a_directory_that_is_rebuilt() {
    let database = Database::shared();
    URL.set(database.address.to_string());
    let server = TestServer::start_with(configure);
    let app = Signer::register(&server, "app", &json!({}));
    let assertion = app.assertion(&server, "1");
    assert_eq!(ask_for_token(&server, &assertion).status, 200);
    until("the database has the proof", || {
        database.try_rows("SELECT FROM tessera.used_proofs").is_ok_and(|rows| rows.len() == 1)
    });
    let url = database.address.to_string();
    let server = server.restart_after(|data_dir| {
        fs::remove_dir_all(data_dir).unwrap();
        rebuild_in(data_dir, &url);
    });
    let again = ask_for_token(&server, &assertion);
    assert_eq!(again.error(), (401, "invalid_client".to_owned()));
    assert!(again.text("error_description").contains("used before"), "{again:?}");
    assert_eq!(ask_for_token(&server, &app.assertion(&server, "2")).status, 200);
}

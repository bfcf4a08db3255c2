//! JWT access tokens (RFC 9068) and audiences (RFC 8707): what the copy has of them, and the way back.

use std::cell::RefCell;
use std::fs;

use serde_json::{Value, json};
use tessera::config::Config;
use tessera::config::secret::DatabaseUrl;
use tessera::config::value::{Durability, KeyAlgorithms};

use super::cluster::{Database, until};
use super::oracle::id_of;
use super::people::rebuild_in;
use crate::harness::TestServer;
use crate::person::{self, SUBJECT, code_for, log_in_as, redemption, refreshing, tokens};

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

const A: &str = "https://a.example/";
const B: &str = "urn:b";

#[test]
fn a_rebuild_knows_jwts_their_audiences_and_how_their_person_came_in() {
    let database = Database::shared();
    URL.set(database.address.to_string());
    let server = TestServer::start_with(configure);
    let more = json!({
        "access_token_format": "jwt", "audience": [A, B], "introspection": "any",
        "grant_types": ["client_credentials", "authorization_code", "refresh_token"],
    });
    let app = person::register(&server, "app", &more);
    let told = json!({ "subject": SUBJECT, "amr": ["pwd", "otp"], "acr": "urn:example:sure" });
    let code = code_for(&server, &mut log_in_as(&server, "app", &told), "app", &[]);
    let (of_all, refresh) = tokens(&server.ask_for_token(&app, &redemption(&code, &[("resource", "")])));
    let narrower = [&refreshing(&refresh)[..], &[("resource", B), ("scope", "read")]].concat();
    let (narrowed, refresh) = tokens(&server.ask_for_token(&app, &narrower));
    let (revoked, refresh) = tokens(&server.ask_for_token(&app, &refreshing(&refresh)));
    let own = [("grant_type", "client_credentials"), ("resource", A)];
    let own = server.ask_for_token(&app, &own).text("access_token");
    assert_eq!(server.revoke(&app, &revoked).status, 200);

    let live = "SELECT token, audience FROM tessera.live_tokens WHERE client_id = 'app' ORDER BY audience, scope";
    let expected = [(&own, format!("{{{A}}}")), (&of_all, format!("{{{A},{B}}}")), (&narrowed, format!("{{{B}}}"))];
    let expected = expected.map(|(token, audience)| vec![id_of(token), audience]).to_vec();
    until("the database has the tokens", || {
        database.try_rows(live).is_ok_and(|rows| rows == expected)
            && database.try_rows("SELECT FROM tessera.token_events WHERE kind = 2").is_ok_and(|rows| rows.len() == 1)
    });
    let history = format!("SELECT audience FROM tessera.token_history WHERE token = '{}'", id_of(&revoked));
    assert_eq!(database.value(&history), format!("{{{A},{B}}}"));
    let person = "SELECT amr, acr, auth_time IS NOT NULL FROM tessera.grants WHERE subject = 'ann'";
    assert_eq!(database.rows(person), [["{pwd,otp}", "urn:example:sure", "t"]]);
    assert_eq!(database.value("SELECT access_token_format FROM tessera.clients WHERE client_id = 'app'"), "jwt");

    let answers = |server: &TestServer| -> Vec<Value> {
        let introspected = |token: &String| {
            let mut answer = server.introspect(&app, token).json();
            // The port is another after a restart.
            answer.as_object_mut().unwrap().remove("iss");
            answer
        };
        [&own, &of_all, &narrowed, &revoked].map(introspected).to_vec()
    };
    let before = answers(&server);
    assert_eq!(before.iter().map(|answer| answer["active"] == true).collect::<Vec<_>>(), [true, true, true, false]);
    let url = database.address.to_string();
    let server = server.restart_after(|data_dir| {
        fs::remove_dir_all(data_dir).unwrap();
        rebuild_in(data_dir, &url);
    });
    assert_eq!(answers(&server), before);
    let (again, _) = tokens(&server.ask_for_token(&app, &refreshing(&refresh)));
    let introspected = server.introspect(&app, &again).json();
    assert_eq!((&introspected["aud"], &introspected["acr"]), (&json!([A, B]), &json!("urn:example:sure")));
    assert_eq!(again.split('.').count(), 3, "it is a JWT");
}

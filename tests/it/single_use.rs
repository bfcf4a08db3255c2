//! What may be used once, used by a hundred connections at once: RFC 6749 §4.1.2, RFC 8628 §3.5, RFC 9700 §4.14.2.
//!
//! `TESSERA_ROUNDS=1000` runs as many rounds.

use serde_json::json;

use crate::harness::TestServer;
use crate::http::{Answer, Connection, Credentials, Request};
use crate::person::{
    self, code, device_code, grant, log_in, poll, redemption, refreshing, register, register_with_devices, tokens,
};

const CONNECTIONS: usize = 100;
const ROUNDS: usize = 100;

#[expect(clippy::disallowed_methods, reason = "a test is asked for more by the environment")]
fn rounds() -> usize {
    std::env::var("TESSERA_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a whole number"))
}

/// A server with two workers, so that two requests are under way in the same instant.
fn start() -> TestServer {
    TestServer::start_with(|config| {
        person::log_in_elsewhere(config);
        config.http.workers = 2;
    })
}

/// Connections that ask the same at once, again and again.
struct Crowd(Vec<Connection>);

impl Crowd {
    fn of(server: &TestServer) -> Self {
        Self((0..CONNECTIONS).map(|_| server.connect()).collect())
    }

    /// What each is answered. The server has all of every request but its last byte before it gets the first of the last bytes.
    fn ask(&mut self, client: &Credentials, form: &[(&str, &str)]) -> Vec<Answer> {
        let request = Request::post("/oauth2/token").basic(client).form(form).to_bytes();
        let (all_but_last, last) = request.split_at(request.len() - 1);
        for part in [all_but_last, last] {
            assert!(self.0.iter_mut().all(|connection| connection.send(part)));
        }
        self.0.iter_mut().map(|connection| connection.answer().expect("an answer")).collect()
    }

    /// The one success; the others are told that the grant is invalid.
    fn redeem(&mut self, client: &Credentials, form: &[(&str, &str)]) -> (String, String) {
        let (good, others): (Vec<_>, Vec<_>) =
            self.ask(client, form).into_iter().partition(|answer| answer.status == 200);
        for answer in &others {
            assert_eq!(answer.error(), (400, "invalid_grant".to_owned()));
        }
        assert_eq!((good.len(), others.len()), (1, CONNECTIONS - 1));
        tokens(&good[0])
    }
}

#[test]
fn co_1_of_a_hundred_who_redeem_a_code_at_once_one_succeeds_and_the_others_revoke_what_it_got() {
    let server = start();
    let app = register(&server, "app", &json!({}));
    let (mut browser, mut crowd) = (log_in(&server, "app"), Crowd::of(&server));
    for _ in 0..rounds() {
        let code = code(&server, &mut browser, "app");
        let (access, refresh) = crowd.redeem(&app, &redemption(&code, &[]));
        assert!(!server.is_active(&app, &access), "the others were replays");
        assert_eq!(server.ask_for_token(&app, &refreshing(&refresh)).status, 400);
    }
}

#[test]
fn dv_2_of_a_hundred_polls_at_once_one_gets_tokens() {
    let server = start();
    let tv = register_with_devices(&server, "tv");
    let (mut browser, mut crowd) = (log_in(&server, "tv"), Crowd::of(&server));
    for _ in 0..rounds() {
        let device_code = device_code(&server, &mut browser, &tv);
        let (access, refresh) = crowd.redeem(&tv, &poll(&device_code));
        assert!(server.is_active(&tv, &access), "a device that asks again has lost nothing");
        assert_eq!(server.ask_for_token(&tv, &refreshing(&refresh)).status, 200);
    }
}

#[test]
fn rt_2_of_a_hundred_refreshes_at_once_all_get_the_same() {
    let server = start();
    let app = register(&server, "app", &json!({}));
    let mut crowd = Crowd::of(&server);
    let (_, mut token) = grant(&server, &app);
    for _ in 0..rounds() {
        let answers = crowd.ask(&app, &refreshing(&token));
        let first = tokens(&answers[0]);
        assert!(answers.iter().all(|answer| tokens(answer) == first), "there is one successor");
        assert!(server.is_active(&app, &first.0) && first.1 != token);
        token = first.1;
    }
}

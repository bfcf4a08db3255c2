//! The CORS protocol of the Fetch standard: which pages may read an answer.

use serde_json::json;

use crate::harness::TestServer;
use crate::http::{Answer, Credentials, Request};

const ORIGIN: &str = "https://app.example";

fn register(server: &TestServer, client_id: &str, origins: &[&str]) -> Credentials {
    server.register(&json!({ "client_id": client_id, "scope": "read", "allowed_cors_origins": origins }))
}

/// What a browser would let the page of the origin read.
fn readable_by(answer: &Answer, origin: &str) -> bool {
    assert_eq!(answer.field("access-control-allow-credentials"), None, "{answer:?}");
    assert_eq!(answer.field("vary"), Some("Origin"), "{answer:?}");
    let allowed = answer.field("access-control-allow-origin");
    assert_ne!(allowed, Some("*"));
    allowed == Some(origin)
}

fn token_request(client: &Credentials, origin: &str) -> Request {
    Request::post("/oauth2/token").field("Origin", origin).basic(client).form(&[("grant_type", "client_credentials")])
}

#[test]
fn a_page_reads_the_answers_to_its_own_client() {
    let server = TestServer::start();
    let app = register(&server, "app", &[ORIGIN, "http://127.0.0.1:3000"]);
    for origin in [ORIGIN, "http://127.0.0.1:3000"] {
        let answer = server.ask(&token_request(&app, origin));
        assert_eq!(answer.status, 200);
        assert!(readable_by(&answer, origin), "{answer:?}");
    }
    let revoked = Request::post("/oauth2/revoke").field("Origin", ORIGIN).basic(&app).form(&[("token", "x")]);
    assert!(readable_by(&server.ask(&revoked), ORIGIN));
    let none = server.ask(&Request::post("/oauth2/token").basic(&app).form(&[("grant_type", "client_credentials")]));
    assert_eq!((none.field("access-control-allow-origin"), none.field("vary")), (None, None));
}

#[test]
fn a_page_reads_refusals_too() {
    let server = TestServer::start();
    let app = register(&server, "app", &[ORIGIN]);
    let refused =
        Request::post("/oauth2/token").field("Origin", ORIGIN).basic(&app).form(&[("grant_type", "password")]);
    let answer = server.ask(&refused);
    assert_eq!(answer.error(), (400, "unsupported_grant_type".to_owned()));
    assert!(readable_by(&answer, ORIGIN));
    let by_id = [("client_id", "app"), ("grant_type", "client_credentials")];
    let answer = server.ask(&Request::post("/oauth2/token").field("Origin", ORIGIN).form(&by_id));
    assert_eq!(answer.status, 401);
    assert!(readable_by(&answer, ORIGIN));
}

#[test]
fn a_page_reads_what_its_client_gets_for_several_resources() {
    let server = TestServer::start();
    let resources = ["https://a.example", "https://b.example"];
    let metadata = json!({ "client_id": "app", "audience": resources, "allowed_cors_origins": [ORIGIN] });
    let app = server.register(&metadata);
    let [a, b] = resources.map(|resource| ("resource", resource));
    let form = [("grant_type", "client_credentials"), ("client_id", &app.id), ("client_secret", &app.secret), a, b];
    let answer = server.ask(&Request::post("/oauth2/token").field("Origin", ORIGIN).form(&form));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(readable_by(&answer, ORIGIN), "{answer:?}");
}

#[test]
fn no_other_page_reads_them() {
    let server = TestServer::start();
    let app = register(&server, "app", &[ORIGIN]);
    let other = register(&server, "other", &["https://other.example"]);
    for origin in [
        "https://other.example",
        "null",
        "*",
        "https://app.example.evil.example",
        "https://evil.example/https://app.example",
        "https://app.example:443",
        "https://app.example/",
        "https://APP.example",
        "http://app.example",
        "https://xapp.example",
        "https://app.example https://other.example",
        "",
    ] {
        let answer = server.ask(&token_request(&app, origin));
        assert_eq!(answer.status, 200, "who is no browser gets its answer: {origin:?}");
        assert!(!readable_by(&answer, origin), "{origin:?} {answer:?}");
        assert_eq!(answer.field("access-control-allow-origin"), None, "{origin:?}");
    }
    assert!(!readable_by(&server.ask(&token_request(&other, ORIGIN)), ORIGIN));
    let twice = token_request(&app, ORIGIN).field("Origin", ORIGIN);
    assert!(!readable_by(&server.ask(&twice), ORIGIN));
    let nobody = Credentials::new("nobody", "x");
    assert!(!readable_by(&server.ask(&token_request(&nobody, ORIGIN)), ORIGIN));
}

#[test]
fn a_browser_may_ask_before() {
    let server = TestServer::start();
    let preflight = |path: &str, origin: &str| {
        let request = Request::new("OPTIONS", path).field("Origin", origin);
        let request = request.field("Access-Control-Request-Method", "POST");
        server.ask(&request.field("Access-Control-Request-Headers", "authorization,content-type"))
    };
    for path in ["/oauth2/token", "/oauth2/revoke"] {
        let answer = preflight(path, ORIGIN);
        assert_eq!((answer.status, &*answer.body), (204, ""));
        assert!(readable_by(&answer, ORIGIN));
        assert_eq!(answer.field("access-control-allow-methods"), Some("POST"));
        assert_eq!(answer.field("access-control-allow-headers"), Some("Authorization, Content-Type"));
        assert!(!readable_by(&preflight(path, "null"), "null"));
        let no_preflight = server.ask(&Request::new("OPTIONS", path).field("Origin", ORIGIN));
        assert_eq!(no_preflight.error(), (405, "invalid_request".to_owned()));
    }
    for path in ["/oauth2/introspect", "/oauth2/par", "/admin/v1/clients"] {
        let answer = preflight(path, ORIGIN);
        assert_eq!((answer.status, answer.field("access-control-allow-origin")), (405, None), "{path}");
    }
}

#[test]
fn metadata_is_for_everybody() {
    let server = TestServer::start();
    let path = "/.well-known/oauth-authorization-server";
    for origin in [Some(ORIGIN), Some("null"), None] {
        let request = Request::get(path);
        let request = match origin {
            Some(origin) => request.field("Origin", origin),
            None => request,
        };
        let answer = server.ask(&request);
        assert_eq!((answer.status, answer.field("access-control-allow-origin")), (200, Some("*")));
    }
    let preflight = Request::new("OPTIONS", path).field("Origin", ORIGIN).field("Access-Control-Request-Method", "GET");
    let answer = server.ask(&preflight);
    assert_eq!((answer.status, answer.field("access-control-allow-origin")), (204, Some("*")));
    assert_eq!(answer.field("access-control-allow-methods"), Some("GET"));
}

/// Such a request leaves the fast path, with its connection.
#[test]
fn requests_of_pages_and_of_others_share_a_connection() {
    let server = TestServer::start();
    let app = register(&server, "app", &[ORIGIN]);
    let mut connection = server.connect();
    let plain = Request::post("/oauth2/token").basic(&app).form(&[("grant_type", "client_credentials")]);
    for _ in 0..2 {
        assert_eq!(connection.ask(&plain).field("vary"), None);
        assert!(readable_by(&connection.ask(&token_request(&app, ORIGIN)), ORIGIN));
    }
}

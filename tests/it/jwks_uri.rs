//! Clients whose keys are fetched (`jwks_uri`, RFC 7591 §2). What a fetch may not do is tested where it is made, in `src/fetch/tests`.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;
use tessera::config::Config;
use tessera::config::value::Durability;

use crate::client_assertion::{Signer, ask_for_token, new_key};
use crate::harness::{START_SECONDS, TestServer, admin};
use crate::http::{Answer, Request};
use crate::keys::until;

const CERTIFICATES: &str = r#"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=authority \
        -keyout authority.key -out authority.crt
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=client -keyout client.key -out client.csr
    printf "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n" > extensions
    openssl x509 -req -days 2 -in client.csr -CA authority.crt -CAkey authority.key -CAcreateserial \
        -extfile extensions -out client.crt
"#;

static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| {
    let directory = TempDir::new().unwrap();
    let made = Command::new("sh").args(["-ec", CERTIFICATES]).current_dir(directory.path()).output();
    let made = made.expect("this test needs openssl: install the package openssl, as tests/run does");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    directory
});

fn file(name: &str) -> PathBuf {
    DIRECTORY.path().join(name)
}

/// The site on which a client publishes its keys.
struct Site {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// A whole answer; while it is `None`, requests wait for one.
    answer: Mutex<Option<String>>,
    changed: Condvar,
    /// The first lines of the requests that came.
    asked: Mutex<Vec<String>>,
}

impl Site {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let of_site = Arc::clone(&state);
        // They end with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&of_site);
                std::thread::spawn(move || state.serve(stream.unwrap()));
            }
        });
        Self { port, state }
    }

    fn uri(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    fn answer_with(&self, status: u16, fields: &str, body: &str) {
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} X\r\n{fields}Content-Length: {length}\r\n\r\n{body}");
        *self.state.answer.lock().unwrap() = Some(answer);
        self.state.changed.notify_all();
    }

    /// From now on it has these keys, each with its `kid`.
    fn publish(&self, keys: &[(&str, &Signer)]) {
        let jwk = |(kid, signer): &(&str, &Signer)| {
            let mut jwk = serde_json::to_value(signer.key.public().to_jwk()).unwrap();
            jwk["kid"] = json!(kid);
            jwk
        };
        self.answer_with(200, "", &json!({ "keys": keys.iter().map(jwk).collect::<Vec<_>>() }).to_string());
    }

    fn asked(&self) -> Vec<String> {
        self.state.asked.lock().unwrap().clone()
    }
}

impl State {
    fn serve(&self, stream: TcpStream) {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let certificate = CertificateDer::from_pem_file(file("client.crt")).unwrap();
        let key = PrivateKeyDer::from_pem_file(file("client.key")).unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream);
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
        }
        let line = String::from_utf8(head).unwrap().lines().next().unwrap().to_owned();
        self.asked.lock().unwrap().push(line);
        let answer = self.changed.wait_while(self.answer.lock().unwrap(), |answer| answer.is_none()).unwrap();
        let answer = answer.clone().unwrap();
        let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
        stream.conn.send_close_notify();
        let _ = stream.flush();
    }
}

/// Settings that allow the site, and give it more time than it ever needs.
fn allowing(site: &Site) -> impl Fn(&mut Config) + Send + Sync + 'static {
    let allow = format!("127.0.0.1:{}=127.0.0.0/8,*.partner.example", site.port);
    move |config| {
        config.fetch.allow = allow.parse().unwrap();
        config.fetch.ca_file = Some(file("authority.crt"));
        config.fetch.limits.connect = Duration::from_secs(60);
        config.fetch.limits.whole = Duration::from_secs(60);
    }
}

fn metadata(site: &Site) -> Value {
    json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": site.uri("/keys"), "scope": "read" })
}

/// A client `app` whose keys are on the site. None is there yet.
fn register(server: &TestServer, site: &Site) -> Signer {
    let mut metadata = metadata(site);
    metadata["client_id"] = json!("app");
    let answer = server.ask_socket(&Request::post("/admin/v1/clients").json(&metadata));
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.json()["jwks_uri"], site.uri("/keys").as_str());
    app()
}

fn app() -> Signer {
    Signer { id: "app".to_owned(), key: new_key() }
}

/// A request with an assertion of that name by a key of that `kid`, good for ten minutes.
fn ask(server: &TestServer, signer: &Signer, kid: &str, jti: &str) -> Answer {
    let mut claims = signer.claims(server, jti);
    claims["exp"] = json!(server.time_seconds() + 60);
    ask_for_token(server, &signer.sign(&json!({ "alg": "EdDSA", "kid": kid }).to_string(), &claims.to_string()))
}

#[track_caller]
fn check_refused(answer: &Answer, reason: &str) {
    assert_eq!(answer.error(), (401, "invalid_client".to_owned()), "{answer:?}");
    let description = answer.text("error_description");
    assert!(description.contains(reason) && !description.contains("127.0.0.1"), "{description}");
}

const UNAVAILABLE: &str = "cannot be fetched from its jwks_uri at the moment";
const UNPROVEN: &str = "not signed by a key that the client has registered";

#[test]
fn by_default_nothing_is_fetched() {
    let site = Site::start();
    let server = TestServer::start();
    let answer = server.ask_socket(&Request::post("/admin/v1/clients").json(&metadata(&site)));
    assert_eq!(answer.error(), (400, "invalid_client_metadata".to_owned()));
    assert!(answer.text("error_description").starts_with("jwks_uri: this server fetches nothing"), "{answer:?}");
    assert!(!server.ask(&Request::get("/metrics")).body.contains("tessera_fetch"));
    assert_eq!(site.asked().len(), 0);
}

#[test]
fn keys_are_fetched_once_and_again_when_the_client_has_changed_them() {
    let site = Site::start();
    let server = TestServer::start_with(allowing(&site));
    let (old, new) = (register(&server, &site), app());
    site.publish(&[("old", &old)]);
    for jti in ["1", "2", "3"] {
        let answer = ask(&server, &old, "old", jti);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(site.asked(), ["GET /keys HTTP/1.1"]);
    check_refused(&ask(&server, &new, "old", "4"), UNPROVEN);
    assert_eq!(site.asked().len(), 1, "a wrong signature fetches nothing");

    site.publish(&[("old", &old), ("new", &new)]);
    check_refused(&ask(&server, &new, "new", "5"), UNPROVEN);
    assert_eq!(site.asked().len(), 1, "it was fetched a moment ago");
    server.time.advance(Duration::from_secs(30));
    assert_eq!(ask(&server, &new, "new", "6").status, 200);
    assert_eq!(ask(&server, &old, "old", "7").status, 200);
    assert_eq!(site.asked().len(), 2);

    // A key that was taken away is gone after the set's lifetime, without anybody asking for another.
    site.publish(&[("new", &new)]);
    server.time.advance(Duration::from_secs(299));
    assert_eq!(ask(&server, &old, "old", "8").status, 200);
    server.time.advance(Duration::from_secs(1));
    check_refused(&ask(&server, &old, "old", "9"), UNPROVEN);
    assert_eq!(site.asked().len(), 3);
}

#[test]
fn a_key_without_a_name_may_be_changed_too() {
    let site = Site::start();
    let server = TestServer::start_with(allowing(&site));
    let (old, new) = (register(&server, &site), app());
    let publish = |signer: &Signer| {
        let mut jwk = serde_json::to_value(signer.key.public().to_jwk()).unwrap();
        jwk.as_object_mut().unwrap().remove("kid");
        // What is not for signatures is nobody's business here.
        let other = json!({ "kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB", "x5c": [] });
        site.answer_with(200, "Cache-Control: max-age=3600\r\n", &json!({ "keys": [other, jwk] }).to_string());
    };
    publish(&old);
    assert_eq!(ask_for_token(&server, &old.assertion(&server, "1")).status, 200);
    publish(&new);
    server.time.advance(Duration::from_secs(30));
    assert_eq!(ask_for_token(&server, &new.assertion(&server, "2")).status, 200);
    assert_eq!(site.asked().len(), 2);
}

#[test]
fn a_site_says_how_long_its_keys_are_good_within_bounds() {
    for (fields, seconds) in [
        ("", 300),
        ("Cache-Control: max-age=100\r\n", 100),
        ("Cache-Control: max-age=0\r\n", 60),
        ("Cache-Control: no-store\r\n", 60),
        ("Cache-Control: max-age=86400\r\n", 3600),
    ] {
        let site = Site::start();
        let server = TestServer::start_with(allowing(&site));
        let signer = register(&server, &site);
        site.answer_with(200, fields, &json!({ "keys": [signer.key.public().to_jwk()] }).to_string());
        let ask = |jti: &str| {
            let mut claims = signer.claims(&server, jti);
            claims["exp"] = json!(server.time_seconds() + 60);
            ask_for_token(&server, &signer.sign(r#"{"alg":"EdDSA"}"#, &claims.to_string())).status
        };
        assert_eq!(ask("1"), 200);
        server.time.advance(Duration::from_secs(seconds - 1));
        assert_eq!((ask("2"), site.asked().len()), (200, 1), "{fields}");
        server.time.advance(Duration::from_secs(1));
        assert_eq!((ask("3"), site.asked().len()), (200, 2), "{fields}");
    }
}

#[test]
fn a_site_that_fails_is_asked_more_and_more_seldom_whatever_is_asked_of_us() {
    let site = Site::start();
    let server = TestServer::start_with(allowing(&site));
    let signer = register(&server, &site);
    site.answer_with(500, "", "not 127.0.0.1");
    let mut jti = 0;
    let mut check = |advance: u64, asked: usize| {
        server.time.advance(Duration::from_secs(advance));
        for _ in 0..3 {
            jti += 1;
            check_refused(&ask(&server, &signer, &format!("kid {jti}"), &jti.to_string()), UNAVAILABLE);
        }
        assert_eq!(site.asked().len(), asked, "after {advance} s");
    };
    check(0, 1);
    check(9, 1);
    check(1, 2);
    check(19, 2);
    check(1, 3);
    check(40, 4);
    check(80, 5);
    check(160, 6);
    check(300, 7);
    check(299, 7);
    check(1, 8);
    let metrics = server.ask(&Request::get("/metrics")).body;
    assert!(metrics.contains("tessera_fetches_total{outcome=\"status\"} 8\n"), "{metrics}");
    server.time.advance(Duration::from_secs(300));
    site.publish(&[("key", &signer)]);
    assert_eq!(ask(&server, &signer, "key", "good").status, 200);
}

#[test]
fn what_is_no_set_of_public_keys_counts_as_a_failure() {
    let private = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "d": "AA" }] });
    for body in ["", "[]", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct"}]}"#, "<html>", &private.to_string()] {
        let site = Site::start();
        let server = TestServer::start_with(allowing(&site));
        let signer = register(&server, &site);
        site.answer_with(200, "", body);
        check_refused(&ask(&server, &signer, "key", "1"), UNAVAILABLE);
        let metrics = server.ask(&Request::get("/metrics")).body;
        assert!(metrics.contains("tessera_fetches_total{outcome=\"no_keys\"} 1\n"), "{body}: {metrics}");
    }
}

#[test]
fn keys_are_used_for_an_hour_more_while_their_site_fails() {
    let site = Site::start();
    let server = TestServer::start_with(allowing(&site));
    let signer = register(&server, &site);
    site.publish(&[("key", &signer)]);
    assert_eq!(ask(&server, &signer, "key", "1").status, 200);
    site.answer_with(503, "", "");
    server.time.advance(Duration::from_secs(300));
    assert_eq!((ask(&server, &signer, "key", "2").status, site.asked().len()), (200, 2));
    assert_eq!((ask(&server, &signer, "key", "3").status, site.asked().len()), (200, 2), "not for each request");
    check_refused(&ask(&server, &signer, "unknown", "4"), UNPROVEN);
    server.time.advance(Duration::from_secs(3599));
    assert_eq!(ask(&server, &signer, "key", "5").status, 200);
    server.time.advance(Duration::from_secs(1));
    check_refused(&ask(&server, &signer, "key", "6"), UNAVAILABLE);
    let metrics = server.ask(&Request::get("/metrics")).body;
    assert!(metrics.contains("tessera_stale_key_sets_used_total{} 4\n"), "{metrics}");
}

#[test]
fn who_waits_for_keys_waits_for_one_fetch_and_keeps_nobody_waiting() {
    let site = Site::start();
    let server = TestServer::start_with(allowing(&site));
    let signer = register(&server, &site);
    let header = json!({ "alg": "EdDSA", "kid": "key" }).to_string();
    let mut connections: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for (jti, connection) in connections.iter_mut().enumerate() {
        let assertion = signer.sign(&header, &signer.claims(&server, &jti.to_string()).to_string());
        let form = [
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &*assertion),
            ("grant_type", "client_credentials"),
        ];
        assert!(connection.send(&Request::post("/oauth2/token").form(&form).to_bytes()));
    }
    until(|| !site.asked().is_empty());
    // There is one worker.
    let token = server.issue(&admin());
    assert!(server.is_active(&admin(), &token));
    site.publish(&[("key", &signer)]);
    for connection in &mut connections {
        let answer = connection.answer().expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(site.asked().len(), 1);
}

#[test]
fn an_address_is_registered_where_it_may_be_fetched_from_and_alone() {
    let site = Site::start();
    let server = TestServer::start_with(allowing(&site));
    let policy = json!({ "policy": { "grant_types": ["client_credentials"], "scope": "read" } });
    let token = server.ask_socket(&Request::post("/admin/v1/initial-access-tokens").json(&policy));
    let token = token.text("initial_access_token");
    let register = |metadata: &Value| server.ask(&Request::post("/oauth2/register").bearer(&token).json(metadata));
    let mut document = metadata(&site);
    document["grant_types"] = json!(["client_credentials"]);
    let registered = register(&document);
    assert_eq!(registered.status, 201, "{registered:?}");
    let signer = Signer { id: registered.text("client_id"), key: new_key() };
    site.publish(&[("key", &signer)]);
    assert_eq!(ask(&server, &signer, "key", "1").status, 200);

    let jwks = json!({ "keys": [signer.key.public().to_jwk()] });
    for (uri, jwks, start) in [
        (
            "https://client.example/keys",
            None,
            "jwks_uri: this server's setting fetch_allow does not allow client.example at port 443",
        ),
        ("https://partner.example/keys", None, "jwks_uri: this server's setting"),
        ("https://a.partner.example:8443/", None, "jwks_uri: this server's setting"),
        ("https://127.0.0.1/keys", None, "jwks_uri: this server's setting"),
        ("https://10.0.0.1/keys", None, "jwks_uri: this server's setting"),
        ("http://127.0.0.1:80/keys", None, "jwks_uri: this server's setting"),
        ("http://a.partner.example/", None, "jwks_uri: must be an https URL"),
        ("file:///etc/passwd", None, "jwks_uri: must be an https URL"),
        ("gopher://a.partner.example/", None, "jwks_uri: must be an https URL"),
        ("https://2130706433/", None, "jwks_uri: must be an https URL"),
        ("https://017700000001/", None, "jwks_uri: must be an https URL"),
        ("https://0x7f000001/", None, "jwks_uri: must be an https URL"),
        ("https://127.1/", None, "jwks_uri: must be an https URL"),
        ("https://a.partner.example/", Some(jwks), "jwks_uri: there is jwks too"),
    ] {
        let mut document = document.clone();
        document["jwks_uri"] = json!(uri);
        if let Some(jwks) = jwks {
            document["jwks"] = jwks;
        }
        let by_operator = server.ask_socket(&Request::post("/admin/v1/clients").json(&document));
        for answer in [register(&document), by_operator] {
            assert_eq!(answer.error(), (400, "invalid_client_metadata".to_owned()), "{uri}: {answer:?}");
            assert!(answer.text("error_description").starts_with(start), "{uri}: {answer:?}");
        }
    }
    document["jwks_uri"] = json!("https://a.partner.example/");
    assert_eq!(register(&document).status, 201);
}

#[test]
fn a_client_keeps_its_address_when_nothing_is_fetched_any_more() {
    let site = Site::start();
    let allow = allowing(&site);
    let server = TestServer::start_with(move |config| {
        config.storage.durability = Durability::Sync;
        allow(config);
    });
    let signer = register(&server, &site);
    site.publish(&[("key", &signer)]);
    let server = server.restart();
    assert_eq!(ask(&server, &signer, "key", "1").status, 200);
    let server = server.restart_with(|config| config.storage.durability = Durability::Sync);
    check_refused(&ask(&server, &signer, "key", "2"), UNAVAILABLE);
    let shown = server.ask_socket(&Request::get("/admin/v1/clients/app"));
    assert_eq!(shown.json()["jwks_uri"], site.uri("/keys").as_str());
    assert_eq!(site.asked().len(), 1);
    assert_eq!(server.time_seconds(), START_SECONDS);
}

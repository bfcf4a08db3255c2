//! People: `/admin/v1/users`, `tessera user …`, how they log in, and what stays of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tessera::command::user::{UserCommandError, run};
use tessera::config::cli::Command;
use tessera::config::value::Durability;
use tessera::oauth::subject::Subject;
use tessera::user::User;
use tessera::user::actor::{EndSession, RevokeSubject, StartSession, StoreConsent, UserRequest, ask};
use tessera::user::logins::LoginError;
use tessera::user::session::{Session, SessionDigest};

use crate::harness::{START_SECONDS, TestServer, admin};
use crate::http::{Answer, Credentials, Request};

const USERS: &str = "/admin/v1/users";
const PASSWORD: &str = "correct horse";
/// Of [`PASSWORD`], by `argon2-cffi`, `bcrypt` and `passlib`.
const HASHES: [&str; 6] = [
    "$argon2id$v=19$m=1024,t=2,p=1$i33e17WvMfpMg2tcValyMw$A4Eajm+CKfysmlNARvyq7D1NHEuDxFMj0Xoc2BQHGGs",
    "$2a$04$WMrVGPGQcC0PnDCKBdZEyuTYWIyC1A1Ijrmo7LY/F4vLGKkDuiPAO",
    "$2b$04$.q7HRqjabY2c352Ir0WJdeVmf0i1ngkBmBHD61YINN/0d6QHMe6bm",
    "$2y$05$MeVMnXWweMNACykuLErnVOnI6vwDgF8bsGxsGh4kXXCp0aj76pChK",
    "$pbkdf2-sha256$1000$U6p1rtVaa01pTak1phQi5A$W0iNwGiHvIOeWTL8UniCKmRjSWvEVgEw9Wh47l045EA",
    "$pbkdf2-sha512$i=1000,l=64$q1l03aCce+erY9x7CM+WFA$wlS6AEIKNdXezGtMrnbAEUsDHYAm+51sLJz6GLxr+PLHygG/iDTJU4wcNKP58Lw/arw97FpcepojLytDAGTuiw",
];

impl TestServer {
    #[track_caller]
    fn administer(&self, method: &str, path: &str, document: Option<&Value>, status: u16) -> Answer {
        let request = Request::new(method, &format!("{USERS}{path}"));
        let answer = self.ask_socket(&document.into_iter().fold(request, |request, json| request.json(json)));
        assert_eq!(answer.status, status, "{method} {path} {document:?}: {answer:?}");
        answer
    }

    /// Registers a user; answers their `sub`.
    #[track_caller]
    fn create_user(&self, document: &Value) -> String {
        self.administer("POST", "", Some(document), 201).text("sub")
    }

    fn log_in_from(&self, name: &str, password: &str, address: Option<IpAddr>) -> Result<Arc<User>, LoginError> {
        let now = tessera::clock::UnixTime::from_seconds(START_SECONDS);
        wait(self.people.logins.authenticate(name, password, address, now))
    }

    fn log_in(&self, name: &str, password: &str) -> Result<Arc<User>, LoginError> {
        self.log_in_from(name, password, None)
    }

    #[track_caller]
    fn tell<R: UserRequest>(&self, request: R) -> R::Answer {
        wait(ask(&self.people.user_actor, request)).unwrap()
    }

    #[track_caller]
    fn start_session(&self, subject: &str) -> Arc<Session> {
        let (subject, amr) = (Subject::parse(subject).unwrap(), vec!["pwd".to_owned()]);
        let start = StartSession {
            subject,
            checked: None,
            amr,
            acr: None,
            lifetime_seconds: None,
            user_agent: Some("a browser".to_owned()),
            address: Some("192.0.2.1".parse().unwrap()),
            replaces: None,
        };
        self.tell(start).0
    }

    fn sessions(&self, sub: &str) -> Vec<Value> {
        let answer = self.administer("GET", &format!("/{sub}/sessions"), None, 200).json();
        answer["sessions"].as_array().unwrap().clone()
    }

    fn has_session(&self, digest: &SessionDigest) -> bool {
        self.people.users.session(digest).is_some()
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn a_user_is_registered_shown_changed_and_deleted() {
    let server = TestServer::start();
    let document = json!({
        "username": "Ada@Example.com", "name": "Ада Лавлейс", "email": "ada@example.com", "email_verified": true, "password": PASSWORD,
    });
    let created = server.administer("POST", "", Some(&document), 201);
    assert_eq!(created.field("cache-control"), Some("no-store"));
    let sub = created.text("sub");
    assert_eq!(sub.len(), 32);
    let mut expected = json!({
        "sub": sub, "username": "ada@example.com", "name": "Ада Лавлейс", "email": "ada@example.com", "email_verified": true,
        "disabled": false, "has_password": true, "created_at": START_SECONDS, "updated_at": START_SECONDS,
    });
    let path = format!("/{sub}");
    let shown = server.administer("GET", &path, None, 200);
    assert_eq!((created.json(), shown.json()), (expected.clone(), expected.clone()));

    let patch = json!({ "name": null, "email": "ada@example.org", "username": "ada" });
    expected["username"] = json!("ada");
    expected["email"] = json!("ada@example.org");
    expected["email_verified"] = json!(false);
    expected.as_object_mut().unwrap().remove("name");
    assert_eq!(server.administer("PATCH", &path, Some(&patch), 200).json(), expected, "nobody verified that address");
    assert!(server.log_in("ada", PASSWORD).is_ok() && server.log_in("ada@example.com", PASSWORD).is_err());

    server.administer("DELETE", &path, None, 204);
    for (method, document, path) in [
        ("GET", None, path.clone()),
        ("PATCH", Some(json!({ "disabled": true })), path.clone()),
        ("DELETE", None, path.clone()),
        ("POST", Some(json!({ "password": PASSWORD })), format!("{path}/password")),
        ("DELETE", None, format!("{path}/sessions/00")),
    ] {
        server.administer(method, &path, document.as_ref(), 404);
    }
    assert_eq!(server.log_in("ada", PASSWORD), Err(LoginError::Refused));
}

#[test]
fn a_member_that_is_unknown_or_out_of_bounds_is_refused_by_name() {
    let server = TestServer::start();
    let sub = server.create_user(&json!({ "username": "taken" }));
    let cases = [
        (json!({}), 400, "username"),
        (json!({ "username": "a b" }), 400, "a-z"),
        (json!({ "username": "аlice" }), 400, "a-z"),
        (json!({ "username": "a", "email": "no" }), 400, "email"),
        (json!({ "username": "a", "shoe_size": "b" }), 400, "unknown field"),
        (json!({ "username": "a", "website": "javascript:alert(1)" }), 400, "website must be the URL of a page"),
        (json!({ "username": "a", "sub": "a b" }), 400, "visible ASCII"),
        (json!({ "username": "a", "password": "short" }), 400, "8 characters"),
        (json!({ "username": "a", "password_hash": "$1$a$b" }), 400, "Argon2id"),
        (
            json!({ "username": "a", "password_hash": "$2b$31$.q7HRqjabY2c352Ir0WJdeVmf0i1ngkBmBHD61YINN/0d6QHMe6bm" }),
            400,
            "cost from 04 to 14",
        ),
        (
            json!({ "username": "a", "password_hash": "$argon2id$v=19$m=4194304,t=1,p=1$i33e17WvMfpMg2tcValyMw$A4Eajm+CKfysmlNARvyq7D1NHEuDxFMj0Xoc2BQHGGs" }),
            400,
            "131072",
        ),
        (json!({ "username": "a", "password_hash": HASHES[0], "password": PASSWORD }), 400, "exclude"),
        (json!({ "username": "TAKEN" }), 409, "registered already"),
        (json!({ "username": "a", "sub": sub }), 409, "registered already"),
    ];
    for (document, status, words) in cases {
        let answer = server.administer("POST", "", Some(&document), status);
        let description = answer.text("error_description");
        assert!(description.contains(words), "{document}: {description}");
        assert!(!description.contains(PASSWORD));
    }
    for (path, method, document, words) in [
        (format!("/{sub}"), "PATCH", json!({ "password": PASSWORD }), "unknown field"),
        (format!("/{sub}"), "PATCH", json!({ "shoe_size": null }), "unknown field"),
        (format!("/{sub}"), "PATCH", json!({ "phone_number_verified": true }), "phone_number"),
        (format!("/{sub}"), "PATCH", json!({ "email_verified": true }), "email"),
        (format!("/{sub}/password"), "POST", json!({}), "missing"),
    ] {
        let description = server.administer(method, &path, Some(&document), 400).text("error_description");
        assert!(description.contains(words), "{description}");
    }
    for query in ["?limit=0", "?limit=1001", "?limit=x", "?cursor=%20", "?page=1"] {
        server.administer("GET", query, None, 400);
    }
    assert_eq!(
        server.administer("PUT", &format!("/{sub}"), Some(&json!({})), 405).field("allow"),
        Some("GET, PATCH, DELETE")
    );
    assert_eq!(
        server.administer("GET", "", None, 200).json()["users"].as_array().unwrap().len(),
        1,
        "nothing was made"
    );
}

#[test]
fn without_a_token_of_the_admin_scope_users_are_nobodys_business() {
    let server = TestServer::start();
    let sub = server.create_user(&json!({ "username": "alice" }));
    let app = server.register_app("app");
    let narrow = server.issue(&app);
    for path in ["", &format!("/{sub}"), &format!("/{sub}/sessions")] {
        let request = Request::get(&format!("{USERS}{path}"));
        assert_eq!(server.ask(&request).status, 401);
        assert_eq!(server.ask(&request.clone().bearer(&narrow)).status, 403);
        assert_eq!(server.ask(&request.bearer(&server.issue(&admin()))).status, 200);
    }
}

#[test]
fn users_are_listed_by_pages_and_found_by_name() {
    let server = TestServer::start();
    let names: Vec<String> = (0..7).map(|number| format!("user-{number}@example.com")).collect();
    for name in names.iter().rev() {
        server.create_user(&json!({ "username": name }));
    }
    let (mut seen, mut query) = (Vec::new(), "?limit=3".to_owned());
    loop {
        let page = server.administer("GET", &query, None, 200).json();
        seen.extend(page["users"].as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap().to_owned()));
        let Some(cursor) = page.get("next_cursor") else { break };
        query = format!("?limit=3&cursor={}", cursor.as_str().unwrap().replace('@', "%40"));
    }
    assert_eq!(seen, names);
    let found = |name: &str| {
        server.administer("GET", &format!("?username={name}"), None, 200).json()["users"].as_array().unwrap().len()
    };
    assert_eq!((found("USER-3%40example.com"), found("user-9%40example.com"), found("%20")), (1, 0, 0));
}

#[test]
fn hashes_of_other_systems_let_people_in_and_are_replaced_by_ours() {
    let server = TestServer::start_with(|config| config.storage.durability = Durability::Sync);
    for (number, hash) in HASHES.iter().enumerate() {
        let name = format!("user-{number}");
        server.create_user(&json!({ "username": name, "password_hash": hash }));
        assert_eq!(server.log_in(&name, "correct horsf"), Err(LoginError::Refused), "{hash}");
        let user = server.log_in(&name, PASSWORD).unwrap();
        assert!(user.password.as_ref().unwrap().is_ours(), "{hash}");
        assert!(server.log_in(&name, PASSWORD).is_ok(), "{hash}");
    }
    let server = server.restart();
    assert!(server.log_in("user-0", PASSWORD).is_ok() && server.log_in("user-5", PASSWORD).is_ok());
}

#[test]
fn unknown_disabled_and_mistaken_people_are_answered_alike() {
    let server = TestServer::start();
    server.create_user(&json!({ "username": "alice", "password": PASSWORD }));
    server.create_user(&json!({ "username": "disabled", "password": PASSWORD, "disabled": true }));
    server.create_user(&json!({ "username": "new" }));
    for (name, password) in
        [("alice", "wrong"), ("nobody", PASSWORD), ("disabled", PASSWORD), ("new", PASSWORD), ("", "")]
    {
        assert_eq!(server.log_in(name, password), Err(LoginError::Refused), "{name}");
    }
    let metrics = server.ask(&Request::get("/metrics").bearer(&server.issue(&admin()))).body;
    assert!(metrics.contains("tessera_logins_total{outcome=\"refused\"} 5"), "{metrics}");
}

#[test]
fn a_lock_out_ends_by_itself_and_spares_the_persons_own_address() {
    let server = TestServer::start();
    server.create_user(&json!({ "username": "alice", "password": PASSWORD }));
    let [home, elsewhere] = ["192.0.2.1", "198.51.100.1"].map(|address| Some(address.parse().unwrap()));
    server.log_in_from("alice", PASSWORD, home).unwrap();
    for name in ["alice", "nobody"] {
        for _ in 0..5 {
            assert_eq!(server.log_in_from(name, "wrong", elsewhere), Err(LoginError::Refused));
        }
        let locked = LoginError::TooMany { retry_after: Duration::from_secs(1) };
        assert_eq!(server.log_in_from(name, PASSWORD, elsewhere), Err(locked), "{name}: whether there is one or not");
    }
    assert!(server.log_in_from("alice", PASSWORD, home).is_ok());
}

#[test]
fn another_password_ends_sessions_and_the_old_one() {
    let server = TestServer::start();
    let sub = server.create_user(&json!({ "username": "alice", "password": PASSWORD }));
    let session = server.start_session(&sub);
    server.administer("POST", &format!("/{sub}/password"), Some(&json!({ "password": "another horse" })), 204);
    assert!(!server.has_session(&session.digest));
    assert_eq!(server.log_in("alice", PASSWORD), Err(LoginError::Refused));
    assert!(server.log_in("alice", "another horse").is_ok());
}

#[test]
fn sessions_are_listed_and_ended() {
    let server = TestServer::start();
    let sub = server.create_user(&json!({ "username": "alice" }));
    let [first, second, third] = [(); 3].map(|()| server.start_session(&sub));
    let listed = server.sessions(&sub);
    let expected = json!({
        "id": first.id(), "auth_time": START_SECONDS, "amr": ["pwd"], "created_at": START_SECONDS, "last_seen_at": START_SECONDS,
        "expires_at": START_SECONDS + 43_200, "address": "192.0.2.1", "user_agent": "a browser",
    });
    assert_eq!((listed.len(), &listed[0]), (3, &expected));
    server.administer("DELETE", &format!("/{sub}/sessions/{}", second.id()), None, 204);
    server.administer("DELETE", &format!("/{sub}/sessions/{}", second.id()), None, 404);
    assert_eq!(server.sessions(&sub).len(), 2);
    server.administer("DELETE", &format!("/{sub}/sessions"), None, 204);
    assert!(server.sessions(&sub).is_empty() && !server.has_session(&third.digest));
}

#[test]
fn what_was_acknowledged_of_people_outlives_a_restart() {
    for takes_snapshot in [false, true] {
        let server = TestServer::start_durable();
        let sub = server.create_user(&json!({ "username": "alice", "password": PASSWORD, "sub": "a|1" }));
        let gone = server.create_user(&json!({ "username": "gone" }));
        let app = server.register_app("app");
        let client = server.people_client(&app);
        server.administer("DELETE", &format!("/{gone}"), None, 204);
        let elsewhere = Subject::parse("of-another-system").unwrap();
        server.tell(RevokeSubject { subject: elsewhere.clone() });
        let [kept, ended] = [(); 2].map(|()| server.start_session(&sub));
        server.tell(EndSession { digest: ended.digest });
        let subject = Subject::parse(&sub).unwrap();
        let (client_id, client_generation) = client;
        let scope = tessera::oauth::scope::Scope::parse("read").unwrap();
        server.tell(StoreConsent { subject: subject.clone(), client_id, client_generation, scope });
        if takes_snapshot {
            assert_eq!(server.ask_socket(&Request::post("/admin/v1/snapshots")).status, 201);
        }
        let server = server.restart();
        assert!(server.log_in("alice", PASSWORD).is_ok(), "snapshot: {takes_snapshot}");
        assert!(server.has_session(&kept.digest) && !server.has_session(&ended.digest));
        assert_eq!(server.people.users.consents_of(&subject).len(), 1);
        let generation = |subject: &str| server.people.users.generation(&Subject::parse(subject).unwrap()).value();
        assert_eq!((generation(&gone), generation(elsewhere.as_str()), generation(&sub)), (1, 1, 0));
        server.administer("POST", &format!("/{sub}/revoke"), None, 204);
        assert_eq!((generation(&sub), server.sessions(&sub).len()), (1, 0));
        let server = server.restart();
        assert_eq!(server.people.users.generation(&subject).value(), 1);
        assert!(!server.has_session(&kept.digest));
    }
}

impl TestServer {
    /// The id and the generation of a client.
    fn people_client(&self, client: &Credentials) -> (tessera::client::id::ClientId, u64) {
        (tessera::client::id::ClientId::parse(&client.id).unwrap(), 1)
    }
}

#[test]
fn a_secret_that_is_checked_slowly_leaves_the_answers_before_it_alone() {
    let server = TestServer::start();
    let resources = ["https://a.example", "https://b.example"];
    let document = json!({ "client_id": "app", "client_secret_hash": HASHES[0], "audience": resources });
    assert_eq!(server.ask_socket(&Request::post("/admin/v1/clients").json(&document)).status, 201);
    let first = Request::post("/oauth2/introspect").basic(&admin()).form(&[("token", "none")]).to_bytes();
    let [a, b] = resources.map(|resource| ("resource", resource));
    let form = [("grant_type", "client_credentials"), ("client_id", "app"), ("client_secret", PASSWORD), a, b];
    let second = Request::post("/oauth2/token").form(&form).to_bytes();
    let mut connection = server.connect();
    assert!(connection.send(&[first.clone(), second, first].concat()));
    let answers: Vec<_> = (0..3).map(|_| connection.answer().expect("an answer")).collect();
    let [before, issued, after] = &answers[..] else { panic!("{answers:?}") };
    for other in [before, after] {
        assert_eq!((other.status, other.json()), (200, json!({ "active": false })));
    }
    assert_eq!(issued.status, 200, "{issued:?}");
}

#[test]
fn a_client_keeps_the_secret_that_it_had_elsewhere() {
    let server = TestServer::start_durable();
    for (number, hash) in HASHES.iter().enumerate() {
        let id = format!("app-{number}");
        let document = json!({ "client_id": id, "scope": "read", "client_secret_hash": hash });
        let answer = server.ask_socket(&Request::post("/admin/v1/clients").json(&document));
        assert_eq!((answer.status, answer.json().get("client_secret")), (201, None), "{answer:?}");
        let [right, wrong] = [PASSWORD, "correct horsf"].map(|secret| Credentials::new(&id, secret));
        let ask = |client: &Credentials| server.ask_for_token(client, &[("grant_type", "client_credentials")]).status;
        assert_eq!([ask(&wrong), ask(&right), ask(&wrong), ask(&right)], [401, 200, 401, 200], "{hash}");
        let token = server.issue(&right);
        assert_eq!(server.introspect(&wrong, &token).status, 401);
        assert!(server.is_active(&right, &token));
    }
    let checks = || {
        let metrics = server.ask_socket(&Request::get("/metrics")).body;
        let line = metrics
            .lines()
            .find(|line| line.starts_with("tessera_password_check_duration_seconds_count{pool=\"client_secret\"}"));
        line.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
    };
    assert_eq!(checks(), Some(12.0), "a secret is checked until it is proven, and never again");
    let server = server.restart();
    let right = Credentials::new("app-2", PASSWORD);
    let token = server.issue(&right);
    assert!(
        server.is_active(&right, &token) && server.introspect(&Credentials::new("app-2", "x"), &token).status == 401
    );
    let rotated = server.ask_socket(&Request::post("/admin/v1/clients/app-2/secret")).text("client_secret");
    assert_eq!(server.introspect(&right, &token).status, 401);
    assert!(server.is_active(&Credentials::new("app-2", &rotated), &token));
    let refused = json!({ "client_id": "b", "client_secret_hash": "secret" });
    let refused = server.ask_socket(&Request::post("/admin/v1/clients").json(&refused));
    assert!(refused.status == 400 && refused.text("error_description").contains("client_secret_hash"), "{refused:?}");
}

#[track_caller]
fn command(server: &TestServer, line: &str) -> Result<Value, UserCommandError> {
    let arguments = ["tessera", "user"].into_iter().chain(line.split_whitespace()).map(Into::into);
    let Ok(Command::User(command)) = Command::read(arguments) else { panic!("{line}") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let printed = runtime.block_on(run(&command, &server.data_dir()))?;
    Ok(serde_json::from_str(&printed).unwrap_or_default())
}

#[test]
fn the_command_line_does_what_the_api_does() {
    let server = TestServer::start();
    let created = command(&server, "create alice --email a@example.com").unwrap();
    let sub = created["sub"].as_str().unwrap();
    assert_eq!(command(&server, "show ALICE").unwrap(), created);
    assert_eq!(command(&server, &format!("show --sub {sub}")).unwrap(), created);
    assert_eq!(command(&server, "list").unwrap()["users"][0], created);
    let updated = command(&server, "update alice --new-username bob --name Bob --disabled true").unwrap();
    assert_eq!(
        (&updated["username"], &updated["email"], &updated["disabled"]),
        (&json!("bob"), &json!("a@example.com"), &json!(true))
    );
    assert!(matches!(command(&server, "show alice"), Err(UserCommandError::Unknown(name)) if name == "alice"));
    command(&server, "revoke --sub of-another-system").unwrap();
    assert_eq!(server.people.users.generation(&Subject::parse("of-another-system").unwrap()).value(), 1);
    command(&server, "delete bob").unwrap();
    assert_eq!(command(&server, "list").unwrap()["users"], json!([]));
}

#[test]
fn a_file_of_users_is_imported_line_by_line() {
    let server = TestServer::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines: Vec<String> = HASHES
        .iter()
        .enumerate()
        .map(|(number, hash)| json!({ "username": format!("user-{number}"), "password_hash": hash }).to_string())
        .collect();
    let import = |text: &str| {
        std::fs::write(file.path(), text).unwrap();
        command(&server, &format!("import {}", file.path().display()))
    };
    assert_eq!(import(&lines.join("\n")).unwrap(), json!({ "created": 6, "existing": 0, "refused": 0 }));
    assert!(server.log_in("user-4", PASSWORD).is_ok());
    let more = format!("{}\n\nnonsense\n{{\"username\":\"a b\"}}\n{{\"username\":\"last\"}}\n", lines[0]);
    let Err(UserCommandError::Import { summary, refused }) = import(&more) else { panic!() };
    assert_eq!(serde_json::from_str::<Value>(&summary).unwrap(), json!({ "created": 1, "existing": 1, "refused": 2 }));
    assert!(refused.contains("line 3: ") && refused.contains("line 4: "), "{refused}");
}

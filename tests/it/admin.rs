//! `/admin/v1/clients`, with a bearer token over TCP and without one over the socket, and `tessera client …`.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::{Value, json};
use tessera::command::client::run;
use tessera::command::socket::CommandError;
use tessera::config::cli::Command;

use crate::harness::{START_SECONDS, TestServer, admin};
use crate::http::{Answer, Credentials, Request};

const CLIENTS: &str = "/admin/v1/clients";

/// Names that mean something else in a path unless every byte of them is encoded.
const AWKWARD_IDS: [&str; 11] = [
    "https://api.example/",
    "a/secret",
    "a%2Fb",
    "%",
    "a+b",
    "a?limit=1#b",
    "..",
    "a;b,c=d&e",
    "\"<>\\^`{|}",
    "[::1]",
    "~",
];

/// The path of a client, with every byte of its name encoded.
fn path_of(client_id: &str) -> String {
    let encoded: String = client_id.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("{CLIENTS}/{encoded}")
}

/// One request of each kind.
fn requests(client_id: &str) -> [Request; 6] {
    let path = path_of(client_id);
    [
        Request::post(CLIENTS).json(&json!({ "client_id": "made" })),
        Request::get(CLIENTS),
        Request::get(&path),
        Request::new("PUT", &path).json(&json!({})),
        Request::post(&format!("{path}/secret")),
        Request::new("DELETE", &path),
    ]
}

fn show(server: &TestServer, client_id: &str) -> Answer {
    server.ask_socket(&Request::get(&path_of(client_id)))
}

fn names(page: &Value) -> Vec<&str> {
    page["clients"].as_array().unwrap().iter().map(|client| client["client_id"].as_str().unwrap()).collect()
}

/// Every client, gathered by pages of `limit`.
fn list_all(server: &TestServer, limit: usize) -> (Vec<String>, usize) {
    let (mut all, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = server.ask_socket(&Request::get(&format!("{CLIENTS}?limit={limit}{cursor}"))).json();
        all.extend(names(&page).into_iter().map(str::to_owned));
        pages += 1;
        let Some(next) = page.get("next_cursor") else { return (all, pages) };
        let next: String = next.as_str().unwrap().bytes().map(|byte| format!("%{byte:02x}")).collect();
        cursor = format!("&cursor={next}");
    }
}

#[test]
fn a_bearer_token_of_the_admin_scope_opens_the_api() {
    let server = TestServer::start();
    server.register_app("app");
    let token = server.issue(&admin());
    for (request, status) in requests("app").into_iter().zip([201, 200, 200, 200, 200, 204]) {
        let answer = server.ask(&request.bearer(&token));
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.field("cache-control"), Some("no-store"));
    }
}

#[test]
fn without_a_live_token_of_the_admin_scope_the_api_changes_and_tells_nothing() {
    let server = TestServer::start_with(|config| config.tokens.access_token_lifetime_seconds = 60);
    let app = server.register_app("app");
    let (expired, revoked) = (server.issue(&admin()), server.issue(&admin()));
    server.revoke(&admin(), &revoked);
    server.time.advance(Duration::from_secs(60));
    let narrow = server.issue(&app);
    let fresh = server.issue(&admin());
    let missing = (401, "invalid_token", "Bearer realm=\"tessera\"");
    let invalid = (401, "invalid_token", "Bearer realm=\"tessera\", error=\"invalid_token\"");
    let scope = "Bearer realm=\"tessera\", error=\"insufficient_scope\", scope=\"tessera.admin\"";
    let cases = [
        (None::<String>, missing),
        (Some(admin().basic()), missing),
        (Some(fresh.clone()), missing),
        (Some("Bearer".to_owned()), missing),
        (Some("Bearer unknown".to_owned()), invalid),
        (Some(format!("Bearer {expired}")), invalid),
        (Some(format!("Bearer {revoked}")), invalid),
        (Some(format!("Bearer {fresh}, Bearer {fresh}")), invalid),
        (Some(format!("Bearer {narrow}")), (403, "insufficient_scope", scope)),
    ];
    for (field, (status, error, challenge)) in cases {
        for request in requests("app") {
            let request = match &field {
                Some(field) => request.field("Authorization", field),
                None => request,
            };
            let answer = server.ask(&request);
            assert_eq!((answer.status, &*answer.text("error")), (status, error), "{field:?}");
            assert_eq!(answer.field("www-authenticate"), Some(challenge), "{field:?}");
        }
    }
    let twice = Request::get(CLIENTS).bearer(&fresh).bearer(&fresh);
    assert_eq!(server.ask(&twice).error(), (401, "invalid_token".to_owned()));
    assert_eq!(list_all(&server, 10).0, ["admin", "app"]);
    assert!(server.is_active(&app, &narrow), "nobody rotated its secret or deleted it");
}

#[test]
fn a_client_is_created_with_what_it_leaves_out_filled_in() {
    let server = TestServer::start();
    let answer = server.ask_socket(&Request::post(CLIENTS).json(&json!({})));
    assert_eq!(answer.status, 201);
    let mut document = answer.json();
    let members = document.as_object_mut().unwrap();
    let client_id = members.remove("client_id").unwrap();
    let client =
        Credentials::new(client_id.as_str().unwrap(), members.remove("client_secret").unwrap().as_str().unwrap());
    assert_eq!((client.id.len(), client.secret.len()), (32, 43));
    let expected = json!({
        "client_secret_expires_at": 0, "client_id_issued_at": START_SECONDS, "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "client_secret_basic", "scope": "", "audience": [], "introspection": "own",
    });
    assert_eq!(document, expected);
    server.issue(&client);
}

#[test]
fn a_client_is_created_as_it_is_described() {
    let server = TestServer::start();
    let metadata = json!({
        "client_id": "gateway", "client_name": "Das Tor „1“", "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "client_secret_post", "scope": "read write", "audience": ["https://api.example/"],
        "introspection": "audience", "access_token_lifetime_seconds": 60,
    });
    let created = server.ask_socket(&Request::post(CLIENTS).json(&metadata));
    assert_eq!(created.status, 201);
    let shown = show(&server, "gateway");
    assert_eq!(shown.status, 200);
    let mut expected = metadata;
    expected["client_id_issued_at"] = json!(START_SECONDS);
    assert_eq!(shown.json(), expected);
    expected["client_secret"] = created.json()["client_secret"].clone();
    expected["client_secret_expires_at"] = json!(0);
    assert_eq!(created.json(), expected);
}

#[test]
fn a_client_id_is_given_once() {
    let server = TestServer::start();
    let app = server.register_app("app");
    for metadata in [json!({ "client_id": "app" }), json!({ "client_id": "app", "scope": "tessera.admin" })] {
        let answer = server.ask_socket(&Request::post(CLIENTS).json(&metadata));
        assert_eq!(answer.error(), (409, "invalid_client_metadata".to_owned()));
    }
    assert_eq!(server.ask_for_token(&app, &[("grant_type", "client_credentials")]).json()["scope"], "read write");
    server.register(&json!({ "client_id": "App" }));
    assert_eq!(list_all(&server, 10).0, ["App", "admin", "app"]);
}

/// Documents that describe no client, whether it is to be created or changed.
fn bad_metadata() -> Vec<String> {
    let many: Vec<String> = (0..33).map(|number| format!("\"{number}\"")).collect();
    let mut bad: Vec<String> = [
        r#"{"unknown":1}"#,
        r#"{"scopes":"a"}"#,
        r#"{"client_secret":"mine"}"#,
        r#"{"redirect_uris":["https://client.example/#"]}"#,
        r#"{"grant_types":["authorization_code"]}"#,
        r#"{"scope":"a","scope":"a"}"#,
        r#"{"scope":1}"#,
        r#"{"scope":"a  b"}"#,
        r#"{"scope":"\""}"#,
        r#"{"client_name":""}"#,
        r#"{"client_name":"a\u0000b"}"#,
        r#"{"grant_types":["password"]}"#,
        r#"{"grant_types":["client_credentials","client_credentials"]}"#,
        r#"{"token_endpoint_auth_method":"none"}"#,
        r#"{"introspection":"ANY"}"#,
        r#"{"audience":"a"}"#,
        r#"{"audience":["a","a"]}"#,
        r#"{"audience":[""]}"#,
        r#"{"access_token_lifetime_seconds":0}"#,
        r#"{"access_token_lifetime_seconds":31536001}"#,
        r#"{"access_token_lifetime_seconds":1.5}"#,
        r#"{"access_token_lifetime_seconds":"60"}"#,
        r#"{"access_token_lifetime_seconds":1e308}"#,
        "",
        "{",
        "null",
        "1",
        "{} {}",
        "\u{feff}{}",
        r#"["a name"]"#,
    ]
    .map(str::to_owned)
    .to_vec();
    bad.push(format!(r#"{{"client_name":"{}"}}"#, "n".repeat(256)));
    bad.push(format!(r#"{{"scope":"{}"}}"#, "s".repeat(4097)));
    bad.push(format!(r#"{{"audience":[{}]}}"#, many.join(",")));
    bad.push(format!("{}{}", r#"{"audience":"#.repeat(5_000), "}".repeat(5_000)));
    bad
}

#[test]
fn an_unknown_member_or_a_value_out_of_bounds_is_refused() {
    let server = TestServer::start();
    server.register_app("app");
    let before = show(&server, "app");
    for text in bad_metadata() {
        let shown: String = text.chars().take(60).collect();
        for (method, target) in [("POST", CLIENTS), ("PUT", "/admin/v1/clients/app")] {
            let answer = server.ask_socket(&Request::new(method, target).json_text(&text));
            assert_eq!(answer.error(), (400, "invalid_client_metadata".to_owned()), "{method} {shown}");
        }
    }
    assert_eq!(show(&server, "app"), before);
    assert_eq!(list_all(&server, 10).0, ["admin", "app"]);
}

#[test]
fn an_unknown_member_is_refused() {
    let server = TestServer::start();
    let answer = server.ask_socket(&Request::post(CLIENTS).json(&json!({ "client_id": "app", "scopes": "read" })));
    assert_eq!(answer.error(), (400, "invalid_client_metadata".to_owned()));
    assert!(answer.text("error_description").contains("scopes"), "{answer:?}");
}

#[test]
fn a_client_id_is_visible_ascii() {
    let server = TestServer::start();
    for id in ["", " ", "a b", "a ", "é", "ａ", "a\u{200b}", "a\n", "a\0", &"x".repeat(256)] {
        let answer = server.ask_socket(&Request::post(CLIENTS).json(&json!({ "client_id": id })));
        assert_eq!(answer.error(), (400, "invalid_client_metadata".to_owned()), "{id:?}");
        if !id.is_empty() {
            assert_eq!(show(&server, id).error(), (404, "not_found".to_owned()), "{id:?}");
        }
    }
    server.register(&json!({ "client_id": "x".repeat(255) }));
}

#[test]
fn a_name_is_compared_byte_by_byte_wherever_it_stands() {
    let server = TestServer::start();
    for id in AWKWARD_IDS {
        let client = server.register(&json!({ "client_id": id }));
        assert_eq!(show(&server, id).text("client_id"), id);
        let put = server.ask_socket(&Request::new("PUT", &path_of(id)).json(&json!({ "client_name": "changed" })));
        assert_eq!((put.text("client_id"), put.text("client_name")), (id.to_owned(), "changed".to_owned()));
        server.issue(&client);
        let rotated = server.ask_socket(&Request::post(&format!("{}/secret", path_of(id))));
        server.issue(&Credentials::new(id, &rotated.text("client_secret")));
    }
    let mut sorted = AWKWARD_IDS.map(str::to_owned).to_vec();
    sorted.push("admin".to_owned());
    sorted.sort();
    assert_eq!(list_all(&server, 1), (sorted.clone(), sorted.len()));
    for id in AWKWARD_IDS {
        assert_eq!(server.ask_socket(&Request::new("DELETE", &path_of(id))).status, 204, "{id}");
    }
    assert_eq!(list_all(&server, 1).0, ["admin"]);
}

#[test]
fn a_list_comes_in_pages_in_the_order_of_names() {
    let server = TestServer::start();
    let mut expected: Vec<_> = (0..24).map(|number| format!("app-{}", number * 7 % 24)).collect();
    for id in &expected {
        server.register_app(id);
    }
    expected.push("admin".to_owned());
    expected.sort();
    for (limit, pages) in [(1, 25), (7, 4), (24, 2), (25, 1), (1000, 1)] {
        assert_eq!(list_all(&server, limit), (expected.clone(), pages), "by {limit}");
    }
    let page = server.ask_socket(&Request::get(CLIENTS)).json();
    assert_eq!(names(&page), expected);
    assert_eq!(page["clients"][1], show(&server, &expected[1]).json(), "an entry is what is shown of it alone");
    assert!(!page.to_string().contains("\"client_secret\""));
    // A cursor names a place, not a client: what it named may have gone.
    server.ask_socket(&Request::new("DELETE", &path_of("app-10")));
    let page = server.ask_socket(&Request::get(&format!("{CLIENTS}?limit=1&cursor=app-10"))).json();
    assert_eq!((names(&page), &page["next_cursor"]), (vec!["app-11"], &json!("app-11")));
}

#[test]
fn a_list_takes_a_limit_from_1_to_1000_and_a_cursor_and_nothing_else() {
    let server = TestServer::start();
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=",
        "limit=ten",
        "limit=99999999999999999999",
        "limit=1&limit=2",
        "cursor=",
        "cursor=a%20b",
        "cursor=%FF",
        "offset=1",
    ] {
        let answer = server.ask_socket(&Request::get(&format!("{CLIENTS}?{query}")));
        assert_eq!(answer.error(), (400, "invalid_request".to_owned()), "{query}");
    }
}

#[test]
fn an_update_replaces_what_a_client_may_do_and_keeps_its_tokens_and_its_secret() {
    let server = TestServer::start();
    let app = server.register(&json!({ "client_id": "app", "client_name": "old", "scope": "read write" }));
    let token = server.issue(&app);
    server.time.advance(Duration::from_secs(100));
    let update = json!({ "scope": "write", "access_token_lifetime_seconds": 9 });
    let answer = server.ask_socket(&Request::new("PUT", &path_of("app")).json(&update));
    assert_eq!(answer.status, 200);
    let expected = json!({
        "client_id": "app", "client_id_issued_at": START_SECONDS, "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "client_secret_basic", "scope": "write", "audience": [], "introspection": "own",
        "access_token_lifetime_seconds": 9,
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(show(&server, "app").json(), expected);
    assert_eq!(server.introspect(&app, &token).json()["scope"], "read write");
    let issued = server.ask_for_token(&app, &[("grant_type", "client_credentials")]).json();
    assert_eq!((&issued["scope"], &issued["expires_in"]), (&json!("write"), &json!(9)));
}

#[test]
fn a_deleted_client_and_its_tokens_are_dead_at_once() {
    let server = TestServer::start();
    let (app, other) = (server.register_app("app"), server.register_app("other"));
    let tokens: Vec<_> = (0..10).map(|_| server.issue(&app)).collect();
    let kept = server.issue(&other);
    let answer = server.ask_socket(&Request::new("DELETE", &path_of("app")));
    assert_eq!((answer.status, &*answer.body), (204, ""));
    for token in &tokens {
        assert!(!server.is_active(&admin(), token));
    }
    assert!(server.is_active(&other, &kept));
    let refused = server.ask_for_token(&app, &[("grant_type", "client_credentials")]);
    assert_eq!(refused.error(), (401, "invalid_client".to_owned()));
    assert_eq!(show(&server, "app").error(), (404, "not_found".to_owned()));
}

#[test]
fn a_client_that_is_made_again_gets_neither_the_old_tokens_nor_the_old_secret() {
    let server = TestServer::start();
    let mut past: Vec<(Credentials, String)> = Vec::new();
    for _ in 0..3 {
        let app = server.register_app("app");
        let token = server.issue(&app);
        assert!(server.is_active(&app, &token));
        for (old, dead) in &past {
            assert!(!server.is_active(&app, dead) && !server.is_active(&admin(), dead));
            assert_eq!(server.introspect(old, &token).error(), (401, "invalid_client".to_owned()));
        }
        past.push((app, token));
        assert_eq!(server.ask_socket(&Request::new("DELETE", &path_of("app"))).status, 204);
    }
}

#[test]
fn a_rotated_secret_works_and_the_old_one_does_not() {
    let server = TestServer::start();
    let old = server.register_app("app");
    let token = server.issue(&old);
    let answer = server.ask_socket(&Request::post(&format!("{}/secret", path_of("app"))));
    assert_eq!(answer.status, 200);
    let new = Credentials::new("app", &answer.text("client_secret"));
    assert_ne!(new.secret, old.secret);
    let mut document = answer.json();
    for member in ["client_secret", "client_secret_expires_at"] {
        document.as_object_mut().unwrap().remove(member);
    }
    assert_eq!(document, show(&server, "app").json());
    assert_eq!(server.introspect(&old, &token).error(), (401, "invalid_client".to_owned()));
    assert!(server.is_active(&new, &token), "its tokens live on");
}

#[test]
fn a_client_that_is_not_there_is_not_found() {
    let server = TestServer::start();
    let [_, _, show, update, rotate, delete] = requests("nobody");
    for request in [show, update, rotate, delete] {
        assert_eq!(server.ask_socket(&request).error(), (404, "not_found".to_owned()));
    }
}

#[test]
fn a_path_answers_its_methods_only() {
    let server = TestServer::start();
    let secret = format!("{}/secret", path_of("admin"));
    for (target, method, allowed) in [
        (CLIENTS, "DELETE", "POST, GET"),
        (&path_of("admin"), "POST", "GET, PUT, DELETE"),
        (&path_of("admin"), "PATCH", "GET, PUT, DELETE"),
        (&secret, "GET", "POST"),
    ] {
        let answer = server.ask_socket(&Request::new(method, target));
        assert_eq!(answer.error(), (405, "invalid_request".to_owned()), "{method} {target}");
        assert_eq!(answer.field("allow"), Some(allowed), "{method} {target}");
    }
    for target in ["/admin/v1/clients/", "/admin/v1", "/admin/v1//clients", "/admin/v1/clients/admin/other"] {
        assert_eq!(server.ask_socket(&Request::get(target)).error(), (404, "not_found".to_owned()), "{target}");
    }
}

#[test]
fn only_the_owner_of_the_data_directory_reaches_the_socket() {
    let server = TestServer::start();
    let mode = std::fs::metadata(server.data_dir()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(server.ask_socket(&Request::get(CLIENTS)).status, 200);
    // It is for administration alone.
    let answer = server.ask_socket(&Request::post("/oauth2/token").basic(&admin()).form(&[]));
    assert_eq!(answer.error(), (404, "not_found".to_owned()));
}

#[test]
fn an_admin_address_takes_the_admin_api_and_the_metrics_away_from_the_other() {
    let server = TestServer::start_with(|config| config.http.admin_listen = Some(([127, 0, 0, 1], 0).into()));
    let token = server.issue(&admin());
    let ask_admin = |request: Request| crate::http::Connection::to(server.admin_address.unwrap()).ask(&request);
    for (target, on_main, on_admin) in [
        (CLIENTS, 404, 200),
        ("/admin/v1/clients/admin", 404, 200),
        ("/metrics", 404, 200),
        ("/.well-known/oauth-authorization-server", 200, 404),
        ("/oauth2/token", 405, 404),
        ("/livez", 200, 200),
        ("/readyz", 200, 200),
    ] {
        assert_eq!(server.ask(&Request::get(target).bearer(&token)).status, on_main, "{target}");
        assert_eq!(ask_admin(Request::get(target).bearer(&token)).status, on_admin, "{target}");
    }
    assert_eq!(ask_admin(Request::get(CLIENTS)).error(), (401, "invalid_token".to_owned()));
}

#[test]
fn an_empty_directory_without_a_bootstrap_client_gets_a_first_admin_once() {
    let server = TestServer::start_with(|config| {
        config.bootstrap_client = None;
        config.storage.durability = tessera::config::value::Durability::Sync;
    });
    let first = server.first_admin.clone().unwrap();
    let token = server.issue(&first);
    assert_eq!(server.ask(&Request::get(CLIENTS).bearer(&token)).status, 200);
    let server = server.restart();
    assert_eq!(server.first_admin, None);
    assert_eq!(server.ask(&Request::get(CLIENTS).bearer(&token)).status, 200);
    server.issue(&first);
}

#[test]
fn what_was_changed_is_so_after_a_restart() {
    let server = TestServer::start_durable();
    let (kept, doomed, reborn) =
        (server.register_app("kept"), server.register_app("doomed"), server.register_app("reborn"));
    let tokens = [&kept, &doomed, &reborn].map(|client| server.issue(client));
    let rotated = server.ask_socket(&Request::post(&format!("{}/secret", path_of("kept")))).text("client_secret");
    let rotated = Credentials::new("kept", &rotated);
    server.ask_socket(&Request::new("PUT", &path_of("kept")).json(&json!({ "scope": "new", "introspection": "any" })));
    for id in ["doomed", "reborn"] {
        server.ask_socket(&Request::new("DELETE", &path_of(id)));
    }
    let reborn_again = server.register_app("reborn");
    let new_token = server.issue(&reborn_again);
    let shown = ["kept", "reborn"].map(|id| show(&server, id));

    let mut server = server.restart();
    for round in 0..2 {
        assert_eq!(["kept", "reborn"].map(|id| show(&server, id)), shown, "round {round}");
        assert_eq!(list_all(&server, 10).0, ["admin", "kept", "reborn"]);
        let refused = [&kept, &doomed, &reborn].map(|client| server.introspect(client, &new_token).status);
        assert_eq!(refused, [401, 401, 401]);
        let active = tokens.each_ref().map(|token| server.is_active(&rotated, token));
        assert_eq!(active, [true, false, false], "round {round}");
        assert!(server.is_active(&reborn_again, &new_token));
        server = server.restart();
    }
    // A name that is deleted, with the deletion recovered from the journal, still starts above its old tokens.
    server.register_app("doomed");
    assert!(!server.is_active(&admin(), &tokens[1]));
}

/// Runs `tessera client …` against the server.
fn client_command(server: &TestServer, arguments: &[&str]) -> Result<String, CommandError> {
    let words = ["tessera", "client"].iter().chain(arguments).map(Into::into);
    let Ok(Command::Client(command)) = Command::read(words) else { panic!("{arguments:?} is no client command") };
    actix_rt::System::new().block_on(run(&command, &server.data_dir()))
}

#[test]
fn the_command_line_does_all_that_the_api_does() {
    let server = TestServer::start();
    let ask =
        |arguments: &[&str]| -> Value { serde_json::from_str(&client_command(&server, arguments).unwrap()).unwrap() };
    let id = "https://api.example/";
    let created = ask(&[
        "create",
        "--client-id",
        id,
        "--name",
        "API",
        "--scope",
        "read write",
        "--audience",
        "a",
        "--audience",
        "b",
    ]);
    let client = Credentials::new(id, created["client_secret"].as_str().unwrap());
    let token = server.issue(&client);
    assert_eq!(ask(&["show", id]), show(&server, id).json());
    assert_eq!((&created["client_name"], &created["audience"]), (&json!("API"), &json!(["a", "b"])));

    // What is not named stays as it is.
    let updated = ask(&["update", id, "--introspection", "any", "--access-token-lifetime-seconds", "5"]);
    assert_eq!(updated, show(&server, id).json());
    assert_eq!((&updated["scope"], &updated["introspection"]), (&json!("read write"), &json!("any")));
    assert_eq!(updated["client_id_issued_at"], created["client_id_issued_at"]);

    let page = ask(&["list", "--limit", "1"]);
    assert_eq!((names(&page), &page["next_cursor"]), (vec!["admin"], &json!("admin")));
    assert_eq!(names(&ask(&["list", "--cursor", "admin"])), [id]);
    assert_eq!(names(&ask(&["list"])), ["admin", id]);

    let rotated = ask(&["rotate-secret", id]);
    assert!(server.is_active(&Credentials::new(id, rotated["client_secret"].as_str().unwrap()), &token));
    assert_eq!(server.introspect(&client, &token).status, 401);
    assert_eq!(client_command(&server, &["delete", id]).unwrap(), "");
    assert_eq!(list_all(&server, 10).0, ["admin"]);
}

#[test]
fn the_command_line_says_why_it_was_refused() {
    let server = TestServer::start();
    let refusal = |arguments: &[&str]| client_command(&server, arguments).unwrap_err().to_string();
    assert_eq!(refusal(&["show", "nobody"]), "no client has this client_id (404 Not Found)");
    assert_eq!(refusal(&["delete", "nobody"]), "no client has this client_id (404 Not Found)");
    assert!(refusal(&["create", "--client-id", "admin"]).contains("registered already"));
    assert!(refusal(&["create", "--scope", "a  b"]).contains("scope"));
    let Ok(Command::Client(list)) = Command::read(["tessera", "client", "list"].map(Into::into)) else { panic!() };
    let elsewhere = server.data_dir().join("elsewhere");
    let error = actix_rt::System::new().block_on(run(&list, &elsewhere)).unwrap_err().to_string();
    assert!(error.contains("no server answers at") && error.contains("--data-dir"), "{error}");
}

//! RFC 6749: the token endpoint, client authentication, and the client credentials grant.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::{TestServer, admin};
use crate::http::{Answer, Credentials, FORM, Request};

const TOKEN: &str = "/oauth2/token";
/// The endpoints that authenticate their caller and read a form, each with the parameters that it needs.
const FORM_ENDPOINTS: [(&str, &str); 3] = [
    (TOKEN, "grant_type=client_credentials"),
    ("/oauth2/introspect", "token=unknown"),
    ("/oauth2/revoke", "token=unknown"),
];

fn token_request() -> Request {
    Request::post(TOKEN).form(&[("grant_type", "client_credentials")])
}

#[test]
fn section_2_3_1_a_client_authenticates_by_basic_or_by_body() {
    let server = TestServer::start();
    let app = server.register_app("app");
    for (endpoint, parameters) in FORM_ENDPOINTS {
        let basic = Request::post(endpoint).basic(&app).form_bytes(parameters);
        let body = format!("{parameters}&client_id=app&client_secret={}", app.secret);
        let posted = Request::post(endpoint).form_bytes(body);
        let with_id = Request::post(endpoint).basic(&app).form_bytes(format!("{parameters}&client_id=app"));
        for request in [basic, posted, with_id] {
            assert_eq!(server.ask(&request).status, 200, "{endpoint}");
        }
    }
}

#[test]
fn section_2_3_1_the_halves_of_basic_are_form_encoded() {
    let server = TestServer::start();
    let named = server.register_app("https://api.example/?a=b&c:d%20+");
    for client in [admin(), named] {
        assert_eq!(server.ask(&token_request().basic(&client)).status, 200, "{}", client.id);
    }
    // What is not encoded is not what it looks like: a plus is a space, and the first colon parts the halves.
    let plain = |client: &Credentials| format!("Basic {}", STANDARD.encode(format!("{}:{}", client.id, client.secret)));
    let answer = server.ask(&token_request().field("Authorization", &plain(&admin())));
    assert_eq!(answer.error(), (401, "invalid_client".to_owned()));
}

#[test]
fn section_2_3_a_client_uses_one_method_of_authentication_only() {
    let server = TestServer::start();
    let app = server.register_app("app");
    for (endpoint, parameters) in FORM_ENDPOINTS {
        for secret in [&*app.secret, "wrong"] {
            let body = format!("{parameters}&client_id=app&client_secret={secret}");
            let answer = server.ask(&Request::post(endpoint).basic(&app).form_bytes(body));
            assert_eq!(answer.error(), (400, "invalid_request".to_owned()), "{endpoint}");
        }
        let other_id = Request::post(endpoint).basic(&app).form_bytes(format!("{parameters}&client_id=admin"));
        assert_eq!(server.ask(&other_id).error(), (400, "invalid_request".to_owned()), "{endpoint}");
        let twice = Request::post(endpoint).basic(&app).basic(&app).form_bytes(parameters);
        assert_eq!(server.ask(&twice).error(), (400, "invalid_request".to_owned()), "{endpoint}");
    }
}

#[test]
fn section_2_3_1_credentials_in_the_url_are_refused() {
    let server = TestServer::start();
    let app = server.register_app("app");
    for (endpoint, parameters) in FORM_ENDPOINTS {
        let target = format!("{endpoint}?client_id=app&client_secret={}", app.secret);
        for request in [Request::post(&target), Request::post(&target).basic(&app)] {
            let answer = server.ask(&request.form_bytes(parameters));
            assert_eq!(answer.error(), (400, "invalid_request".to_owned()), "{endpoint}");
        }
    }
}

/// Values of `Authorization` that prove nothing about `app`.
fn worthless_fields(app: &Credentials, other: &Credentials) -> Vec<String> {
    let basic = |id: &str, secret: &str| Credentials::new(id, secret).basic();
    let raw = |credentials: &[u8]| format!("Basic {}", STANDARD.encode(credentials));
    let secret = &*app.secret;
    vec![
        basic("app", "wrong"),
        basic("app", ""),
        basic("app", &other.secret),
        basic("app", &format!("{secret} ")),
        basic("app", &format!("{secret}\0")),
        basic("app", &secret[1..]),
        basic("app", &secret.to_uppercase()),
        basic("nobody", secret),
        basic("", secret),
        basic("", ""),
        basic("App", secret),
        basic("app ", secret),
        basic("ａｐｐ", secret),
        basic("app\u{200b}", secret),
        raw(b"app"),
        raw(b""),
        raw(format!("app:{secret}:").as_bytes()),
        raw(format!(":app:{secret}").as_bytes()),
        raw(format!("app:%zz{secret}").as_bytes()),
        raw(&[b"app:".as_slice(), b"\xff\xfe"].concat()),
        raw(&[b'a'; 4096]),
        "Basic".to_owned(),
        "Basic ".to_owned(),
        "Basic !!!!".to_owned(),
        format!("Bearer {secret}"),
        format!("Digest username=\"app\", response=\"{secret}\""),
        secret.to_owned(),
    ]
}

#[test]
fn section_5_2_a_failed_authentication_is_401_with_a_challenge() {
    let server = TestServer::start();
    let (app, other) = (server.register_app("app"), server.register_app("other"));
    let check = |answer: Answer, what: &str| {
        assert_eq!(answer.error(), (401, "invalid_client".to_owned()), "{what}");
        assert!(answer.field("www-authenticate").unwrap().starts_with("Basic realm="), "{what}: {answer:?}");
    };
    for (endpoint, parameters) in FORM_ENDPOINTS {
        for field in worthless_fields(&app, &other) {
            let request = Request::post(endpoint).field("Authorization", &field).form_bytes(parameters);
            check(server.ask(&request), &format!("{endpoint} {field}"));
        }
        for posted in [
            "",
            "&client_id=app",
            "&client_secret=s",
            "&client_id=app&client_secret=",
            "&client_id=app&client_secret=s",
        ] {
            let request = Request::post(endpoint).form_bytes(format!("{parameters}{posted}"));
            check(server.ask(&request), &format!("{endpoint} {posted}"));
        }
    }
}

#[test]
fn an_unknown_client_and_a_wrong_secret_get_the_same_bytes() {
    let server = TestServer::start();
    server.register_app("app");
    for (endpoint, parameters) in FORM_ENDPOINTS {
        let basic = |id: &str| {
            let request = Request::post(endpoint).basic(&Credentials::new(id, "wrong")).form_bytes(parameters);
            server.ask(&request)
        };
        let posted = |id: &str| {
            let body = format!("{parameters}&client_id={id}&client_secret=wrong");
            server.ask(&Request::post(endpoint).form_bytes(body))
        };
        assert_eq!(basic("app"), basic("nobody"), "{endpoint}");
        assert_eq!(posted("app"), posted("nobody"), "{endpoint}");
        assert_eq!(basic("app"), posted("app"), "{endpoint}");
    }
}

#[test]
fn section_3_2_only_post_is_answered() {
    let server = TestServer::start();
    for endpoint in [TOKEN, "/oauth2/introspect", "/oauth2/introspect/batch", "/oauth2/revoke"] {
        for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "post", "PROPFIND"] {
            let request = Request::new(method, endpoint).basic(&admin()).form(&[("grant_type", "client_credentials")]);
            let answer = server.ask(&request);
            assert_eq!(answer.error(), (405, "invalid_request".to_owned()), "{method} {endpoint}");
            assert_eq!(answer.field("allow"), Some("POST"), "{method} {endpoint}");
        }
        let mut connection = server.connect();
        connection.send(&Request::new("HEAD", endpoint).to_bytes());
        assert_eq!(connection.answer_without_body().unwrap().status, 405, "HEAD {endpoint}");
        let overridden = Request::get(endpoint).field("X-HTTP-Method-Override", "POST");
        assert_eq!(server.ask(&overridden).status, 405, "{endpoint}");
    }
}

#[test]
fn section_3_2_parameters_in_the_url_are_refused() {
    let server = TestServer::start();
    for (endpoint, parameters) in FORM_ENDPOINTS {
        for target in [format!("{endpoint}?{parameters}"), format!("{endpoint}?"), format!("{endpoint}?a")] {
            let answer = server.ask(&Request::post(&target).basic(&admin()).form_bytes(parameters));
            assert_eq!(answer.error(), (400, "invalid_request".to_owned()), "{target}");
        }
    }
}

#[test]
fn section_3_2_a_repeated_parameter_is_refused() {
    let server = TestServer::start();
    for (endpoint, parameters) in FORM_ENDPOINTS {
        let (name, value) = parameters.split_once('=').unwrap();
        for body in [
            format!("{parameters}&{parameters}"),
            format!("{parameters}&{name}=other"),
            format!("{parameters}&{name}="),
            format!("{name}&{parameters}"),
            format!("{parameters}&%{:02x}{}={value}", name.as_bytes()[0], &name[1..]),
            format!("{parameters}&unknown=1&unknown=1"),
            format!("{parameters}&scope=read&scope=read"),
            format!("{parameters}&client_id=admin&client_id=admin"),
        ] {
            let answer = server.ask(&Request::post(endpoint).basic(&admin()).form_bytes(body.clone()));
            assert_eq!(answer.error(), (400, "invalid_request".to_owned()), "{endpoint} {body}");
        }
    }
}

#[test]
fn section_3_2_an_unrecognized_parameter_is_ignored() {
    let server = TestServer::start();
    for (endpoint, parameters) in FORM_ENDPOINTS {
        for unknown in
            ["resources=x", "callback=f", "grant_type%00=x", "a%5B%5D=1&a=2", "a;b=1", "=1", "%F0%9F%98%80=1"]
        {
            let body = format!("{unknown}&{parameters}");
            let answer = server.ask(&Request::post(endpoint).basic(&admin()).form_bytes(body));
            assert_eq!(answer.status, 200, "{endpoint} {unknown}: {answer:?}");
        }
    }
}

#[test]
fn section_3_2_a_parameter_without_a_value_counts_as_omitted() {
    let server = TestServer::start();
    let app = server.register_app("app");
    for omitted in ["&scope=", "&scope", "&client_id=", "&client_secret=", "&refresh_token="] {
        let body = format!("grant_type=client_credentials{omitted}");
        let answer = server.ask(&Request::post(TOKEN).basic(&app).form_bytes(body));
        assert_eq!(answer.json()["scope"], "read write", "{omitted}");
    }
    for missing in ["grant_type=", "grant_type", "", "scope=read"] {
        let answer = server.ask(&Request::post(TOKEN).basic(&app).form_bytes(missing));
        assert_eq!(answer.error(), (400, "invalid_request".to_owned()), "{missing}");
    }
}

#[test]
fn appendix_b_a_body_that_cannot_be_decoded_is_invalid_request() {
    let server = TestServer::start();
    for (endpoint, parameters) in FORM_ENDPOINTS {
        for broken in [&b"a=%"[..], b"a=%4", b"a=%zz", b"%=a", b"a=\xff", b"a=%FF", b"a=%C0%AF", b"a=%ED%A0%80"] {
            let body = [parameters.as_bytes(), b"&", broken].concat();
            let answer = server.ask(&Request::post(endpoint).basic(&admin()).form_bytes(body));
            assert_eq!(answer.error(), (400, "invalid_request".to_owned()), "{endpoint} {}", broken.escape_ascii());
        }
    }
}

#[test]
fn section_3_3_the_scope_is_what_was_asked_for_and_never_more_than_is_registered() {
    let server = TestServer::start();
    let app = server.register_app("app");
    let ask = |scope: &str| server.ask_for_token(&app, &[("grant_type", "client_credentials"), ("scope", scope)]);
    for (asked, granted) in [("read", "read"), ("write read", "write read"), ("read read", "read")] {
        let answer = ask(asked);
        assert_eq!(answer.json()["scope"], granted, "{asked}");
        assert_eq!(server.introspect(&app, &answer.text("access_token")).json()["scope"], granted, "{asked}");
    }
    let huge = "a ".repeat(5000);
    for refused in [
        "admin",
        "read admin",
        "READ",
        "tessera.admin",
        " read",
        "read ",
        "read  write",
        "read\twrite",
        "re\"ad",
        "read\\",
        "é",
        "read\0",
        &huge,
    ] {
        assert_eq!(ask(refused).error(), (400, "invalid_scope".to_owned()), "{refused:?}");
    }
}

#[test]
fn section_3_3_without_a_scope_a_client_gets_what_it_is_registered_for() {
    let server = TestServer::start();
    let app = server.register_app("app");
    assert_eq!(server.ask(&token_request().basic(&app)).json()["scope"], "read write");
    let bare = server.register(&json!({}));
    let answer = server.ask(&token_request().basic(&bare)).json();
    assert_eq!(answer.get("scope"), None);
    let refused = server.ask_for_token(&bare, &[("grant_type", "client_credentials"), ("scope", "read")]);
    assert_eq!(refused.error(), (400, "invalid_scope".to_owned()));
}

#[test]
fn section_4_4_2_the_client_must_authenticate() {
    let server = TestServer::start();
    assert_eq!(server.ask(&token_request()).error(), (401, "invalid_client".to_owned()));
    // Authentication comes first: who is nobody learns nothing about the rest of the request.
    let answer = server.ask(&Request::post(TOKEN).form(&[("grant_type", "nonsense"), ("scope", "\\")]));
    assert_eq!(answer.error(), (401, "invalid_client".to_owned()));
}

#[test]
fn section_5_1_a_token_response_has_these_members_and_headers() {
    let server = TestServer::start();
    let app = server.register_app("app");
    let answer = server.ask(&token_request().basic(&app));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert_eq!(answer.field("pragma"), Some("no-cache"));
    let mut document = answer.json();
    let token = document.as_object_mut().unwrap().remove("access_token").unwrap();
    assert!(token.as_str().unwrap().starts_with("tsr_at_"));
    assert_eq!(document, json!({ "token_type": "Bearer", "expires_in": 3600, "scope": "read write" }));
}

#[test]
fn section_4_4_3_no_refresh_token_is_issued() {
    let server = TestServer::start();
    let document = server.ask(&token_request().basic(&server.register_app("app"))).json();
    assert_eq!(document.get("refresh_token"), None);
}

#[test]
fn section_5_1_expires_in_is_the_lifetime_of_the_client_or_of_the_server() {
    let server = TestServer::start_with(|config| config.tokens.access_token_lifetime_seconds = 77);
    let short = server.register(&json!({ "access_token_lifetime_seconds": 5 }));
    for (client, lifetime) in [(short, 5), (server.register(&json!({})), 77)] {
        assert_eq!(server.ask(&token_request().basic(&client)).json()["expires_in"], lifetime);
    }
}

#[test]
fn section_10_10_no_token_is_issued_twice() {
    let server = TestServer::start();
    let app = server.register_app("app");
    let mut connection = server.connect();
    let mut tokens: Vec<_> =
        (0..200).map(|_| connection.ask(&token_request().basic(&app)).text("access_token")).collect();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 200);
}

#[test]
fn section_5_2_each_error_has_its_code() {
    let server = TestServer::start();
    let app = server.register_app("app");
    let barred = server.register(&json!({ "grant_types": [] }));
    let check = |client: &Credentials, body: &str, code: &str| {
        let answer = server.ask(&Request::post(TOKEN).basic(client).form_bytes(body));
        assert_eq!(answer.error(), (400, code.to_owned()), "{body}");
        assert_eq!(answer.json().as_object().map(|members| members.len()), Some(2), "{answer:?}");
    };
    check(&app, "", "invalid_request");
    check(&app, "grant_type=client_credentials&grant_type=client_credentials", "invalid_request");
    check(&app, "grant_type=client_credentials&scope=admin", "invalid_scope");
    check(&barred, "grant_type=client_credentials", "unauthorized_client");
    for grant_type in ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"] {
        check(&app, &format!("grant_type={grant_type}"), "unauthorized_client");
    }
    for unknown in [
        "password",
        "Authorization_Code",
        "Client_Credentials",
        "client_credentials%20",
        "%00",
        "urn:ietf:params:oauth:grant-type:token-exchange",
    ] {
        check(&app, &format!("grant_type={unknown}"), "unsupported_grant_type");
        check(&barred, &format!("grant_type={unknown}"), "unsupported_grant_type");
    }
}

#[test]
fn section_5_2_what_the_caller_sent_does_not_leave_in_an_error() {
    let server = TestServer::start();
    for nasty in ["%0d%0aSet-Cookie:%20a=b", "%22%7D%0A", "%E4%BD%A0", "%C4%8A", "%1b%5B31m", "\\", "%3Cscript%3E"] {
        for name in ["grant_type", "scope", "client_id", "token_type_hint"] {
            let body = if name == "grant_type" { String::new() } else { "grant_type=client_credentials&".to_owned() };
            let answer = server.ask(&Request::post(TOKEN).basic(&admin()).form_bytes(format!("{body}{name}={nasty}")));
            assert_eq!(answer.field("set-cookie"), None);
            if answer.status != 200 {
                answer.error();
            }
        }
        let json = format!(r#"{{"client_id":"a{}","scope":1}}"#, nasty.replace('\\', "\\\\"));
        let answer = server.ask_socket(&Request::post("/admin/v1/clients").json_text(&json));
        assert_eq!(answer.error().0, 400);
    }
    // A description that repeats a caller's member name stays within its characters and its length.
    let long = Value::from(format!("\u{1b}[31m{}\"\\é", "x".repeat(5000)));
    let answer = server.ask_socket(&Request::post("/admin/v1/clients").json_text(&format!("{{{long}:1}}")));
    assert_eq!(answer.error().0, 400);
    assert!(answer.text("error_description").len() <= 300);
}

#[test]
fn appendix_b_the_body_is_a_form() {
    let server = TestServer::start();
    for (endpoint, parameters) in FORM_ENDPOINTS {
        for accepted in
            [FORM, "application/x-www-form-urlencoded; charset=UTF-8", "Application/X-WWW-Form-Urlencoded;x=y"]
        {
            let request = Request::post(endpoint).basic(&admin()).field("Content-Type", accepted).with_body(parameters);
            assert_eq!(server.ask(&request).status, 200, "{endpoint} {accepted}");
        }
        for refused in [
            "application/json",
            "multipart/form-data; boundary=a",
            "text/plain",
            "application/x-www-form-urlencodedx",
            "",
            "x",
        ] {
            let request = Request::post(endpoint).basic(&admin()).field("Content-Type", refused).with_body(parameters);
            assert_eq!(server.ask(&request).error(), (415, "invalid_request".to_owned()), "{endpoint} {refused}");
        }
        let missing = Request::post(endpoint).basic(&admin()).with_body(parameters);
        assert_eq!(server.ask(&missing).error(), (415, "invalid_request".to_owned()), "{endpoint}");
    }
}

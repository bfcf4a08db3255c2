//! RFC 8414 and `OpenID` Connect Discovery: authorization server metadata.

use serde_json::json;
use tessera::config::Config;
use tessera::config::value::{Issuer, KeyAlgorithms};

use crate::harness::TestServer;
use crate::http::Request;

const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";

#[test]
fn section_2_the_metadata_says_what_works_and_nothing_else() {
    let server =
        TestServer::start_with(|config| config.tokens.key_algorithms = KeyAlgorithms::parse("ES256,EdDSA").unwrap());
    let answer = server.ask(&Request::get(WELL_KNOWN));
    assert_eq!(answer.status, 200);
    let proving = ["client_secret_basic", "client_secret_post", "private_key_jwt"];
    let methods = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"];
    let algorithms = ["EdDSA", "ES256", "ES384", "RS256", "PS256"];
    let device_code = "urn:ietf:params:oauth:grant-type:device_code";
    let endpoint = |path: &str| format!("http://{}{path}", server.address);
    let expected = json!({
        "issuer": format!("http://{}", server.address),
        "authorization_endpoint": endpoint("/oauth2/authorize"),
        "pushed_authorization_request_endpoint": endpoint("/oauth2/par"),
        "device_authorization_endpoint": endpoint("/oauth2/device_authorization"),
        "token_endpoint": endpoint("/oauth2/token"),
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint": endpoint("/oauth2/introspect"),
        "introspection_endpoint_auth_methods_supported": proving,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint": endpoint("/oauth2/revoke"),
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "jwks_uri": endpoint("/oauth2/jwks"),
        "userinfo_endpoint": endpoint("/oauth2/userinfo"),
        "end_session_endpoint": endpoint("/oauth2/logout"),
        "scopes_supported": ["openid", "profile", "email", "address", "phone"],
        "claims_supported": [
            "sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash",
            "name", "given_name", "family_name", "middle_name", "nickname", "preferred_username", "profile", "picture", "website",
            "gender", "birthdate", "zoneinfo", "locale", "updated_at", "email", "email_verified", "address", "phone_number",
            "phone_number_verified",
        ],
        "claim_types_supported": ["normal"],
        "claims_parameter_supported": true,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA", "ES256"],
        "grant_types_supported": ["authorization_code", "client_credentials", device_code, "refresh_token"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "authorization_response_iss_parameter_supported": true,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(server.ask(&Request::get(OPENID)).json(), expected, "both are one");
}

#[test]
fn section_2_every_endpoint_that_is_named_answers() {
    let server = TestServer::start();
    let metadata = server.ask(&Request::get(WELL_KNOWN)).json();
    let endpoints = metadata.as_object().unwrap().iter().filter(|(member, _)| member.ends_with("_endpoint"));
    for (member, url) in endpoints {
        let path = url.as_str().unwrap().strip_prefix(&server.issuer).unwrap();
        // Whom these two speak with is a person.
        let expected = match &**member {
            "authorization_endpoint" => 400,
            "end_session_endpoint" => 303,
            _ => 401,
        };
        assert_eq!(server.ask(&Request::post(path).form(&[])).status, expected, "{member}");
    }
}

#[test]
fn section_3_1_the_metadata_is_got_by_get() {
    let server = TestServer::start();
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = server.ask(&Request::new(method, WELL_KNOWN));
        assert_eq!(answer.error(), (405, "invalid_request".to_owned()), "{method}");
        assert_eq!(answer.field("allow"), Some("GET"), "{method}");
    }
    assert_eq!(server.ask(&Request::get(&format!("{WELL_KNOWN}?a=b"))).status, 200);
}

#[track_caller]
fn check_issuer(server: &TestServer, issuer: &str, base: &str, found_at: &[&str], not_found_at: &[&str]) {
    for suffix in found_at {
        let metadata = server.ask(&Request::get(&format!("{WELL_KNOWN}{suffix}"))).json();
        assert_eq!(metadata["issuer"], issuer, "{suffix}");
        assert_eq!(metadata["token_endpoint"], format!("{base}/oauth2/token"), "{suffix}");
    }
    for suffix in not_found_at {
        let answer = server.ask(&Request::get(&format!("{WELL_KNOWN}{suffix}")));
        assert_eq!(answer.error(), (404, "not_found".to_owned()), "{suffix}");
    }
}

#[test]
fn section_3_1_the_path_of_the_issuer_follows_the_well_known_path() {
    let server = TestServer::start_with(|config| config.http.issuer = Issuer::parse("https://as.example/tenant/a"));
    check_issuer(
        &server,
        "https://as.example/tenant/a",
        "https://as.example/tenant/a",
        &["", "/tenant/a"],
        &["/", "/tenant", "/tenant/b", "/tenant/a/b", "x"],
    );
}

#[test]
fn section_3_1_a_slash_at_the_end_of_the_issuers_path_is_removed_before() {
    let server = TestServer::start_with(|config| config.http.issuer = Issuer::parse("https://as.example/tenant/"));
    check_issuer(&server, "https://as.example/tenant/", "https://as.example/tenant", &["", "/tenant"], &["/other"]);
}

/// How a server is configured.
type Configure = fn(&mut Config);

/// `OpenID` Connect Discovery §4 appends where RFC 8414 §3.1 inserts.
#[test]
fn discovery_4_the_openid_configuration_stands_behind_the_path_of_the_issuer() {
    let with_path = |server: &TestServer, path: &str| server.ask(&Request::get(&format!("{path}{OPENID}")));
    let issuers: [(&str, &str, Configure); 4] = [
        ("https://as.example/tenant/a", "/tenant/a", |config| {
            config.http.issuer = Issuer::parse("https://as.example/tenant/a");
        }),
        ("https://as.example/tenant/", "/tenant", |config| {
            config.http.issuer = Issuer::parse("https://as.example/tenant/");
        }),
        ("https://as.example", "", |config| config.http.issuer = Issuer::parse("https://as.example")),
        ("https://as.example/", "", |config| config.http.issuer = Issuer::parse("https://as.example/")),
    ];
    for (issuer, path, configure) in issuers {
        let server = TestServer::start_with(configure);
        for found_at in ["", path] {
            let document = with_path(&server, found_at).json();
            assert_eq!(document["issuer"], issuer, "{found_at}");
            let base = issuer.trim_end_matches('/');
            assert_eq!(document["userinfo_endpoint"], format!("{base}/oauth2/userinfo"), "{found_at}");
        }
        for not_found_at in ["/other", "/tenant/b", "/tenant/a/b", "/x/tenant/a"] {
            let answer = with_path(&server, not_found_at);
            assert_eq!(answer.error(), (404, "not_found".to_owned()), "{issuer} {not_found_at}");
        }
        let inserted = server.ask(&Request::get(&format!("{OPENID}/tenant/a")));
        assert_eq!(inserted.error(), (404, "not_found".to_owned()));
    }
}

#[test]
fn section_3_3_the_issuer_is_what_was_configured_to_the_byte() {
    let server = TestServer::start_with(|config| config.http.issuer = Issuer::parse("https://as.example/"));
    check_issuer(&server, "https://as.example/", "https://as.example", &[""], &["/other"]);
    let app = server.register_app("app");
    assert_eq!(server.introspect(&app, &server.issue(&app)).json()["iss"], "https://as.example/");
}

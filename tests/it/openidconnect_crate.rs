//! The crate `openidconnect`, as applications use it, against the server.

use std::future::Future;
use std::pin::Pin;

use openidconnect::core::CoreUserInfoClaims;
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreDeviceAuthorizationResponse, CoreProviderMetadata};
use openidconnect::{
    AccessTokenHash, AuthorizationCode, ClientId, ClientSecret, CsrfToken, DeviceAuthorizationUrl, HttpRequest,
    HttpResponse, IntrospectionUrl, IssuerUrl, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge, RedirectUrl, Scope,
    TokenIntrospectionResponse as _, TokenResponse as _,
};
use serde_json::json;
use tessera::config::value::KeyAlgorithms;

use crate::browser::{destination, hidden, query};
use crate::client_library::{SendError, send};
use crate::harness::TestServer;
use crate::http::Request;
use crate::keys::until;
use crate::openid::register;
use crate::person::{self, CALLBACK, SUBJECT, log_in};

/// Sends what the library asks of the issuer to where the server of the test listens.
fn sending(
    server: &TestServer,
) -> impl Fn(HttpRequest) -> Pin<Box<dyn Future<Output = Result<HttpResponse, SendError>> + Send>> + use<> {
    let (issuer, address) = (server.issuer.clone(), format!("http://{}", server.address));
    move |mut request| {
        *request.uri_mut() = request.uri().to_string().replace(&issuer, &address).parse().unwrap();
        Box::pin(send(request))
    }
}

#[tokio::test]
async fn somebody_signs_in_is_told_of_refreshed_and_has_a_device() {
    let server = TestServer::start_with(|config| {
        person::log_in_elsewhere(config);
        config.tokens.key_algorithms = KeyAlgorithms::parse("RS256").unwrap();
    });
    until(|| !server.ask(&Request::get("/oauth2/jwks")).json()["keys"].as_array().unwrap().is_empty());
    let credentials = register(&server, "app", &json!({}));
    let http = sending(&server);
    let url = |path: &str| format!("{}{path}", server.issuer);

    let issuer = IssuerUrl::new(server.issuer.clone()).unwrap();
    let metadata = CoreProviderMetadata::discover_async(issuer, &http).await.unwrap();
    let secret = ClientSecret::new(credentials.secret.clone());
    let client = CoreClient::from_provider_metadata(metadata, ClientId::new("app".to_owned()), Some(secret))
        .set_redirect_uri(RedirectUrl::new(CALLBACK.to_owned()).unwrap())
        .set_introspection_url(IntrospectionUrl::new(url("/oauth2/introspect")).unwrap())
        .set_device_authorization_url(DeviceAuthorizationUrl::new(url("/oauth2/device_authorization")).unwrap());

    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let flow = CoreAuthenticationFlow::AuthorizationCode;
    let request = client.authorize_url(flow, CsrfToken::new_random, Nonce::new_random).set_pkce_challenge(challenge);
    let (authorization, state, nonce) = request.add_scope(Scope::new("profile".to_owned())).url();
    let mut browser = log_in(&server, "app");
    let mut returned = query(&destination(&browser.get(&server, authorization.as_str())));
    assert_eq!(returned.get("state"), Some(state.secret()));

    let code = AuthorizationCode::new(returned.remove("code").unwrap());
    let redemption = client.exchange_code(code).unwrap().set_pkce_verifier(verifier);
    let tokens = redemption.request_async(&http).await.unwrap();
    let seen = client.introspect(tokens.access_token()).request_async(&http).await.unwrap();
    assert!(seen.active());
    let now = seen.iat().unwrap();
    let checks = client.id_token_verifier().set_time_fn(move || now);
    let id_token = tokens.id_token().unwrap();
    let claims = id_token.claims(&checks, &nonce).unwrap();
    assert_eq!(claims.subject().as_str(), SUBJECT);
    let (algorithm, key) = (id_token.signing_alg().unwrap(), id_token.signing_key(&checks).unwrap());
    let hash = AccessTokenHash::from_token(tokens.access_token(), algorithm, key).unwrap();
    assert_eq!(claims.access_token_hash(), Some(&hash));
    assert!(id_token.claims(&checks, &Nonce::new("another".to_owned())).is_err());

    let asked = client.user_info(tokens.access_token().clone(), Some(claims.subject().clone())).unwrap();
    let told: CoreUserInfoClaims = asked.request_async(&http).await.unwrap();
    assert_eq!(told.subject().as_str(), SUBJECT);

    let spent = tokens.refresh_token().unwrap();
    let refreshed = client.exchange_refresh_token(spent).unwrap().request_async(&http).await.unwrap();
    let again = refreshed.id_token().unwrap().claims(&checks, |_: Option<&Nonce>| Ok(())).unwrap();
    assert_eq!((again.subject().as_str(), again.auth_time()), (SUBJECT, claims.auth_time()));

    let asked = client.exchange_device_code().add_scope(Scope::new("openid".to_owned()));
    let begun: CoreDeviceAuthorizationResponse = asked.request_async(&http).await.unwrap();
    let user_code = begun.user_code().secret();
    let csrf = hidden(&browser.get(&server, "/device"), "csrf");
    let shown = browser.post(&server, "/device", &[("csrf", &csrf), ("user_code", user_code)]);
    let form = [("csrf", &*hidden(&shown, "csrf")), ("user_code", user_code), ("decision", "allow")];
    assert_eq!(browser.post(&server, "/device", &form).status, 303);
    let polled = client.exchange_device_access_token(&begun).unwrap();
    let connected = polled.request_async(&http, |_| std::future::ready(()), None).await.unwrap();
    let claims = connected.id_token().unwrap().claims(&checks, |_: Option<&Nonce>| Ok(())).unwrap();
    assert_eq!(claims.subject().as_str(), SUBJECT);
}

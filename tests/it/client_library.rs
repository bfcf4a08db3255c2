//! The crate `oauth2`, as applications use it, against the server.

use std::fmt;

use oauth2::basic::{BasicClient, BasicErrorResponseType};
use oauth2::{
    AccessToken, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    HttpRequest, HttpResponse, IntrospectionUrl, PkceCodeChallenge, RedirectUrl, RequestTokenError,
    RevocationErrorResponseType, RevocationUrl, Scope, StandardRevocableToken, TokenIntrospectionResponse as _,
    TokenResponse as _, TokenUrl,
};
use serde_json::json;

use crate::browser::{destination, query};
use crate::harness::{START_SECONDS, TestServer};
use crate::http::Credentials;
use crate::person::{self, CALLBACK, SUBJECT};

type Client = BasicClient<EndpointNotSet, EndpointNotSet, EndpointSet, EndpointSet, EndpointSet>;

fn client(server: &TestServer, credentials: &Credentials, auth_type: AuthType) -> Client {
    let url = |path: &str| format!("http://{}{path}", server.address);
    // The library revokes over TLS alone; `send` takes the TLS off again, as a proxy would.
    let revocation_url = url("/oauth2/revoke").replace("http://", "https://");
    BasicClient::new(ClientId::new(credentials.id.clone()))
        .set_client_secret(ClientSecret::new(credentials.secret.clone()))
        .set_auth_type(auth_type)
        .set_token_uri(TokenUrl::new(url("/oauth2/token")).unwrap())
        .set_introspection_url(IntrospectionUrl::new(url("/oauth2/introspect")).unwrap())
        .set_revocation_url(RevocationUrl::new(revocation_url).unwrap())
}

/// What went wrong between the library and the server.
#[derive(Debug)]
pub(crate) struct SendError(reqwest::Error);

impl fmt::Display for SendError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for SendError {}

pub(crate) async fn send(request: HttpRequest) -> Result<HttpResponse, SendError> {
    let (parts, body) = request.into_parts();
    let url = parts.uri.to_string().replace("https://", "http://");
    let request = reqwest::Client::new().request(parts.method, url).headers(parts.headers).body(body);
    let response = request.send().await.map_err(SendError)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut answer = HttpResponse::new(response.bytes().await.map_err(SendError)?.to_vec());
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    Ok(answer)
}

async fn live_through_a_token(auth_type: AuthType) {
    let server = TestServer::start();
    let metadata = json!({ "client_id": "https://app.example/?a=b&c", "scope": "read write", "audience": ["https://api.example/"] });
    let client = client(&server, &server.register(&metadata), auth_type);

    let request = client.exchange_client_credentials().add_scope(Scope::new("read".to_owned()));
    let response = request.request_async(&send).await.unwrap();
    assert_eq!(response.token_type(), &oauth2::basic::BasicTokenType::Bearer);
    assert_eq!(response.expires_in().unwrap().as_secs(), 3600);
    assert_eq!(response.scopes().unwrap(), &[Scope::new("read".to_owned())]);
    assert!(response.refresh_token().is_none());

    let token = response.access_token();
    let seen = client.introspect(token).set_token_type_hint("access_token").request_async(&send).await.unwrap();
    assert!(seen.active());
    assert_eq!(seen.client_id(), Some(client.client_id()));
    assert_eq!((seen.sub(), seen.iss()), (Some(client.client_id().as_str()), Some(&*server.issuer)));
    assert_eq!(seen.aud().unwrap(), &["https://api.example/"]);
    assert_eq!(seen.scopes().unwrap(), &[Scope::new("read".to_owned())]);
    let [iat, exp] = [seen.iat(), seen.exp()].map(|time| u64::try_from(time.unwrap().timestamp()).unwrap());
    assert_eq!((iat, exp), (START_SECONDS, START_SECONDS + 3600));

    for _ in 0..2 {
        let revocable = StandardRevocableToken::AccessToken(token.clone());
        client.revoke_token(revocable).unwrap().request_async(&send).await.unwrap();
        assert!(!client.introspect(token).request_async(&send).await.unwrap().active());
    }
}

#[tokio::test]
async fn a_token_lives_and_dies_with_basic_authentication() {
    live_through_a_token(AuthType::BasicAuth).await;
}

#[tokio::test]
async fn a_token_lives_and_dies_with_the_secret_in_the_body() {
    live_through_a_token(AuthType::RequestBody).await;
}

#[tokio::test]
async fn a_grant_of_a_person_lives_is_refreshed_and_dies() {
    let server = person::start();
    let credentials = person::register(&server, "app", &json!({}));
    let client = client(&server, &credentials, AuthType::BasicAuth)
        .set_auth_uri(AuthUrl::new(format!("{}/oauth2/authorize", server.issuer)).unwrap())
        .set_redirect_uri(RedirectUrl::new(CALLBACK.to_owned()).unwrap());

    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let request = client.authorize_url(CsrfToken::new_random).set_pkce_challenge(challenge);
    let (url, state) = request.add_scope(Scope::new("read".to_owned())).url();
    let mut browser = person::log_in(&server, "app");
    let mut returned = query(&destination(&browser.get(&server, url.as_str())));
    assert_eq!((returned.get("state"), returned.get("iss")), (Some(state.secret()), Some(&server.issuer)));

    let code = AuthorizationCode::new(returned.remove("code").unwrap());
    let redemption = client.exchange_code(code).set_pkce_verifier(verifier);
    let first = redemption.request_async(&send).await.unwrap();
    assert_eq!(first.scopes().unwrap(), &[Scope::new("read".to_owned())]);
    let seen = client.introspect(first.access_token()).request_async(&send).await.unwrap();
    assert_eq!((seen.active(), seen.sub()), (true, Some(SUBJECT)));

    let spent = first.refresh_token().unwrap();
    let second = client.exchange_refresh_token(spent).request_async(&send).await.unwrap();
    let refresh_token = second.refresh_token().unwrap();
    assert_ne!(refresh_token.secret(), spent.secret());
    assert!(client.introspect(second.access_token()).request_async(&send).await.unwrap().active());

    let revocable = StandardRevocableToken::RefreshToken(refresh_token.clone());
    client.revoke_token(revocable).unwrap().request_async(&send).await.unwrap();
    assert!(!client.introspect(second.access_token()).request_async(&send).await.unwrap().active());
    let refused = client.exchange_refresh_token(refresh_token).request_async(&send).await;
    let Err(RequestTokenError::ServerResponse(error)) = refused else { panic!() };
    assert_eq!(error.error(), &BasicErrorResponseType::InvalidGrant);
}

#[tokio::test]
async fn the_library_understands_what_is_refused() {
    let server = TestServer::start();
    let (app, other) = (server.register_app("app"), server.register_app("other"));
    let token = AccessToken::new(server.issue(&other));
    let client_of = |credentials| client(&server, credentials, AuthType::BasicAuth);

    let refused = client_of(&app)
        .exchange_client_credentials()
        .add_scope(Scope::new("admin".to_owned()))
        .request_async(&send)
        .await;
    let Err(RequestTokenError::ServerResponse(error)) = refused else { panic!() };
    assert_eq!(error.error(), &BasicErrorResponseType::InvalidScope);
    assert!(error.error_description().is_some());

    let impostor = Credentials::new("app", "wrong");
    let refused = client_of(&impostor).exchange_client_credentials().request_async(&send).await;
    let Err(RequestTokenError::ServerResponse(error)) = refused else { panic!() };
    assert_eq!(error.error(), &BasicErrorResponseType::InvalidClient);

    let revocable = StandardRevocableToken::AccessToken(token.clone());
    let refused = client_of(&app).revoke_token(revocable).unwrap().request_async(&send).await;
    let Err(RequestTokenError::ServerResponse(error)) = refused else { panic!() };
    let expected = RevocationErrorResponseType::Basic(BasicErrorResponseType::UnauthorizedClient);
    assert_eq!(error.error(), &expected);
    assert!(server.is_active(&other, token.secret()));
}

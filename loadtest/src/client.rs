//! Requests, and connections that send them one at a time.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

pub(crate) type Request = hyper::Request<Full<Bytes>>;

/// What a client authenticates with.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) id: String,
    pub(crate) secret: String,
    authorization: String,
}

impl Credentials {
    /// Both of characters that a form does not encode.
    pub(crate) fn new(id: impl Into<String>, secret: impl Into<String>) -> Self {
        let (id, secret) = (id.into(), secret.into());
        let authorization = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
        Self { id, secret, authorization }
    }

    /// The value of `Authorization` (RFC 6749 §2.3.1).
    pub(crate) fn authorization(&self) -> &str {
        &self.authorization
    }

    /// A token request (RFC 6749 §4.4.2); without a scope it is the widest that the client may have.
    pub(crate) fn issue(&self) -> Request {
        self.post_form("/oauth2/token", "grant_type=client_credentials".to_owned())
    }

    /// An introspection request (RFC 7662 §2.1).
    pub(crate) fn introspect(&self, token: &str) -> Request {
        self.post_form("/oauth2/introspect", format!("token={token}"))
    }

    /// An introspection request for up to [`BATCH_TOKENS_MAX`] tokens.
    pub(crate) fn introspect_batch<'a>(&self, tokens: impl IntoIterator<Item = &'a str>) -> Request {
        let document = BatchDocument { tokens: tokens.into_iter().collect() };
        request(Method::POST, "/oauth2/introspect/batch", &self.authorization, JSON, json(&document))
    }

    /// A revocation request (RFC 7009 §2.1).
    pub(crate) fn revoke(&self, token: &str) -> Request {
        self.post_form("/oauth2/revoke", format!("token={token}"))
    }

    pub(crate) fn post_form(&self, path: &str, body: String) -> Request {
        request(Method::POST, path, &self.authorization, FORM, body)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Credentials({})", self.id)
    }
}

/// A token that opens the admin API; nothing, by default.
#[derive(Clone, Default)]
pub(crate) struct Bearer(String);

impl Bearer {
    pub(crate) fn new(token: &str) -> Self {
        Self(format!("Bearer {token}"))
    }

    /// Registers a client.
    pub(crate) fn register(&self, client: &impl Serialize) -> Request {
        request(Method::POST, "/admin/v1/clients", &self.0, JSON, json(client))
    }

    /// Deletes a client and revokes all that was issued to it.
    pub(crate) fn delete(&self, client_id: &str) -> Request {
        request(Method::DELETE, &format!("/admin/v1/clients/{client_id}"), &self.0, JSON, String::new())
    }

    /// Makes a person's account.
    pub(crate) fn create_user(&self, account: &impl Serialize) -> Request {
        request(Method::POST, "/admin/v1/users", &self.0, JSON, json(account))
    }

    /// Ends a grant of a person's.
    pub(crate) fn end_grant(&self, id: &str) -> Request {
        request(Method::DELETE, &format!("/admin/v1/grants/{id}"), &self.0, JSON, String::new())
    }

    /// Takes a snapshot, from which the next start goes on.
    pub(crate) fn take_snapshot(&self) -> Request {
        request(Method::POST, "/admin/v1/snapshots", &self.0, JSON, String::new())
    }
}

/// A client to be registered (RFC 7591 §2, with our own additions).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Registration {
    pub(crate) client_id: String,
    pub(crate) scope: &'static str,
    pub(crate) access_token_lifetime_seconds: u32,
}

/// What anybody may ask for.
pub(crate) fn get(path: &str) -> Request {
    hyper::Request::builder().uri(path).header(HOST, "tessera").body(Full::default()).unwrap_or_default()
}

/// The most tokens of one batch.
pub(crate) const BATCH_TOKENS_MAX: usize = 1000;

#[derive(Serialize)]
struct BatchDocument<'a> {
    tokens: Vec<&'a str>,
}

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

fn request(method: Method, path: &str, authorization: &str, content_type: &str, body: String) -> Request {
    hyper::Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "tessera")
        .header(AUTHORIZATION, authorization)
        .header(CONTENT_TYPE, content_type)
        .body(Full::from(body))
        .unwrap_or_default()
}

fn json(document: &impl Serialize) -> String {
    serde_json::to_string(document).unwrap_or_default()
}

/// A connection. It is of no more use once a request was not answered.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

/// What the server said.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("no connection: {0}")]
    NotConnected(#[from] io::Error),
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("no answer within {} s", ANSWER_LIMIT.as_secs())]
    Late,
}

/// How long a request waits for its answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, NoAnswer> {
        Self::over(TcpStream::connect(address).await?).await
    }

    /// From that address of this machine.
    pub(crate) async fn open_from(source: IpAddr, address: SocketAddr) -> Result<Self, NoAnswer> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(source, 0))?;
        Self::over(socket.connect(address).await?).await
    }

    async fn over(stream: TcpStream) -> Result<Self, NoAnswer> {
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends with the sender, or with the server; whoever waits for an answer learns why.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    pub(crate) async fn ask(&mut self, request: Request) -> Result<Answer, NoAnswer> {
        timeout(ANSWER_LIMIT, self.exchange(request)).await.unwrap_or(Err(NoAnswer::Late))
    }

    async fn exchange(&mut self, request: Request) -> Result<Answer, NoAnswer> {
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        Ok(Answer { status: head.status, headers: head.headers, body: body.collect().await?.to_bytes() })
    }
}

impl Answer {
    /// The access token of a token response (RFC 6749 §5.1).
    pub(crate) fn access_token(&self) -> Option<String> {
        self.parse::<TokenResponse>().map(|response| response.access_token)
    }

    /// What a client was granted for a person (RFC 6749 §5.1).
    pub(crate) fn granted(&self) -> Option<Granted> {
        self.parse()
    }

    /// Who was registered, from a client information response (RFC 7591 §3.2.1).
    pub(crate) fn credentials(&self) -> Option<Credentials> {
        let ClientResponse { client_id, client_secret } = self.parse()?;
        Some(Credentials::new(client_id, client_secret))
    }

    /// The `active` of an introspection response (RFC 7662 §2.2).
    pub(crate) fn is_active(&self) -> Option<bool> {
        self.parse::<IntrospectionResponse>().map(|response| response.active)
    }

    /// The `active` of each token of a batch.
    pub(crate) fn are_active(&self) -> Option<Vec<bool>> {
        let BatchResponse { results } = self.parse()?;
        Some(results.into_iter().map(|result| result.active).collect())
    }

    fn parse<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
}

/// What a client was granted for a person.
#[derive(Clone, Deserialize)]
pub(crate) struct Granted {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
}

#[derive(Deserialize)]
struct ClientResponse {
    client_id: String,
    client_secret: String,
}

#[derive(Deserialize)]
struct IntrospectionResponse {
    active: bool,
}

#[derive(Deserialize)]
struct BatchResponse {
    results: Vec<IntrospectionResponse>,
}

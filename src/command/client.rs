//! `tessera client …`: the admin API's clients from the command line.

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use tokio::net::UnixStream;

use crate::config::cli::{ClientCommand, ClientMetadata};

/// The name of the socket in the data directory.
pub const SOCKET_NAME: &str = "admin.sock";

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Nobody answers on the socket.
    #[error("no server answers at {}: {reason}; start one with this --data-dir", socket.display())]
    NotRunning {
        /// Where it was looked for.
        socket: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The connection broke.
    #[error("the server's answer could not be read: {0}")]
    Broken(#[from] hyper::Error),
    /// The server said no.
    #[error("{description} ({status})")]
    Refused {
        /// The status of its answer.
        status: StatusCode,
        /// What it says.
        description: String,
    },
    /// The server's answer is no JSON.
    #[error("the server's answer is no JSON: {0}")]
    NotJson(#[from] serde_json::Error),
}

/// Runs a command against the server whose data directory this is. Answers what is to be printed.
///
/// # Errors
///
/// [`CommandError`]; nothing has changed then, unless the connection broke.
pub async fn run(command: &ClientCommand, data_dir: &Path) -> Result<String, CommandError> {
    let socket = data_dir.join(SOCKET_NAME);
    let answer = match command {
        ClientCommand::Create(create) => {
            let mut document = Map::new();
            if let Some(client_id) = &create.client_id {
                document.insert("client_id".to_owned(), json!(client_id));
            }
            apply(&mut document, &create.metadata);
            send(&socket, Method::POST, "/admin/v1/clients", Some(Value::Object(document))).await?
        }
        ClientCommand::List(list) => {
            let limit = list.limit.map(|limit| format!("limit={limit}"));
            let cursor = list.cursor.as_deref().map(|cursor| format!("cursor={}", encode(cursor)));
            let query = [limit, cursor].into_iter().flatten().collect::<Vec<_>>().join("&");
            send(&socket, Method::GET, &format!("/admin/v1/clients?{query}"), None).await?
        }
        ClientCommand::Show(named) => send(&socket, Method::GET, &path_of(&named.client_id), None).await?,
        ClientCommand::Update(update) => {
            let path = path_of(&update.client_id);
            let current = send(&socket, Method::GET, &path, None).await?;
            let mut document = updatable(current);
            apply(&mut document, &update.metadata);
            send(&socket, Method::PUT, &path, Some(Value::Object(document))).await?
        }
        ClientCommand::Delete(named) => send(&socket, Method::DELETE, &path_of(&named.client_id), None).await?,
        ClientCommand::RotateSecret(named) => {
            send(&socket, Method::POST, &format!("{}/secret", path_of(&named.client_id)), None).await?
        }
    };
    Ok(if answer.is_null() { String::new() } else { serde_json::to_string_pretty(&answer)? })
}

/// The members of a client that an update sends back: all but those that the server alone decides.
fn updatable(client: Value) -> Map<String, Value> {
    let Value::Object(mut document) = client else { return Map::new() };
    document.retain(|member, _| !matches!(member.as_str(), "client_id" | "client_id_issued_at"));
    document
}

fn apply(document: &mut Map<String, Value>, metadata: &ClientMetadata) {
    let mut set = |member: &str, value: Option<Value>| {
        if let Some(value) = value {
            document.insert(member.to_owned(), value);
        }
    };
    set("client_name", metadata.name.as_ref().map(|name| json!(name)));
    set("scope", metadata.scope.as_ref().map(|scope| json!(scope)));
    set("audience", metadata.audience.as_ref().map(|audience| json!(audience)));
    set("introspection", metadata.introspection.map(|right| json!(right.as_str())));
    set("access_token_lifetime_seconds", metadata.access_token_lifetime_seconds.map(|seconds| json!(seconds)));
}

fn path_of(client_id: &str) -> String {
    format!("/admin/v1/clients/{}", encode(client_id))
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

async fn send(socket: &Path, method: Method, path: &str, body: Option<Value>) -> Result<Value, CommandError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|reason| CommandError::NotRunning { socket: socket.to_owned(), reason })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer, or breaks with it.
    let connection = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    let request = match body {
        Some(body) => request.header(header::CONTENT_TYPE, "application/json").body(body.to_string()),
        None => request.body(String::new()),
    };
    let request = request.map(|request| request.map(|body| Full::new(Bytes::from(body)))).unwrap_or_default();
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    if status.is_success() {
        return if body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&body)?) };
    }
    Err(CommandError::Refused { status, description: description(&body) })
}

fn description(body: &[u8]) -> String {
    let parsed = serde_json::from_slice::<Value>(body).unwrap_or_default();
    parsed.get("error_description").and_then(Value::as_str).unwrap_or("the server gives no reason").to_owned()
}

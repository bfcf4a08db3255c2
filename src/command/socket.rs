//! Requests to the running server of this machine, over the Unix socket in its data directory.

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::net::UnixStream;

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
    /// A file cannot be written.
    #[error("cannot write {}: {reason}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The server's answer is no JSON.
    #[error("the server's answer is no JSON: {0}")]
    NotJson(#[from] serde_json::Error),
}

/// A text as a segment of a path, or as a value of a query.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Sends a request and reads its answer, which is JSON or nothing.
pub(super) async fn send(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<Value, CommandError> {
    let response = request(socket, method, path, body).await?;
    let body = response.into_body().collect().await?.to_bytes();
    if body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&body)?) }
}

/// Sends a request, and answers a response that is a success.
pub(super) async fn request(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<Response<Incoming>, CommandError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|reason| CommandError::NotRunning { socket: socket.to_owned(), reason })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer, or breaks with it.
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    let request = request.header(header::CONNECTION, "close");
    let request = match body {
        Some(body) => request.header(header::CONTENT_TYPE, "application/json").body(body.to_string()),
        None => request.body(String::new()),
    };
    let request = request.map(|request| request.map(|body| Full::new(Bytes::from(body)))).unwrap_or_default();
    let response = sender.send_request(request).await?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.into_body().collect().await?.to_bytes();
    Err(CommandError::Refused { status, description: description(&body) })
}

fn description(body: &[u8]) -> String {
    let parsed = serde_json::from_slice::<Value>(body).unwrap_or_default();
    parsed.get("error_description").and_then(Value::as_str).unwrap_or("the server gives no reason").to_owned()
}

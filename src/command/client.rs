//! `tessera client …`: the admin API's clients from the command line.

use std::path::Path;

use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use crate::command::socket::{CommandError, SOCKET_NAME, send};
use crate::config::cli::{ClientCommand, ClientMetadata};

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

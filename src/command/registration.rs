//! `tessera registration …`: by what right clients register themselves, from the command line.

use std::path::Path;

use hyper::Method;
use serde_json::{Map, Value, json};

use crate::command::client::grant_type;
use crate::command::socket::{CommandError, SOCKET_NAME, encode, send};
use crate::config::cli::registration::{CreateToken, RegistrationCommand, TokenCommand};

/// Runs a command against the server whose data directory this is. Answers what is to be printed.
///
/// # Errors
///
/// [`CommandError`]; nothing has changed then, unless the connection broke.
pub async fn run(command: &RegistrationCommand, data_dir: &Path) -> Result<String, CommandError> {
    let socket = data_dir.join(SOCKET_NAME);
    let RegistrationCommand::Token(command) = command;
    let answer = match command {
        TokenCommand::Create(create) => send(&socket, Method::POST, TOKENS, Some(document(create))).await?,
        TokenCommand::List(_) => send(&socket, Method::GET, TOKENS, None).await?,
        TokenCommand::Revoke(named) => {
            send(&socket, Method::DELETE, &format!("{TOKENS}/{}", encode(&named.id)), None).await?
        }
    };
    Ok(if answer.is_null() { String::new() } else { serde_json::to_string_pretty(&answer)? })
}

const TOKENS: &str = "/admin/v1/initial-access-tokens";

fn document(create: &CreateToken) -> Value {
    let mut policy = Map::new();
    let mut set = |member: &str, value: Option<Value>| {
        if let Some(value) = value {
            policy.insert(member.to_owned(), value);
        }
    };
    let names = |types: &Vec<String>| types.iter().map(|name| json!(grant_type(name))).collect();
    set("grant_types", create.grant_type.as_ref().map(names));
    set("scope", create.scope.as_ref().map(|scope| json!(scope)));
    set("token_endpoint_auth_methods", create.token_endpoint_auth_method.as_ref().map(|methods| json!(methods)));
    set("audience", create.audience.as_ref().map(|audience| json!(audience)));
    json!({
        "label": create.label,
        "lifetime_seconds": create.lifetime_seconds,
        "registrations_max": create.registrations_max,
        "policy": policy,
    })
}

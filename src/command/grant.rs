//! `tessera grant …`: the admin API's grants from the command line.

use std::path::Path;

use hyper::Method;

use crate::command::socket::{CommandError, SOCKET_NAME, encode, send};
use crate::config::cli::grant::GrantCommand;

/// Runs a command against the server whose data directory this is. Answers what is to be printed.
///
/// # Errors
///
/// [`CommandError`]; nothing has changed then, unless the connection broke.
pub async fn run(command: &GrantCommand, data_dir: &Path) -> Result<String, CommandError> {
    let socket = data_dir.join(SOCKET_NAME);
    let (method, path) = match command {
        GrantCommand::List(list) => (Method::GET, format!("{GRANTS}?sub={}", encode(&list.sub))),
        GrantCommand::Show(named) => (Method::GET, path_of(&named.id)),
        GrantCommand::Revoke(named) => (Method::DELETE, path_of(&named.id)),
    };
    let answer = send(&socket, method, &path, None).await?;
    Ok(if answer.is_null() { String::new() } else { serde_json::to_string_pretty(&answer)? })
}

const GRANTS: &str = "/admin/v1/grants";

fn path_of(id: &str) -> String {
    format!("{GRANTS}/{}", encode(id))
}

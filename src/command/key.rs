//! `tessera key …`: the admin API's keys from the command line.

use std::path::{Path, PathBuf};

use hyper::Method;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::command::socket::{CommandError, SOCKET_NAME, send};
use crate::config::cli::key::KeyCommand;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum KeyCommandError {
    /// The server did not.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The key cannot be read.
    #[error("cannot read {}: {reason}", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
}

/// Runs a command against the server whose data directory this is. Answers what is to be printed.
///
/// # Errors
///
/// [`KeyCommandError`]; nothing has changed then, unless the connection broke.
pub async fn run(command: &KeyCommand, data_dir: &Path) -> Result<String, KeyCommandError> {
    let socket = data_dir.join(SOCKET_NAME);
    let answer = match command {
        KeyCommand::List(_) => send(&socket, Method::GET, KEYS, None).await?,
        KeyCommand::Rotate(rotate) => {
            let mut document = Map::from_iter([("at_once".to_owned(), json!(rotate.at_once))]);
            if let Some(alg) = &rotate.alg {
                document.insert("alg".to_owned(), json!(alg));
            }
            send(&socket, Method::POST, &format!("{KEYS}/rotate"), Some(Value::Object(document))).await?
        }
        KeyCommand::Import(import) => {
            let unreadable = |reason| KeyCommandError::Unreadable { file: import.file.clone(), reason };
            let key = Zeroizing::new(std::fs::read_to_string(&import.file).map_err(unreadable)?);
            let document = json!({ "alg": import.alg, "key": &*key, "at_once": import.at_once });
            send(&socket, Method::POST, KEYS, Some(document)).await?
        }
    };
    Ok(serde_json::to_string_pretty(&answer).map_err(CommandError::from)?)
}

const KEYS: &str = "/admin/v1/keys";

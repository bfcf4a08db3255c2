//! `tessera user …`: the admin API's users from the command line.

use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::command::password::read_new_password;
use crate::command::socket::{CommandError, SOCKET_NAME, encode, send};
use crate::config::cli::user::{ImportUsers, NamedUser, UserCommand, UserProfile};

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum UserCommandError {
    /// The server said no, or there is none.
    #[error(transparent)]
    Server(#[from] CommandError),
    /// There is no such user.
    #[error("no user logs in as {0}")]
    Unknown(String),
    /// There is no password.
    #[error("the password cannot be read: {0}")]
    Password(io::Error),
    /// A file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// Some lines were refused; the others are imported.
    #[error("{summary}\n{refused}")]
    Import {
        /// How many users there are now.
        summary: String,
        /// Why, a line each.
        refused: String,
    },
}

/// Runs a command against the server whose data directory this is. Answers what is to be printed.
///
/// # Errors
///
/// [`UserCommandError`]; nothing has changed then, unless the connection broke or some lines of an import were refused.
pub async fn run(command: &UserCommand, data_dir: &Path) -> Result<String, UserCommandError> {
    let socket = &data_dir.join(SOCKET_NAME);
    let answer = match command {
        UserCommand::Create(create) => {
            let mut document = Map::from_iter([("username".to_owned(), json!(create.username))]);
            set(&mut document, "sub", create.sub.as_ref());
            set(&mut document, "disabled", create.disabled.then_some(true));
            describe(&mut document, &create.profile);
            if create.password {
                let password = read_new_password().map_err(UserCommandError::Password)?;
                set(&mut document, "password", Some(password.as_str()));
            }
            send(socket, Method::POST, USERS, Some(Value::Object(document))).await?
        }
        UserCommand::List(list) => {
            let limit = list.limit.map(|limit| format!("limit={limit}"));
            let cursor = list.cursor.as_deref().map(|cursor| format!("cursor={}", encode(cursor)));
            let query = [limit, cursor].into_iter().flatten().collect::<Vec<_>>().join("&");
            send(socket, Method::GET, &format!("{USERS}?{query}"), None).await?
        }
        UserCommand::Show(named) => send(socket, Method::GET, &path_of(socket, named).await?, None).await?,
        UserCommand::Update(update) => {
            let mut document = Map::new();
            set(&mut document, "username", update.new_username.as_ref());
            set(&mut document, "disabled", update.disabled);
            describe(&mut document, &update.profile);
            let path = path_of(socket, &update.user).await?;
            send(socket, Method::PATCH, &path, Some(Value::Object(document))).await?
        }
        UserCommand::Password(named) => {
            let path = path_of(socket, named).await?;
            let password = read_new_password().map_err(UserCommandError::Password)?;
            let document = json!({ "password": password.as_str() });
            send(socket, Method::POST, &format!("{path}/password"), Some(document)).await?
        }
        UserCommand::Revoke(named) => {
            send(socket, Method::POST, &format!("{}/revoke", path_of(socket, named).await?), None).await?
        }
        UserCommand::Delete(named) => send(socket, Method::DELETE, &path_of(socket, named).await?, None).await?,
        UserCommand::Import(import) => return import_users(import, socket).await,
    };
    Ok(if answer.is_null() { String::new() } else { pretty(&answer)? })
}

const USERS: &str = "/admin/v1/users";
/// The longest line of an import, which is more than the server takes.
const LINE_BYTES_MAX: u64 = 128 << 10;
/// Refused lines that are told one by one.
const REFUSED_SHOWN_MAX: usize = 20;

async fn import_users(import: &ImportUsers, socket: &Path) -> Result<String, UserCommandError> {
    let unreadable = |reason| UserCommandError::File { path: import.file.clone(), reason };
    let mut reader: Box<dyn BufRead> = if import.file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(std::fs::File::open(&import.file).map_err(unreadable)?))
    };
    let (mut created, mut existing, mut refused) = (0_u64, 0_u64, Vec::new());
    let mut line = Zeroizing::new(String::new());
    for number in 1_u64.. {
        line.clear();
        if reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut line).map_err(unreadable)? == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        match import_user(&line, socket).await {
            Ok(()) => created += 1,
            Err(CommandError::Refused { status: StatusCode::CONFLICT, .. }) => existing += 1,
            Err(error @ CommandError::NotRunning { .. }) => return Err(error.into()),
            Err(error) => refused.push(format!("line {number}: {error}")),
        }
    }
    let summary =
        pretty(&json!({ "created": created, "existing": existing, "refused": refused.len() })).unwrap_or_default();
    if refused.is_empty() {
        return Ok(summary);
    }
    let more = refused.len().saturating_sub(REFUSED_SHOWN_MAX);
    refused.truncate(REFUSED_SHOWN_MAX);
    if more > 0 {
        refused.push(format!("and {more} more"));
    }
    Err(UserCommandError::Import { summary, refused: refused.join("\n") })
}

async fn import_user(line: &str, socket: &Path) -> Result<(), CommandError> {
    let document: Value = serde_json::from_str(line)?;
    send(socket, Method::POST, USERS, Some(document)).await.map(drop)
}

/// The path of the user that a command names.
async fn path_of(socket: &Path, named: &NamedUser) -> Result<String, UserCommandError> {
    let path = |sub: &str| format!("{USERS}/{}", encode(sub));
    if let Some(sub) = &named.sub {
        return Ok(path(sub));
    }
    let username = named.username.as_deref().unwrap_or_default();
    let found = send(socket, Method::GET, &format!("{USERS}?username={}", encode(username)), None).await?;
    let sub = found.pointer("/users/0/sub").and_then(Value::as_str);
    sub.map(path).ok_or_else(|| UserCommandError::Unknown(username.to_owned()))
}

fn describe(document: &mut Map<String, Value>, profile: &UserProfile) {
    set(document, "name", profile.name.as_ref());
    set(document, "email", profile.email.as_ref());
    set(document, "email_verified", profile.email_verified);
}

fn set(document: &mut Map<String, Value>, member: &str, value: Option<impl serde::Serialize>) {
    if let Some(value) = value {
        document.insert(member.to_owned(), json!(value));
    }
}

fn pretty(value: &Value) -> Result<String, CommandError> {
    Ok(serde_json::to_string_pretty(value)?)
}

//! The kinds of records by name. The journal knows only their numbers, and each room only its own.

use serde::Serialize;

use crate::client;
use crate::command::journal::JournalCommandError;
use crate::journal::Record;
use crate::signing;
use crate::token;
use crate::user;

/// A kind as it is printed: by its name, or by its number where no room has a name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Kind {
    /// A room of this version knows it.
    Named(&'static str),
    /// None does.
    Numbered(u16),
}

impl Kind {
    pub(super) fn of(number: u16) -> Self {
        let name = names().find(|(known, _)| *known == number);
        name.map_or(Self::Numbered(number), |(_, name)| Self::Named(name))
    }

    /// The number of the kind that `--kind` asks for.
    pub(super) fn number(text: &str) -> Result<u16, JournalCommandError> {
        let named = names().find(|(_, name)| *name == text).map(|(number, _)| number);
        named.or_else(|| text.parse().ok()).ok_or_else(|| JournalCommandError::UnknownKind {
            given: text.to_owned(),
            allowed: names().map(|(_, name)| name).collect::<Vec<_>>().join(", "),
        })
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(name) => formatter.write_str(name),
            Self::Numbered(number) => write!(formatter, "kind {number}"),
        }
    }
}

fn names() -> impl Iterator<Item = (u16, &'static str)> {
    let kinds = client::event::KINDS.iter().chain(token::event::KINDS).chain(user::event::KINDS);
    kinds.chain(signing::event::KINDS).copied()
}

/// Lets the room of a record read it, as it would at a start. The error says why it cannot.
pub(super) fn check(record: &Record<'_>) -> Result<(), String> {
    let Record { kind, schema, payload, .. } = *record;
    let is_a_clients = client::event::check(kind, schema, payload).map_err(|error| error.to_string())?;
    let is_a_users = user::event::check(kind, schema, payload).map_err(|error| error.to_string())?;
    let is_a_keys = signing::event::check(kind, schema, payload).map_err(|error| error.to_string())?;
    let is_known = is_a_clients
        || is_a_users
        || is_a_keys
        || token::event::check(kind, schema, payload).map_err(|error| error.to_string())?;
    if is_known {
        return Ok(());
    }
    Err(format!("no part of this version reads records of kind {kind}, schema {schema}: use the version that wrote it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let all: Vec<_> = names().collect();
        for (number, name) in &all {
            assert_eq!(all.iter().filter(|(other, known)| other == number || known == name).count(), 1, "{name}");
            assert_eq!(Kind::of(*number), Kind::Named(name));
            assert_eq!((Kind::number(name).unwrap(), Kind::number(&number.to_string()).unwrap()), (*number, *number));
        }
        assert_eq!(Kind::of(999), Kind::Numbered(999));
        let error = Kind::number("token").unwrap_err().to_string();
        assert!(
            error.contains(
                "client_stored, client_deleted, client_imported, client_registered, initial_access_stored, \
                 initial_access_revoked, token_issued, token_revoked"
            ),
            "{error}"
        );
    }
}

//! What can be wrong with a configuration, and the name that was probably meant.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use crate::config::Source;

/// Everything that is wrong with a configuration; displays as one line each.
#[derive(Debug)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    pub(super) fn new(errors: Vec<ConfigError>) -> Self {
        Self(errors)
    }

    /// The mistakes, in the order file, environment, flags, contradictions.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl Error for ConfigErrors {}

/// One thing that is wrong with a configuration. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value that the setting cannot have.
    #[error("{name}: read {read} from {origin}, allowed is {allowed}")]
    Refused {
        /// The key of the setting.
        name: &'static str,
        /// What was read, in words; not the value if it is a secret.
        read: String,
        /// Where it was read.
        origin: Source,
        /// What would be taken.
        allowed: String,
    },
    /// A key or variable that is no setting.
    #[error("{}: no such setting, read from {}{}", name.escape_debug(), place(origin), suggestion(*nearest))]
    Unknown {
        /// The key or the variable.
        name: String,
        /// Where it was read.
        origin: Source,
        /// The setting that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A setting that may not be set there.
    #[error("{name}: refused from {origin}: {why}")]
    Misplaced {
        /// The key of the setting.
        name: &'static str,
        /// Where it was read.
        origin: Source,
        /// Why not, and where instead.
        why: &'static str,
    },
    /// A configuration file that cannot be read at all.
    #[error("config: {} {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, without a word of its contents.
        problem: String,
    },
}

fn place(origin: &Source) -> String {
    match origin {
        Source::Environment(_) => "the environment".to_owned(),
        other => other.to_string(),
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// The known name that `name` was probably meant to be, if one is close.
pub(super) fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let close = |candidate: &&str| edits(name, candidate) <= EDITS_MAX.min(candidate.len() / 3);
    known.filter(close).min_by_key(|candidate| edits(name, candidate))
}

/// How many bytes must be inserted, removed or replaced to make one text of the other (Levenshtein).
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, byte) in from.bytes().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        row.iter_mut().take(1).for_each(|cell| *cell = left);
        for (cell, other) in row.iter_mut().skip(1).zip(to.bytes()) {
            let above = *cell;
            *cell = (diagonal + usize::from(byte != other)).min(above + 1).min(left + 1);
            diagonal = above;
            left = *cell;
        }
    }
    row.last().copied().unwrap_or_default()
}

const EDITS_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (from, to, count) in [("", "", 0), ("listn", "listen", 1), ("kitten", "sitting", 3), ("a", "", 1)] {
            assert_eq!(edits(from, to), count, "{from} → {to}");
            assert_eq!(edits(to, from), count, "{to} → {from}");
        }
    }

    #[test]
    fn a_name_that_is_far_from_all_gets_no_suggestion() {
        let known = ["listen", "workers"];
        assert_eq!(nearest("worker", known.into_iter()), Some("workers"));
        assert_eq!(nearest("port", known.into_iter()), None);
    }
}

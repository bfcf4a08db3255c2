//! Lines for people: text on a terminal, JSON otherwise.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Text if standard error is a terminal, JSON otherwise.
    Auto,
    /// One line of text.
    Text,
    /// One JSON object a line.
    Json,
}

/// Sends log lines to standard error from now on. A second call in one process changes nothing.
///
/// # Errors
///
/// [`ParseError`] when `filter` is no list of directives of `tracing`'s `EnvFilter`.
pub fn begin(form: Form, filter: &str) -> Result<(), ParseError> {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(filter)?)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let is_json = form == Form::Json || form == Form::Auto && !io::stderr().is_terminal();
    let begun = if is_json { lines.json().flatten_event(true).try_init() } else { lines.try_init() };
    // A test that starts several servers in one process has the lines of the first.
    let _ = begun;
    Ok(())
}

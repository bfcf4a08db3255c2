//! A password from a person: at the terminal, without an echo, or from the standard input. Never an argument, which other users of
//! the machine would see.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// More than the longest password that a server takes.
const LINE_BYTES_MAX: u64 = 4096;

/// Reads a line; at a terminal it is asked for twice, so that nobody sets what they did not mean.
///
/// # Errors
///
/// What the system answers; [`io::ErrorKind::InvalidInput`] where both lines differ, or there is none.
pub(super) fn read_new_password() -> io::Result<Zeroizing<String>> {
    if !io::stdin().is_terminal() {
        return read_line();
    }
    let silence = Silence::begin()?;
    let first = prompt("New password: ")?;
    let second = prompt("Once more: ")?;
    drop(silence);
    if first == second { Ok(first) } else { Err(invalid("the two passwords differ: nothing was changed")) }
}

fn prompt(text: &str) -> io::Result<Zeroizing<String>> {
    let mut out = io::stderr().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    let line = read_line();
    out.write_all(b"\n")?;
    line
}

fn read_line() -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::with_capacity(128));
    io::stdin().lock().take(LINE_BYTES_MAX).read_line(&mut line)?;
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    if line.is_empty() { Err(invalid("no password was given")) } else { Ok(line) }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

/// A terminal that does not show what is typed.
struct Silence(Termios);

impl Silence {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

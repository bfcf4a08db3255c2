//! A Tessera process: started, waited for, killed, stopped.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use ::cluster::own_address;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::client::Credentials;

/// What servers are started on, one after the other.
#[derive(Debug)]
pub(crate) struct Installation {
    /// The `tessera` program.
    pub(crate) program: PathBuf,
    /// Its data directory. The master key and the log are beside it.
    pub(crate) data_dir: PathBuf,
    /// Where every server of it listens, so that requests can be sent before it is ready.
    pub(crate) address: SocketAddr,
    /// The first client of all, which may do everything.
    pub(crate) admin: Credentials,
    /// Arguments of every start.
    pub(crate) arguments: Vec<OsString>,
}

impl Installation {
    /// Of this program, or of the one beside this one; on an address of its own, with an admin of its own.
    pub(crate) fn new(
        program: Option<&Path>,
        data_dir: PathBuf,
        arguments: &[OsString],
        random: &mut fastrand::Rng,
    ) -> Result<Self, ServerError> {
        let program = program.map_or_else(program_beside_this_one, |program| Ok(program.to_owned()))?;
        Ok(Self {
            program: std::path::absolute(program)?,
            data_dir,
            address: own_address(),
            admin: Credentials::new("operator", format!("operator-{:032x}", random.u128(..))),
            arguments: arguments.to_vec(),
        })
    }

    /// The log of all servers: what they wrote to stderr.
    pub(crate) fn log(&self) -> PathBuf {
        self.data_dir.with_added_extension("log")
    }

    /// Starts a server with more arguments. It is not ready yet.
    pub(crate) fn start(&self, arguments: &[String]) -> Result<Server, ServerError> {
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("TESSERA_BOOTSTRAP_CLIENT", format!("{}:{}", self.admin.id, self.admin.secret))
            .arg("--listen")
            .arg(self.address.to_string())
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(&self.arguments)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let started = Instant::now();
        let mut child = command
            .spawn()
            .map_err(|reason| ServerError::NotStarted { program: self.program.display().to_string(), reason })?;
        let stderr = child.stderr.take().ok_or_else(|| io::Error::other("the server has no stderr"))?;
        let (ready_sender, ready) = watch::channel(None);
        let reader = tokio::spawn(copy_log(stderr, log, started, ready_sender));
        Ok(Server { child, ready, reader, log: self.log() })
    }

    /// Runs another command of the program to its end: its exit status and what it said on stderr.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<(ExitStatus, String), ServerError> {
        let mut command = Command::new(&self.program);
        let output = command.env_clear().args(arguments).arg("--data-dir").arg(&self.data_dir).output().await?;
        Ok((output.status, String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

/// The program of that name beside this one, as Cargo puts them.
fn program_beside_this_one() -> Result<PathBuf, ServerError> {
    let mut folder = std::env::current_exe()?;
    folder.pop();
    // Programs of tests are one folder further down.
    if folder.ends_with("deps") {
        folder.pop();
    }
    Ok(folder.join("tessera"))
}

/// A process of the server. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    /// How long it took to be ready, once it is.
    ready: watch::Receiver<Option<Duration>>,
    reader: JoinHandle<io::Result<()>>,
    log: PathBuf,
}

/// Why there is no server, or none any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("{program} cannot be started: {reason}: build it with `cargo build --release`, or name it with --server")]
    NotStarted { program: String, reason: io::Error },
    #[error("the server ended by itself, {status}, before it was ready; the end of its log:\n{last_words}")]
    Ended { status: ExitStatus, last_words: String },
    #[error("the server was not ready after {} s: see {}", READY_LIMIT.as_secs(), log.display())]
    NotReady { log: PathBuf },
    #[error("the server went on for {} s after SIGTERM: see {}", STOP_LIMIT.as_secs(), log.display())]
    NotStopped { log: PathBuf },
    #[error("after SIGTERM the server ended with {status}; the end of its log:\n{last_words}")]
    StoppedBadly { status: ExitStatus, last_words: String },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How long a server may read its journal.
const READY_LIMIT: Duration = Duration::from_secs(300);
/// How long a server may take to stop: it lets requests end for 20 s.
const STOP_LIMIT: Duration = Duration::from_secs(40);
const LAST_WORDS: usize = 8;

impl Server {
    /// Waits until it is ready: how long that took since it was started. May be dropped and called again.
    pub(crate) async fn ready(&mut self) -> Result<Duration, ServerError> {
        match timeout(READY_LIMIT, self.ready.wait_for(Option::is_some)).await {
            Ok(Ok(ready)) => Ok(ready.unwrap_or_default()),
            Ok(Err(_)) => {
                let status = self.child.wait().await?;
                Err(ServerError::Ended { status, last_words: last_words(&self.log)? })
            }
            Err(_) => Err(ServerError::NotReady { log: self.log.clone() }),
        }
    }

    /// Its process, while it runs.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
    }

    /// Ends it as `kill -9` does, and waits until it is gone. Whether it had been ready.
    pub(crate) async fn kill(mut self) -> Result<bool, ServerError> {
        self.child.kill().await?;
        self.reader.await.map_err(io::Error::other)??;
        Ok(self.ready.borrow().is_some())
    }

    /// Ends it as an operator does.
    pub(crate) async fn stop(mut self) -> Result<(), ServerError> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        kill_process(pid.ok_or_else(|| io::Error::other("the server is gone"))?, Signal::TERM)
            .map_err(io::Error::from)?;
        let Ok(status) = timeout(STOP_LIMIT, self.child.wait()).await else {
            return Err(ServerError::NotStopped { log: self.log });
        };
        self.reader.await.map_err(io::Error::other)??;
        match status? {
            status if status.success() => Ok(()),
            status => Err(ServerError::StoppedBadly { status, last_words: last_words(&self.log)? }),
        }
    }
}

/// Copies the lines of the log into the file until the server is gone, and notes when it is ready.
async fn copy_log(
    stderr: ChildStderr,
    mut log: File,
    started: Instant,
    ready: watch::Sender<Option<Duration>>,
) -> io::Result<()> {
    let mut lines = BufReader::new(stderr).lines();
    while let Some(line) = lines.next_line().await? {
        if serde_json::from_str::<LogLine>(&line).is_ok_and(|line| line.message == "ready") {
            ready.send_replace(Some(started.elapsed()));
        }
        writeln!(log, "{line}")?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct LogLine {
    message: String,
}

/// The end of a log.
pub(crate) fn last_words(log: &Path) -> io::Result<String> {
    let text = fs::read_to_string(log)?;
    let lines: Vec<_> = text.lines().rev().take(LAST_WORDS).collect();
    Ok(lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
}

//! The processes that answer: Tessera, the floor, the rival with its Redis, or one that somebody else has started.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use ::cluster::own_address;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::machine::Cores;
use crate::measured::Durability;
use crate::server::{Installation, Server, ServerError};

/// Who answers.
pub(crate) enum Host {
    Tessera {
        installation: Installation,
        server: Option<Server>,
    },
    Floor(Process),
    Rival {
        handler: Process,
        redis: Redis,
    },
    /// One that runs already.
    Other {
        address: SocketAddr,
        pid: Option<Pid>,
    },
}

/// Why nobody answers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("{program} cannot be started: {reason}")]
    NotStarted { program: String, reason: io::Error },
    #[error(
        "{program} cannot be started: install it (Debian: the package redis-server), or name it with --redis-server"
    )]
    NoRedis { program: String },
    #[error("{program} did not listen within {} s", READY_LIMIT.as_secs())]
    NotReady { program: String },
    #[error("{program} ended by itself: {status}")]
    Ended { program: String, status: std::process::ExitStatus },
    #[error("only Tessera can run already: leave --target or --subject away")]
    NoTarget,
    #[error("the rival has no people, and nothing to refresh: leave --subject away")]
    NoPeople,
    #[error("only Tessera can be started again")]
    NotOurs,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Host {
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Tessera { installation, .. } => installation.address,
            Self::Floor(process) | Self::Rival { handler: process, .. } => process.address,
            Self::Other { address, .. } => *address,
        }
    }

    /// The process that answers.
    pub(crate) fn pid(&self) -> Option<Pid> {
        match self {
            Self::Tessera { server, .. } => server.as_ref().and_then(Server::pid),
            Self::Floor(process) | Self::Rival { handler: process, .. } => process.pid(),
            Self::Other { pid, .. } => *pid,
        }
    }

    /// The process that it needs besides.
    pub(crate) fn helper_pid(&self) -> Option<Pid> {
        match self {
            Self::Rival { redis, .. } => redis.process.id().and_then(to_pid),
            Self::Tessera { .. } | Self::Floor(_) | Self::Other { .. } => None,
        }
    }

    /// Ends it as an operator does.
    pub(crate) async fn stop(self) -> Result<(), HostError> {
        match self {
            Self::Tessera { server: Some(server), .. } => Ok(server.stop().await?),
            Self::Floor(process) => process.stop().await,
            Self::Rival { handler, redis } => {
                handler.stop().await?;
                end(redis.process).await
            }
            Self::Tessera { server: None, .. } | Self::Other { .. } => Ok(()),
        }
    }
}

/// A server of `loadtest serve`. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    /// Starts one on those cores, and waits until it listens.
    pub(crate) async fn start(
        name: &str,
        arguments: &[String],
        (workers, cores): (usize, &Cores),
    ) -> Result<Self, HostError> {
        let address = own_address();
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", name, "--listen", &address.to_string(), "--workers", &workers.to_string()]);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let child = cores.start(|| command.spawn())?;
        let child = child.map_err(|reason| HostError::NotStarted { program: format!("the {name}"), reason })?;
        let mut process = Self { child, address };
        wait_until_ready(name, &mut process.child, || TcpStream::connect(address).is_ok()).await?;
        Ok(process)
    }

    fn pid(&self) -> Option<Pid> {
        self.child.id().and_then(to_pid)
    }

    async fn stop(self) -> Result<(), HostError> {
        end(self.child).await
    }
}

/// A Redis that writes an append-only file. Dropping it kills it.
pub(crate) struct Redis {
    process: Child,
    socket: PathBuf,
}

impl Redis {
    /// Starts one in that folder, on those cores, and waits until it listens.
    pub(crate) async fn start(
        program: &Path,
        folder: &Path,
        durability: Durability,
        cores: &Cores,
    ) -> Result<Self, HostError> {
        let socket = folder.join("redis.sock");
        let (appends, syncs) = match durability {
            Durability::Sync => ("yes", "always"),
            Durability::Relaxed => ("yes", "everysec"),
            Durability::Memory => ("no", "no"),
        };
        let mut command = Command::new(program);
        command.args(["--port", "0", "--save", "", "--appendonly", appends, "--appendfsync", syncs]);
        // Rewriting the file meanwhile would be another measurement.
        command.args(["--auto-aof-rewrite-percentage", "0"]);
        command.arg("--unixsocket").arg(&socket).arg("--dir").arg(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let name = program.display().to_string();
        let process = cores.start(|| command.spawn())?.map_err(|reason| match reason.kind() {
            io::ErrorKind::NotFound => HostError::NoRedis { program: name.clone() },
            _ => HostError::NotStarted { program: name.clone(), reason },
        })?;
        let mut redis = Self { process, socket };
        let socket = redis.socket.clone();
        wait_until_ready(&name, &mut redis.process, || std::os::unix::net::UnixStream::connect(&socket).is_ok())
            .await?;
        Ok(redis)
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

async fn wait_until_ready(program: &str, child: &mut Child, is_ready: impl Fn() -> bool) -> Result<(), HostError> {
    let began = Instant::now();
    while began.elapsed() < READY_LIMIT {
        if let Some(status) = child.try_wait()? {
            return Err(HostError::Ended { program: program.to_owned(), status });
        }
        if is_ready() {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
    Err(HostError::NotReady { program: program.to_owned() })
}

async fn end(mut child: Child) -> Result<(), HostError> {
    if let Some(pid) = child.id().and_then(to_pid) {
        kill_process(pid, Signal::TERM).map_err(io::Error::from)?;
    }
    if timeout(STOP_LIMIT, child.wait()).await.is_err() {
        child.kill().await?;
    }
    Ok(())
}

fn to_pid(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}

const PAUSE: Duration = Duration::from_millis(5);
const READY_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(10);

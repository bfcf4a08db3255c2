//! A temporary PostgreSQL cluster: started, stopped, killed, paused. It goes with this process, however that ends.
//!
//! ```text
//!   this process ──pipe──▶ watchdog ──when the pipe ends: SIGQUIT, SIGKILL, rm──▶ processes and files of the cluster
//! ```

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::str::FromStr as _;
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::server::{last_words, own_address};

/// A PostgreSQL server with a data directory of its own, which trusts who connects from this machine. Dropping it ends it
/// and removes the directory.
pub(crate) struct Cluster {
    programs: Programs,
    /// Holds the data directory and the log.
    room: PathBuf,
    address: SocketAddr,
    /// Of every start, as `name=value`.
    settings: Vec<String>,
    /// `None` where it was stopped or killed.
    postmaster: Option<Child>,
    watchdog: std::process::Child,
}

/// Why there is no database, or none any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error("{program} cannot be started: {reason}: install the package postgresql")]
    Missing { program: &'static str, reason: io::Error },
    #[error("PostgreSQL does not run as root, and this machine has neither a user postgres nor a user nobody")]
    NoUser,
    #[error("initdb ended with {status}: {words}")]
    NotMade { status: ExitStatus, words: String },
    #[error("PostgreSQL was not up after {} s; the end of its log:\n{last_words}", START_LIMIT.as_secs())]
    NotStarted { last_words: String },
    #[error("PostgreSQL went on for {} s after SIGINT; the end of its log:\n{last_words}", STOP_LIMIT.as_secs())]
    NotStopped { last_words: String },
    #[error("PostgreSQL did not answer: {0}")]
    Query(#[from] sqlx::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// After a kill it reads its own log first.
const START_LIMIT: Duration = Duration::from_secs(60);
/// It writes a checkpoint first.
const STOP_LIMIT: Duration = Duration::from_secs(60);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks at whether it is up.
const PAUSE: Duration = Duration::from_millis(20);
/// The port that PostgreSQL usually has.
const PORT: u16 = 5432;

impl Cluster {
    /// Makes one and starts it. Settings are `name=value`; all others have their defaults.
    pub(crate) async fn create(settings: &[&str], random: &mut fastrand::Rng) -> Result<Self, ClusterError> {
        let user = if geteuid().is_root() { Some(unprivileged_user()?.ok_or(ClusterError::NoUser)?) } else { None };
        let programs = Programs { folder: programs(), user };
        let room = tempfile::Builder::new().prefix("tessera-postgres-").tempdir()?;
        let data_dir = room.path().join(DATA);
        fs::create_dir(&data_dir)?;
        if let Some((uid, gid)) = user {
            chown(room.path(), Some(uid), Some(gid))?;
            chown(&data_dir, Some(uid), Some(gid))?;
        }
        let watchdog = watch(room.path())?;
        let (room, address) = (room.keep(), own_address(PORT, random));
        let own = [
            format!("listen_addresses={}", address.ip()),
            format!("port={}", address.port()),
            "unix_socket_directories=".to_owned(),
            // Goes with the data directory.
            "dynamic_shared_memory_type=mmap".to_owned(),
        ];
        let settings = own.into_iter().chain(settings.iter().map(|&setting| setting.to_owned())).collect();
        let mut cluster = Self { programs, room, address, settings, postmaster: None, watchdog };
        cluster.make().await?;
        cluster.start().await?;
        Ok(cluster)
    }

    /// Where it is, for a superuser.
    pub(crate) fn url(&self) -> String {
        format!("postgres://{SUPERUSER}@{}/postgres", self.address)
    }

    /// A connection of this process.
    pub(crate) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let options = PgConnectOptions::from_str(&self.url())?;
        let connected = timeout(CONNECT_LIMIT, PgConnection::connect_with(&options)).await;
        connected.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
    }

    /// Brings it up, whatever it was, and waits until it answers. May be dropped and called again.
    pub(crate) async fn start(&mut self) -> Result<(), ClusterError> {
        self.resume();
        let began = Instant::now();
        while began.elapsed() < START_LIMIT {
            let has_ended = self.postmaster.as_mut().map(Child::try_wait).transpose()?.is_none_or(|end| end.is_some());
            if has_ended {
                // The first may fail: what was killed holds its shared memory for a moment.
                self.postmaster = Some(self.spawn()?);
            }
            if let Ok(connection) = self.connect().await {
                connection.close().await?;
                return Ok(());
            }
            sleep(PAUSE).await;
        }
        Err(ClusterError::NotStarted { last_words: last_words(&self.log())? })
    }

    /// Ends it as an operator does who does not wait for sessions to end.
    pub(crate) async fn stop(&mut self) -> Result<(), ClusterError> {
        self.resume();
        if let Some(postmaster) = self.processes().first() {
            // It may have ended.
            let _ = kill_process(*postmaster, Signal::INT);
        }
        let Some(mut postmaster) = self.postmaster.take() else { return Ok(()) };
        if timeout(STOP_LIMIT, postmaster.wait()).await.is_err() {
            return Err(ClusterError::NotStopped { last_words: last_words(&self.log())? });
        }
        Ok(())
    }

    /// Ends all of its processes at once, as `kill -9` does.
    pub(crate) async fn kill(&mut self) -> Result<(), ClusterError> {
        // It makes no new process while those that it has are looked up.
        if let Some(postmaster) = self.processes().first() {
            let _ = kill_process(*postmaster, Signal::STOP);
        }
        self.signal(Signal::KILL);
        if let Some(mut postmaster) = self.postmaster.take() {
            postmaster.wait().await?;
        }
        Ok(())
    }

    /// Stops all of its processes in their tracks: connections stay open, and nobody answers.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets them go on.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    async fn make(&self) -> Result<(), ClusterError> {
        let mut command = self.command("initdb");
        command.args(["-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]);
        let made = command.arg(self.data_dir()).output().await;
        let made = made.map_err(|reason| ClusterError::Missing { program: "initdb", reason })?;
        if made.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&made.stderr).trim().to_owned();
        Err(ClusterError::NotMade { status: made.status, words })
    }

    fn spawn(&self) -> Result<Child, ClusterError> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data_dir());
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let log = File::options().create(true).append(true).open(self.log())?;
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        spawned.map_err(|reason| ClusterError::Missing { program: "postgres", reason })
    }

    /// Of its group, so that Ctrl-C is for this process alone; in the data directory, where the watchdog finds it.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.folder.join(program));
        command.current_dir(self.data_dir()).process_group(0);
        if let Some((uid, gid)) = self.programs.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn data_dir(&self) -> PathBuf {
        self.room.join(DATA)
    }

    fn log(&self) -> PathBuf {
        self.room.join("log")
    }

    fn signal(&self, signal: Signal) {
        for process in self.processes() {
            // It may have ended.
            let _ = kill_process(process, signal);
        }
    }

    /// The postmaster, and then its children.
    fn processes(&self) -> Vec<Pid> {
        let Some(postmaster) = self.postmaster.as_ref().and_then(Child::id) else { return Vec::new() };
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        let postmaster = i32::try_from(postmaster).ok();
        postmaster.into_iter().chain(children).filter_map(Pid::from_raw).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        // Whatever is left then, nobody can help.
        let _ = self.watchdog.wait();
    }
}

const SUPERUSER: &str = "postgres";
const DATA: &str = "data";

/// What PostgreSQL consists of.
struct Programs {
    /// Where `initdb` and `postgres` are; empty where the PATH says.
    folder: PathBuf,
    /// Whom they run as, where this process is one of root: PostgreSQL refuses to run as root.
    user: Option<(u32, u32)>,
}

/// The newest that Debian's packages have installed, else those on the PATH.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let installed = versions.filter(|path| path.join("bin/initdb").exists());
    installed.max_by_key(|path| version(path)).map(|path| path.join("bin")).unwrap_or_default()
}

fn version(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.parse().ok()
}

fn unprivileged_user() -> io::Result<Option<(u32, u32)>> {
    let users = fs::read_to_string("/etc/passwd")?;
    Ok(find_user(&users, "postgres").or_else(|| find_user(&users, "nobody")))
}

/// The ids of a user and of its group in the lines of `/etc/passwd`.
fn find_user(users: &str, name: &str) -> Option<(u32, u32)> {
    let mut fields = users.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(name))?;
    Some((fields.nth(2)?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Starts the process that ends the cluster in a room and removes the room once this process is gone.
fn watch(room: &Path) -> io::Result<std::process::Child> {
    let mut watchdog = std::process::Command::new("sh");
    watchdog.args(["-c", WATCHDOG]).arg(room).stdin(Stdio::piped()).process_group(0).spawn()
}

/// Every process of the cluster works in its data directory. Those that end by themselves leave no shared memory behind.
const WATCHDOG: &str = r#"
    cat >/dev/null
    send() {
        found=1
        for process in /proc/[0-9]*; do
            if [ "$process/cwd" -ef "$0/data" ]; then
                found=0
                kill -s "$1" "${process#/proc/}"
            fi
        done 2>/dev/null
        return $found
    }
    send CONT
    send QUIT
    for attempt in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        send CONT || break
        sleep 0.1
    done
    while send KILL; do
        sleep 0.1
    done
    rm -rf "$0"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users = "root:x:0:0::/root:/bin/sh\nnobody2:x:7:8::/:/bin/false\nnobody:x:65534:65533::/:/bin/false\n";
        assert_eq!(find_user(users, "nobody"), Some((65534, 65533)));
        assert_eq!(find_user(users, "postgres"), None);
        assert_eq!(find_user("nobody:x:none:1", "nobody"), None);
    }

    #[tokio::test]
    async fn a_cluster_is_up_again_after_each_outage_and_leaves_nothing_behind() {
        let mut cluster = Cluster::create(&["fsync=off"], &mut fastrand::Rng::new()).await.unwrap();
        let room = cluster.room.clone();
        cluster.kill().await.unwrap();
        assert!(cluster.connect().await.is_err());
        cluster.start().await.unwrap();
        cluster.stop().await.unwrap();
        cluster.start().await.unwrap();
        cluster.pause();
        cluster.start().await.unwrap();
        let mut connection = cluster.connect().await.unwrap();
        let one: i32 = sqlx::query_scalar("SELECT 1").fetch_one(&mut connection).await.unwrap();
        let postmaster = cluster.processes()[0];
        drop(cluster);
        assert!(one == 1 && !room.exists());
        assert!(!Path::new(&format!("/proc/{}/cwd", postmaster.as_raw_nonzero())).exists());
    }
}

//! PostgreSQL clusters for tests and load tests: made, started, stopped, killed, paused. They go with this process, however it
//! ends.
//!
//! ```text
//!   this process ──pipe──▶ watchdog ──when the pipe ends: SIGQUIT, SIGKILL, rm──▶ processes and files of all clusters
//! ```
//!
//! Nothing here waits for PostgreSQL to come up or to go down: who has a cluster connects to it, and waits, in its own way.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};

/// A PostgreSQL server with a data directory of its own, which trusts who connects from this machine. Dropping it ends it
/// and removes the directory.
pub struct Cluster {
    room: Arc<Room>,
    data_dir: PathBuf,
    address: SocketAddr,
    /// Of every start, as `name=value`.
    settings: Vec<String>,
    /// `None` where it was never launched, or is known to have ended.
    postmaster: Mutex<Option<Child>>,
}

/// Why there is no cluster, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The programs of PostgreSQL are not there.
    #[error("{program} cannot be started: {reason}: install the package postgresql, as tests/run does")]
    Missing {
        /// Which program.
        program: &'static str,
        /// What the system says.
        reason: io::Error,
    },
    /// This process is one of root, and nobody else is there.
    #[error("PostgreSQL does not run as root, and this machine has neither a user postgres nor a user nobody")]
    NoUser,
    /// A data directory cannot be made.
    #[error("initdb ended with {status}: {words}")]
    NotMade {
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        words: String,
    },
    /// The system refuses something else.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Cluster {
    /// Makes one, which does not run yet. Settings are `name=value`; all others have their defaults.
    ///
    /// # Errors
    ///
    /// [`ClusterError`].
    pub fn create(settings: &[&str]) -> Result<Self, ClusterError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let room = Room::of_this_process()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let data_dir = room.path.join(format!("cluster-{number}"));
        let copied = Command::new("cp").arg("-a").arg(room.path.join(TEMPLATE)).arg(&data_dir).status()?;
        if !copied.success() {
            return Err(io::Error::other("the files of a new cluster cannot be copied").into());
        }
        let address = own_address();
        let own = [
            format!("listen_addresses={}", address.ip()),
            format!("port={}", address.port()),
            "unix_socket_directories=".to_owned(),
            // Goes with the data directory.
            "dynamic_shared_memory_type=mmap".to_owned(),
        ];
        let settings = own.into_iter().chain(settings.iter().map(|&setting| setting.to_owned())).collect();
        Ok(Self { room, data_dir, address, settings, postmaster: Mutex::default() })
    }

    /// Where it listens, once it is up.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How its superuser connects.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://{SUPERUSER}@{}/postgres", self.address)
    }

    /// Its files. What is put there has to be readable by the owner of the directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What it has written to stderr, in all of its lives.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.data_dir.with_extension("log")
    }

    /// Starts it unless it runs, and lets it go on if it is paused. It answers some time later; or it ends again, for what
    /// was killed holds its shared memory for a moment: then it is to be launched again.
    ///
    /// # Errors
    ///
    /// [`ClusterError`].
    pub fn launch(&self) -> Result<(), ClusterError> {
        self.resume();
        let mut postmaster = self.postmaster();
        if !is_running(&mut postmaster)? {
            *postmaster = Some(self.spawn()?);
        }
        Ok(())
    }

    /// Whether its first process is there.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn is_running(&self) -> io::Result<bool> {
        is_running(&mut self.postmaster())
    }

    /// Asks it to end in an orderly way, and every session with it.
    pub fn interrupt(&self) {
        self.resume();
        signal(self.processes().iter().take(1), Signal::INT);
    }

    /// Ends all of its processes at once, as `kill -9` does.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn kill(&self) -> io::Result<()> {
        // It makes no new process while those that it has are looked up.
        signal(self.processes().iter().take(1), Signal::STOP);
        signal(&self.processes(), Signal::KILL);
        if let Some(mut postmaster) = self.postmaster().take() {
            postmaster.wait()?;
        }
        Ok(())
    }

    /// Stops all of its processes in their tracks: connections stay open, and nobody answers.
    pub fn pause(&self) {
        signal(&self.processes(), Signal::STOP);
    }

    /// Lets them go on.
    pub fn resume(&self) {
        signal(&self.processes(), Signal::CONT);
    }

    fn spawn(&self) -> Result<Child, ClusterError> {
        let mut command = self.room.programs.command("postgres", &self.data_dir);
        command.arg("-D").arg(&self.data_dir);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let log = File::options().create(true).append(true).open(self.log())?;
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        spawned.map_err(|reason| ClusterError::Missing { program: "postgres", reason })
    }

    fn postmaster(&self) -> MutexGuard<'_, Option<Child>> {
        self.postmaster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The postmaster, and then its children.
    fn processes(&self) -> Vec<Pid> {
        let Some(postmaster) = self.postmaster().as_ref().map(Child::id) else { return Vec::new() };
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        let postmaster = i32::try_from(postmaster).ok();
        postmaster.into_iter().chain(children).filter_map(Pid::from_raw).collect()
    }

    /// Ends it without a checkpoint. A process that ends by itself leaves no shared memory behind.
    fn quit(&self) {
        self.resume();
        signal(self.processes().iter().take(1), Signal::QUIT);
        for _ in 0..QUIT_LOOKS_MAX {
            if !self.is_running().unwrap_or(false) {
                return;
            }
            thread::sleep(QUIT_PAUSE);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.quit();
        // Whatever is left then, nobody can help.
        let _ = self.kill();
        let _ = fs::remove_dir_all(&self.data_dir);
        let _ = fs::remove_file(self.log());
    }
}

const SUPERUSER: &str = "postgres";
/// The first port of [`own_address`]: any that needs no rights.
const FIRST_PORT: u16 = 8080;
const TEMPLATE: &str = "template";
/// How long a cluster may take to quit, all in all two seconds.
const QUIT_PAUSE: Duration = Duration::from_millis(10);
const QUIT_LOOKS_MAX: usize = 200;

fn is_running(postmaster: &mut Option<Child>) -> io::Result<bool> {
    let Some(child) = postmaster else { return Ok(false) };
    if child.try_wait()?.is_some() {
        // Its number may be another's by now, who must not be sent signals.
        *postmaster = None;
    }
    Ok(postmaster.is_some())
}

fn signal<'a>(processes: impl IntoIterator<Item = &'a Pid>, signal: Signal) {
    for process in processes {
        // It may have ended.
        let _ = kill_process(*process, signal);
    }
}

/// An address of this machine that nobody else uses, so that a server finds its port free at every start. The process id makes
/// the IP address, and each call another port. Other programs are on 127.0.0.1, and connections come from there; ports that are
/// given to whoever asks for any begin at 32,768.
pub fn own_address() -> SocketAddr {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    // A process id has 22 bits at most.
    let [low, middle, upper, _] = std::process::id().to_le_bytes();
    let port = FIRST_PORT.saturating_add(CALLS.fetch_add(1, Ordering::Relaxed));
    (Ipv4Addr::new(127, upper | 64, middle, low), port).into()
}

/// Where the clusters of this process are, and who ends them with it.
struct Room {
    path: PathBuf,
    programs: Programs,
    /// Reads from this process; what it reads in the end is that this process has gone.
    _watchdog: Child,
}

impl Room {
    fn of_this_process() -> Result<Arc<Self>, ClusterError> {
        static ROOM: Mutex<Option<Arc<Room>>> = Mutex::new(None);
        let mut room = ROOM.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = &*room {
            return Ok(Arc::clone(room));
        }
        Ok(Arc::clone(room.insert(Arc::new(Self::make()?))))
    }

    /// With a data directory that nobody runs on, of which all others are copies.
    fn make() -> Result<Self, ClusterError> {
        let programs = Programs::find()?;
        let room = tempfile::Builder::new().prefix("tessera-postgres-").tempdir()?;
        if let Some((uid, gid)) = programs.user {
            chown(room.path(), Some(uid), Some(gid))?;
        }
        let _watchdog = watch(room.path())?;
        let path = room.keep();
        let mut command = programs.command("initdb", &path);
        command.args(["-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D", TEMPLATE]);
        let made = command.output().map_err(|reason| ClusterError::Missing { program: "initdb", reason })?;
        if !made.status.success() {
            let words = String::from_utf8_lossy(&made.stderr).trim().to_owned();
            return Err(ClusterError::NotMade { status: made.status, words });
        }
        Ok(Self { path, programs, _watchdog })
    }
}

/// What PostgreSQL consists of.
struct Programs {
    /// Where `initdb` and `postgres` are; empty where the PATH says.
    folder: PathBuf,
    /// Whom they run as, where this process is one of root: PostgreSQL refuses to run as root.
    user: Option<(u32, u32)>,
}

impl Programs {
    /// The newest that Debian's packages have installed, else those on the PATH.
    fn find() -> Result<Self, ClusterError> {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
        let installed = versions.filter(|path| path.join("bin/initdb").exists());
        let folder = installed.max_by_key(|path| version(path)).map(|path| path.join("bin")).unwrap_or_default();
        let user = if geteuid().is_root() { Some(unprivileged_user()?.ok_or(ClusterError::NoUser)?) } else { None };
        Ok(Self { folder, user })
    }

    /// Of a group of its own, so that Ctrl-C is for this process alone; in that directory, where the watchdog finds it.
    fn command(&self, program: &str, directory: &Path) -> Command {
        let mut command = Command::new(self.folder.join(program));
        command.current_dir(directory).process_group(0);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
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

/// Starts the process that ends all clusters in a room and removes the room once this process is gone.
fn watch(room: &Path) -> io::Result<Child> {
    let mut watchdog = Command::new("sh");
    watchdog.args(["-c", WATCHDOG]).arg(room).stdin(Stdio::piped()).process_group(0).spawn()
}

/// Every process of a cluster works in its data directory. Those that end by themselves leave no shared memory behind.
const WATCHDOG: &str = r#"
    cat >/dev/null
    send() {
        found=1
        for process in /proc/[0-9]*; do
            for data in "$0"/cluster-*; do
                if [ "$process/cwd" -ef "$data" ]; then
                    found=0
                    kill -s "$1" "${process#/proc/}"
                fi
            done
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
    rm -rf "$0" || { sleep 1; rm -rf "$0"; }
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
}

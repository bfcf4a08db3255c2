//! PostgreSQL for tests: one cluster for all of them, and clusters of their own for those that harm it.
//!
//! `TESSERA_TEST_DATABASE_URL`, the URL of a superuser, names a server to be used for the first.

use std::cell::RefCell;
use std::fmt;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use tokio::runtime::{Builder, Runtime};

/// Waits for a state. No test passes by waiting.
#[track_caller]
pub(super) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..ATTEMPTS_MAX {
        if holds() {
            return;
        }
        thread::sleep(PAUSE);
    }
    panic!("not within {ATTEMPTS_MAX} attempts: {what}");
}

const PAUSE: Duration = Duration::from_millis(10);
/// Of [`until`]: two minutes or more. What is asked of a database may take one.
const ATTEMPTS_MAX: usize = 12_000;

/// The parts of a database's URL.
#[derive(Clone)]
pub(super) struct Address {
    /// With the password, if there is one.
    pub(super) user: String,
    /// With the port.
    pub(super) host: String,
    pub(super) database: String,
    /// With the `?`, or empty.
    pub(super) parameters: String,
}

impl Address {
    fn parse(url: &str) -> Self {
        let rest = url.split_once("://").unwrap().1;
        let (rest, parameters) = rest.find('?').map_or((rest, ""), |start| rest.split_at(start));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = authority.rsplit_once('@').expect("the URL names a user");
        let [user, host, database, parameters] = [user, host, database, parameters].map(str::to_owned);
        Self { user, host, database, parameters }
    }

    pub(super) fn of_host(&self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self.clone() }
    }

    pub(super) fn of_user(&self, user: &str) -> Self {
        Self { user: user.to_owned(), ..self.clone() }
    }

    pub(super) fn of_database(&self, database: &str) -> Self {
        Self { database: database.to_owned(), ..self.clone() }
    }

    pub(super) fn with(&self, parameters: &str) -> Self {
        Self { parameters: format!("?{parameters}"), ..self.clone() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, host, database, parameters } = self;
        write!(formatter, "postgres://{user}@{host}/{database}{parameters}")
    }
}

/// A connection of the test itself. Dropping it ends its transaction.
pub(super) struct Session {
    connection: PgConnection,
    runtime: Runtime,
}

impl Session {
    pub(super) fn open(address: &Address) -> Result<Self, sqlx::Error> {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let connection = runtime.block_on(in_time(PgConnection::connect(&address.to_string())))?;
        Ok(Self { connection, runtime })
    }

    /// Runs statements. The rows are as `psql` shows them: all of it is text, NULL is empty.
    pub(super) fn rows(&mut self, sql: &str) -> Result<Vec<Vec<String>>, sqlx::Error> {
        let fetched = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut self.connection);
        let rows = self.runtime.block_on(in_time(fetched))?;
        let text =
            |row: &PgRow, column| row.try_get_unchecked::<Option<String>, _>(column).unwrap().unwrap_or_default();
        Ok(rows.iter().map(|row| (0..row.len()).map(|column| text(row, column)).collect()).collect())
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let answered = tokio::time::timeout(Duration::from_secs(20), asked).await;
    answered.unwrap_or_else(|_| Err(sqlx::Error::Io(ErrorKind::TimedOut.into())))
}

/// A database of a test. Dropping it removes it.
pub(super) struct Database {
    pub(super) address: Address,
    /// Opened when it is needed, and again when it has broken.
    session: RefCell<Option<Session>>,
}

impl Database {
    /// On the cluster that all tests share.
    pub(super) fn shared() -> Self {
        Self::on(shared())
    }

    /// On the server of that address.
    pub(super) fn on(server: &Address) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tessera_test_{}_{number}", std::process::id());
        Session::open(server).unwrap().rows(&format!("CREATE DATABASE {name}")).unwrap();
        Self { address: server.of_database(&name), session: RefCell::new(None) }
    }

    pub(super) fn try_rows(&self, sql: &str) -> Result<Vec<Vec<String>>, sqlx::Error> {
        if let Some(session) = &mut *self.session.borrow_mut()
            && let Ok(rows) = session.rows(sql)
        {
            return Ok(rows);
        }
        // It may have been closed; an error of the statement comes again.
        self.session.replace(None);
        let mut session = Session::open(&self.address)?;
        let rows = session.rows(sql);
        self.session.replace(Some(session));
        rows
    }

    #[track_caller]
    pub(super) fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        self.try_rows(sql).unwrap_or_else(|error| panic!("{error}: {sql}"))
    }

    /// The one value of the one row.
    #[track_caller]
    pub(super) fn value(&self, sql: &str) -> String {
        let rows = self.rows(sql);
        let [row] = &rows[..] else { panic!("{} rows: {sql}", rows.len()) };
        row[0].clone()
    }

    #[track_caller]
    pub(super) fn number(&self, sql: &str) -> i64 {
        self.value(sql).parse().unwrap()
    }

    /// A role that may log in, named after the database, which it owns or not. Answers how it logs in.
    pub(super) fn create_role(&self, suffix: &str, owns: bool) -> Address {
        let Address { database, .. } = &self.address;
        let role = format!("{database}_{suffix}");
        self.rows(&format!("CREATE ROLE {role} LOGIN PASSWORD 'of-{role}'"));
        if owns {
            self.rows(&format!("ALTER DATABASE {database} OWNER TO {role}"));
        }
        self.address.of_user(&format!("{role}:of-{role}"))
    }

    /// The plan of a query, where tables are as good as large.
    pub(super) fn plan(&self, query: &str) -> String {
        let explained =
            self.rows(&format!("SET enable_seqscan = off; EXPLAIN (ANALYZE, COSTS off, TIMING off) {query}"));
        explained.concat().join("\n")
    }

    /// Ends every session but those of tests.
    pub(super) fn end_sessions(&self) {
        let Address { database, .. } = &self.address;
        self.rows(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = '{database}' AND pid <> pg_backend_pid()"
        ));
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.session.replace(None);
        let Address { database, .. } = &self.address;
        // A cluster of its own may have gone already.
        let Ok(mut session) = Session::open(&self.address.of_database("postgres")) else { return };
        let _ = session.rows(&format!("DROP DATABASE {database} WITH (FORCE)"));
        let roles = session.rows(&format!("SELECT rolname FROM pg_roles WHERE starts_with(rolname, '{database}_')"));
        for role in roles.iter().flatten() {
            let _ = session.rows(&format!("DROP ROLE {}", role[0]));
        }
    }
}

/// The server that all tests share.
fn shared() -> &'static Address {
    static SHARED: OnceLock<(Address, Option<Cluster>)> = OnceLock::new();
    let (address, _) = SHARED.get_or_init(|| {
        #[expect(clippy::disallowed_methods, reason = "a setting of the tests alone")]
        if let Ok(url) = std::env::var("TESSERA_TEST_DATABASE_URL") {
            return (Address::parse(&url), None);
        }
        let cluster = Cluster::start(&["fsync=off"]);
        (cluster.address.clone(), Some(cluster))
    });
    address
}

/// A PostgreSQL server with a data directory of its own. Dropping it kills it; so does the end of this process.
pub(super) struct Cluster {
    /// Of its superuser.
    pub(super) address: Address,
    pub(super) data_dir: PathBuf,
    settings: Vec<String>,
    postmaster: Mutex<Option<Child>>,
}

impl Cluster {
    pub(super) fn start(settings: &[&str]) -> Self {
        Self::start_with(settings, |_| {})
    }

    /// Lets `prepare` write into the data directory first.
    pub(super) fn start_with(settings: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let room = Room::of_this_process();
        let data_dir = room.path.join(format!("cluster-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let copied = Command::new("cp").arg("-a").arg(room.template()).arg(&data_dir).status().unwrap();
        assert!(copied.success());
        prepare(&data_dir);
        let port = free_port();
        let own = [
            format!("port={port}"),
            format!("unix_socket_directories={}", room.path.display()),
            "listen_addresses=127.0.0.1".to_owned(),
            "shared_buffers=16MB".to_owned(),
            "log_min_messages=log".to_owned(),
        ];
        let settings = own.into_iter().chain(settings.iter().map(|setting| (*setting).to_owned())).collect();
        let address = Address::parse(&format!("postgres://postgres@127.0.0.1:{port}/postgres"));
        let cluster = Self { address, data_dir, settings, postmaster: Mutex::new(None) };
        cluster.start_again();
        cluster
    }

    /// Starts what was stopped or killed, and waits until it answers.
    pub(super) fn start_again(&self) {
        for _ in 0..STARTS_MAX {
            let mut child = self.spawn();
            while child.try_wait().unwrap().is_none() {
                if Session::open(&self.address).is_ok() {
                    *self.postmaster.lock().unwrap() = Some(child);
                    return;
                }
                thread::sleep(PAUSE);
            }
            // What was killed may hold its shared memory for a moment.
            thread::sleep(PAUSE);
        }
        panic!("PostgreSQL does not start:\n{}", fs::read_to_string(self.log()).unwrap_or_default());
    }

    fn spawn(&self) -> Child {
        let mut command = Room::of_this_process().command("postgres");
        command.arg("-D").arg(&self.data_dir);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0).spawn().unwrap()
    }

    fn log(&self) -> PathBuf {
        self.data_dir.with_extension("log")
    }

    /// The postmaster and its children.
    fn processes(&self) -> Vec<Pid> {
        let Some(postmaster) = self.postmaster.lock().unwrap().as_ref().map(Child::id) else { return Vec::new() };
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap_or_default();
        let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
        [i32::try_from(postmaster).unwrap()].into_iter().chain(children).filter_map(Pid::from_raw).collect()
    }

    fn signal(&self, signal: Signal) {
        for process in self.processes() {
            // It may have ended.
            let _ = kill_process(process, signal);
        }
    }

    fn wait(&self) {
        if let Some(mut child) = self.postmaster.lock().unwrap().take() {
            child.wait().unwrap();
        }
    }

    /// Ends it in an orderly way, and every session with it.
    pub(super) fn stop(&self) {
        if let Some(postmaster) = self.processes().first() {
            kill_process(*postmaster, Signal::INT).unwrap();
        }
        self.wait();
    }

    /// Ends it as `kill -9` does, all processes at once.
    pub(super) fn kill(&self) {
        // It makes no new process while those that it has are looked up.
        if let Some(postmaster) = self.processes().first() {
            let _ = kill_process(*postmaster, Signal::STOP);
        }
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Stops all of its processes in their tracks.
    pub(super) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(super) fn resume(&self) {
        self.signal(Signal::CONT);
    }
}

const STARTS_MAX: usize = 500;

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.data_dir);
    }
}

/// A port that is not among those that the system hands out: it stays free while the server is down.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 12_000).unwrap();
    loop {
        let port = 18_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Where the clusters of this process are, and who ends them with it.
struct Room {
    path: PathBuf,
    /// Where `initdb` and `postgres` are; empty where the PATH says.
    programs: PathBuf,
    /// Whom they run as, where this process is one of root: PostgreSQL refuses to run as root.
    user: Option<(u32, u32)>,
    template: OnceLock<()>,
    /// Reads from this process; what it reads in the end is that this process has gone.
    _watchdog: Child,
}

impl Room {
    fn of_this_process() -> &'static Self {
        static ROOM: OnceLock<Room> = OnceLock::new();
        ROOM.get_or_init(|| {
            let path = tempfile::tempdir().unwrap().keep().canonicalize().unwrap();
            let user = rustix::process::geteuid().is_root().then(unprivileged_user);
            if let Some((uid, gid)) = user {
                chown(&path, Some(uid), Some(gid)).unwrap();
            }
            let mut watchdog = Command::new("sh");
            watchdog.args(["-c", WATCHDOG]).arg(&path).stdin(Stdio::piped()).process_group(0);
            let _watchdog = watchdog.spawn().unwrap();
            Self { path, programs: programs(), user, template: OnceLock::new(), _watchdog }
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.path);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// A data directory that nobody runs on.
    fn template(&self) -> PathBuf {
        let path = self.path.join("template");
        self.template.get_or_init(|| {
            let mut command = self.command("initdb");
            command.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N", "--wal-segsize=1", "-D"]);
            let made = command.arg(&path).output().unwrap_or_else(|error| panic!("{error}: {NEEDS}"));
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        });
        path
    }
}

const NEEDS: &str = "this test needs PostgreSQL: install the package postgresql, as tests/run does";

/// Kills what runs below a directory and removes it, once its input ends.
const WATCHDOG: &str = r#"
    cat >/dev/null
    for file in "$0"/cluster-*/postmaster.pid; do
        pid=$(head -n 1 "$file" 2>/dev/null)
        if [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd")" = "${file%/*}" ]; then
            kill -KILL "$pid" $(cat "/proc/$pid/task/$pid/children")
        fi
    done
    rm -rf "$0" || { sleep 1; rm -rf "$0"; }
"#;

/// The newest that Debian's packages have installed, else those on the PATH.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().map(|entry| entry.unwrap().path());
    let version = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().parse::<u32>().unwrap_or_default();
    let installed = versions.filter(|path| path.join("bin/initdb").exists());
    installed.max_by_key(version).map(|path| path.join("bin")).unwrap_or_default()
}

fn unprivileged_user() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let user = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name)?;
        Some((user[2].parse().unwrap(), user[3].parse().unwrap()))
    };
    find("postgres").or_else(|| find("nobody")).expect("a user that is not root")
}

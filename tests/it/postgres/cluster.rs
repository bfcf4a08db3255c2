//! PostgreSQL for tests: one cluster for all of them, and clusters of their own for those that harm it.
//!
//! `TESSERA_TEST_DATABASE_URL`, the URL of a superuser, names a server to be used for the first.

use std::cell::RefCell;
use std::fmt;
use std::io::ErrorKind;
use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

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
    let answered = tokio::time::timeout(Duration::from_secs(120), asked).await;
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

/// A PostgreSQL server of a test. Dropping it kills it; so does the end of this process.
pub(super) struct Cluster {
    /// Of its superuser.
    pub(super) address: Address,
    server: ::cluster::Cluster,
}

impl Cluster {
    pub(super) fn start(settings: &[&str]) -> Self {
        let cluster = Self::create(settings);
        cluster.start_again();
        cluster
    }

    /// One that does not run yet.
    pub(super) fn create(settings: &[&str]) -> Self {
        let server =
            ::cluster::Cluster::create(&[SETTINGS, settings].concat()).unwrap_or_else(|error| panic!("{error}"));
        Self { address: Address::parse(&server.url()), server }
    }

    /// Starts what was stopped or killed, and waits until it answers.
    pub(super) fn start_again(&self) {
        for _ in 0..ATTEMPTS_MAX {
            self.launch().unwrap();
            if Session::open(&self.address).is_ok() {
                return;
            }
            thread::sleep(PAUSE);
        }
        panic!("PostgreSQL does not start:\n{}", std::fs::read_to_string(self.log()).unwrap_or_default());
    }

    /// Ends it in an orderly way, and every session with it.
    pub(super) fn stop(&self) {
        self.interrupt();
        until("PostgreSQL has stopped", || !self.is_running().unwrap());
    }
}

impl Deref for Cluster {
    type Target = ::cluster::Cluster;

    fn deref(&self) -> &::cluster::Cluster {
        &self.server
    }
}

/// Many of them run side by side, and hold little.
const SETTINGS: &[&str] = &["shared_buffers=16MB", "log_min_messages=log"];

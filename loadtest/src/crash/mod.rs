//! `loadtest crash`: `kill -9` under load and during recovery, with everything that was acknowledged looked up afterwards.
//!
//! ```text
//!  this process, never killed                         the server
//!  ┌────────┐ what may it answer? ┌────────┐ requests ┌─────────┐
//!  │ oracle │◀───────────────────▶│ worker │─────────▶│ tessera │──▶ journal
//!  └────────┘   what it answered  └────────┘  (× 64)  └─────────┘
//!       ▲                         ┌────────┐  kill -9      ▲
//!       └─────────────────────────│ driver │───────────────┘
//!          all, after a restart   └────────┘
//! ```
//!
//! | | what must hold |
//! |---|---|
//! | I1 | an acknowledged token is active until it expires or its revocation is acknowledged; a registered client is known |
//! |    | a device that was let in waits, and is told what a person has said;
//! |    | an acknowledged code gives tokens, a session is known, the last refresh token of a grant refreshes; one whose answer was lost gives the same again |
//! | I2 | what was revoked, deleted, has expired or was seen inactive stays so; a code, a device code, and a refresh token whose successor was used, give tokens at most once |
//! | I5 | nothing is missing before something that is there |
//! | I6 | fold of journal, memory and tables agree: with `--database`, all is compared with PostgreSQL in the end |
//! | I7 | the journal is whole: `tessera journal verify`, where the server has it |
//! | I8 | no token and no secret is in a file of the data directory, nor in the log |
//! | I9 | how long a start takes is reported |
//! | I10 | 503 is the only 5xx, and who is not killed answers |
//!
//! With `--database` PostgreSQL is killed, stopped and paused all the while too, in its own time: also while the server is
//! down, or starts.
//!
//! One seed makes the same choices again, but not the same moments: those are the machine's.

mod device;
mod driver;
mod oracle;
mod report;
mod secrets;
mod tables;
mod tally;
mod violation;
mod visitor;
mod worker;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::cluster::{Cluster, ClusterError};
use crate::crash::driver::Driver;
use crate::crash::report::Report;
use crate::crash::tables::Tables;
use crate::server::{Installation, ServerError};

/// What a run is to do.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How often to kill the server under load. The starts that follow are killed too, at random: those kills come on top.
    #[arg(long, default_value_t = 200)]
    kills: usize,
    /// Let the server write a temporary PostgreSQL cluster, which is killed, stopped and paused too, and compare in the end.
    /// Needs the programs of PostgreSQL. The cluster is not kept.
    #[arg(long)]
    database: bool,
    /// Connections, each with one request under way.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Makes the same choices as the run that printed it; random by default.
    #[arg(long)]
    seed: Option<u64>,
    /// The tessera program; by default the one beside this program.
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// A new or empty directory for the server's data; by default a temporary one. The key and the log are put beside it.
    /// It is kept when something was found, a temporary one too.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// An argument for every start of the server, such as --server-arg=--workers=2; may be repeated. With
    /// --durability=relaxed or memory the server promises less, and violations of I1 and I5 are right.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    server_arg: Vec<OsString>,
    /// Write the report there too, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// What a killed process has written is not lost with it; and without syncs it is up again sooner.
const CLUSTER_SETTINGS: &[&str] = &["fsync=off"];

/// Why a run cannot begin, or cannot say what it has found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CrashError {
    #[error("{} is not empty: name a new directory, for nothing is known of what is in this one", .0.display())]
    NotEmpty(PathBuf),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Kills, looks, and reports. Answers whether all held.
pub(crate) async fn run(options: &Options) -> Result<bool, CrashError> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let temporary = || tempfile::Builder::new().prefix("tessera-crash-").tempdir();
    let mut temporary = options.data_dir.is_none().then(temporary).transpose()?;
    let data_dir = data_dir(options.data_dir.as_deref(), temporary.as_ref())?;
    let tables = match options.database {
        true => Some(Tables::new(Cluster::create(CLUSTER_SETTINGS).await?, random.fork())),
        false => None,
    };
    let url = tables.iter().flat_map(|tables| ["--database-url".into(), tables.url().into()]);
    let arguments: Vec<_> = options.server_arg.iter().cloned().chain(url).collect();
    let installation = Installation::new(options.server.as_deref(), data_dir, &arguments, &mut random)?;
    let began = Instant::now();
    let found = Driver::new(&installation, options, random, tables).run().await;
    let report = Report::new(seed, began.elapsed(), &installation, found);
    print!("{report}");
    if let Some(path) = &options.report {
        std::fs::write(path, report.to_json())?;
    }
    if let (false, Some(temporary)) = (report.has_passed(), &mut temporary) {
        temporary.disable_cleanup(true);
    }
    Ok(report.has_passed())
}

fn data_dir(named: Option<&Path>, temporary: Option<&TempDir>) -> Result<PathBuf, CrashError> {
    let path = match (named, temporary) {
        (Some(named), _) => std::path::absolute(named)?,
        (None, Some(temporary)) => temporary.path().join("tessera-data"),
        (None, None) => return Err(io::Error::from(io::ErrorKind::NotFound).into()),
    };
    match path.read_dir().map(Iterator::count) {
        Ok(1..) => Err(CrashError::NotEmpty(path)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(path),
    }
}

//! Which server is loaded, and where everything runs.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde::{Serialize, Serializer};

use crate::client::Credentials;
use crate::machine::Cores;
use crate::measured::{Durability, Subject};

/// Which server is loaded, what it holds, and where everything runs.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct Settings {
    /// Who answers.
    #[arg(long, value_enum, default_value = "tessera")]
    pub(crate) subject: Subject,
    /// What the disk has seen of a change when it is answered. The rival's Redis: `appendfsync always`, `everysec`, none.
    #[arg(long, value_enum, default_value = "sync")]
    pub(crate) durability: Durability,
    /// Live tokens.
    #[arg(long, default_value_t = TOKENS, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) tokens: u64,
    /// Clients that they are issued to.
    #[arg(long, default_value_t = CLIENTS, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) clients: u32,
    /// HTTP workers of the server; by default one a core of --server-cores.
    #[arg(long)]
    pub(crate) workers: Option<u16>,
    /// Shards of Tessera; by default one a core of --server-cores.
    #[arg(long)]
    pub(crate) shards: Option<u16>,
    /// The cores of the server, such as 0 or 0-3; by default the first half.
    #[arg(long, value_name = "CORES")]
    #[serde(serialize_with = "in_words")]
    pub(crate) server_cores: Option<Cores>,
    /// The cores of the load; by default the second half.
    #[arg(long, value_name = "CORES")]
    #[serde(serialize_with = "in_words")]
    pub(crate) load_cores: Option<Cores>,
    /// The cores of the rival's Redis; by default those of the server.
    #[arg(long, value_name = "CORES")]
    #[serde(serialize_with = "in_words")]
    pub(crate) redis_cores: Option<Cores>,
    /// The tessera program; by default the one beside this program.
    #[arg(long, value_name = "PATH")]
    pub(crate) server: Option<PathBuf>,
    /// An argument for every start of Tessera; may be repeated.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) server_arg: Vec<OsString>,
    /// The Redis program of the rival.
    #[arg(long, value_name = "PATH", default_value = REDIS)]
    pub(crate) redis_server: PathBuf,
    /// Bytes in the body of the floor's answer; by default as many as Tessera's answer has.
    #[arg(long, value_name = "BYTES")]
    pub(crate) body_bytes: Option<usize>,
    /// Where the servers' files go: a real disk, if writing is measured. By default TMPDIR.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) directory: Option<PathBuf>,
    /// A Tessera that runs already, instead of one of our own.
    #[arg(long, value_name = "ADDRESS", requires = "admin")]
    pub(crate) target: Option<SocketAddr>,
    /// Its process on this machine, to see what it uses.
    #[arg(long, value_name = "PID", requires = "target")]
    pub(crate) target_pid: Option<i32>,
    /// A client of it that may ask for the scope `tessera.admin`, as id:secret.
    #[arg(long, requires = "target")]
    #[serde(skip)]
    pub(crate) admin: Option<Credentials>,
}

const TOKENS: u64 = 1_000_000;
const CLIENTS: u32 = 1000;
const REDIS: &str = "redis-server";

impl Default for Settings {
    fn default() -> Self {
        Self {
            subject: Subject::Tessera,
            durability: Durability::Sync,
            tokens: TOKENS,
            clients: CLIENTS,
            workers: None,
            shards: None,
            server_cores: None,
            load_cores: None,
            redis_cores: None,
            server: None,
            server_arg: Vec::new(),
            redis_server: REDIS.into(),
            body_bytes: None,
            directory: None,
            target: None,
            target_pid: None,
            admin: None,
        }
    }
}

/// Where everything runs.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    pub(crate) server: Cores,
    pub(crate) load: Cores,
    pub(crate) redis: Cores,
}

impl Settings {
    /// The same with every core said, so that a report can be read later.
    pub(crate) fn placed(mut self) -> io::Result<(Self, Placement)> {
        let (first, second) = Cores::halves()?;
        let server = self.server_cores.get_or_insert(first).clone();
        let load = self.load_cores.get_or_insert(second).clone();
        let redis = self.redis_cores.get_or_insert_with(|| server.clone()).clone();
        Ok((self, Placement { server, load, redis }))
    }

    /// HTTP workers of a server on those cores.
    pub(crate) fn workers(&self, cores: &Cores) -> usize {
        self.workers.map_or_else(|| cores.count(), usize::from)
    }

    /// What Tessera is started with.
    pub(crate) fn tessera_arguments(&self, cores: &Cores) -> Vec<OsString> {
        let shards = self.shards.map_or_else(|| cores.count(), usize::from);
        let own = [
            ("--durability", self.durability.name().to_owned()),
            ("--workers", self.workers(cores).to_string()),
            ("--shards", shards.to_string()),
        ];
        let own = own.into_iter().flat_map(|(name, value)| [name.into(), value.into()]);
        own.chain(self.server_arg.iter().cloned()).collect()
    }
}

fn in_words<S: Serializer>(cores: &Option<Cores>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&cores.clone().unwrap_or_default())
}

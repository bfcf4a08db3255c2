//! `loadtest abuse`: what well-behaved callers notice while others behave badly.
//!
//! ```text
//!            core 0                                    the other cores
//!  ┌─────────┐      ┌───────────────────────────────────────────────────────────┐
//!  │ tessera │◀─────│ callers: introspection at a fixed rate, each answer timed │  this thread
//!  │         │◀─────│ abusers: one kind at a time, at a bounded rate            │  a thread of its own, nice 10
//!  └─────────┘      └───────────────────────────────────────────────────────────┘
//! ```
//!
//! For each kind the callers call alone, and then beside the abusers. What must hold then:
//!
//! - Callers' p99 is at most twice what it was alone, or at most a millisecond longer: alone it is a few hundred
//!   microseconds, and one turn of the scheduler that a neighbour on the machine takes would fail a bare ratio.
//! - No caller gets another answer than the right one.
//! - Memory stays flat: what the server holds more than before all abuse is bounded by what each connection may cost.
//!
//! A phase in which something does not hold is measured again, a few times: neighbours come and go, defects stay. So is
//! one in which the callers had to wait too long even alone: on a machine that is so busy nothing can be measured.

mod attack;
mod report;

use std::cell::Cell;
use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Args;
use tokio::time::{sleep, timeout};

use crate::abuse::attack::{Abuse, Deeds, Target};
use crate::abuse::report::{Allowance, Memory, Phase, Report};
use crate::callers::{Calls, PrepareError, Prepared, Rate, introspect, prepare};
use crate::machine;
use crate::server::{Installation, Server, ServerError};

/// What a run is to do.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How long each phase takes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Requests a second of the well-behaved callers together, sent whether or not the last was answered.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Connections of the well-behaved callers.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// How often a phase is measured before it fails.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    attempts: u32,
    /// Connections that are opened and left idle.
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// Only this kind of abuse; may be repeated. All by default.
    #[arg(long, value_enum)]
    only: Vec<Abuse>,
    /// The tessera program; by default the one beside this program.
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// An argument for the server; may be repeated.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    server_arg: Vec<OsString>,
    /// Write the report there too, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AbuseError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    NotPrepared(#[from] PrepareError),
    #[error("the thread of the abusers ended before its time")]
    AbusersGone,
}

/// How long the callers call before it counts.
const WARM_UP: Duration = Duration::from_secs(2);
/// How often the server's memory is looked at.
const SAMPLE_PERIOD: Duration = Duration::from_millis(50);
/// How long the server may rest between two phases.
const REST: Duration = Duration::from_secs(2);

/// Measures and reports. Answers whether all held.
pub(crate) async fn run(options: &Options) -> Result<bool, AbuseError> {
    let folder = tempfile::Builder::new().prefix("tessera-abuse-").tempdir()?;
    let mut random = fastrand::Rng::new();
    let data_dir = folder.path().join("tessera-data");
    let installation = Installation::new(options.server.as_deref(), data_dir, &options.server_arg, &mut random)?;
    machine::raise_open_files()?;
    let mut server = machine::on_the_first_core(|| installation.start(&[]))??;
    server.ready().await?;
    let report = measure(options, &installation, &server).await?;
    print!("{report}");
    if let Some(path) = &options.report {
        std::fs::write(path, report.to_json())?;
    }
    server.stop().await?;
    Ok(report.has_passed())
}

async fn measure(options: &Options, installation: &Installation, server: &Server) -> Result<Report, AbuseError> {
    let Prepared { tokens, .. } = prepare(installation).await?;
    let target = Target { address: installation.address, admin: installation.admin.clone(), idle: options.idle };
    // The first requests warm up what the later ones must not pay for.
    call(options, WARM_UP, &target, &tokens, server).await;
    let kinds = if options.only.is_empty() { Abuse::ALL } else { &options.only };
    let mut report = Report::new(options.rate, machine::load());
    let mut allowance = Allowance::above(machine::resident_bytes(server.pid()));
    for abuse in kinds {
        allowance = allowance.with(*abuse, &target);
        for attempt in 1..=options.attempts {
            eprintln!("{abuse}, attempt {attempt}");
            let phase = measure_one(*abuse, options, &target, &tokens, server, allowance).await?;
            if phase.has_passed() || attempt == options.attempts {
                report.phases.push(phase);
                break;
            }
        }
    }
    Ok(report)
}

/// So long takes it to open the idle connections, a few thousand a second.
const OPENING: Duration = Duration::from_secs(8);

/// One kind of abuse, and the callers alone before it.
async fn measure_one(
    abuse: Abuse,
    options: &Options,
    target: &Target,
    tokens: &[String],
    server: &Server,
    allowance: Allowance,
) -> Result<Phase, AbuseError> {
    let time = Duration::from_secs(options.seconds);
    let (alone, _) = call(options, time, target, tokens, server).await;
    // Connections are idle once they are open.
    let lead = if abuse == Abuse::Idle { OPENING } else { Duration::ZERO };
    let abusers = begin(abuse, target.clone(), lead + time);
    sleep(lead).await;
    let (calls, memory_bytes) = call(options, time, target, tokens, server).await;
    let deeds = abusers.join().map_err(|_| AbuseError::AbusersGone)??;
    sleep(REST).await;
    Ok(Phase::new(abuse, &alone, &calls, Memory { bytes: memory_bytes, allowance }, deeds))
}

/// Abuses in a thread of its own, which gives way to the callers' where they share a core.
fn begin(abuse: Abuse, target: Target, time: Duration) -> thread::JoinHandle<io::Result<Deeds>> {
    thread::spawn(move || {
        machine::give_way()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let deeds = Deeds::default();
        // It never ends by itself.
        let _ = runtime.block_on(async { timeout(time, abuse.run(&target, &deeds)).await });
        Ok(deeds)
    })
}

/// Lets the callers call: what they saw, and the most memory that the server held.
async fn call(options: &Options, time: Duration, target: &Target, tokens: &[String], server: &Server) -> (Calls, u64) {
    let peak = Cell::new(0);
    let sample = async || -> Infallible {
        loop {
            peak.set(peak.get().max(machine::resident_bytes(server.pid())));
            sleep(SAMPLE_PERIOD).await;
        }
    };
    let rate = Rate { per_second: options.rate, connections: options.connections };
    let calls = introspect(target.address, &target.admin, tokens, rate, time);
    tokio::select! {
        calls = calls => (calls, peak.get()),
        never = sample() => match never {},
    }
}

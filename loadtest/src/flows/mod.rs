//! `loadtest flows`: users who go through whole flows beside each other, each answer judged.
//!
//! ```text
//!                    ┌ service ──── registers, is issued a token, uses it, renews it, leaves
//!  goose, one task   │
//!  for each user     ├ gateway ──── introspects tokens of every kind
//!                    │
//!                    ├ person ───── logs in, consents, lets clients in
//!                    │
//!                    ├ application  refreshes for a person, loses answers, is stolen from
//!                    │
//!                    └ holder ───── holds tokens; in a leak all holders revoke theirs at once, while all are introspected
//! ```
//!
//! The load is closed: a user waits for an answer before it goes on, so a slow server is asked less, and latencies look better
//! than they are. This command is there to see that flows are answered rightly while many go through them at once, and to
//! compare a flow with itself in another version.
//!
//! A new flow is a new file here, which implements [`Role`](crate::flows::role::Role), and one more [`Flow`].

mod answer;
mod ask;
mod client_credentials;
mod ground;
mod introspect_mix;
mod login;
mod refresh;
mod revoke_storm;
mod role;
mod target;
mod token;
mod visitor;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::thread;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueEnum};
use goose::config::GooseConfiguration;
use goose::metrics::TransactionMetricAggregate;
use goose::prelude::{
    GooseAttack, GooseCoordinatedOmissionMitigation, GooseDefault, GooseDefaultType as _, GooseError, GooseMetrics,
    Scenario,
};
use tokio::sync::oneshot;

use crate::client::Credentials;
use crate::flows::client_credentials::Service;
use crate::flows::ground::{Ground, GroundError};
use crate::flows::introspect_mix::Gateway;
use crate::flows::login::Person;
use crate::flows::refresh::Application;
use crate::flows::revoke_storm::Holder;
use crate::flows::role::{ARRIVE, LEAVE};
use crate::flows::target::{Target, TargetError, parse_admin};
use crate::machine;
use crate::server::{Installation, ServerError};

/// What a run is to do.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How many users there are, shared out among the flows by their weights.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    users: u16,
    /// How many users come a second, until all are there.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    hatch_rate: u16,
    /// How long all of them go on.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// A flow, and how many users go through it beside those of the others; may be repeated. All by default.
    #[arg(long = "flow", value_name = "NAME[=WEIGHT]", default_values_t = Weighted::ALL)]
    flows: Vec<Weighted>,
    /// Add to goose's figures the requests that users would have sent while they waited for a slow answer: as many as they
    /// usually send in the average, longest or shortest time between two.
    #[arg(
        long,
        default_value = "disabled",
        value_parser = PossibleValuesParser::new(["disabled", "average", "maximum", "minimum"])
            .try_map(|mode| mode.parse::<GooseCoordinatedOmissionMitigation>())
    )]
    co_mitigation: GooseCoordinatedOmissionMitigation,
    /// A server that runs already; by default one is started.
    #[arg(long, value_name = "http://HOST:PORT", requires = "admin", conflicts_with_all = ["server", "server_arg"])]
    target: Option<Target>,
    /// The client of that server that may use the admin API.
    #[arg(long, value_name = "ID:SECRET", requires = "target", value_parser = parse_admin)]
    admin: Option<Credentials>,
    /// The tessera program; by default the one beside this program.
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// An argument for the server; may be repeated.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    server_arg: Vec<OsString>,
    /// Write goose's report there: .html, .json or .md.
    #[arg(long, value_name = "FILE")]
    report: Option<String>,
}

impl Options {
    /// Users may take the part of so many people.
    fn people(&self) -> u16 {
        let has_people = self.flows.iter().any(|weighted| matches!(weighted.flow, Flow::Login | Flow::Refresh));
        if has_people { self.users } else { 0 }
    }
}

/// What users do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Flow {
    /// Services register, are issued tokens, use and renew them.
    ClientCredentials,
    /// Gateways introspect active, expired, revoked, unknown and malformed tokens.
    IntrospectMix,
    /// Many tokens are revoked at once while they are introspected.
    RevokeStorm,
    /// People log in, consent, and let clients in, which redeem codes.
    Login,
    /// Applications refresh people's grants in chains.
    Refresh,
}

impl Flow {
    fn scenario(self, weight: u16, ground: &Arc<Ground>) -> Result<Scenario, GooseError> {
        let (name, ground) = (self.to_string(), Arc::clone(ground));
        match self {
            Self::ClientCredentials => role::scenario(&name, weight, Service::new(ground)),
            Self::IntrospectMix => role::scenario(&name, weight, Gateway::new(ground)),
            Self::RevokeStorm => role::scenario(&name, weight, Holder::new(ground)),
            Self::Login => role::scenario(&name, weight, Person::new(ground)),
            Self::Refresh => role::scenario(&name, weight, Application::new(ground)),
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

/// A flow, and how many users go through it for each one of a flow of weight 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Weighted {
    flow: Flow,
    weight: u16,
}

impl Weighted {
    /// There are more gateways than services, and many more than leaks.
    const ALL: [Self; 5] = [
        Self { flow: Flow::ClientCredentials, weight: 3 },
        Self { flow: Flow::IntrospectMix, weight: 5 },
        Self { flow: Flow::RevokeStorm, weight: 2 },
        Self { flow: Flow::Login, weight: 1 },
        Self { flow: Flow::Refresh, weight: 3 },
    ];
}

impl fmt::Display for Weighted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}={}", self.flow, self.weight)
    }
}

impl FromStr for Weighted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, weight) = text.split_once('=').unwrap_or((text, "1"));
        let flow = Flow::from_str(name, false).map_err(|_| format!("there is no flow {name}: see --help"))?;
        match weight.parse() {
            Ok(weight @ 1..=WEIGHT_MAX) => Ok(Self { flow, weight }),
            _ => Err(format!("a weight is a whole number from 1 to {WEIGHT_MAX}")),
        }
    }
}

const WEIGHT_MAX: u16 = 1000;

/// Why nobody went through anything.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlowsError {
    #[error("--users must be at least {flows}, so that each flow has one")]
    TooFewUsers { flows: usize },
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    NotPrepared(#[from] GroundError),
    // Its text for people leaves out which option is wrong and why.
    #[error("goose refuses: {0:?}")]
    Goose(#[from] GooseError),
    #[error("the thread of the users ended before its time")]
    UsersGone,
}

/// Lets users go through flows. Answers whether all of them were answered rightly.
pub(crate) async fn run(options: &Options) -> Result<bool, FlowsError> {
    let flows = options.flows.len();
    if usize::from(options.users) < flows {
        return Err(FlowsError::TooFewUsers { flows });
    }
    if let (Some(target), Some(admin)) = (&options.target, &options.admin) {
        let ground = Ground::prepare(target.find().await?, admin, options.people()).await?;
        return go_through(options, ground).await;
    }
    let folder = tempfile::Builder::new().prefix("tessera-flows-").tempdir()?;
    let data_dir = folder.path().join("tessera-data");
    let mut random = fastrand::Rng::new();
    let installation = Installation::new(options.server.as_deref(), data_dir, &options.server_arg, &mut random)?;
    machine::raise_open_files()?;
    let mut server = installation.start(&[])?;
    server.ready().await?;
    let ground = Ground::prepare(installation.address, &installation.admin, options.people()).await?;
    let has_passed = go_through(options, ground).await?;
    server.stop().await?;
    Ok(has_passed)
}

async fn go_through(options: &Options, ground: Ground) -> Result<bool, FlowsError> {
    let ground = Arc::new(ground);
    let flows: Vec<_> = options.flows.iter().map(Weighted::to_string).collect();
    eprintln!("{} users for {} s: {}", options.users, options.seconds, flows.join(", "));
    let (done, finished) = oneshot::channel();
    let attack = attack(options, &ground)?;
    // Users want all cores, and this thread's runtime has one.
    thread::spawn(move || {
        // Nobody may wait for them any more.
        let _ = done.send(execute(attack));
    });
    let metrics = finished.await.map_err(|_| FlowsError::UsersGone)??;
    let failures = failures(&metrics);
    for failure in &failures {
        println!("FAIL  {failure}");
    }
    ground.clear().await?;
    Ok(failures.is_empty())
}

fn attack(options: &Options, ground: &Arc<Ground>) -> Result<GooseAttack, GooseError> {
    // Goose's own options are not this program's.
    let mut attack = GooseAttack::initialize_with_config(GooseConfiguration::default())?;
    for Weighted { flow, weight } in &options.flows {
        attack = attack.register_scenario(flow.scenario(*weight, ground)?);
    }
    let attack = attack
        .set_default(GooseDefault::Host, &*format!("http://{}", ground.address))?
        .set_default(GooseDefault::Users, usize::from(options.users))?
        .set_default(GooseDefault::IncreaseRate, &*options.hatch_rate.to_string())?
        .set_default(GooseDefault::RunTime, usize::try_from(options.seconds).unwrap_or(usize::MAX))?
        .set_default(GooseDefault::CoordinatedOmissionMitigation, options.co_mitigation.clone())?
        // What fails while users come is a failure too.
        .set_default(GooseDefault::NoResetMetrics, true)?
        .set_default(GooseDefault::NoGzip, true)?
        // There is no TLS here, and so no need to read the machine's certificates once for each user.
        .set_default(GooseDefault::AcceptInvalidCerts, true)?
        .set_default(GooseDefault::Quiet, 1)?;
    Ok(match &options.report {
        Some(file) => *attack.set_default(GooseDefault::ReportFile, &**file)?,
        None => *attack,
    })
}

fn execute(attack: GooseAttack) -> Result<GooseMetrics, FlowsError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(runtime.block_on(attack.execute())?)
}

/// What went wrong, in words. Goose's table of errors says more.
fn failures(metrics: &GooseMetrics) -> Vec<String> {
    let failed: usize = metrics.requests.values().map(|request| request.fail_count).sum();
    let broken: usize = metrics.transaction_errors.values().map(|error| error.occurrences).sum();
    let is_taken = |step: &TransactionMetricAggregate| {
        step.success_count > 0 && ![ARRIVE, LEAVE].contains(&step.transaction_name.name_for_transaction())
    };
    let idle = metrics.transactions.iter().filter(|steps| !steps.iter().any(is_taken));
    let idle = idle.filter_map(|steps| steps.first());
    let idle = idle.map(|step| format!("{}: no user came to the end of any step", step.scenario_name));
    let counted = [
        (failed > 0).then(|| format!("{failed} requests were not answered, or not rightly")),
        (broken > 0).then(|| format!("{broken} steps could not be taken")),
    ];
    counted.into_iter().flatten().chain(idle).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        options: Options,
    }

    #[track_caller]
    fn check(arguments: &[&str], expected: Option<&[(Flow, u16)]>) {
        let parsed = Arguments::try_parse_from([&["flows"], arguments].concat());
        let flows = parsed.map(|parsed| parsed.options.flows).ok();
        let expected =
            expected.map(|expected| expected.iter().map(|&(flow, weight)| Weighted { flow, weight }).collect());
        assert_eq!(flows, expected, "{arguments:?}");
    }

    #[test]
    fn flows_are_named_with_their_weights() {
        check(
            &[],
            Some(&[
                (Flow::ClientCredentials, 3),
                (Flow::IntrospectMix, 5),
                (Flow::RevokeStorm, 2),
                (Flow::Login, 1),
                (Flow::Refresh, 3),
            ]),
        );
        check(&["--flow", "revoke-storm"], Some(&[(Flow::RevokeStorm, 1)]));
        let two = ["--flow", "introspect-mix=1000", "--flow=revoke-storm=7"];
        check(&two, Some(&[(Flow::IntrospectMix, 1000), (Flow::RevokeStorm, 7)]));
        for wrong in ["revoke-storm=0", "revoke-storm=1001", "revoke-storm=", "revoke", ""] {
            check(&["--flow", wrong], None);
        }
    }

    #[test]
    fn a_target_comes_with_its_admin_and_without_a_server_of_ours() {
        let all = Some(
            &[
                (Flow::ClientCredentials, 3),
                (Flow::IntrospectMix, 5),
                (Flow::RevokeStorm, 2),
                (Flow::Login, 1),
                (Flow::Refresh, 3),
            ][..],
        );
        let (target, admin) = ("--target=http://127.0.0.1:8080", "--admin=operator:secret");
        check(&[target, admin], all);
        check(&[target], None);
        check(&[admin], None);
        check(&[target, admin, "--server=tessera"], None);
        check(&["--target=https://127.0.0.1:8080", admin], None);
        check(&[target, "--admin=operator"], None);
    }

    #[tokio::test]
    async fn each_flow_needs_a_user() {
        let Arguments { options } = Arguments::try_parse_from(["flows", "--users", "2"]).unwrap();
        assert!(matches!(run(&options).await, Err(FlowsError::TooFewUsers { flows: 5 })));
    }
}

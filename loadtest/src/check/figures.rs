//! What is measured to be held against budgets. Ratios are of medians over rounds in which each side has its turn.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::check::CheckError;
use crate::check::figure::{self, QUIET_SHARE, SHARE, peak};
use crate::engine::load::Load;
use crate::engine::scenario::Scenario;
use crate::engine::settings::Settings;
use crate::engine::site::{Site, SiteError};
use crate::machine::Cores;
use crate::measured::{Durability, Figures, Step, Subject};

/// How long is measured, and where.
#[derive(Args, Clone, Debug)]
pub(super) struct Rounds {
    /// Rounds in which each side has its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long a turn is.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Live tokens.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    tokens: u64,
    /// The tessera program; by default the one beside this program.
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// Where the servers' files go: a real disk. By default TMPDIR.
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// Tokens where only issuing is measured.
const FEW: u64 = 1000;

/// Measures everything that has a budget.
pub(super) async fn measure(options: &Rounds) -> Result<Figures, CheckError> {
    let mut figures = Figures::new();
    let empty = options.open(Subject::Tessera, Durability::Sync, FEW, Scenario::Introspect).await?;
    let empty_bytes = empty.resident_bytes();
    empty.stop().await?;

    say("filling");
    let mut tessera = options.open(Subject::Tessera, Durability::Sync, options.tokens, Scenario::Introspect).await?;
    let grown = tessera.resident_bytes().saturating_sub(empty_bytes);
    figures.extend([figure::bytes_per_token(grown as f64 / options.tokens as f64)]);
    introspection(options, &mut tessera, &mut figures).await?;
    issue(options, &mut tessera, &mut figures).await?;
    refresh(options, &mut tessera, &mut figures).await?;
    tessera.stop().await?;
    workers(options, &mut figures).await?;
    Ok(figures)
}

async fn introspection(options: &Rounds, tessera: &mut Site, figures: &mut Figures) -> Result<(), CheckError> {
    let mut floor = options.open(Subject::Floor, Durability::Sync, FEW, Scenario::Introspect).await?;
    let closed = options.closed(Scenario::Introspect);
    let [own, bare] = options.in_turn("introspect", [(tessera, &closed), (&mut floor, &closed)]).await?;
    figures.extend([figure::introspect_cpu_to_floor(&own, &bare)]);

    let at = |peak: f64| Load { per_second: Some(peak * SHARE), ..closed.clone() };
    let (own_load, bare_load) = (at(peak(&own)), at(peak(&bare)));
    let sides = [(&mut *tessera, &own_load), (&mut floor, &bare_load)];
    let [own_tail, bare_tail] = options.in_turn("introspect, 70 % of the peak", sides).await?;
    figures.extend([
        figure::introspect_p99_to_floor(&own_tail, &bare_tail),
        figure::introspect_p999_to_floor(&own_tail, &bare_tail),
    ]);
    let mut beside = Vec::new();
    for _ in 0..options.rounds {
        say("introspect, 70 % of the peak, a snapshot meanwhile");
        let middle = own_load.duration / 2;
        beside.push(tessera.beside_snapshot(&own_load, own_load.duration, middle).await?.0.step);
    }
    figures.extend([figure::introspect_p999_beside_snapshot_to_floor(&beside, &bare_tail)]);
    floor.stop().await?;

    let batch = options.closed(Scenario::IntrospectBatch);
    let [batches] = options.in_turn("introspect-batch", [(tessera, &batch)]).await?;
    figures.extend([figure::batch_tokens_per_core_second(&batches)]);

    let mut rival = options.open(Subject::Rival, Durability::Sync, FEW, Scenario::Introspect).await?;
    let [theirs] = options.in_turn("introspect, the rival", [(&mut rival, &closed)]).await?;
    figures.extend([figure::introspect_throughput_to_rival(&own, &theirs)]);
    rival.stop().await?;
    Ok(())
}

async fn issue(options: &Rounds, tessera: &mut Site, figures: &mut Figures) -> Result<(), CheckError> {
    let mut floor = options.open(Subject::Floor, Durability::Sync, FEW, Scenario::Issue).await?;
    let mut rival = options.open(Subject::Rival, Durability::Sync, FEW, Scenario::Issue).await?;
    let mut memory = options.open(Subject::Tessera, Durability::Memory, FEW, Scenario::Issue).await?;
    let closed = options.closed(Scenario::Issue);
    let sides = [(&mut *tessera, &closed), (&mut floor, &closed), (&mut rival, &closed), (&mut memory, &closed)];
    let [own, bare, theirs, unwritten] = options.in_turn("issue", sides).await?;
    figures.extend([
        figure::issue_sync_throughput_to_floor(&own, &bare),
        figure::issue_memory_throughput_to_floor(&unwritten, &bare),
        figure::issue_sync_throughput_to_rival(&own, &theirs),
    ]);
    memory.stop().await?;
    rival.stop().await?;

    let at = |peak: f64| Load { per_second: Some(peak * QUIET_SHARE), ..closed.clone() };
    let (own_load, bare_load) = (at(peak(&own)), at(peak(&bare)));
    let sides = [(&mut *tessera, &own_load), (&mut floor, &bare_load)];
    let [own, bare] = options.in_turn("issue, 30 % of the peak", sides).await?;
    figures.extend([figure::issue_sync_p50_over_floor_in_syncs(&own, &bare)]);
    floor.stop().await?;
    Ok(())
}

async fn refresh(options: &Rounds, tessera: &mut Site, figures: &mut Figures) -> Result<(), CheckError> {
    let mut floor = options.open(Subject::Floor, Durability::Sync, FEW, Scenario::Refresh).await?;
    let closed = options.closed(Scenario::Refresh);
    let [own, bare] = options.in_turn("refresh", [(tessera, &closed), (&mut floor, &closed)]).await?;
    figures.extend([figure::refresh_cpu_to_floor(&own, &bare)]);
    floor.stop().await?;
    Ok(())
}

/// On one core and on two, of which the second may be the load's as well. That alone has its price, which the floor pays too.
async fn workers(options: &Rounds, figures: &mut Figures) -> Result<(), CheckError> {
    let own = options.on_one_core_and_on_two(Subject::Tessera, options.tokens).await?;
    let bare = options.on_one_core_and_on_two(Subject::Floor, FEW).await?;
    figures.extend([figure::two_workers_cpu_to_one(&own, &bare)]);
    Ok(())
}

impl Rounds {
    fn settings(&self, subject: Subject, durability: Durability, tokens: u64) -> Settings {
        let (server, directory) = (self.server.clone(), self.directory.clone());
        Settings { subject, durability, tokens, server, directory, ..Settings::default() }
    }

    async fn open(
        &self,
        subject: Subject,
        durability: Durability,
        tokens: u64,
        scenario: Scenario,
    ) -> Result<Site, SiteError> {
        Site::start(self.settings(subject, durability, tokens), scenario).await
    }

    async fn on_one_core_and_on_two(&self, subject: Subject, tokens: u64) -> Result<[Vec<Step>; 2], SiteError> {
        let closed = self.closed(Scenario::Introspect);
        let mut turns = [const { Vec::new() }; 2];
        let cores = Cores::all()?;
        for (count, steps) in (1..).zip(&mut turns) {
            let settings = Settings {
                server_cores: Some(cores.first(count)),
                load_cores: Some(cores.last()),
                ..self.settings(subject, Durability::Memory, tokens)
            };
            let mut site = Site::start(settings, Scenario::Introspect).await?;
            [*steps] = self.in_turn(&format!("introspect, workers: {count}"), [(&mut site, &closed)]).await?;
            site.stop().await?;
        }
        Ok(turns)
    }

    /// Each connection asks again as soon as it is answered.
    fn closed(&self, scenario: Scenario) -> Load {
        Load::new(scenario, None, Duration::from_secs(self.seconds))
    }

    /// Lets each side have its turn, round after round.
    async fn in_turn<const SIDES: usize>(
        &self,
        what: &str,
        mut sides: [(&mut Site, &Load); SIDES],
    ) -> Result<[Vec<Step>; SIDES], SiteError> {
        let mut steps = [const { Vec::new() }; SIDES];
        for round in 1..=self.rounds {
            say(&format!("{what}, round {round} of {}", self.rounds));
            for ((site, load), steps) in sides.iter_mut().zip(&mut steps) {
                steps.push(site.step(load).await?);
            }
        }
        Ok(steps)
    }
}

fn say(what: &str) {
    eprintln!("{what} …");
}

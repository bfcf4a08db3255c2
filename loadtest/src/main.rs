//! Breaks and loads a Tessera server from outside, as its own process, and says what it has found.
//!
//! | module | what it has |
//! |---|---|
//! | `server` | a Tessera process: started, waited for, killed, stopped |
//! | `client` | requests, and connections that send them one at a time |
//! | `people` | people: their accounts, their browsers, and the clients that act for them |
//! | `callers` | requests at a fixed rate, each answer timed |
//! | `cluster` | a PostgreSQL cluster: started, stopped, killed, paused |
//! | `projection` | how far the database is, as the server says |
//! | `machine` | cores, limits, memory |
//! | `measured` | what was measured, as JSON has it |
//! | `engine` | `loadtest run`, `loadtest sweep`: requests at a constant rate; the knee |
//! | `fill` | `loadtest fill`: clients and tokens, fast |
//! | `serve` | `loadtest serve`: the floor and the rival, which Tessera is compared with |
//! | `crash` | `loadtest crash`: `kill -9` under load and during recovery, against an oracle |
//! | `abuse` | `loadtest abuse`: what callers notice while others behave badly |
//! | `database` | `loadtest database`: what PostgreSQL costs, and how it catches up after an outage |
//! | `flows` | `loadtest flows`: users who go through whole flows beside each other, each answer judged |
//! | `report` | the capacity report: `loadtest report`, `loadtest render` and `loadtest plan` |
//! | `check` | `loadtest check`: budgets of speed, and what became of each |
//!
//! `flows` is a closed loop: its users wait for their answers, so a slow server is asked less. It is for the correctness of
//! whole flows under concurrency and for finding regressions in them. `run` and `sweep` send at a rate that waits for nobody;
//! they are for latency.
//!
//! Every command exits with 0 when all that it looks for held, with 1 when something did not, with 2 when it was asked
//! for what it does not have.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the report is what this program is for")]

mod abuse;
mod callers;
mod cells;
mod check;
mod client;
mod cluster;
mod crash;
mod database;
mod engine;
mod fill;
mod flows;
mod format;
mod machine;
mod measured;
mod people;
mod projection;
mod report;
mod serve;
mod server;
mod table;

use std::fmt::Display;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// The server's, so that what it is compared with has it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Breaks and loads a Tessera server.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Kill the server again and again, under load and while it recovers, and look up all that it has acknowledged.
    Crash(crash::Options),
    /// Measure what well-behaved callers notice while others behave badly.
    Abuse(abuse::Options),
    /// Measure what PostgreSQL costs callers, and how it catches up after an outage.
    Database(database::Options),
    /// Hold what was counted, and what is measured, against the budgets.
    Check(check::Options),
    /// Let users go through whole flows beside each other, and judge each answer.
    Flows(flows::Options),
    /// Make clients and issue tokens on a server that runs.
    Fill(fill::Options),
    /// Load a server at one rate.
    Run(engine::command::RunOptions),
    /// Raise the rate until the objective breaks.
    Sweep(engine::command::SweepOptions),
    /// Serve what Tessera is compared with.
    #[command(hide = true)]
    Serve(serve::Options),
    /// Measure all that a capacity report has, and write it: page, JSON, and a summary here.
    Report(report::Options),
    /// Show a saved capacity report again: as a page, on the terminal, as tables for a README.
    Render(report::RenderOptions),
    /// Say how many cores and how much memory and disk a demand needs, by a saved capacity report.
    Plan(report::PlanOptions),
}

fn main() -> ExitCode {
    let command = match Arguments::parse().command {
        // It has a runtime of its own, and ends by signals.
        Command::Serve(options) => return verdict(serve::run(options).map(|()| true)),
        command => command,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the system gives no event loop: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        // To drop a command is to end the servers that it has started.
        tokio::select! {
            code = run(command) => code,
            () = interrupted() => ExitCode::FAILURE,
        }
    })
}

async fn run(command: Command) -> ExitCode {
    match command {
        Command::Crash(options) => verdict(crash::run(&options).await),
        Command::Abuse(options) => verdict(abuse::run(&options).await),
        Command::Database(options) => verdict(database::run(&options).await),
        Command::Check(options) => verdict(check::run(&options).await),
        Command::Flows(options) => verdict(flows::run(&options).await),
        Command::Fill(options) => verdict(fill::run(&options).await),
        Command::Run(options) => verdict(engine::command::run(&options).await),
        Command::Sweep(options) => verdict(engine::command::sweep(&options).await),
        Command::Serve(_) => ExitCode::SUCCESS,
        Command::Report(options) => verdict(report::run(&options).await),
        Command::Render(options) => verdict(report::render(&options)),
        Command::Plan(options) => verdict(report::plan(&options)),
    }
}

fn verdict<E: Display>(has_passed: Result<bool, E>) -> ExitCode {
    match has_passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits for an order to end. Without signals there is none.
async fn interrupted() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_of_every_command_fit_together() {
        Arguments::command().debug_assert();
    }
}

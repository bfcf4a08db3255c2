//! A server, its database, and what it was asked for.

use serde_json::Value;

use super::cluster::{Database, until};
use super::oracle::{Load, Oracle};
use crate::http::Request;
use crate::process::program::{Ended, Home, Program};

pub(super) struct Scene {
    pub(super) program: Program,
    pub(super) home: Home,
    pub(super) oracle: Oracle,
    pub(super) database: Database,
}

impl Scene {
    /// On a database of the shared cluster.
    pub(super) fn shared() -> Self {
        Self::on(Database::shared())
    }

    pub(super) fn on(database: Database) -> Self {
        let url = database.address.to_string();
        Self::through(database, &url)
    }

    /// A server that finds its database at that URL, and has written to it.
    pub(super) fn through(database: Database, url: &str) -> Self {
        let home = Home::new();
        let program = home.start(&["--database-url", url]);
        await_caught_up(&program, &database);
        Self { program, home, oracle: Oracle::default(), database }
    }

    /// Another server takes its place, with the same data directory. If it was told to end, it has ended before.
    pub(super) fn restart_through(&mut self, url: &str) {
        self.program.end();
        self.program = self.home.start(&["--database-url", url]);
    }

    pub(super) fn url(&self) -> String {
        self.database.address.to_string()
    }

    #[track_caller]
    pub(super) fn check(&self) {
        self.oracle.check(&self.program, &self.database);
    }

    /// Lets many connections issue and revoke while `meanwhile` looks after the database.
    pub(super) fn load<R>(&mut self, meanwhile: impl FnOnce(&Load<'_>, &Program, &Database) -> R) -> R {
        let Self { program, oracle, database, .. } = self;
        oracle.load(program, |load| meanwhile(load, program, database))
    }
}

/// What `/readyz` says of the database.
#[track_caller]
pub(super) fn database_of(program: &Program) -> Value {
    let answer = program.ask(&Request::get("/readyz"));
    assert_eq!(answer.status, 200, "no database makes a server unready: {answer:?}");
    assert_eq!(answer.json()["status"], "ready");
    answer.json()["database"].clone()
}

#[track_caller]
pub(super) fn await_state(program: &Program, state: &str) {
    until(&format!("the database is {state}"), || database_of(program)["state"] == state);
}

/// The value of a metric that has no labels.
#[track_caller]
pub(super) fn metric(program: &Program, name: &str) -> f64 {
    let text = program.ask(&Request::get("/metrics")).body;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("{} "));
    value.unwrap_or_else(|| panic!("no {name} in:\n{text}")).parse().unwrap()
}

/// Waits until the last record of the journal is in the database and the server says so. Nothing else may write meanwhile.
#[track_caller]
pub(super) fn await_caught_up(program: &Program, database: &Database) {
    until("the database has caught up", || {
        let durable = metric(program, "tessera_journal_durable_lsn");
        let state = database_of(program);
        let applied = database.try_rows("SELECT applied_lsn FROM tessera.projection");
        applied.is_ok_and(|rows| rows == [[durable.to_string()]])
            && (&state["state"], &state["lag_records"]) == (&"connected".into(), &0.into())
    });
}

/// A command that is to exit with this code; answers what it prints and complains.
#[track_caller]
pub(super) fn run(home: &Home, arguments: &[&str], exit_code: i32) -> (String, String) {
    let Ended { status, stdout, stderr } = Program::spawn(&mut home.command(arguments)).wait();
    assert_eq!(status.code(), Some(exit_code), "{arguments:?}: {stdout}{stderr}");
    (stdout, stderr)
}

/// A server that is to refuse to start with that database; answers what it says.
#[track_caller]
pub(super) fn check_refused(home: &Home, url: &str) -> String {
    let ended = Program::spawn(&mut home.serve(&["--database-url", url])).wait();
    assert_eq!(ended.status.code(), Some(65), "{}", ended.stderr);
    assert!(!ended.stderr.contains(r#""message":"ready""#), "{}", ended.stderr);
    ended.stderr
}

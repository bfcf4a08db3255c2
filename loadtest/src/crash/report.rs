//! What a run has found, for people and for programs.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use comfy_table::Table;
use serde::Serialize;

use crate::crash::driver::{Found, JournalVerdict};
use crate::crash::tables::{self, CatchUp};
use crate::crash::tally::Tally;
use crate::server::Installation;
use crate::table::{list, table};

/// What a run has found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seed: u64,
    seconds: f64,
    kills: usize,
    kills_before_ready: usize,
    kills_after_ready: usize,
    requests: Tally,
    tokens_issued: usize,
    grants: usize,
    devices: usize,
    tokens_checked: usize,
    clients_checked: usize,
    grants_checked: usize,
    devices_checked: usize,
    lost: usize,
    revived: usize,
    ready_ms_median: f64,
    ready_ms_max: f64,
    journal: JournalVerdict,
    database: Option<Database>,
    violations: Vec<String>,
    data_dir: PathBuf,
}

/// What PostgreSQL went through, and how much was compared with it.
#[derive(Debug, Serialize)]
struct Database {
    starts_without: usize,
    #[serde(flatten)]
    counts: tables::Counts,
}

/// How many violations are shown to people.
const SHOWN: usize = 20;

impl Report {
    pub(super) fn new(seed: u64, elapsed: Duration, installation: &Installation, found: Found) -> Self {
        let Found { counts, tally, issued, granted, devices, tables, violations, journal } = found;
        let mut ready = counts.ready;
        ready.sort_unstable();
        let milliseconds = |ready: Option<&Duration>| ready.copied().unwrap_or_default().as_secs_f64() * 1000.0;
        Self {
            seed,
            seconds: elapsed.as_secs_f64(),
            kills: counts.kills,
            kills_before_ready: counts.kills_before_ready,
            kills_after_ready: counts.kills_after_ready,
            requests: tally,
            tokens_issued: issued,
            grants: granted,
            devices,
            tokens_checked: counts.tokens_checked,
            clients_checked: counts.clients_checked,
            grants_checked: counts.grants_checked,
            devices_checked: counts.devices_checked,
            lost: violations.iter().filter(|violation| violation.is_loss()).count(),
            revived: violations.iter().filter(|violation| violation.is_revival()).count(),
            ready_ms_median: milliseconds(ready.get(ready.len() / 2)),
            ready_ms_max: milliseconds(ready.last()),
            journal,
            database: tables.map(|of| Database { starts_without: counts.starts_without_database, counts: of }),
            violations: violations.iter().map(ToString::to_string).collect(),
            data_dir: installation.data_dir.clone(),
        }
    }

    /// Whether everything held.
    pub(super) const fn has_passed(&self) -> bool {
        self.violations.is_empty()
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    fn requests(&self) -> Table {
        let rows = self.requests.rows().map(|(kind, outcomes)| {
            let counts = [outcomes.acknowledged, outcomes.refused, outcomes.unknown].map(|count| count.to_string());
            [vec![kind.to_string()], counts.into()].concat()
        });
        table(&["", "acknowledged", "refused", "unknown"], rows)
    }

    fn figures(&self) -> Table {
        let kills_at_start = format!("{} before ready, {} just after", self.kills_before_ready, self.kills_after_ready);
        let ready = format!("{:.0} ms median, {:.0} ms max", self.ready_ms_median, self.ready_ms_max);
        let journal = match self.journal {
            JournalVerdict::Whole => "whole",
            JournalVerdict::Damaged => "damaged",
            JournalVerdict::Skipped => "skipped: not asked, or this server has no such command",
        };
        let [tokens, clients] = [self.tokens_checked, self.clients_checked];
        let [grants, devices] = [self.grants_checked, self.devices_checked];
        let looked_up = format!("{tokens} tokens, {clients} clients, {grants} grants, {devices} devices");
        let figures = [
            ("kills under load", self.kills.to_string()),
            ("kills of a start", kills_at_start),
            ("tokens issued", self.tokens_issued.to_string()),
            ("people's grants", self.grants.to_string()),
            ("devices", self.devices.to_string()),
            ("looked up after a restart", looked_up),
            ("lost", self.lost.to_string()),
            ("revived", self.revived.to_string()),
            ("ready after", ready),
            ("tessera journal verify", journal.to_owned()),
            ("took", format!("{:.0} s", self.seconds)),
        ];
        list(figures.into_iter().chain(self.database.iter().flat_map(Database::figures)))
    }
}

impl Database {
    fn figures(&self) -> [(&'static str, String); 4] {
        let tables::Counts { kills, stops, pauses, tokens_compared, clients_compared, catch_up } = &self.counts;
        let catch_up = match catch_up {
            Some(CatchUp { seconds, records }) => format!("{seconds:.1} s, for {records} records"),
            None => "never".to_owned(),
        };
        [
            ("PostgreSQL", format!("{kills} times killed, {stops} stopped, {pauses} paused")),
            ("starts without PostgreSQL", self.starts_without.to_string()),
            ("compared with the tables", format!("{tokens_compared} tokens, {clients_compared} clients")),
            ("the tables caught up after", catch_up),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}\n\n{}\n", self.requests().trim_fmt(), self.figures().trim_fmt())?;
        if self.has_passed() {
            return writeln!(formatter, "everything that was acknowledged is there, and nothing came back");
        }
        writeln!(formatter, "{} violations:", self.violations.len())?;
        for violation in self.violations.iter().take(SHOWN) {
            writeln!(formatter, "  {violation}")?;
        }
        if self.violations.len() > SHOWN {
            writeln!(
                formatter,
                "  and {} more: all of them are in the file of --report",
                self.violations.len() - SHOWN
            )?;
        }
        writeln!(
            formatter,
            "again: --seed {}; data, with key and log beside it: {}",
            self.seed,
            self.data_dir.display()
        )
    }
}

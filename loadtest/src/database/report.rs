//! What a run has measured, for people and for programs.

use std::fmt;
use std::time::Duration;

use comfy_table::Table;
use serde::Serialize;

use crate::callers::{Calls, Latencies};
use crate::database::rate;
use crate::database::site::Load;
use crate::projection::Projection;
use crate::table::{list, table};

/// How many times as fast as new records are made the database must take them, once it is back.
const CATCH_UP_RATIO_MIN: f64 = 3.0;
/// A server that is later than this with the last request does not keep up.
const BEHIND_MAX: Duration = Duration::from_secs(1);

/// What a run has measured.
#[derive(Serialize)]
pub(super) struct Report {
    machine_load: f64,
    load: Load,
    without: Phase,
    with: Phase,
    pub(super) outage: Option<Phase>,
    pub(super) catching_up: Option<Phase>,
    pub(super) catch_up: Option<CatchUp>,
    pub(super) contents: Option<Contents>,
}

/// What callers saw in one phase.
#[derive(Clone, Serialize)]
pub(super) struct Phase {
    introspection: Seen,
    issue: Seen,
    seconds: f64,
    /// By how much the database was behind in the end, where there was one.
    pub(super) lag: Option<Lag>,
}

/// By how much the database was behind.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Lag {
    records: u64,
    seconds: u64,
}

/// What callers of one kind saw.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Seen {
    latencies: Latencies,
    answered: u64,
    errors: u64,
    behind: Duration,
}

/// How the database came back.
#[derive(Clone, Serialize)]
pub(super) struct CatchUp {
    outage: Duration,
    backlog_records: u64,
    new_records_per_second: f64,
    /// How long after PostgreSQL was up the server wrote it again, and how long until it had caught up.
    written_after: Option<Duration>,
    pub(super) caught_up_after: Option<Duration>,
    /// How many records came there meanwhile.
    records: u64,
    #[serde(skip)]
    first_lsn: u64,
    #[serde(skip)]
    unwritten_until: Duration,
}

/// What was in the tables in the end.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Contents {
    /// Tokens that the server has issued, and requests for one that nobody knows the end of.
    pub(super) acknowledged: u64,
    pub(super) unknown: u64,
    /// Tokens that the tables say were issued.
    pub(super) events: u64,
    pub(super) dead_letters: u64,
    /// Records that had not come there, though nothing was asked of the server any more.
    pub(super) lag_records: u64,
}

impl Lag {
    pub(super) const fn of(seen: &Projection) -> Self {
        Self { records: seen.lag_records, seconds: seen.lag_seconds }
    }
}

impl Seen {
    pub(super) fn of(calls: &Calls) -> Self {
        let (answered, errors, behind) = (calls.answered(), calls.errors, calls.behind);
        Self { latencies: Latencies::of(calls), answered, errors, behind }
    }

    fn failures(self, kind: &str) -> Vec<String> {
        let Self { errors, behind, .. } = self;
        let failures = [
            (errors > 0).then(|| format!("{errors} calls for {kind} were not answered rightly")),
            (behind > BEHIND_MAX)
                .then(|| format!("the server does not keep up with {kind}: {:.1} s behind", behind.as_secs_f64())),
        ];
        failures.into_iter().flatten().collect()
    }
}

impl Phase {
    pub(super) fn new(introspection: Seen, issue: Seen, lasted: Duration) -> Self {
        Self { introspection, issue, seconds: lasted.as_secs_f64(), lag: None }
    }

    /// What did not hold, in words.
    fn failures(&self) -> Vec<String> {
        [self.introspection.failures("introspection"), self.issue.failures("issue")].concat()
    }

    fn cells(&self, name: &str, without: &Self) -> Vec<String> {
        let millis = |latency: Duration| format!("{:.2} ms", latency.as_secs_f64() * 1000.0);
        let (introspection, issue) = (self.introspection.latencies, self.issue.latencies);
        let ratio = introspection.ratio(without.introspection.latencies);
        let per_second = rate(self.issue.answered, Duration::from_secs_f64(self.seconds));
        let errors = self.introspection.errors + self.issue.errors;
        let cells = [
            name.to_owned(),
            format!("{:.0} s", self.seconds),
            millis(introspection.p50),
            millis(introspection.p99),
            format!("{ratio:.2}"),
            format!("{per_second:.0}/s"),
            millis(issue.p50),
            millis(issue.p99),
            errors.to_string(),
        ];
        cells.into()
    }
}

impl CatchUp {
    /// The outage is over, and the database is so far.
    pub(super) fn new(outage: Duration, seen: &Projection, new_records_per_second: f64) -> Self {
        Self {
            outage,
            backlog_records: seen.lag_records,
            new_records_per_second,
            written_after: None,
            caught_up_after: None,
            records: 0,
            first_lsn: seen.applied_lsn,
            unwritten_until: Duration::ZERO,
        }
    }

    /// The server was asked how far the database is, and answered, so long after PostgreSQL was up.
    pub(super) fn see(&mut self, seen: &Projection, asked: Duration, answered: Duration, is_close: bool) {
        if !seen.is_connected() {
            self.unwritten_until = asked;
            return;
        }
        self.written_after.get_or_insert(self.unwritten_until);
        self.records = seen.applied_lsn.saturating_sub(self.first_lsn);
        if is_close {
            self.caught_up_after.get_or_insert(answered);
        }
    }

    /// How many records came to the database in a second, once it was written again.
    fn records_per_second(&self) -> Option<f64> {
        let time = self.caught_up_after?.saturating_sub(self.written_after?);
        Some(rate(self.records, time))
    }

    fn ratio(&self) -> Option<f64> {
        Some(self.records_per_second()? / self.new_records_per_second)
    }

    fn failure(&self) -> Option<String> {
        match self.ratio() {
            None => Some("the database has not caught up".to_owned()),
            Some(ratio) if ratio < CATCH_UP_RATIO_MIN => Some(format!(
                "records come to the database {ratio:.1} times as fast as new ones are made, and must come \
                 {CATCH_UP_RATIO_MIN} times as fast"
            )),
            Some(_) => None,
        }
    }

    fn figures(&self) -> Vec<(&'static str, String)> {
        let seconds = |time: Option<Duration>| time.map(|time| format!("{:.1} s", time.as_secs_f64()));
        let (rate, ratio) = (self.records_per_second().unwrap_or_default(), self.ratio().unwrap_or_default());
        let never = || "never".to_owned();
        vec![
            ("outage", format!("{:.0} s, {} records", self.outage.as_secs_f64(), self.backlog_records)),
            ("written again after", seconds(self.written_after).unwrap_or_else(never)),
            ("caught up after", seconds(self.caught_up_after).unwrap_or_else(never)),
            ("catching up", format!("{} records, {rate:.0}/s, {ratio:.1} × as fast as new ones", self.records)),
        ]
    }
}

impl Contents {
    fn failures(&self) -> Vec<String> {
        let Self { acknowledged, unknown, events, dead_letters, lag_records } = *self;
        let is_right = (acknowledged..=acknowledged + unknown).contains(&events);
        let failures = [
            (lag_records > 0).then(|| format!("the database lacks {lag_records} records, though nothing happens")),
            (!is_right).then(|| format!("{acknowledged} tokens were issued, and the tables know of {events}")),
            (dead_letters > 0).then(|| format!("the database refused {dead_letters} records")),
        ];
        failures.into_iter().flatten().collect()
    }

    fn figures(&self) -> Vec<(&'static str, String)> {
        let Self { acknowledged, unknown, events, dead_letters, .. } = self;
        let issued = match unknown {
            0 => format!("{acknowledged}, {events} in the tables"),
            unknown => format!("{acknowledged}, and {unknown} of unknown end, {events} in the tables"),
        };
        vec![("tokens issued", issued), ("records refused", dead_letters.to_string())]
    }
}

const HEADER: [&str; 9] =
    ["", "for", "introspection p50", "p99", "p99 ÷ without", "issued", "issue p50", "issue p99", "errors"];

impl Report {
    pub(super) fn new(machine_load: f64, load: Load, without: Phase, with: Phase) -> Self {
        let (outage, catching_up, catch_up, contents) = (None, None, None, None);
        Self { machine_load, load, without, with, outage, catching_up, catch_up, contents }
    }

    /// What callers noticed of PostgreSQL, in words.
    fn notice(&self) -> Vec<String> {
        self.with.introspection.latencies.failures(self.without.introspection.latencies)
    }

    /// Whether everything held so far.
    pub(super) fn has_passed(&self) -> bool {
        self.failures().is_empty()
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    fn phases(&self) -> impl Iterator<Item = (&'static str, &Phase)> {
        let measured = [Some(&self.without), Some(&self.with), self.outage.as_ref(), self.catching_up.as_ref()];
        let names = ["without a database", "with PostgreSQL", "during the outage", "while catching up"];
        names.into_iter().zip(measured).filter_map(|(name, phase)| Some((name, phase?)))
    }

    /// What did not hold, in words.
    fn failures(&self) -> Vec<String> {
        let of = |name: &str, failures: Vec<String>| {
            failures.into_iter().map(|failure| format!("{name}: {failure}")).collect::<Vec<_>>()
        };
        let mut failures = of("with PostgreSQL", self.notice());
        failures.extend(self.phases().flat_map(|(name, phase)| of(name, phase.failures())));
        let catch_up = self.catch_up.iter().filter_map(CatchUp::failure).collect();
        failures.extend(of("while catching up", catch_up));
        failures.extend(of("in the end", self.contents.iter().flat_map(Contents::failures).collect()));
        failures
    }

    fn table(&self) -> Table {
        table(&HEADER, self.phases().map(|(name, phase)| phase.cells(name, &self.without)))
    }

    fn figures(&self) -> Table {
        let said = |Lag { records, seconds }| ("lag with PostgreSQL", format!("{records} records, {seconds} s"));
        let lag = self.with.lag.map(said);
        let catch_up = self.catch_up.iter().flat_map(CatchUp::figures);
        let contents = self.contents.iter().flat_map(Contents::figures);
        list(lag.into_iter().chain(catch_up).chain(contents))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Load { introspection, issue, peak } = self.load;
        let of_peak = peak.map(|peak| format!(", half of the peak of {peak}")).unwrap_or_default();
        writeln!(
            formatter,
            "callers: {} introspections and {} tokens a second{of_peak}; load of the machine before: {}\n",
            introspection.per_second, issue.per_second, self.machine_load
        )?;
        writeln!(formatter, "{}\n\n{}\n", self.table().trim_fmt(), self.figures().trim_fmt())?;
        for failure in self.failures() {
            writeln!(formatter, "FAIL  {failure}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callers::Rate;

    const SECOND: Duration = Duration::from_secs(1);

    fn seen(p99_micros: u64) -> Seen {
        let p99 = Duration::from_micros(p99_micros);
        let latencies = Latencies { p50: p99, p99, p999: p99 };
        Seen { latencies, answered: 1000, errors: 0, behind: Duration::ZERO }
    }

    fn phase(p99_micros: u64) -> Phase {
        Phase::new(seen(p99_micros), seen(3000), SECOND)
    }

    fn projection(state: &str, applied_lsn: u64) -> Projection {
        Projection {
            state: state.to_owned(),
            lag_records: 10_000 - applied_lsn,
            lag_seconds: 0,
            applied_lsn,
            durable_lsn: 10_000,
        }
    }

    /// The database was 9,000 records behind after 9 s, is written again after 1 s, and catches up within `seconds`.
    fn catch_up(seconds: u32) -> CatchUp {
        let mut catch_up = CatchUp::new(9 * SECOND, &projection("unreachable", 1000), 1000.0);
        catch_up.see(&projection("unreachable", 1000), SECOND, SECOND, false);
        catch_up.see(&projection("connected", 1000), 2 * SECOND, 2 * SECOND, false);
        catch_up.see(&projection("connected", 10_000), (1 + seconds) * SECOND, (1 + seconds) * SECOND, true);
        catch_up
    }

    fn report() -> Report {
        let rate = Rate { per_second: 1000, connections: 16 };
        let load = Load { introspection: rate, issue: rate, peak: Some(2000) };
        let contents = Contents { acknowledged: 50, unknown: 0, events: 50, dead_letters: 0, lag_records: 0 };
        Report {
            outage: Some(phase(200)),
            catching_up: Some(phase(9000)),
            catch_up: Some(catch_up(3)),
            contents: Some(contents),
            ..Report::new(0.5, load, phase(200), phase(400))
        }
    }

    #[test]
    fn a_database_that_nobody_notices_and_that_catches_up_passes() {
        assert_eq!(report().failures(), Vec::<String>::new());
    }

    #[test]
    fn a_database_that_callers_notice_fails() {
        assert!(!Report { with: phase(1201), ..report() }.has_passed());
        assert!(Report { with: phase(1200), ..report() }.has_passed());
    }

    #[test]
    fn a_wrong_answer_and_a_server_that_does_not_keep_up_fail_in_every_phase() {
        let behind = Seen { behind: SECOND + PAUSE, ..seen(200) };
        let wrong = Seen { errors: 1, ..seen(200) };
        for bad in [behind, wrong] {
            for phase in [Phase::new(seen(200), bad, SECOND), Phase::new(bad, seen(200), SECOND)] {
                assert!(!Report { outage: Some(phase.clone()), ..report() }.has_passed());
                assert!(!Report { catching_up: Some(phase.clone()), ..report() }.has_passed());
                assert!(!Report { without: phase, ..report() }.has_passed());
            }
        }
    }

    const PAUSE: Duration = Duration::from_millis(1);

    #[test]
    fn catching_up_counts_from_the_first_write_and_must_be_three_times_as_fast_as_new_records() {
        let fast = catch_up(3);
        assert_eq!((fast.records_per_second(), fast.ratio(), fast.failure()), (Some(3000.0), Some(3.0), None));
        assert_eq!((fast.written_after, fast.caught_up_after), (Some(SECOND), Some(4 * SECOND)));
        assert!(catch_up(4).failure().is_some());
        let never = CatchUp { caught_up_after: None, ..fast };
        assert!(never.failure().is_some());
    }

    #[test]
    fn the_tables_hold_what_was_issued_and_perhaps_what_nobody_was_told_of() {
        let check = |events, unknown, passes: bool| {
            let contents = Contents { acknowledged: 50, unknown, events, dead_letters: 0, lag_records: 0 };
            assert_eq!(contents.failures().is_empty(), passes, "{events} {unknown}");
        };
        check(50, 0, true);
        check(49, 0, false);
        check(51, 0, false);
        check(51, 1, true);
        check(52, 1, false);
        let right = report().contents.unwrap();
        assert!(!Contents { dead_letters: 1, ..right }.failures().is_empty());
        assert!(!Contents { lag_records: 1, ..right }.failures().is_empty());
    }
}

//! The summary on a terminal, short enough to paste, and as tables for the README.

use std::fmt;

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;

use crate::format;
use crate::report::model::Capacity;
use crate::report::planner::{Coefficients, Demand, Kind, Line, MEANINGS, NOT_COVERED, Plan, Point};
use crate::report::{figures, lines};
use crate::table::table;

impl fmt::Display for Capacity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}\n", lines::one_line(self))?;
        for (figure, says) in lines::headlines(self) {
            writeln!(formatter, "{figure:>10}  {says}")?;
        }
        for table in tables(self) {
            writeln!(formatter, "\n{}", table.trim_fmt())?;
        }
        writeln!(formatter)?;
        for failure in failures(self) {
            writeln!(formatter, "FAIL  {failure}")?;
        }
        for limited in figures::limited(self) {
            writeln!(formatter, "NOTE  {limited}")?;
        }
        for note in &self.notes {
            writeln!(formatter, "NOTE  {note}")?;
        }
        Ok(())
    }
}

/// What a README has of it: tables, and what did not hold.
pub(super) fn markdown(capacity: &Capacity) -> String {
    let tables = tables(capacity).into_iter().map(|mut table| table.load_style(ASCII_MARKDOWN).to_string());
    let mut parts = vec![lines::one_line(capacity)];
    parts.extend(tables);
    let limited = figures::limited(capacity);
    let said = failures(capacity).into_iter().chain(limited).chain(capacity.notes.iter().cloned());
    let said: Vec<String> = said.map(|line| format!("- {}", line.replace('<', "\\<"))).collect();
    parts.extend((!said.is_empty()).then(|| said.join("\n")));
    parts.join("\n\n") + "\n"
}

/// A plan, what it rests on, and what it does not cover.
pub(super) fn plan(
    capacity: &Capacity,
    coefficients: &Coefficients,
    demand: &Demand,
    plan: &Plan,
    with_formulas: bool,
) -> String {
    let mut lines = vec![format!("For {demand}."), format!("By: {}", lines::one_line(capacity)), String::new()];
    lines.extend(plan.lines.iter().map(|line| format!("{:>10}  {}", line.written(), line.title)));
    if with_formulas {
        lines.push(String::new());
        lines.extend(plan.lines.iter().map(derivation));
        lines.push(String::new());
        lines.extend(MEANINGS.iter().map(|(name, says)| format!("{name}: {says}")));
    }
    lines.push(String::new());
    lines.extend(plan.rests_on.iter().map(|(kind, point)| rests_on(*kind, point)));
    lines.push(String::new());
    lines.extend(plan.warnings.iter().map(|warning| format!("WARNING  {warning}")));
    lines.extend(coefficients.remarks.iter().map(|remark| format!("NOTE  {remark}")));
    lines.extend(NOT_COVERED.iter().map(|says| format!("NOTE  {says}")));
    lines.join("\n") + "\n"
}

fn derivation(line: &Line) -> String {
    let Line { name, with_names, with_numbers, .. } = line;
    format!("{name} = {with_names}\n    = {with_numbers}\n    = {}", line.written())
}

/// The measured rate that a plan rests on.
fn rests_on(kind: Kind, point: &Point) -> String {
    format!(
        "{}: measured {} a second on a core with p99 {}, {} of CPU each; planned for {} of it",
        kind.scenario(),
        format::count(point.rate_per_core),
        format::whole_micros(point.p99_micros),
        format::micros(point.cpu_micros),
        format::percent(figures::SHARE),
    )
}

/// What did not hold, in words.
fn failures(capacity: &Capacity) -> Vec<String> {
    let phases = capacity.failures.iter().map(|failure| format!("{}: {}", failure.phase, failure.what));
    let budgets = capacity.budgets.iter().filter(|budget| budget.is_broken()).map(lines::budget);
    phases.chain(budgets).collect()
}

fn tables(capacity: &Capacity) -> Vec<Table> {
    let all = [
        table(&lines::SUMMARY_HEADER, lines::summary(capacity)),
        table(&lines::POPULATION_HEADER, lines::populations(capacity)),
        table(&lines::BUDGET_HEADER, lines::budgets(capacity)),
    ];
    all.into_iter().filter(|table| table.row_count() > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn bad_results_stay_in() {
        let capacity = sample::capacity();
        for text in [capacity.to_string(), markdown(&capacity)] {
            assert!(text.contains("expiry: 12 of 400,000"), "{text}");
            assert!(text.contains("introspect, CPU ÷ floor is 1.22, and must be at most 1.08"), "{text}");
            assert!(text.contains("not measured here: loadtest check"), "{text}");
            assert!(text.contains("introspect: limited by the load generator"), "{text}");
        }
    }

    #[test]
    fn a_run_that_measured_nothing_has_a_text() {
        assert!(Capacity::default().to_string().contains("commit unknown"));
    }
}

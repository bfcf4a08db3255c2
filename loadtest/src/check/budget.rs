//! The budgets, and what becomes of each.

use std::collections::BTreeMap;

use comfy_table::Table;
use serde::{Deserialize, Serialize};

use crate::check::counts::Counts;
use crate::measured::Figures;

/// `benches/budgets.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Budgets {
    /// Instructions of one operation, at most.
    instructions: BTreeMap<String, f64>,
    /// Heap allocations of one operation, at most.
    allocations: BTreeMap<String, f64>,
    /// Bytes of memory of one of what is kept, at most.
    bytes: BTreeMap<String, f64>,
    /// What is measured on a machine, by the name of the figure.
    measured: BTreeMap<String, Bound>,
}

/// Why a file is no budgets.
#[derive(Debug, thiserror::Error)]
#[error("these are no budgets: {0}")]
pub(crate) struct InvalidBudgets(#[from] toml::de::Error);

/// What a figure must not pass.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// A figure and its budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// What was counted or measured, and of what.
    pub(crate) name: String,
    /// `None` if it was not.
    pub(crate) value: Option<f64>,
    /// `None` if it has no budget.
    pub(crate) bound: Option<Bound>,
}

impl Budgets {
    /// Those of the source that this program was built from.
    pub(crate) fn of_this_build() -> Result<Self, InvalidBudgets> {
        Self::parse(include_str!("../../../benches/budgets.toml"))
    }

    pub(super) fn parse(text: &str) -> Result<Self, InvalidBudgets> {
        Ok(toml::from_str(text)?)
    }

    pub(super) fn judge_counts(&self, counts: &Counts) -> Vec<Verdict> {
        let at_most = |budgets: &BTreeMap<String, f64>| -> BTreeMap<String, Bound> {
            budgets.iter().map(|(name, most)| (name.clone(), Bound::AtMost(*most))).collect()
        };
        let mut verdicts = judge("instructions", &at_most(&self.instructions), &counts.instructions);
        verdicts.extend(judge("allocations", &at_most(&self.allocations), &counts.allocations));
        verdicts.extend(judge("bytes", &at_most(&self.bytes), &counts.bytes));
        verdicts
    }

    pub(crate) fn judge_figures(&self, figures: &Figures) -> Vec<Verdict> {
        judge("", &self.measured, figures)
    }
}

/// One for every budget and every value: what nobody measures, and what has no budget, must not go unseen.
fn judge(kind: &str, bounds: &BTreeMap<String, Bound>, values: &BTreeMap<String, f64>) -> Vec<Verdict> {
    let names: std::collections::BTreeSet<_> = bounds.keys().chain(values.keys()).collect();
    let verdict = |name: &String| Verdict {
        name: format!("{name} {kind}").trim_end().to_owned(),
        value: values.get(name).copied(),
        bound: bounds.get(name).copied(),
    };
    names.into_iter().map(verdict).collect()
}

impl Bound {
    /// By how much of the budget a value is beyond it; 0 or less is within.
    fn excess(self, value: f64) -> f64 {
        match self {
            Self::AtMost(most) => value / most - 1.0,
            Self::AtLeast(least) => 1.0 - value / least,
        }
    }

    fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

impl Verdict {
    pub(crate) fn holds(&self) -> bool {
        self.value.zip(self.bound).is_some_and(|(value, bound)| bound.is_met_by(value))
    }

    /// Whether it was measured and does not hold.
    pub(crate) fn is_broken(&self) -> bool {
        self.value.is_some() && !self.holds()
    }

    fn in_words(&self) -> String {
        match (self.value, self.bound) {
            (None, _) => "NOT MEASURED".to_owned(),
            (_, None) => "NO BUDGET".to_owned(),
            (Some(value), Some(bound)) if bound.is_met_by(value) => "ok".to_owned(),
            (Some(value), Some(bound)) => format!("BROKEN by {:.1} %", bound.excess(value) * 100.0),
        }
    }
}

/// All verdicts, the broken ones last, where they are seen.
pub(super) fn table(verdicts: &[Verdict]) -> Table {
    let (held, broken): (Vec<_>, Vec<_>) = verdicts.iter().partition(|verdict| verdict.holds());
    let row = |verdict: &Verdict| {
        let bound = verdict.bound.map_or_else(String::new, |bound| match bound {
            Bound::AtMost(most) => format!("≤ {}", number(most)),
            Bound::AtLeast(least) => format!("≥ {}", number(least)),
        });
        vec![verdict.name.clone(), verdict.value.map_or_else(String::new, number), bound, verdict.in_words()]
    };
    crate::table::table(&["", "value", "budget", ""], held.into_iter().chain(broken).map(row))
}

/// Whole where it is large.
fn number(value: f64) -> String {
    if value.abs() >= 1000.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budgets() -> Budgets {
        Budgets::parse(
            "[instructions]\nparse = 100\n[allocations]\nparse = 0\n[bytes]\ntoken = 96\n\
             [measured]\nratio = { at_most = 1.08 }\nrate = { at_least = 3e6 }",
        )
        .unwrap()
    }

    #[track_caller]
    fn check(name: &str, value: f64, expected: &str) {
        let verdicts = budgets().judge_figures(&Figures::from([(name.to_owned(), value)]));
        let verdict = verdicts.iter().find(|verdict| verdict.name == name).unwrap();
        assert_eq!((&*verdict.in_words(), verdict.holds()), (expected, expected == "ok"));
    }

    #[test]
    fn a_budget_is_held_or_broken_by_so_much() {
        check("ratio", 1.08, "ok");
        check("ratio", 1.188, "BROKEN by 10.0 %");
        check("rate", 3e6, "ok");
        check("rate", 1.5e6, "BROKEN by 50.0 %");
        check("ratio", f64::NAN, "BROKEN by NaN %");
    }

    #[test]
    fn what_is_not_measured_or_has_no_budget_does_not_hold() {
        let verdicts = budgets().judge_figures(&Figures::from([("new".to_owned(), 1.0)]));
        let words: Vec<_> = verdicts.iter().map(|verdict| (&*verdict.name, verdict.in_words())).collect();
        let missing = || "NOT MEASURED".to_owned();
        assert_eq!(words, [("new", "NO BUDGET".to_owned()), ("rate", missing()), ("ratio", missing())]);
        assert!(!verdicts.iter().any(Verdict::holds));
    }

    #[test]
    fn counts_have_budgets_of_their_own() {
        let mut counts = Counts::default();
        counts.instructions.insert("parse".to_owned(), 101.0);
        counts.allocations.insert("parse".to_owned(), 0.0);
        counts.bytes.insert("token".to_owned(), 120.0);
        let words: Vec<_> = budgets().judge_counts(&counts).iter().map(Verdict::in_words).collect();
        assert_eq!(words, ["BROKEN by 1.0 %", "ok", "BROKEN by 25.0 %"]);
    }

    #[test]
    fn a_file_that_says_more_or_less_is_refused() {
        assert!(Budgets::parse("[instructions]\n[allocations]\n[measured]\n").is_err());
        assert!(Budgets::parse("[instructions]\n[allocations]\n[bytes]\n[measured]\n[other]\n").is_err());
        assert!(Budgets::parse("[instructions]\n[allocations]\n[bytes]\n[measured]\na = { below = 1 }").is_err());
    }

    #[test]
    fn the_budgets_of_the_project_can_be_read() {
        assert!(Budgets::of_this_build().is_ok());
    }
}

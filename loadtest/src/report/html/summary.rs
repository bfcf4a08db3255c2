//! What somebody has to know who reads nothing else; what did not hold; budgets.

use maud::{Markup, html};

use crate::report::figures;
use crate::report::html::Section;
use crate::report::html::table::table;
use crate::report::lines;
use crate::report::model::Capacity;

pub(super) fn section(capacity: &Capacity) -> Option<Section> {
    let body = html! {
        div.cards { @for (figure, says) in lines::headlines(capacity) { (card(&figure, &says)) } }
        (table(
            "Each scenario at the knee: the highest rate that met its objective. Percentiles at 70 % of it; CPU time where most was answered.",
            &lines::SUMMARY_HEADER,
            &lines::summary(capacity),
        ))
        p.how {
            "The " b { "floor" } " is a bare actix-web server that answers canned bytes of the same size on the same \
            cores: what HTTP alone costs. The " b { "rival" } " is what teams build in house: an actix-web handler that keeps \
            digests in Redis, which has a core besides. Ratios are of one run on one machine; they say more than the figures \
            themselves. ≥ is written where the load generator, not the server, gave out."
        }
    };
    Some(Section { id: "summary", title: "Summary", body })
}

fn card(figure: &str, says: &str) -> Markup {
    html! { div.card { b { (figure) } span { (says) } } }
}

/// Bad results stay in.
pub(super) fn failures(capacity: &Capacity) -> Option<Section> {
    let limited = figures::limited(capacity);
    let broken = capacity.budgets.iter().filter(|budget| budget.is_broken());
    let broken: Vec<String> = broken.map(lines::budget).collect();
    let failures = &capacity.failures;
    let body = html! {
        div.bad {
            @if failures.is_empty() && limited.is_empty() && broken.is_empty() { p { "Nothing." } }
            ul {
                @for failure in failures { li { b { (failure.phase) ": " } (failure.what) } }
                @for budget in &broken { li { b { "budget: " } (budget) } }
                @for limited in &limited { li { (limited) } }
            }
        }
        @if !capacity.notes.is_empty() { ul { @for note in &capacity.notes { li { (note) } } } }
    };
    Some(Section { id: "failures", title: "What did not hold, and what limits the figures", body })
}

pub(super) fn budgets(capacity: &Capacity) -> Option<Section> {
    let body = table("Bounds that changes must keep.", &lines::BUDGET_HEADER, &lines::budgets(capacity));
    (!capacity.budgets.is_empty()).then_some(Section { id: "budgets", title: "Budgets", body })
}

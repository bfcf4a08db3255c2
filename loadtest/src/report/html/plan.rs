//! The planner: plans that were made here, how they come about, and a form that makes others with the same formulas.

use maud::{Markup, PreEscaped, html};
use serde_json::json;

use crate::format;
use crate::measured::Durability;
use crate::report::figures;
use crate::report::html::Section;
use crate::report::html::table::{list, table};
use crate::report::model::Capacity;
use crate::report::planner::{
    Coefficients, Demand, Formula, Kind, MEANINGS, NOT_COVERED, Notation, Plan, PlanError, formulas, plan,
};

pub(super) fn section(capacity: &Capacity) -> Option<Section> {
    let body = match Coefficients::of(capacity) {
        Ok(coefficients) => body(&coefficients),
        Err(lacks) => html! { p { (PlanError::NotMeasured { lacks }) "." } },
    };
    Some(Section { id: "planner", title: "How many machines to buy", body })
}

fn body(coefficients: &Coefficients) -> Markup {
    let examples: Vec<(Demand, Result<Plan, PlanError>)> =
        examples().into_iter().map(|demand| (demand, plan(coefficients, &demand))).collect();
    let shown = examples.iter().skip(1).find_map(|(demand, plan)| Some((demand, plan.as_ref().ok()?)));
    html! {
        p.how {
            "From the figures below: what a demand needs of machines like this one, at " (format::percent(figures::SHARE)) " of \
            the rates that were measured to meet the objective."
        }
        (table("Examples, with a mean lifetime of an hour and PostgreSQL away for an hour. For others: loadtest plan --help.",
            &EXAMPLE_HEADER, &rows(&examples)))
        @for (demand, plan) in &examples {
            @match plan {
                Ok(plan) => { @for warning in &plan.warnings { p { b { (rates(demand)) ": " } (warning) } } }
                Err(error) => { p { b { "p99 ≤ " (format::whole_micros(demand.p99_micros_max)) ": " } (error) "." } }
            }
        }
        (form(coefficients))
        @if let Some((demand, plan)) = shown {
            h3 { "How a plan comes about" }
            p { "Here for " (demand.to_string()) "." }
            (formulas_table(&derivation(plan)))
            (list(&MEANINGS.map(|(name, says)| (name, says.to_owned()))))
        }
        h3 { "What is assumed, and what a plan does not cover" }
        ul {
            @for remark in &coefficients.remarks { li { (remark) } }
            @for says in NOT_COVERED { li { (says) } }
        }
    }
}

const EXAMPLE_HEADER: [&str; 9] = [
    "introspect / issue / revoke a second",
    "live tokens",
    "p99",
    "cores",
    "memory",
    "disk",
    "of it journal",
    "snapshot every",
    "restart",
];

/// A small, a middling and a large installation, and one objective that may be out of reach.
fn examples() -> [Demand; 4] {
    let demand = |rates: [f64; 3], live_tokens, p99_micros_max| Demand {
        introspections_per_second: rates[0],
        issues_per_second: rates[1],
        revocations_per_second: rates[2],
        live_tokens,
        lifetime_seconds: 3600.0,
        p99_micros_max,
        outage_seconds: 3600.0,
        durability: Durability::Sync,
    };
    [
        demand([10_000.0, 100.0, 10.0], 360_000.0, 5000),
        demand([100_000.0, 2_000.0, 100.0], 7_200_000.0, 5000),
        demand([500_000.0, 10_000.0, 500.0], 36_000_000.0, 5000),
        demand([100_000.0, 2_000.0, 100.0], 7_200_000.0, 500),
    ]
}

fn rows(examples: &[(Demand, Result<Plan, PlanError>)]) -> Vec<Vec<String>> {
    let row = |(demand, plan): &(Demand, Result<Plan, PlanError>)| {
        let first = vec![
            rates(demand),
            format::count(demand.live_tokens),
            format!("≤ {}", format::whole_micros(demand.p99_micros_max)),
        ];
        let figures = match plan {
            Ok(plan) => {
                ["cores", "memory", "disk", "journal", "between", "restart"].map(|name| plan.written(name)).into()
            }
            Err(_) => vec!["none".to_owned()],
        };
        [first, figures].concat()
    };
    examples.iter().map(row).collect()
}

fn rates(demand: &Demand) -> String {
    let rates = [demand.introspections_per_second, demand.issues_per_second, demand.revocations_per_second];
    rates.map(format::count).join(" / ")
}

fn derivation(plan: &Plan) -> Vec<Vec<String>> {
    let line = |line: &crate::report::planner::Line| {
        let formula = format!("{} = {}", line.name, line.with_names);
        vec![line.title.to_owned(), formula, line.with_numbers.clone(), line.written()]
    };
    plan.lines.iter().map(line).collect()
}

/// A table whose formulas may be broken.
fn formulas_table(rows: &[Vec<String>]) -> Markup {
    let header = ["", "formula", "with numbers", ""];
    html! { div.formulas { (table(FORMULAS_CAPTION, &header, rows)) } }
}

/// A form that is only there where its script is.
fn form(coefficients: &Coefficients) -> Markup {
    html! {
        form #plan-form hidden {
            h3 { "Plan another" }
            div.fields {
                (field("R", "introspections a second", 50_000.0))
                (field("I", "issues a second", 1_000.0))
                (field("V", "revocations a second", 50.0))
                (field("T", "live tokens", 3_600_000.0))
                (field("L", "mean lifetime, s", 3600.0))
                (field("p99", "p99 at most, ms", 5.0))
                (field("O", "PostgreSQL away, s", 3600.0))
                label {
                    "durability of issue "
                    select name="durability" {
                        @for rates in &coefficients.rates { option { (figures::durability(rates.durability)) } }
                    }
                }
            }
            output { }
        }
        script { (PreEscaped(script(coefficients))) }
    }
}

fn field(name: &str, label: &str, value: f64) -> Markup {
    html! { label { (label) " " input name=(name) type="number" min="0" step="any" value=(value) required; } }
}

/// The measured figures and the formulas, then what evaluates them.
fn script(coefficients: &Coefficients) -> String {
    data(coefficients) + SCRIPT
}

fn data(coefficients: &Coefficients) -> String {
    let data = json!({
        "values": coefficients.values,
        "rates": coefficients.rates,
        "names": Kind::ALL.map(|kind| (kind.scenario(), kind.rate_name(), kind.demand_name())),
    });
    let formulas: Vec<String> = formulas().iter().map(formula).collect();
    format!("const planner = {data};\nplanner.formulas = [\n{}\n];\n", formulas.join(",\n"))
}

fn formula(formula: &Formula) -> String {
    let Formula { name, title, unit, expression } = formula;
    let (name, title, unit) = (json!(name), json!(title), json!(unit.name()));
    format!("{{name: {name}, title: {title}, unit: {unit}, value: v => {}}}", expression.write(Notation::Script))
}

const FORMULAS_CAPTION: &str = "Each line may use those above it. In the numbers sizes are in bytes and times in seconds; k, M, G are thousands, \
    millions and thousands of millions.";

const SCRIPT: &str = include_str!("planner.js");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_script_has_the_formulas_and_the_figures_and_nothing_that_ends_it_early() {
        let coefficients = Coefficients::of(&sample::capacity()).unwrap();
        let script = script(&coefficients);
        for formula in formulas() {
            assert!(script.contains(&formula.expression.write(Notation::Script)), "{}", formula.name);
        }
        assert!(!script.contains("</"));
    }

    #[test]
    #[ignore = "needs node"]
    fn the_script_gives_the_figures_that_the_program_gives() {
        let coefficients = Coefficients::of(&sample::capacity()).unwrap();
        for demand in examples().into_iter().take(3) {
            let plan = plan(&coefficients, &demand).unwrap();
            let mut values = coefficients.values.clone();
            values.extend(demand.values());
            values.extend(plan.rests_on.iter().map(|(kind, point)| (kind.rate_name(), point.rate_per_core)));
            let evaluate = format!(
                "{}const v = {};\nfor (const f of planner.formulas) {{ v[f.name] = f.value(v); console.log(v[f.name]); }}",
                data(&coefficients),
                json!(values)
            );
            let output = std::process::Command::new("node").args(["-e", &evaluate]).output().unwrap();
            let found: Vec<f64> =
                String::from_utf8(output.stdout).unwrap().lines().map(|line| line.parse().unwrap()).collect();
            let expected: Vec<f64> = plan.lines.iter().map(|line| line.value).collect();
            assert_eq!(found, expected, "{demand}");
        }
    }
}

//! What callers notice of a snapshot, an outage of PostgreSQL, mass expiry; and how soon a revocation is in effect.

use maud::{Markup, html};

use crate::cells;
use crate::format;
use crate::measured::{Interval, Latency};
use crate::report::html::table::table;
use crate::report::html::{Section, figure};
use crate::report::model::{Capacity, Event, Series, SeriesKind};
use crate::report::plot::{Caption, latency_over_time, rate_over_time};

pub(super) fn section(capacity: &Capacity) -> Option<Section> {
    let body = html! {
        p.how {
            "Time runs to the right; what happened is shaded. Nothing should move where a shade begins."
        }
        @for (place, series) in capacity.series.iter().enumerate() { (one(series, place)) }
    };
    (!capacity.series.is_empty()).then_some(Section { id: "happenings", title: "While something happens", body })
}

fn one(series: &Series, place: usize) -> Markup {
    let title = title(series.kind);
    let caption = |kind: &str, what: &str| Caption {
        id: format!("{kind}-{place}"),
        title: format!("{title}: {what}"),
        description: format!("{what} in each interval; events are shaded."),
    };
    let asked = format!("{} at {} a second", series.scenario, format::count(series.offered_per_second));
    html! {
        h3 { (title) }
        div.pair {
            (figure(&latency_over_time(series, &caption("latency", "latency")), &format!("Latency of {asked}.")))
            (figure(&rate_over_time(series, &caption("rate", "answers a second")), "Answers a second. A dip that is not made \
                up for afterwards would be lost requests."))
        }
        (table("The worst interval outside and inside what happened.", &HEADER, &rows(series)))
    }
}

const HEADER: [&str; 10] =
    ["", "intervals", "p50", "p90", "p99", "p99.9", "max", "errors", "resident, most", "server cores, most"];

fn rows(series: &Series) -> Vec<Vec<String>> {
    let is_inside = |event: &Event, at: &Interval| (event.begin_seconds..event.end_seconds).contains(&at.at_seconds);
    let quiet: Vec<&Interval> =
        series.intervals.iter().filter(|at| !series.events.iter().any(|event| is_inside(event, at))).collect();
    let inside = |event: &Event| {
        let intervals: Vec<&Interval> = series.intervals.iter().filter(|at| is_inside(event, at)).collect();
        let name = format!(
            "{}, {} to {}",
            event.name,
            format::seconds(event.begin_seconds),
            format::seconds(event.end_seconds)
        );
        row(name, &intervals)
    };
    std::iter::once(row("otherwise".into(), &quiet)).chain(series.events.iter().map(inside)).collect()
}

fn row(name: String, intervals: &[&Interval]) -> Vec<String> {
    let most = |of: fn(&Latency) -> u64| intervals.iter().map(|at| of(&at.latency)).max().unwrap_or_default();
    let worst = Latency {
        p50: most(|latency| latency.p50),
        p90: most(|latency| latency.p90),
        p99: most(|latency| latency.p99),
        p999: most(|latency| latency.p999),
        max: most(|latency| latency.max),
    };
    let errors: u64 = intervals.iter().map(|at| at.errors).sum();
    let resident = intervals.iter().map(|at| at.resident_bytes).max().unwrap_or_default();
    let cores = intervals.iter().map(|at| at.server_cores).fold(0.0, f64::max);
    let first = vec![name, intervals.len().to_string()];
    [
        first,
        cells::latency(&worst).into(),
        vec![format::whole(errors), format::whole_bytes(resident), format::three(cores)],
    ]
    .concat()
}

const fn title(kind: SeriesKind) -> &'static str {
    match kind {
        SeriesKind::Snapshot => "While a snapshot is written",
        SeriesKind::DatabaseOutage => "While PostgreSQL is gone, and while it catches up",
        SeriesKind::Expiry => "While many tokens expire at once",
    }
}

pub(super) fn revocation(capacity: &Capacity) -> Option<Section> {
    let revocation = capacity.revocation.as_ref()?;
    let row = |name: &str, latency: &Latency| [vec![name.to_owned()], cells::latency(latency).into()].concat();
    let rows = vec![
        row("from sending it to its effect", &revocation.latency),
        row("from its answer to its effect", &revocation.after_answer),
    ];
    let body = html! {
        p {
            (format::whole(revocation.revocations)) " tokens were revoked on one connection while another asked for them. Asked \
            after the answer, " b { (format::whole(revocation.late)) } " introspections still said active."
        }
        (table("To its effect: to the first introspection that said inactive.", &["", "p50", "p90", "p99", "p99.9", "max"], &rows))
    };
    Some(Section { id: "revocation", title: "From revocation to effect", body })
}

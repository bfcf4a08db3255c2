//! How fast: rate against latency, percentiles, durability classes, kinds of tokens, workers.

use maud::{Markup, html};

use crate::cells;
use crate::format;
use crate::measured::{Subject, Sweep};
use crate::report::figures::{self, ISSUE};
use crate::report::html::table::table;
use crate::report::html::{Section, figure};
use crate::report::lines;
use crate::report::model::Capacity;
use crate::report::plot::{Bar, Caption, bars, by_percentile, by_rate, by_rate_beside};

pub(super) fn section(capacity: &Capacity) -> Option<Section> {
    let ours = || figures::ours(capacity).enumerate();
    let body = html! {
        p.how {
            "Requests are sent at a fixed rate whether or not the ones before were answered, and each is timed from the \
            moment that it was due: a server that stalls is charged for all that had to wait. To read a plot: to the right are \
            higher rates, upwards is slower, on a logarithmic axis. Left of the dotted " b { "knee" } " the server \
            keeps its objective; right of it requests queue."
        }
        @for (place, sweep) in ours() { (one(capacity, sweep, place)) }
        @let others: Vec<&Sweep> = capacity.sweeps.iter().filter(|sweep| sweep.subject != Subject::Tessera).collect();
        @for sweep in others {
            h3 { (figures::name(sweep)) }
            (steps(sweep))
        }
    };
    (!capacity.sweeps.is_empty()).then_some(Section { id: "rates", title: "Throughput against latency", body })
}

/// One sweep: its percentiles, itself beside floor and rival, its steps.
fn one(capacity: &Capacity, sweep: &Sweep, place: usize) -> Markup {
    let name = figures::name(sweep);
    let beside = figures::beside(capacity, sweep);
    let knee = figures::knee(sweep).map(|step| format::count(step.answered_per_second));
    let knee =
        knee.map_or_else(|| "no rate met the objective".to_owned(), |rate| format!("the knee is at {rate} a second"));
    let all = Caption {
        id: format!("sweep-{place}"),
        title: format!("{name}: latency by rate"),
        description: format!("Median, 90th, 99th, 99.9th percentile and maximum at rising rates; {knee}."),
    };
    let compared = Caption {
        id: format!("beside-{place}"),
        title: format!("{name}: p99 beside floor and rival"),
        description: "The 99th percentile of each at rising rates.".into(),
    };
    html! {
        h3 { (name) }
        div.pair {
            (figure(&by_rate(sweep, &all), &format!("Percentiles of {name}; {knee}.")))
            @if !beside.is_empty() {
                (figure(&by_rate_beside(sweep, &beside, &compared), "p99 of tessera, floor and rival: further right is more on \
                    the same core. The rival has a core for Redis besides."))
            }
        }
        (steps(sweep))
    }
}

fn steps(sweep: &Sweep) -> Markup {
    let failures = lines::step_failures(sweep);
    html! {
        (table(&lines::conditions(sweep), &cells::STEP_HEADER, &cells::steps(sweep)))
        @if !failures.is_empty() { ul { @for failure in &failures { li { (failure) } } } }
    }
}

pub(super) fn percentiles(capacity: &Capacity) -> Option<Section> {
    let drawn: Vec<Markup> = figures::ours(capacity)
        .enumerate()
        .filter_map(|(place, sweep)| percentile_plot(capacity, sweep, place))
        .collect();
    let body = html! {
        p.how {
            "To read: 90 % of requests were faster than the curve is at 90 %, 99.9 % faster than at 99.9 %. Each step to the \
            right is ten times as rare. A curve that stays flat means that rare requests are hardly slower than common ones. \
            Each server runs at 70 % of its own knee."
        }
        div.pair { @for plot in &drawn { (plot) } }
    };
    (!drawn.is_empty()).then_some(Section {
        id: "percentiles",
        title: "Latency by percentile, at 70 % of the knee",
        body,
    })
}

fn percentile_plot(capacity: &Capacity, sweep: &Sweep, place: usize) -> Option<Markup> {
    let step = figures::steady(capacity, sweep)?;
    let mut all = vec![(sweep.subject, step)];
    for other in figures::beside(capacity, sweep) {
        all.extend(figures::steady(capacity, other).map(|step| (other.subject, step)));
    }
    let rates: Vec<String> = all
        .iter()
        .map(|(subject, step)| format!("{} {}", figures::subject(*subject), format::count(step.offered_per_second)))
        .collect();
    let name = figures::name(sweep);
    let caption = Caption {
        id: format!("percentiles-{place}"),
        title: format!("{name}: latency by percentile"),
        description: "Latency at each percentile, on logarithmic axes.".into(),
    };
    let has_points = all.iter().any(|(_, step)| step.percentiles.len() > 1);
    has_points
        .then(|| figure(&by_percentile(&all, &caption), &format!("{name}. Requests a second: {}.", rates.join(", "))))
}

pub(super) fn durability(capacity: &Capacity) -> Option<Section> {
    let issue = capacity.sweeps.iter().filter(|sweep| sweep.scenario == ISSUE);
    let drawn: Vec<Bar> = issue.filter_map(bar).collect();
    let caption = Caption {
        id: "durability-bars".into(),
        title: "Issue: answers a second at the knee".into(),
        description: "One bar for each class of durability, the floor and the rival.".into(),
    };
    let body = html! {
        (figure(&bars(&drawn, "a second at the knee", format::count, &caption), "Longer is better. sync: answered when the change is on \
            disk. relaxed: a token may be answered up to relaxed_window_ms before. memory: nothing is written. The rival writes \
            with appendfsync always."))
    };
    (drawn.len() > 1).then_some(Section { id: "durability", title: "What durability costs", body })
}

fn bar(sweep: &Sweep) -> Option<Bar> {
    let (name, colour) = match sweep.subject {
        Subject::Tessera => (figures::durability(sweep.durability), "var(--tessera)"),
        Subject::Floor => ("floor", "var(--floor)"),
        Subject::Rival => ("rival", "var(--rival)"),
    };
    Some(Bar { name: name.into(), value: figures::knee(sweep)?.answered_per_second, colour })
}

pub(super) fn mixes(capacity: &Capacity) -> Option<Section> {
    let mixes = &capacity.mixes;
    let drawn: Vec<Bar> = mixes
        .iter()
        .map(|mix| Bar { name: mix.name.clone(), value: mix.step.cpu_micros_per_request, colour: "var(--tessera)" })
        .collect();
    let caption = Caption {
        id: "mixes-bars".into(),
        title: "CPU time of an introspection by kind of token".into(),
        description: "One bar for each kind of token that was asked for.".into(),
    };
    let rows: Vec<Vec<String>> =
        mixes.iter().map(|mix| [vec![mix.name.clone()], cells::step_cells(&mix.step)].concat()).collect();
    let mut shares: Vec<String> = mixes.iter().map(|mix| format::percent(mix.share)).collect();
    shares.dedup();
    let header = [&["token"], cells::STEP_HEADER.as_slice()].concat();
    let body = html! {
        (figure(&bars(&drawn, "CPU time a request", format::micros, &caption), "Shorter is better. Callers that ask for garbage, or for \
            tokens long gone, should cost no more than those that ask for live ones."))
        (table(&format!("Introspections of one kind of token, at {} of the knee.", shares.join(", ")), &header, &rows))
    };
    (!mixes.is_empty()).then_some(Section { id: "mixes", title: "Live, expired, revoked and unknown tokens", body })
}

pub(super) fn workers(capacity: &Capacity) -> Option<Section> {
    let rows: Vec<Vec<String>> = capacity
        .workers
        .iter()
        .map(|workers| [vec![workers.workers.to_string()], cells::step_cells(&workers.step)].concat())
        .collect();
    let header = [&["workers"], cells::STEP_HEADER.as_slice()].concat();
    let ratio = figures::worker_ratio(capacity).map(format::ratio);
    let body = html! {
        @if let Some(ratio) = ratio {
            p { "CPU time a request with the most workers is " b { (ratio) } " that with one. Above 1, cores wait for each \
                other; where the load generator shares the cores, throughput says less than CPU time." }
        }
        (table("introspect, one core for each worker", &header, &rows))
    };
    (!rows.is_empty()).then_some(Section { id: "workers", title: "More workers", body })
}

//! Latency by rate, and by percentile.

use kuva::plot::{LineStyle, MarkerShape};
use kuva::render::annotations::ReferenceLine;
use kuva::render::layout::Layout;
use maud::Markup;

use crate::format;
use crate::measured::{Latency, Step, Subject, Sweep};
use crate::report::figures;
use crate::report::plot::{
    Caption, Line, Look, count_tick, dotted, draw, is_drawable, lines_layout, micros_tick, nines, place, plots, ticks,
    too_little,
};

/// Every percentile of one sweep against its rate; the knee and the objective are marked.
pub(in crate::report) fn by_rate(sweep: &Sweep, caption: &Caption) -> Markup {
    let line = |(name, look, of): (&str, Look, fn(&Latency) -> u64)| Line {
        name: name.into(),
        look,
        points: points(sweep, of),
    };
    let lines: Vec<Line> = percentiles().into_iter().map(line).collect();
    draw_by_rate(&lines, sweep, "latency", caption)
}

/// The p99 of a sweep and of those beside it.
pub(in crate::report) fn by_rate_beside(sweep: &Sweep, beside: &[&Sweep], caption: &Caption) -> Markup {
    let all = std::iter::once(sweep).chain(beside.iter().copied());
    let line = |sweep: &Sweep| Line {
        name: figures::subject(sweep.subject).into(),
        look: look(sweep.subject),
        points: points(sweep, |latency| latency.p99),
    };
    let lines: Vec<Line> = all.map(line).collect();
    draw_by_rate(&lines, sweep, "p99", caption)
}

/// Latency of several steps by percentile, further right the rarer: 90 %, 99 %, 99.9 %.
pub(in crate::report) fn by_percentile(steps: &[(Subject, &Step)], caption: &Caption) -> Markup {
    let line = |(subject, step): &(Subject, &Step)| Line {
        name: figures::subject(*subject).into(),
        look: look(*subject),
        points: step.percentiles.iter().filter_map(rarity).collect(),
    };
    let lines: Vec<Line> = steps.iter().map(line).collect();
    if !is_drawable(&lines) {
        return too_little();
    }
    let plots = plots(&lines);
    let layout = lines_layout(&lines, None, &plots, "percentile", "latency")
        .with_log_scale()
        .with_x_tick_format(ticks(nines))
        .with_y_tick_format(ticks(micros_tick));
    draw(plots, layout, caption)
}

/// One in how many was slower, and the latency; none where nothing was.
fn rarity((percentile, micros): &(f64, u64)) -> Option<(f64, f64)> {
    (*percentile < 100.0).then(|| (100.0 / (100.0 - percentile), place(*micros)))
}

fn draw_by_rate(lines: &[Line], sweep: &Sweep, y_label: &str, caption: &Caption) -> Markup {
    if !is_drawable(lines) {
        return too_little();
    }
    let plots = plots(lines);
    let objective = sweep.objective.p99_micros_max;
    let legend = format!("p99 ≤ {}", format::whole_micros(objective));
    let layout = lines_layout(lines, Some(legend), &plots, "answered a second", y_label)
        .with_log_y()
        .with_x_axis_min(0.0)
        .with_x_tick_format(ticks(count_tick))
        .with_y_tick_format(ticks(micros_tick))
        .with_reference_line(dotted(ReferenceLine::horizontal(place(objective))));
    draw(plots, with_knee(layout, sweep), caption)
}

fn with_knee(layout: Layout, sweep: &Sweep) -> Layout {
    match figures::knee(sweep) {
        Some(step) => {
            let knee = ReferenceLine::vertical(step.answered_per_second);
            layout.with_reference_line(dotted(knee).with_label("knee"))
        }
        None => layout,
    }
}

fn points(sweep: &Sweep, of: fn(&Latency) -> u64) -> Vec<(f64, f64)> {
    sweep.steps.iter().map(|step| (step.answered_per_second, place(of(&step.latency)))).collect()
}

type Percentile = (&'static str, Look, fn(&Latency) -> u64);

pub(super) fn percentiles() -> [Percentile; 5] {
    let look = |colour, dash, marker| Look { colour, dash, marker };
    [
        ("p50", look("var(--p50)", LineStyle::Solid, MarkerShape::Circle), |latency| latency.p50),
        ("p90", look("var(--p90)", LineStyle::Dashed, MarkerShape::Square), |latency| latency.p90),
        ("p99", look("var(--p99)", LineStyle::Solid, MarkerShape::Triangle), |latency| latency.p99),
        ("p99.9", look("var(--p999)", LineStyle::DashDot, MarkerShape::Diamond), |latency| latency.p999),
        ("max", look("var(--max)", LineStyle::Dotted, MarkerShape::Cross), |latency| latency.max),
    ]
}

fn look(subject: Subject) -> Look {
    let (colour, dash, marker) = match subject {
        Subject::Tessera => ("var(--tessera)", LineStyle::Solid, MarkerShape::Circle),
        Subject::Floor => ("var(--floor)", LineStyle::Dashed, MarkerShape::Square),
        Subject::Rival => ("var(--rival)", LineStyle::DashDot, MarkerShape::Triangle),
    };
    Look { colour, dash, marker }
}

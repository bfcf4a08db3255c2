//! What callers saw while something happened: time runs to the right, events are shaded.

use kuva::plot::{LineStyle, MarkerShape};
use kuva::render::annotations::{ReferenceLine, ShadedRegion};
use kuva::render::layout::Layout;
use maud::Markup;

use crate::measured::{Interval, Latency};
use crate::report::model::Series;
use crate::report::plot::latency::percentiles;
use crate::report::plot::{
    Caption, Line, Look, count_tick, dotted, draw, is_drawable, lines_layout, micros_tick, place, plots, ticks,
    too_little,
};

/// Room above the lines for the names of events: on a linear axis and on a logarithmic one.
const HEADROOM: f64 = 1.25;
const LOGARITHMIC_HEADROOM: f64 = 3.0;
/// Events that follow each other are told apart.
const SHADES: [f64; 2] = [0.28, 0.14];

/// Percentiles of each interval.
pub(in crate::report) fn latency_over_time(series: &Series, caption: &Caption) -> Markup {
    let line = |(name, look, of): (&str, Look, fn(&Latency) -> u64)| Line {
        name: name.into(),
        look,
        points: series.intervals.iter().map(|at| (at.at_seconds, place(of(&at.latency)))).collect(),
    };
    let lines: Vec<Line> = percentiles().into_iter().filter(|(name, ..)| *name != "p90").map(line).collect();
    if !is_drawable(&lines) {
        return too_little();
    }
    let plots = plots(&lines);
    let most = lines.iter().flat_map(|line| &line.points).map(|(_, micros)| *micros).fold(10.0, f64::max);
    let layout = lines_layout(&lines, None, &plots, "seconds", "latency")
        .with_log_y()
        .with_y_axis_max(most * LOGARITHMIC_HEADROOM)
        .with_y_tick_format(ticks(micros_tick));
    draw(plots, with_events(layout, series), caption)
}

/// Answers a second in each interval, below what was asked for.
pub(in crate::report) fn rate_over_time(series: &Series, caption: &Caption) -> Markup {
    let point = |at: &Interval| (at.at_seconds, at.answered_per_second);
    let lines = [Line {
        name: "answered".into(),
        look: Look { colour: "var(--tessera)", dash: LineStyle::Solid, marker: MarkerShape::Circle },
        points: series.intervals.iter().map(point).collect(),
    }];
    if !is_drawable(&lines) {
        return too_little();
    }
    let plots = plots(&lines);
    let most = series.intervals.iter().map(|at| at.answered_per_second).fold(series.offered_per_second, f64::max);
    let layout = lines_layout(&lines, Some("asked for".into()), &plots, "seconds", "answered a second")
        .with_y_axis_min(0.0)
        .with_y_tick_format(ticks(count_tick))
        .with_y_axis_max(most.max(1.0) * HEADROOM)
        .with_reference_line(dotted(ReferenceLine::horizontal(series.offered_per_second)));
    draw(plots, with_events(layout, series), caption)
}

fn with_events(layout: Layout, series: &Series) -> Layout {
    let end = series.intervals.last().map_or(0.0, |last| last.at_seconds);
    let layout = layout.with_x_axis_min(0.0).with_x_axis_max(end.max(1.0));
    series.events.iter().zip(SHADES.into_iter().cycle()).fold(layout, |layout, (event, opacity)| {
        let (begin, end) = (event.begin_seconds.clamp(0.0, end), event.end_seconds.clamp(0.0, end));
        let shade = ShadedRegion::vertical(begin, end).with_color("var(--event)").with_opacity(opacity);
        let line = dotted(ReferenceLine::vertical(begin)).with_label(event.name.clone());
        layout.with_shaded_region(shade).with_reference_line(line)
    })
}

//! Plots as SVG inside the page: drawn by kuva with colours that are CSS variables, so that light, dark and print each
//! have theirs. Lines differ by dash and marker too.

mod bars;
mod latency;
mod series;

use kuva::backend::svg::SvgBackend;
use kuva::plot::{LegendEntry, LegendPosition, LegendShape, LinePlot, LineStyle, MarkerShape, ScatterPlot};
use kuva::render::annotations::ReferenceLine;
use kuva::render::layout::{Layout, TickFormat};
use kuva::render::plots::Plot;
use kuva::render::render::render_multiple;
use kuva::render::theme::Theme;
use maud::{Markup, PreEscaped, html};
use std::sync::Arc;

use crate::format;

pub(super) use bars::{Bar, bars};
pub(super) use latency::{by_percentile, by_rate, by_rate_beside};
pub(super) use series::{latency_over_time, rate_over_time};

/// What a plot says to somebody who does not see it.
pub(super) struct Caption {
    /// Unique in the page.
    pub(super) id: String,
    pub(super) title: String,
    pub(super) description: String,
}

/// Points that belong together.
struct Line {
    name: String,
    look: Look,
    points: Vec<(f64, f64)>,
}

/// How one line is told from others.
#[derive(Clone)]
struct Look {
    colour: &'static str,
    dash: LineStyle,
    marker: MarkerShape,
}

const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 340.0;
/// Room to the left for the name of an axis whose ticks have units.
const MARGIN: f64 = 14.0;
const MARKERS_MAX: usize = 24;
/// What a logarithmic axis shows of a zero.
const LEAST_MICROS: f64 = 1.0;

impl Line {
    /// The line, and markers on its points; on some of them where there are many.
    fn plots(&self) -> [Plot; 2] {
        let Look { colour, dash, marker } = self.look.clone();
        let line = LinePlot::new()
            .with_data(self.points.clone())
            .with_color(colour)
            .with_stroke_width(2.0)
            .with_line_style(dash);
        let markers = ScatterPlot::new()
            .with_data(self.points.iter().copied().step_by(self.points.len().div_ceil(MARKERS_MAX).max(1)))
            .with_color(colour)
            .with_size(3.5)
            .with_marker(marker)
            .with_legend(self.name.clone());
        [line.into(), markers.into()]
    }

    fn legend(&self) -> LegendEntry {
        LegendEntry {
            label: self.name.clone(),
            color: self.look.colour.into(),
            shape: LegendShape::Marker(self.look.marker),
            dasharray: None,
        }
    }
}

/// Whether there is anything to see: two points that are not above each other.
fn is_drawable(lines: &[Line]) -> bool {
    let mut places = lines.iter().flat_map(|line| &line.points).map(|(x, _)| *x);
    let first = places.next();
    places.any(|x| Some(x) != first)
}

fn plots(lines: &[Line]) -> Vec<Plot> {
    lines.iter().flat_map(Line::plots).collect()
}

/// In the place of a plot.
fn too_little() -> Markup {
    html! { p { "Too little was measured for a plot." } }
}

/// A layout for lines of latency, with its axes named.
fn lines_layout(lines: &[Line], dotted: Option<String>, plots: &[Plot], x_label: &str, y_label: &str) -> Layout {
    layout(plots, x_label, y_label)
        .with_legend_entries(lines.iter().map(Line::legend).chain(dotted.map(dotted_legend)).collect())
        .with_legend_position(LegendPosition::OutsideRightTop)
        .with_legend_box(false)
}

fn layout(plots: &[Plot], x_label: &str, y_label: &str) -> Layout {
    Layout::auto_from_plots(plots)
        .with_width(WIDTH)
        .with_height(HEIGHT)
        .with_theme(theme())
        .with_x_label(x_label)
        .with_y_label(y_label)
        .with_y_label_offset(-MARGIN, 0.0)
        .with_label_size(13)
        .with_tick_size(12)
        .with_body_size(12)
}

fn theme() -> Theme {
    let text = "currentColor".to_owned();
    Theme {
        background: "none".into(),
        axis_color: text.clone(),
        grid_color: "var(--grid)".into(),
        tick_color: text.clone(),
        text_color: text.clone(),
        legend_bg: "none".into(),
        legend_border: "none".into(),
        pie_leader: text.clone(),
        box_median: text.clone(),
        violin_border: text.clone(),
        colorbar_border: text,
        font_family: None,
        show_grid: true,
    }
}

fn ticks(write: fn(f64) -> String) -> TickFormat {
    TickFormat::Custom(Arc::new(write))
}

/// A tick of a logarithmic axis of times: no digits that say nothing.
fn micros_tick(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} s", value / 1e6),
        value if value >= 1e3 => format!("{} ms", value / 1e3),
        value => format!("{value} µs"),
    }
}

fn count_tick(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", round(value / 1e6)),
        value if value >= 1e4 => format!("{} k", round(value / 1e3)),
        value => round(value).to_string(),
    }
}

/// Without the digits that binary fractions add.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn dotted(line: ReferenceLine) -> ReferenceLine {
    line.with_color("currentColor").with_stroke_width(1.0).with_dasharray(DOTS)
}

/// What a horizontal dotted line means; a label on the line would hide what crosses it.
fn dotted_legend(label: String) -> LegendEntry {
    LegendEntry { label, color: "currentColor".into(), shape: LegendShape::Line, dasharray: Some(DOTS.into()) }
}

const DOTS: &str = "2 3";

#[expect(clippy::cast_precision_loss, reason = "a place on a plot")]
fn place(micros: u64) -> f64 {
    (micros as f64).max(LEAST_MICROS)
}

/// The SVG, as wide as the page allows, with a title and a description for readers of the screen.
fn draw(plots: Vec<Plot>, layout: Layout, caption: &Caption) -> Markup {
    let scene = render_multiple(plots, layout);
    let svg = SvgBackend::new().render_scene(&scene);
    let inside = svg.split_once('>').and_then(|(_, rest)| rest.strip_suffix("</svg>")).unwrap_or_default();
    let Caption { id, title, description } = caption;
    let (title_id, description_id) = (format!("{id}-title"), format!("{id}-description"));
    let view = format!("-{MARGIN} 0 {} {}", scene.width + MARGIN, scene.height);
    html! {
        svg viewBox=(view) role="img" aria-labelledby=(format!("{title_id} {description_id}")) fill="currentColor" {
            title id=(title_id) { (title) }
            desc id=(description_id) { (description) }
            (PreEscaped(inside))
        }
    }
}

/// A number of nines: `99.9 %` for 1,000.
fn nines(value: f64) -> String {
    let percentile = 100.0 - 100.0 / value;
    format!("{} %", format::trimmed(percentile, 5))
}

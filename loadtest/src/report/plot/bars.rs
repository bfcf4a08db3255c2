//! A few figures side by side, each written above its bar.

use kuva::plot::BarPlot;
use kuva::render::annotations::TextAnnotation;
use kuva::render::plots::Plot;
use maud::Markup;

use crate::report::plot::{Caption, draw, layout, ticks, too_little};

/// One figure.
pub(in crate::report) struct Bar {
    pub(in crate::report) name: String,
    pub(in crate::report) value: f64,
    pub(in crate::report) colour: &'static str,
}

/// Bars from zero.
pub(in crate::report) fn bars(bars: &[Bar], y_label: &str, write: fn(f64) -> String, caption: &Caption) -> Markup {
    if bars.is_empty() || bars.iter().any(|bar| !bar.value.is_finite()) {
        return too_little();
    }
    let plot = bars.iter().fold(BarPlot::new().with_width(0.6), |plot, bar| {
        plot.with_colored_bar(bar.name.clone(), bar.value, bar.colour)
    });
    let plots: Vec<Plot> = vec![plot.into()];
    let most = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let most = if most > 0.0 { most } else { 1.0 };
    let layout = layout(&plots, "", y_label)
        .with_y_tick_format(ticks(write))
        .with_y_axis_max(most * HEADROOM)
        .with_height(HEIGHT);
    let places = (1_u32..).map(f64::from);
    let layout = bars.iter().zip(places).fold(layout, |layout, (bar, at)| {
        layout.with_annotation(TextAnnotation::new(write(bar.value), at, bar.value).with_color("currentColor"))
    });
    draw(plots, layout, caption)
}

const HEIGHT: f64 = 280.0;
/// Room above the longest bar for its figure.
const HEADROOM: f64 = 1.15;

//! The report as one page: nothing outside it is loaded, and it can be read without scripts.

mod happenings;
mod machine;
mod memory;
mod plan;
mod summary;
mod sweeps;
mod table;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::report::lines;
use crate::report::model::Capacity;

/// The whole page.
pub(crate) fn render_html(capacity: &Capacity) -> String {
    let sections = [
        summary::section(capacity),
        summary::failures(capacity),
        plan::section(capacity),
        sweeps::section(capacity),
        sweeps::percentiles(capacity),
        sweeps::durability(capacity),
        sweeps::mixes(capacity),
        happenings::section(capacity),
        memory::section(capacity),
        memory::journal(capacity),
        happenings::revocation(capacity),
        sweeps::workers(capacity),
        summary::budgets(capacity),
        machine::section(capacity),
    ];
    page(capacity, &sections)
}

fn page(capacity: &Capacity, sections: &[Option<Section>]) -> String {
    let sections: Vec<&Section> = sections.iter().flatten().collect();
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Tessera: capacity report, " (capacity.started) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { "Tessera: capacity report" }
                    p.lead { (lines::one_line(capacity)) }
                    nav aria-label="Contents" {
                        @for section in &sections { a href=(format!("#{}", section.id)) { (section.title) } " " }
                    }
                    @for section in &sections { (section.markup()) }
                }
            }
        }
    };
    markup.into_string()
}

/// A part of the page with a heading.
struct Section {
    id: &'static str,
    title: &'static str,
    body: Markup,
}

impl Section {
    fn markup(&self) -> Markup {
        html! { section id=(self.id) { h2 { (self.title) } (self.body) } }
    }
}

/// A plot and how to read it.
fn figure(plot: &Markup, caption: &str) -> Markup {
    html! { figure { (plot) figcaption { (caption) } } }
}

const STYLE: &str = include_str!("style.css");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::Latency;
    use crate::report::model::Series;
    use crate::report::sample;

    #[test]
    fn a_page_loads_nothing_and_escapes_what_it_is_told() {
        let page = render_html(&sample::capacity());
        for outside in ["<link", "<img", "<iframe", "src=", "@import", "url(http"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("were answered &lt;active&gt; after"));
        assert!(!page.contains("<active>"));
    }

    #[test]
    fn a_run_that_measured_one_part_has_a_page_of_that_part() {
        let whole = sample::capacity();
        let check = |capacity: Capacity, id: &str| {
            let page = render_html(&capacity);
            assert!(page.contains(&format!("<section id=\"{id}\">")), "{id}");
            assert!(!page.contains("NaN"), "{id}");
        };
        check(Capacity::default(), "summary");
        check(Capacity { sweeps: whole.sweeps, ..Capacity::default() }, "rates");
        check(Capacity { series: whole.series, ..Capacity::default() }, "happenings");
        check(Capacity { populations: whole.populations, ..Capacity::default() }, "tokens");
        check(Capacity { mixes: whole.mixes, ..Capacity::default() }, "mixes");
        check(Capacity { journal: whole.journal, ..Capacity::default() }, "disk");
    }

    #[test]
    fn measurements_that_say_nothing_are_drawn_too() {
        let mut capacity = sample::capacity();
        for (place, sweep) in capacity.sweeps.iter_mut().enumerate() {
            sweep.knee = None;
            sweep.steps.truncate(place % 3);
            for step in &mut sweep.steps {
                step.answered_per_second = 0.0;
                step.latency = Latency::default();
                step.percentiles.truncate(place % 2);
                step.cpu_micros_per_request = f64::NAN;
            }
        }
        capacity.steady.clear();
        capacity.mixes.truncate(1);
        capacity.series.iter_mut().for_each(|series| series.intervals.truncate(1));
        capacity
            .series
            .extend(capacity.series.first().cloned().map(|series| Series { intervals: Vec::new(), ..series }));
        capacity.populations.truncate(1);
        let page = render_html(&capacity);
        assert!(page.contains("no rate met the objective"));
        assert!(!page.contains("NaN") && !page.contains("inf"));
    }

    #[test]
    fn every_plot_has_a_title_of_its_own() {
        let page = render_html(&sample::capacity());
        let ids: Vec<&str> =
            page.split("<title id=\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0)).collect();
        let unique: std::collections::BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), unique.len());
        assert_eq!(ids.len(), page.matches("<svg").count());
    }

    /// `TESSERA_SAMPLE=DIRECTORY cargo test -p loadtest sample -- --ignored` leaves the page and its JSON there to look at.
    #[test]
    #[ignore = "writes files for people to look at"]
    fn the_sample_is_written_to_look_at() {
        let directory = std::path::PathBuf::from(std::env::var_os("TESSERA_SAMPLE").unwrap());
        std::fs::write(directory.join("sample.html"), render_html(&sample::capacity())).unwrap();
        std::fs::write(directory.join("sample.json"), serde_json::to_vec(&sample::capacity()).unwrap()).unwrap();
    }
}

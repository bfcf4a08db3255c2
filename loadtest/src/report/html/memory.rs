//! Live tokens: memory, restart, snapshot; and what changes take of the disk.

use maud::html;

use crate::format;
use crate::report::html::table::{list, table};
use crate::report::html::{Section, figure};
use crate::report::model::{Capacity, JournalUse, Population};
use crate::report::plot::{Bar, Caption, bars};
use crate::report::{figures, lines};

pub(super) fn section(capacity: &Capacity) -> Option<Section> {
    let populations = &capacity.populations;
    let bars_of = |of: fn(&Population) -> Option<f64>| -> Vec<Bar> {
        let bar = |population: &Population| {
            let name = format!("{} tokens", format::whole(population.live_tokens));
            Some(Bar { name, value: of(population)?, colour: "var(--tessera)" })
        };
        populations.iter().filter_map(bar).collect()
    };
    let caption = |id: &str, title: &str| Caption {
        id: id.into(),
        title: title.into(),
        description: "One bar for each number of live tokens.".into(),
    };
    let memory = bars_of(|population| Some(population.bytes_per_token));
    let restart = bars_of(|population| population.restart_seconds);
    let body = html! {
        div.pair {
            (figure(&bars(&memory, "memory a token", format::bytes, &caption("memory-bars", "Memory for each live token")),
                "Resident memory more than in a server without tokens, over the number of tokens. Shorter is better; equal bars \
                mean that it does not grow with the number."))
            @if !restart.is_empty() {
                (figure(&bars(&restart, "restart", format::seconds, &caption("restart-bars", "Time to restart")),
                    "From the start of the process, after kill -9, to its first right answer. Requests are answered 503 meanwhile."))
            }
        }
        (table("Introspections at the same rate with more live tokens.", &lines::POPULATION_HEADER, &lines::populations(capacity)))
    };
    (!populations.is_empty()).then_some(Section { id: "tokens", title: "Live tokens: memory and restart", body })
}

pub(super) fn journal(capacity: &Capacity) -> Option<Section> {
    let body = html! {
        p.how { "Each commit is one block, padded to 4 KiB; the busier the server, the more changes share one." }
        (list(&figures_of(capacity.journal?, figures::largest(capacity))))
    };
    Some(Section { id: "disk", title: "Disk", body })
}

fn figures_of(journal: JournalUse, largest: Option<&Population>) -> Vec<(&'static str, String)> {
    let at = |bytes: f64, rate: f64| format!("{}, at {} a second", format::bytes(bytes), format::count(rate));
    let snapshot = largest.and_then(|population| {
        let a_token = figures::per_token(population.snapshot_bytes?, population);
        Some(format!("{}, with {} tokens", format::bytes(a_token), format::whole(population.live_tokens)))
    });
    let all = largest.and_then(|population| {
        let kept = population.snapshot_bytes? + population.journal_bytes?;
        let a_token = figures::per_token(kept, population);
        Some(format!("{}: one snapshot and the journal behind it", format::bytes(a_token)))
    });
    let read = journal.read_bytes_per_second.map(|rate| format!("{}/s", format::bytes(rate)));
    vec![
        ("journal for each token issued", at(journal.bytes_per_issue, journal.issues_per_second)),
        ("journal for each revocation", at(journal.bytes_per_revocation, journal.revocations_per_second)),
        ("snapshot for each live token", snapshot.unwrap_or_default()),
        ("disk for each live token", all.unwrap_or_default()),
        ("journal read by a restart", read.unwrap_or_default()),
    ]
}

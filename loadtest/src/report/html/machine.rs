//! Where and how it was measured.

use maud::html;

use crate::format;
use crate::report::html::Section;
use crate::report::html::table::list;
use crate::report::model::{Capacity, Machine, Settings};

pub(super) fn section(capacity: &Capacity) -> Option<Section> {
    let body = html! {
        h3 { "Machine" }
        (list(&machine(&capacity.machine)))
        h3 { "Settings" }
        (list(&settings(&capacity.settings)))
        @if !capacity.settings.others.is_empty() {
            dl { @for (name, value) in &capacity.settings.others { dt { (name) } dd { (value) } } }
        }
        h3 { "Words" }
        (list(&words()))
    };
    Some(Section { id: "machine", title: "How it was measured", body })
}

fn machine(machine: &Machine) -> Vec<(&'static str, String)> {
    let sync = machine.sync.map(|sync| {
        let (median, p99) = (format::whole_micros(sync.p50), format::whole_micros(sync.p99));
        format!("{median} (median), {p99} (p99)")
    });
    vec![
        ("processor", machine.cpu.clone()),
        ("cores", machine.cores.to_string()),
        ("memory", format::whole_bytes(machine.memory_bytes)),
        ("kernel", machine.kernel.clone()),
        ("disk", machine.disk.clone()),
        ("file system", machine.file_system.clone()),
        ("one fdatasync of 4 KiB", sync.unwrap_or_default()),
        ("load before the run", format!("{} threads", machine.load_at_start)),
    ]
}

fn settings(settings: &Settings) -> Vec<(&'static str, String)> {
    vec![
        ("cores of the server, of floor and rival", format::cores(&settings.server_cores)),
        ("cores of the load generator", format::cores(&settings.generator_cores)),
        ("cores of Redis and PostgreSQL", format::cores(&settings.helper_cores)),
        ("workers", settings.workers.to_string()),
        ("shards", settings.shards.to_string()),
        ("clients", format::whole(settings.clients.into())),
        ("warm-up before each step", format::seconds(settings.warm_up_seconds)),
        ("each step", format::seconds(settings.step_seconds)),
        ("Redis", settings.redis_version.clone().unwrap_or_else(|| "not there".into())),
        ("PostgreSQL", settings.postgres_version.clone().unwrap_or_else(|| "not there".into())),
    ]
}

fn words() -> Vec<(&'static str, String)> {
    let word = |word, says: &str| (word, says.to_owned());
    vec![
        word("knee", "the highest rate that met the objective: p99, errors, and all that was asked for answered"),
        word("floor", "a bare actix-web server with a canned answer of the same size"),
        word(
            "rival",
            "an actix-web handler that keeps digests in Redis: GET to introspect, SET with appendfsync always to issue",
        ),
        word("CPU a request", "user and system time of the server's process over right answers"),
        word("p99", "99 of 100 requests were faster, timed from the moment that each was due"),
        word("sent late", "how late the generator itself was: latencies of that size are its own"),
    ]
}

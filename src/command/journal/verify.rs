//! `tessera journal verify`: whether the journal is whole.

use std::fmt::{self, Display};
use std::io::Write;
use std::ops::ControlFlow;

use serde_json::{Value, json};

use crate::clock::UnixTime;
use crate::command::journal::{Ground, JournalCommandError, kind};
use crate::config::cli::journal::{OutputFormat, VerifyJournal};
use crate::journal::inspect::{BlockLocation, HeadFacts, Inspection, SnapshotFacts, inspect};
use crate::journal::snapshot::SnapshotExtent;
use crate::journal::{Block, TornTail};

pub(super) fn run(verify: &VerifyJournal, ground: &Ground, out: &mut dyn Write) -> Result<(), JournalCommandError> {
    match (examine(ground), verify.format) {
        (Ok(inspection), OutputFormat::Text) => writeln!(out, "{}whole", Summary(&inspection))?,
        (Ok(inspection), OutputFormat::Json) => writeln!(out, "{}", document(&inspection))?,
        (Err(error), format) => {
            if format == OutputFormat::Json && error.exit_code() == 65 {
                // What is wrong comes before that nobody listens.
                let _ = writeln!(out, "{}", json!({ "whole": false, "error": error.to_string() }));
            }
            return Err(error);
        }
    }
    Ok(out.flush()?)
}

fn examine(ground: &Ground) -> Result<Inspection, JournalCommandError> {
    let mut unreadable = None;
    let inspected = inspect(ground.disk.clone(), &ground.keys, &mut |location, block| {
        unreadable = first_unreadable(location, block);
        if unreadable.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    unreadable.map_or_else(|| Ok(inspected?), Err)
}

fn first_unreadable(location: BlockLocation<'_>, block: &Block) -> Option<JournalCommandError> {
    block.records().find_map(|record| {
        let reason = kind::check(&record).err()?;
        let BlockLocation { segment, offset } = location;
        Some(JournalCommandError::Unreadable { segment: segment.to_owned(), offset, lsn: record.lsn, reason })
    })
}

/// What there is, in lines for people; [`stat`](super::stat) begins with the same.
pub(super) struct Summary<'a>(pub(super) &'a Inspection);

impl Display for Summary<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inspection { head, superseded, snapshots, torn, high_water, .. } = self.0;
        let totals = Totals::of(self.0);
        let mut row = |name: &str, text: String| writeln!(formatter, "{name:<14}{text}");
        row("segments", self.segments())?;
        row("records", self.records(&totals))?;
        row("blocks", format!("{} with records, marks {}", totals.blocks, totals.marks))?;
        row("bytes", format!("{} in use of {}", totals.bytes, totals.length_bytes))?;
        row("high water", moment(*high_water).map_or_else(none, |time| time.to_string()))?;
        row("HEAD", self.head())?;
        if let Some((offset, defect)) = head.damage {
            row("HEAD slot", format!("at byte {offset}: {defect}; the other stands in, and the next start mends it"))?;
        }
        for SnapshotFacts { name, extent } in snapshots {
            row(
                "snapshot",
                match extent {
                    Ok(SnapshotExtent { start_lsn, end_lsn, items, .. }) => {
                        format!("{name}: all up to record {start_lsn}, nothing after {end_lsn}, {items} items")
                    }
                    Err(defect) => format!("{defect} (the next start keeps it aside and goes on without it)"),
                },
            )?;
        }
        for name in superseded {
            row("superseded", format!("{name}: the next start removes it"))?;
        }
        row("torn tail", torn.as_ref().map_or_else(none, torn_tail))
    }
}

impl Summary<'_> {
    fn segments(&self) -> String {
        let segments = &self.0.segments;
        match (segments.first(), segments.last()) {
            (Some(first), Some(last)) => format!("{}, epochs {} to {}", segments.len(), first.epoch, last.epoch),
            _ => none(),
        }
    }

    fn records(&self, totals: &Totals) -> String {
        totals.first_lsn.map_or_else(none, |first| format!("{}, from {first} to {}", totals.records, self.0.last_lsn))
    }

    fn head(&self) -> String {
        let HeadFacts { counter, epoch, durable_lsn, segment_id, retained_from, .. } = &self.0.head;
        format!(
            "durable to record {durable_lsn}, kept from record {retained_from}, newest segment {segment_id}, epoch {epoch}, \
             written {counter} times"
        )
    }
}

fn torn_tail(TornTail { segment, offset, bytes, lsn, kept_as, defect }: &TornTail) -> String {
    format!(
        "{segment} at byte {offset}: {bytes} bytes, where record {lsn} was due: {defect}; never acknowledged; the next start \
         cuts it off and keeps it as {kept_as}"
    )
}

fn none() -> String {
    "none".to_owned()
}

/// The same for machines.
pub(super) fn document(inspection: &Inspection) -> Value {
    let Inspection { segments, last_lsn, high_water, torn, superseded, snapshots, .. } = inspection;
    let totals = Totals::of(inspection);
    json!({
        "whole": true,
        "first_epoch": segments.first().map(|segment| segment.epoch),
        "last_epoch": segments.last().map(|segment| segment.epoch),
        "first_lsn": totals.first_lsn,
        "last_lsn": totals.first_lsn.map(|_| last_lsn.value()),
        "totals": {
            "segments": segments.len(),
            "blocks": totals.blocks,
            "marks": totals.marks,
            "records": totals.records,
            "bytes": totals.bytes,
            "length_bytes": totals.length_bytes,
        },
        "head": head(&inspection.head),
        "high_water_ms": moment(*high_water).map(UnixTime::as_millis),
        "high_water_rfc3339": moment(*high_water).map(|time| time.to_string()),
        "superseded": superseded,
        "snapshots": snapshots.iter().map(snapshot).collect::<Vec<_>>(),
        "torn_tail": torn.as_ref().map(|torn| json!({
            "segment": torn.segment,
            "offset": torn.offset,
            "bytes": torn.bytes,
            "lsn": torn.lsn.value(),
            "defect": torn.defect.to_string(),
            "kept_as": torn.kept_as,
        })),
    })
}

fn snapshot(SnapshotFacts { name, extent }: &SnapshotFacts) -> Value {
    match extent {
        Ok(SnapshotExtent { start_lsn, end_lsn, items, .. }) => {
            json!({ "name": name, "start_lsn": start_lsn.value(), "end_lsn": end_lsn.value(), "items": items })
        }
        Err(error) => json!({ "name": name, "error": error }),
    }
}

fn head(head: &HeadFacts) -> Value {
    json!({
        "counter": head.counter,
        "instance": head.instance.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "epoch": head.epoch,
        "durable_lsn": head.durable_lsn.value(),
        "segment_id": head.segment_id,
        "retained_from": head.retained_from.value(),
        "damage": head.damage.map(|(offset, defect)| json!({ "offset": offset, "defect": defect.to_string() })),
    })
}

/// `None` where no block states a time yet.
fn moment(time: UnixTime) -> Option<UnixTime> {
    (time != UnixTime::default()).then_some(time)
}

/// The sums over all segments.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) blocks: u64,
    pub(super) marks: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) length_bytes: u64,
    /// `None` where there is no record.
    pub(super) first_lsn: Option<u64>,
}

impl Totals {
    pub(super) fn of(inspection: &Inspection) -> Self {
        let mut totals = Self::default();
        for segment in &inspection.segments {
            totals.blocks += segment.blocks;
            totals.marks += segment.marks;
            totals.records += segment.records;
            totals.bytes += segment.bytes;
            totals.length_bytes += segment.length_bytes;
            totals.first_lsn = totals.first_lsn.or_else(|| segment.last_lsn().map(|_| segment.first_lsn.value()));
        }
        totals
    }
}

//! `tessera journal stat`: what the journal is made of, in numbers.

use std::fmt::{self, Display};
use std::io::Write;
use std::ops::ControlFlow;

use serde_json::{Value, json};

use crate::command::journal::kind::Kind;
use crate::command::journal::verify::{Summary, Totals, document};
use crate::command::journal::{Ground, JournalCommandError};
use crate::config::cli::journal::{OutputFormat, StatJournal};
use crate::journal::inspect::{Inspection, KindFacts, SegmentFacts, inspect};

pub(super) fn run(stat: &StatJournal, ground: &Ground, out: &mut dyn Write) -> Result<(), JournalCommandError> {
    let inspection = inspect(ground.disk.clone(), &ground.keys, &mut |_, _| ControlFlow::Continue(()))?;
    match stat.format {
        OutputFormat::Text => write!(out, "{}", Tables(&inspection))?,
        OutputFormat::Json => writeln!(out, "{}", document_with_tables(&inspection))?,
    }
    Ok(out.flush()?)
}

struct Tables<'a>(&'a Inspection);

impl Display for Tables<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inspection { segments, kinds, block_records_max, .. } = self.0;
        write!(formatter, "{}", Summary(self.0))?;
        writeln!(formatter, "{:<14}{:.1} on average, {block_records_max} at most", "block records", mean(self.0))?;
        writeln!(formatter, "\n{:<20}{:>12}{:>16}", "kind", "records", "bytes")?;
        for (kind, KindFacts { records, bytes }) in kinds {
            writeln!(formatter, "{:<20}{records:>12}{bytes:>16}", Kind::of(*kind).to_string())?;
        }
        writeln!(
            formatter,
            "\n{:<37}{:>6}{:>7}{:>12}{:>12}{:>9}{:>7}{:>10}{:>12}{:>12}  created at",
            "segment", "id", "epoch", "first", "last", "blocks", "marks", "records", "bytes", "of"
        )?;
        for segment in segments {
            let SegmentFacts {
                name, segment_id, epoch, first_lsn, blocks, marks, records, bytes, length_bytes, ..
            } = segment;
            let last = segment.last_lsn().map_or_else(|| "-".to_owned(), |last| last.to_string());
            writeln!(
                formatter,
                "{name:<37}{segment_id:>6}{epoch:>7}{:>12}{last:>12}{blocks:>9}{marks:>7}{records:>10}{bytes:>12}\
                 {length_bytes:>12}  {}",
                first_lsn.value(),
                segment.created_at
            )?;
        }
        Ok(())
    }
}

fn document_with_tables(inspection: &Inspection) -> Value {
    let mut document = document(inspection);
    let kinds = inspection.kinds.iter().map(|(number, KindFacts { records, bytes })| {
        json!({ "kind": Kind::of(*number), "number": number, "records": records, "bytes": bytes })
    });
    let segments = inspection.segments.iter().map(|segment| {
        json!({
            "name": segment.name,
            "segment_id": segment.segment_id,
            "epoch": segment.epoch,
            "created_at_ms": segment.created_at.as_millis(),
            "created_at_rfc3339": segment.created_at.to_string(),
            "first_lsn": segment.first_lsn.value(),
            "last_lsn": segment.last_lsn().map(|last| last.value()),
            "blocks": segment.blocks,
            "marks": segment.marks,
            "records": segment.records,
            "bytes": segment.bytes,
            "length_bytes": segment.length_bytes,
        })
    });
    if let Some(members) = document.as_object_mut() {
        members.insert("kinds".to_owned(), kinds.collect());
        members.insert("segments".to_owned(), segments.collect());
        members.insert("block_records_mean".to_owned(), json!(mean(inspection)));
        members.insert("block_records_max".to_owned(), json!(inspection.block_records_max));
    }
    document
}

/// Records in a block, on average; 0 where there is none.
fn mean(inspection: &Inspection) -> f64 {
    let Totals { records, blocks, .. } = Totals::of(inspection);
    records as f64 / blocks.max(1) as f64
}

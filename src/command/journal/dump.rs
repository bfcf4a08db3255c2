//! `tessera journal dump`: the records of the journal in lines.
//!
//! A line holds what a record says. Never a token, a secret or the digest of one; nor the routing id, which is a part of the
//! token's text.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use serde::Serialize;
use serde_json::Value;

use crate::client::event::ClientSummary;
use crate::command::journal::kind::Kind;
use crate::command::journal::{Ground, JournalCommandError};
use crate::config::cli::journal::{DumpJournal, OutputFormat};
use crate::journal::inspect::{InspectError, inspect};
use crate::journal::{Block, Record};
use crate::signing::event::KeySummary;
use crate::token::summary::TokenSummary;
use crate::user::event::UserSummary;

pub(super) fn run(dump: &DumpJournal, ground: &Ground, out: &mut dyn Write) -> Result<(), JournalCommandError> {
    let mut printer = Printer::new(dump, out)?;
    let mut written = Ok(());
    let inspected = inspect(ground.disk.clone(), &ground.keys, &mut |_, block| {
        printer.print(block).unwrap_or_else(|error| {
            written = Err(error);
            ControlFlow::Break(())
        })
    });
    // What was verified is printed also where damage follows.
    let flushed = printer.out.flush();
    match inspected {
        Ok(_) | Err(InspectError::Ended) => Ok(written.and(flushed)?),
        Err(error) => Err(error.into()),
    }
}

struct Printer<'a> {
    from: u64,
    to: u64,
    kind: Option<u16>,
    format: OutputFormat,
    out: BufWriter<&'a mut dyn Write>,
}

impl<'a> Printer<'a> {
    fn new(dump: &DumpJournal, out: &'a mut dyn Write) -> Result<Self, JournalCommandError> {
        Ok(Self {
            from: dump.from.unwrap_or_default(),
            to: dump.to.unwrap_or(u64::MAX),
            kind: dump.kind.as_deref().map(Kind::number).transpose()?,
            format: dump.format,
            out: BufWriter::with_capacity(BUFFER_BYTES, out),
        })
    }

    /// Breaks off once no later record is asked for.
    fn print(&mut self, block: &Block) -> io::Result<ControlFlow<()>> {
        for record in block.records() {
            let lsn = record.lsn.value();
            if lsn > self.to {
                return Ok(ControlFlow::Break(()));
            }
            if lsn >= self.from && self.kind.is_none_or(|kind| kind == record.kind) {
                self.print_record(&record)?;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn print_record(&mut self, record: &Record<'_>) -> io::Result<()> {
        let line = Line::of(record);
        match self.format {
            OutputFormat::Json => serde_json::to_writer(&mut self.out, &line)?,
            OutputFormat::Text => line.write_text(&mut self.out)?,
        }
        self.out.write_all(b"\n")
    }
}

#[derive(Serialize)]
struct Line<'a> {
    lsn: u64,
    kind: Kind,
    schema: u16,
    #[serde(flatten)]
    facts: Facts<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Facts<'a> {
    Client(ClientSummary),
    User(UserSummary),
    Key(KeySummary),
    Token(TokenSummary<'a>),
    /// No room of this version can read it.
    Unknown {
        payload_bytes: usize,
    },
}

impl<'a> Line<'a> {
    fn of(record: &Record<'a>) -> Self {
        let Record { kind, schema, payload, .. } = *record;
        let client = || ClientSummary::of(kind, schema, payload).ok().flatten().map(Facts::Client);
        let user = || UserSummary::of(kind, schema, payload).ok().flatten().map(Facts::User);
        let key = || KeySummary::of(kind, schema, payload).ok().flatten().map(Facts::Key);
        let token = || TokenSummary::of(kind, schema, payload).ok().flatten().map(Facts::Token);
        let (kind, facts) = match client().or_else(user).or_else(key).or_else(token) {
            Some(facts) => (Kind::of(kind), facts),
            None => (Kind::Numbered(kind), Facts::Unknown { payload_bytes: payload.len() }),
        };
        Self { lsn: record.lsn.value(), kind, schema, facts }
    }

    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{} {} schema={}", self.lsn, self.kind, self.schema)?;
        let Value::Object(facts) = serde_json::to_value(&self.facts)? else { return Ok(()) };
        facts.iter().try_for_each(|(name, value)| write!(out, " {name}={value}"))
    }
}

const BUFFER_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Lsn;

    #[test]
    fn a_record_that_cannot_be_read_is_shown_by_number_and_length() {
        for (kind, schema) in [(999, 1), (16, 2), (1, 1)] {
            let record = Record { lsn: Lsn::new(7), kind, schema, routing_id: 0xdead, payload: &[1; 20] };
            let expected = format!(r#"{{"lsn":7,"kind":{kind},"schema":{schema},"payload_bytes":20}}"#);
            assert_eq!(serde_json::to_string(&Line::of(&record)).unwrap(), expected);
            let mut text = Vec::new();
            Line::of(&record).write_text(&mut text).unwrap();
            assert_eq!(text, format!("7 kind {kind} schema={schema} payload_bytes=20").as_bytes());
        }
    }
}

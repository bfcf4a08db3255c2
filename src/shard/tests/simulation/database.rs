//! A database that is written behind: what it has committed may be lost by its own crash, unless it was flushed.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::journal::{EntryPayload, JournalReader, Lsn};
use crate::token::digest::TokenDigest;
use crate::token::event::TokenEvent;
use crate::token::grant_id::GrantId;
use crate::token::person_event::PersonEvent;

/// Every record by its number, as an auditor would have it.
#[derive(Clone, Default)]
pub(super) struct Database {
    /// Committed, perhaps not on its disk yet.
    rows: BTreeMap<u64, Row>,
    applied: u64,
    /// What survives its crash.
    flushed: Box<Option<Self>>,
}

#[derive(Clone)]
struct Row {
    kind: u16,
    schema: u16,
    payload: EntryPayload,
}

/// What the records come to, one after the other.
#[derive(Default)]
pub(super) struct Fold {
    pub(super) issued: HashSet<TokenDigest>,
    pub(super) revoked: HashSet<TokenDigest>,
    /// The generation of the refresh token of each person's grant.
    pub(super) grants: HashMap<GrantId, u32>,
    pub(super) ended: HashSet<GrantId>,
}

impl Database {
    /// Copies some of what is durable in the journal, in one transaction.
    pub(super) fn copy(&mut self, reader: &JournalReader) {
        let from = Lsn::new(self.applied + 1);
        let durable = reader.durable_lsn();
        reader
            .read(from, &mut |block| {
                for record in block.records().filter(|record| record.lsn >= from) {
                    assert!(record.lsn <= durable, "the database ran ahead of what is durable");
                    assert!(record.lsn.value() == self.applied + 1, "record {} was left out", self.applied + 1);
                    let mut payload = EntryPayload::new();
                    payload.extend_from_slice(record.payload);
                    let row = Row { kind: record.kind, schema: record.schema, payload };
                    self.rows.insert(record.lsn.value(), row);
                    self.applied = record.lsn.value();
                }
            })
            .unwrap();
    }

    /// A synchronous commit: all that is there stays. Answers up to where.
    pub(super) fn flush(&mut self) -> Lsn {
        *self.flushed = None;
        *self.flushed = Some(self.clone());
        Lsn::new(self.applied)
    }

    /// What its crash leaves.
    pub(super) fn crash(&mut self) {
        let flushed = self.flushed.take().unwrap_or_default();
        *self = flushed;
        self.flush();
    }

    /// What it has confirmed for good.
    pub(super) fn confirmed(&self) -> Lsn {
        Lsn::new(self.flushed.as_ref().as_ref().map_or(0, |flushed| flushed.applied))
    }

    /// The journal and the tables agree, record by record, as far as both reach.
    pub(super) fn check(&self, lsn: u64, payload: &[u8]) {
        if let Some(row) = self.rows.get(&lsn) {
            assert_eq!(*row.payload, *payload, "record {lsn} is another one in the database");
        }
    }

    /// All rows, taken together.
    pub(super) fn fold(&self) -> Fold {
        assert_eq!(self.rows.len() as u64, self.applied, "no row is missing");
        let mut fold = Fold::default();
        for Row { kind, schema, payload } in self.rows.values() {
            match TokenEvent::decode(*kind, *schema, payload).unwrap() {
                Some(TokenEvent::Issued { digest, .. }) => drop(fold.issued.insert(digest)),
                Some(TokenEvent::Revoked { digest, .. }) => drop(fold.revoked.insert(digest)),
                Some(TokenEvent::Person(PersonEvent::GrantStored { grant_id, grant })) => {
                    fold.grants.insert(grant_id, grant.refresh.map_or(0, |refresh| refresh.generation));
                }
                Some(TokenEvent::Person(PersonEvent::GrantEnded { grant_id })) => drop(fold.ended.insert(grant_id)),
                Some(TokenEvent::Person(_) | TokenEvent::ProofUsed { .. }) | None => {}
            }
        }
        fold
    }
}

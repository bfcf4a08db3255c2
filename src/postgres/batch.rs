//! Records of the journal as rows.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::client::event::{ClientRow, InitialAccessRow};
use crate::clock::UnixTime;
use crate::journal::{JournalError, JournalReader, Lsn, Record};
use crate::postgres::grants::{GrantChange, GrantRow, Grants, StoredGrant};
use crate::postgres::initial_access::InitialAccessChange;
use crate::postgres::keys::KeyChange;
use crate::postgres::partitions::DAY_SECONDS;
use crate::postgres::people::UserChange;
use crate::postgres::proofs::ProofRow;
use crate::postgres::write::encode;
use crate::signing::event::KeyEvent;
use crate::token::access_token::{Partition, RoutingId};
use crate::token::event::TokenEvent;
use crate::token::person_event::{GrantView, PersonEvent};
use crate::user::event::UserEvent;

const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// To which part of the shards a token belongs.
pub(super) type PartitionOf = Arc<dyn Fn(RoutingId) -> Partition + Send + Sync>;

/// What the records after `from`, up to `to`, say.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) from: Lsn,
    pub(super) to: Lsn,
    /// The time of the last of them, about.
    pub(super) high_water: UnixTime,
    pub(super) tokens: Vec<TokenRow>,
    /// Those rows as `COPY` takes them, where the thread that read them has done that too.
    pub(super) encoded: Option<Vec<u8>>,
    pub(super) undated: Vec<UndatedRevocation>,
    pub(super) grants: Vec<GrantChange>,
    pub(super) clients: Vec<ClientChange>,
    pub(super) people: Vec<UserChange>,
    pub(super) keys: Vec<KeyChange>,
    pub(super) proofs: Vec<ProofRow>,
    pub(super) initial_access: Vec<InitialAccessChange>,
    pub(super) dead: Vec<DeadLetter>,
    /// There may be more to read.
    pub(super) is_full: bool,
}

/// A row of `token_events`.
#[derive(Clone, Debug)]
pub(super) struct TokenRow {
    pub(super) token: [u8; 16],
    /// `None` in a revocation.
    pub(super) grant: Option<Arc<GrantRow>>,
    /// Where it may be narrower than that of the grant.
    pub(super) scope: Option<Arc<str>>,
    /// Likewise.
    pub(super) audience: Option<Arc<[String]>>,
    pub(super) lsn: Lsn,
    pub(super) at_ms: u64,
    pub(super) expires_at: u32,
    pub(super) partition: Partition,
}

/// A revocation that does not say when the token would have expired.
#[derive(Clone, Debug)]
pub(super) struct UndatedRevocation {
    pub(super) token: [u8; 16],
    pub(super) lsn: Lsn,
    pub(super) at_ms: u64,
}

#[derive(Clone, Debug)]
pub(super) struct ClientChange {
    pub(super) row: ClientRow,
    pub(super) lsn: Lsn,
    pub(super) at_ms: u64,
}

/// A record that cannot be projected.
#[derive(Clone, Debug)]
pub(super) struct DeadLetter {
    pub(super) lsn: Lsn,
    pub(super) kind: u16,
    pub(super) schema: u16,
    /// `None` where the record could not be read.
    pub(super) sqlstate: Option<String>,
    pub(super) reason: String,
    pub(super) payload: Vec<u8>,
}

/// Reads batches. Lives on the thread that reads.
pub(super) struct BatchReader {
    reader: JournalReader,
    partition_of: PartitionOf,
    grants: Grants,
}

impl BatchReader {
    pub(super) fn new(reader: JournalReader, partition_of: PartitionOf) -> Self {
        Self { reader, partition_of, grants: Grants::default() }
    }

    /// The next records after `from`, at most `rows_max` of them. Tokens that expired before `kept_from` are left out: their partition would be
    /// dropped at once.
    pub(super) fn read(&mut self, from: Lsn, kept_from: u32, rows_max: usize) -> Result<Batch, JournalError> {
        let mut batch = Batch { from, to: from, ..Batch::default() };
        let (mut payload_bytes, mut rows) = (0, 0);
        let Self { reader, partition_of, grants } = self;
        reader.read_some(from.after(1), &mut |block| {
            batch.high_water = block.high_water();
            for record in block.records().filter(|record| record.lsn > from) {
                if rows >= rows_max || payload_bytes >= PAYLOAD_BYTES_MAX {
                    batch.is_full = true;
                    return ControlFlow::Break(());
                }
                batch.push(&record, kept_from, grants, partition_of);
                batch.to = record.lsn;
                payload_bytes += record.payload.len();
                rows += 1;
            }
            ControlFlow::Continue(())
        })?;
        // While the database takes the batch before.
        batch.sort();
        batch.encoded = Some(encode(&batch.tokens));
        Ok(batch)
    }

    /// One record as a dead letter.
    pub(super) fn dead_letter(
        &self,
        lsn: Lsn,
        sqlstate: &str,
        reason: &str,
    ) -> Result<Option<DeadLetter>, JournalError> {
        let mut letter = None;
        self.reader.read_some(lsn, &mut |block| {
            letter = block
                .records()
                .find(|record| record.lsn == lsn)
                .map(|record| DeadLetter { sqlstate: Some(sqlstate.to_owned()), ..DeadLetter::of(&record, reason) });
            ControlFlow::Break(())
        })?;
        Ok(letter)
    }
}

impl DeadLetter {
    fn of(record: &Record<'_>, reason: &str) -> Self {
        let Record { lsn, kind, schema, payload, .. } = *record;
        Self { lsn, kind, schema, sqlstate: None, reason: reason.to_owned(), payload: payload.to_owned() }
    }
}

impl Batch {
    /// A record of a snapshot, which has no number of its own.
    pub(super) fn push_registered(&mut self, record: &Record<'_>) {
        let (lsn, at_ms) = (self.to, self.high_water.as_millis());
        match InitialAccessRow::decode(record.kind, record.schema, record.payload) {
            Ok(Some(row)) => return self.initial_access.push(InitialAccessChange { row, lsn, at_ms }),
            Ok(None) => {}
            Err(error) => return self.dead.push(DeadLetter { lsn, ..DeadLetter::of(record, &error.to_string()) }),
        }
        match ClientRow::decode(record.kind, record.schema, record.payload) {
            Ok(Some(row)) => return self.clients.push(ClientChange { row, lsn, at_ms }),
            Ok(None) => {}
            Err(error) => return self.dead.push(DeadLetter { lsn, ..DeadLetter::of(record, &error.to_string()) }),
        }
        match UserEvent::decode(record.kind, record.schema, record.payload) {
            Ok(Some(event)) => return self.people.push(UserChange { event, lsn, at_ms }),
            Ok(None) => {}
            Err(error) => return self.dead.push(DeadLetter { lsn, ..DeadLetter::of(record, &error.to_string()) }),
        }
        match KeyEvent::decode(record.kind, record.schema, record.payload) {
            Ok(Some(event)) => return self.keys.push(KeyChange { event, lsn, at_ms }),
            Ok(None) => {}
            Err(error) => return self.dead.push(DeadLetter { lsn, ..DeadLetter::of(record, &error.to_string()) }),
        }
        match TokenEvent::decode(record.kind, record.schema, record.payload) {
            Ok(Some(TokenEvent::Person(event))) => drop(self.push_grant(&event, lsn)),
            Ok(Some(TokenEvent::ProofUsed { digest, expires_at })) => {
                self.proofs.push(ProofRow { digest, expires_at, lsn });
            }
            Ok(_) => {}
            Err(error) => self.dead.push(DeadLetter { lsn, ..DeadLetter::of(record, &error.to_string()) }),
        }
    }

    fn push(&mut self, record: &Record<'_>, kept_from: u32, grants: &mut Grants, partition_of: &PartitionOf) {
        match InitialAccessRow::decode(record.kind, record.schema, record.payload) {
            Ok(Some(row)) => {
                let at_ms = self.high_water.as_millis();
                return self.initial_access.push(InitialAccessChange { row, lsn: record.lsn, at_ms });
            }
            Ok(None) => {}
            Err(error) => return self.dead.push(DeadLetter::of(record, &error.to_string())),
        }
        match ClientRow::decode(record.kind, record.schema, record.payload) {
            Ok(Some(row)) => {
                let at_ms = self.high_water.as_millis();
                return self.clients.push(ClientChange { row, lsn: record.lsn, at_ms });
            }
            Ok(None) => {}
            Err(error) => return self.dead.push(DeadLetter::of(record, &error.to_string())),
        }
        match UserEvent::decode(record.kind, record.schema, record.payload) {
            Ok(Some(event)) => {
                let at_ms = self.high_water.as_millis();
                return self.people.push(UserChange { event, lsn: record.lsn, at_ms });
            }
            Ok(None) => {}
            Err(error) => return self.dead.push(DeadLetter::of(record, &error.to_string())),
        }
        match KeyEvent::decode(record.kind, record.schema, record.payload) {
            Ok(Some(event)) => {
                let at_ms = self.high_water.as_millis();
                return self.keys.push(KeyChange { event, lsn: record.lsn, at_ms });
            }
            Ok(None) => {}
            Err(error) => return self.dead.push(DeadLetter::of(record, &error.to_string())),
        }
        match TokenEvent::decode(record.kind, record.schema, record.payload) {
            Ok(Some(event)) => {
                let partition = partition_of(RoutingId(record.routing_id));
                self.push_token(&event, record.lsn, partition, kept_from, grants);
            }
            Ok(None) => self.dead.push(DeadLetter::of(record, "no room knows its kind")),
            Err(error) => self.dead.push(DeadLetter::of(record, &error.to_string())),
        }
    }

    fn push_token(
        &mut self,
        event: &TokenEvent<'_>,
        lsn: Lsn,
        partition: Partition,
        kept_from: u32,
        grants: &mut Grants,
    ) {
        match event {
            TokenEvent::Issued { digest, issued_at, expires_at, terms } if *expires_at >= kept_from => {
                let (grant, at_ms) = (Some(grants.row(terms)), u64::from(*issued_at) * 1000);
                let (token, expires_at) = (*digest.as_bytes(), *expires_at);
                let (scope, audience) = (None, None);
                self.tokens.push(TokenRow { token, grant, scope, audience, lsn, at_ms, expires_at, partition });
            }
            TokenEvent::Revoked { digest, expires_at: Some(expires_at) } if *expires_at >= kept_from => {
                let (token, at_ms) = (*digest.as_bytes(), self.high_water.as_millis());
                let (grant, scope, audience, expires_at) = (None, None, None, *expires_at);
                self.tokens.push(TokenRow { token, grant, scope, audience, lsn, at_ms, expires_at, partition });
            }
            TokenEvent::Revoked { digest, expires_at: None } => {
                let (token, at_ms) = (*digest.as_bytes(), self.high_water.as_millis());
                self.undated.push(UndatedRevocation { token, lsn, at_ms });
            }
            TokenEvent::ProofUsed { digest, expires_at } if *expires_at >= kept_from => {
                self.proofs.push(ProofRow { digest: *digest, expires_at: *expires_at, lsn });
            }
            TokenEvent::Person(event) => {
                let grant = self.push_grant(event, lsn);
                if let PersonEvent::GrantStored { grant: GrantView { access: Some(access), .. }, .. } = event
                    && access.expires_at >= kept_from
                {
                    let (token, at_ms) = (*access.digest.as_bytes(), u64::from(access.issued_at) * 1000);
                    let (scope, expires_at) = (access.scope.map(Arc::from), access.expires_at);
                    let members = |members: &Vec<&str>| members.iter().map(|member| (*member).to_owned()).collect();
                    let audience = access.audience.as_ref().map(members);
                    self.tokens.push(TokenRow { token, grant, scope, audience, lsn, at_ms, expires_at, partition });
                }
            }
            TokenEvent::Issued { .. } | TokenEvent::Revoked { .. } | TokenEvent::ProofUsed { .. } => {}
        }
    }

    /// What waits to be redeemed has no row. Answers the row of a grant that was stored.
    fn push_grant(&mut self, event: &PersonEvent<'_>, lsn: Lsn) -> Option<Arc<GrantRow>> {
        let (id, stored) = match event {
            PersonEvent::GrantStored { grant_id, grant } => (*grant_id, Some(StoredGrant::of(grant))),
            PersonEvent::GrantEnded { grant_id } => (*grant_id, None),
            PersonEvent::CodeStored { .. } | PersonEvent::DeviceStored { .. } => return None,
        };
        let row = stored.as_ref().map(|stored| Arc::clone(&stored.row));
        self.grants.push(GrantChange { id, stored, lsn, at_ms: self.high_water.as_millis() });
        row
    }

    /// Rows that lie close in the index are written close in time.
    pub(super) fn sort(&mut self) {
        self.tokens.sort_unstable_by_key(|row| (row.expires_at / DAY_SECONDS, row.token, row.lsn));
    }

    /// The records that have a row, in order.
    fn lsns(&self) -> Vec<Lsn> {
        let tokens = self.tokens.iter().map(|row| row.lsn);
        let undated = self.undated.iter().map(|row| row.lsn);
        let clients = self.clients.iter().map(|row| row.lsn);
        let people = self.people.iter().map(|row| row.lsn);
        let grants = self.grants.iter().map(|row| row.lsn);
        let keys = self.keys.iter().map(|row| row.lsn);
        let proofs = self.proofs.iter().map(|row| row.lsn);
        let initial_access = self.initial_access.iter().map(|row| row.lsn);
        let others = clients.chain(people).chain(keys).chain(grants).chain(proofs).chain(initial_access);
        let mut lsns: Vec<_> = tokens.chain(undated).chain(others).collect();
        lsns.sort_unstable();
        // A person's grant and the token that came with it are of one record.
        lsns.dedup();
        lsns
    }

    /// The record that it is about, if it is one only.
    pub(super) fn only_lsn(&self) -> Option<Lsn> {
        match self.lsns().as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }

    /// Two batches, each with about half of the rows; the second is empty where there is one row only.
    pub(super) fn split(mut self) -> (Self, Self) {
        let lsns = self.lsns();
        let last = lsns.get((lsns.len().max(1) - 1) / 2).copied().unwrap_or(self.to);
        let second = Self {
            from: last,
            to: self.to,
            high_water: self.high_water,
            tokens: split_off(&mut self.tokens, |row| row.lsn > last),
            encoded: None,
            undated: split_off(&mut self.undated, |row| row.lsn > last),
            grants: split_off(&mut self.grants, |row| row.lsn > last),
            clients: split_off(&mut self.clients, |row| row.lsn > last),
            people: split_off(&mut self.people, |row| row.lsn > last),
            keys: split_off(&mut self.keys, |row| row.lsn > last),
            proofs: split_off(&mut self.proofs, |row| row.lsn > last),
            initial_access: split_off(&mut self.initial_access, |row| row.lsn > last),
            dead: split_off(&mut self.dead, |letter| letter.lsn > last),
            is_full: self.is_full,
        };
        (Self { to: last, encoded: None, ..self }, second)
    }

    /// Nothing but a dead letter, and the same place in the journal.
    pub(super) fn of_dead_letter(&self, letter: Option<DeadLetter>) -> Self {
        let dead = self.dead.iter().cloned().chain(letter).collect();
        Self { from: self.from, to: self.to, high_water: self.high_water, dead, ..Self::default() }
    }

    pub(super) fn rows(&self) -> usize {
        let tokens = self.tokens.len() + self.undated.len() + self.grants.len();
        let registered =
            self.clients.len() + self.people.len() + self.keys.len() + self.initial_access.len() + self.proofs.len();
        tokens + registered + self.dead.len()
    }
}

fn split_off<T>(rows: &mut Vec<T>, is_second: impl Fn(&T) -> bool) -> Vec<T> {
    let (second, first) = std::mem::take(rows).into_iter().partition(is_second);
    *rows = first;
    second
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::grant_id::GrantId;

    fn row(lsn: u64) -> TokenRow {
        let (token, partition) = ([0; 16], Partition(0));
        let (grant, scope, audience) = (None, None, None);
        TokenRow { token, grant, scope, audience, lsn: Lsn::new(lsn), at_ms: 0, expires_at: 0, partition }
    }

    #[test]
    fn halves_of_a_batch_are_the_batch() {
        let whole = || Batch {
            from: Lsn::new(4),
            to: Lsn::new(20),
            tokens: [5, 7, 11, 12].map(row).to_vec(),
            undated: vec![UndatedRevocation { token: [0; 16], lsn: Lsn::new(6), at_ms: 0 }],
            ..Batch::default()
        };
        let (first, second) = whole().split();
        assert_eq!((first.from, first.to), (Lsn::new(4), Lsn::new(7)));
        assert_eq!((second.from, second.to), (Lsn::new(7), Lsn::new(20)));
        assert_eq!((first.rows(), second.rows()), (3, 2));
        assert_eq!(first.lsns(), [5, 6, 7].map(Lsn::new));
        let (one, none) =
            Batch { tokens: vec![row(9)], ..Batch { tokens: vec![], undated: vec![], ..whole() } }.split();
        assert_eq!((one.only_lsn(), none.rows()), (Some(Lsn::new(9)), 0));
    }

    #[test]
    fn a_grant_and_its_token_are_never_parted() {
        let ended = |lsn| GrantChange { id: GrantId::from_bytes([1; 16]), stored: None, lsn: Lsn::new(lsn), at_ms: 0 };
        let batch = || Batch { to: Lsn::new(9), tokens: vec![row(9)], grants: vec![ended(9)], ..Batch::default() };
        assert_eq!(batch().only_lsn(), Some(Lsn::new(9)));
        let both = Batch { tokens: vec![row(8), row(9)], grants: [8, 9].map(ended).to_vec(), ..batch() };
        let (first, second) = both.split();
        assert_eq!((first.only_lsn(), first.rows()), (Some(Lsn::new(8)), 2));
        assert_eq!((second.only_lsn(), second.rows()), (Some(Lsn::new(9)), 2));
    }
}

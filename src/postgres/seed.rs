//! Fills a database up from the newest snapshot, where the journal no longer has what it lacks.

use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};
use sqlx::postgres::PgConnection;

use crate::clock::UnixTime;
use crate::journal::snapshot::{SECTION_RECORDS, Section, SnapshotRead, SnapshotStore};
use crate::journal::{JournalError, Lsn};
use crate::postgres::batch::{Batch, Grants, TokenRow};
use crate::postgres::error::PostgresError;
use crate::postgres::partitions::{DAY_SECONDS, Partitions};
use crate::postgres::session::signed;
use crate::postgres::write::{Author, Novelty, write};
use crate::token::section::{SECTION_TOKENS, TokenSectionView};

/// What came of it.
pub(super) struct Seeded {
    /// All up to here is there, but for the history that is gone.
    pub(super) applied: Lsn,
    /// What comes after that, up to here, may be there already.
    pub(super) unknown_until: Lsn,
}

/// Writes what the snapshot has and the database lacks, section by section: one that is interrupted is begun anew, and what is
/// there is not written again. At its end the LSN moves, and the gap is noted.
pub(super) async fn seed(
    connection: &mut PgConnection,
    author: Author,
    store: &SnapshotStore,
    partitions: &mut Partitions,
    applied: Lsn,
    now: UnixTime,
) -> Result<Seeded, PostgresError> {
    tracing::warn!(
        applied_lsn = applied.value(),
        "the journal has let go of records that the database lacks: filling it up from the newest snapshot"
    );
    let mut grants = Grants::default();
    let sections = Reading::begin(store);
    let extent_start = loop {
        match sections.next() {
            Read::Section(section) => {
                let mut batch = Batch { from: applied, to: applied, high_water: now, ..Batch::default() };
                fill(&mut batch, &section, &mut grants)?;
                let days = batch.tokens.iter().map(|row| row.expires_at / DAY_SECONDS);
                partitions.ensure(connection, days).await?;
                write(connection, author, &mut batch, Novelty::Unknown).await?;
            }
            // What was written of it is of a snapshot all the same.
            Read::Anew => {}
            Read::End(outcome) => break outcome?,
        }
    };
    let to = extent_start.max(applied);
    let mut gap = Batch { from: applied, to, high_water: now, ..Batch::default() };
    sqlx::query(
        "INSERT INTO tessera.gaps (first_lsn, last_lsn, reason) VALUES ($1, $2, 'retired before they came here') \
         ON CONFLICT (first_lsn) DO NOTHING",
    )
    .bind(signed(applied.after(1).value()))
    .bind(signed(to.value()))
    .execute(&mut *connection)
    .await?;
    write(connection, author, &mut gap, Novelty::New).await?;
    // The snapshot saw nothing that was not durable when it ended, which was before now.
    Ok(Seeded { applied: to, unknown_until: store.durable_lsn() })
}

/// The rows of a section.
fn fill(batch: &mut Batch, section: &Section, grants: &mut Grants) -> Result<(), PostgresError> {
    let unreadable = |reason: &dyn ToString| PostgresError::Row { table: "a snapshot", reason: reason.to_string() };
    match section.kind {
        SECTION_RECORDS => {
            for record in section.records() {
                batch.push_client(&record);
            }
            Ok(())
        }
        SECTION_TOKENS => {
            let view = TokenSectionView::decode(section.schema, section.payload());
            let view = view.map_err(|error| unreadable(&error))?;
            let rows: Vec<_> = view.terms().map(|terms| grants.row(&terms)).collect();
            for (token, terms, is_revoked) in view.tokens() {
                let grant = rows.get(terms).ok_or_else(|| unreadable(&"a token without terms"))?;
                let issued = TokenRow {
                    token: *token.digest.as_bytes(),
                    grant: Some(Arc::clone(grant)),
                    lsn: batch.to,
                    at_ms: u64::from(token.issued_at) * 1000,
                    expires_at: token.expires_at,
                    partition: token.partition,
                };
                if is_revoked {
                    let at_ms = batch.high_water.as_millis();
                    batch.tokens.push(TokenRow { grant: None, at_ms, ..issued.clone() });
                }
                batch.tokens.push(issued);
            }
            Ok(())
        }
        _ => Err(unreadable(&"a section of a kind that nobody knows")),
    }
}

enum Read {
    Section(Arc<Section>),
    Anew,
    End(Result<Lsn, JournalError>),
}

/// The snapshot is read on a thread of its own, no faster than it is written.
struct Reading(Receiver<Read>);

impl Reading {
    fn begin(store: &SnapshotStore) -> Self {
        let (sections, received) = bounded(1);
        let store = store.clone();
        std::thread::spawn(move || {
            let outcome = store.read_newest(&mut |read| {
                let _ = sections.send(match read {
                    SnapshotRead::Section(section) => Read::Section(section),
                    SnapshotRead::Anew => Read::Anew,
                });
            });
            let _ = sections.send(Read::End(outcome));
        });
        Self(received)
    }

    fn next(&self) -> Read {
        let gone = || std::io::Error::other("the thread that reads it ended");
        self.0.recv().unwrap_or_else(|_| {
            let (action, name) = ("read", "a snapshot".to_owned());
            Read::End(Err(JournalError::Io { action, name, source: gone() }))
        })
    }
}

//! Fills a database up from the newest snapshot, where the journal no longer has what it lacks.

use std::collections::HashSet;
use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use crate::clock::UnixTime;
use crate::journal::snapshot::{SECTION_RECORDS, Section, SnapshotRead, SnapshotStore};
use crate::journal::{JournalError, Lsn};
use crate::postgres::batch::{Batch, TokenRow};
use crate::postgres::error::PostgresError;
use crate::postgres::grants::Grants;
use crate::postgres::partitions::{DAY_SECONDS, Partitions};
use crate::postgres::session::signed;
use crate::postgres::write::{Author, Novelty, write};
use crate::token::event::TermsView;
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
    Seen::begin(connection).await?;
    let sections = Reading::begin(store);
    let extent_start = loop {
        match sections.next() {
            Read::Section(section) => {
                let mut batch = Batch { from: applied, to: applied, high_water: now, ..Batch::default() };
                fill(&mut batch, &section, &mut grants)?;
                let days = batch.tokens.iter().map(|row| row.expires_at / DAY_SECONDS);
                partitions.ensure(connection, days).await?;
                write(connection, author, &mut batch, Novelty::Unknown).await?;
                Seen::note(connection, &batch).await?;
            }
            // What was written of it is of a snapshot all the same.
            Read::Anew => Seen::forget(connection).await?,
            Read::End(outcome) => break outcome?,
        }
    };
    Seen::end_others(connection, now).await?;
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

/// Which people's grants are in the snapshot: what was ended is not, and the record of its end may be one that is gone.
struct Seen;

impl Seen {
    async fn begin(connection: &mut PgConnection) -> Result<(), PostgresError> {
        sqlx::raw_sql("CREATE TEMP TABLE seen (id uuid NOT NULL)").execute(connection).await?;
        Ok(())
    }

    async fn forget(connection: &mut PgConnection) -> Result<(), PostgresError> {
        sqlx::raw_sql("TRUNCATE pg_temp.seen").execute(connection).await?;
        Ok(())
    }

    /// A token counts too: its grant may have been made while the snapshot was taken.
    async fn note(connection: &mut PgConnection, batch: &Batch) -> Result<(), PostgresError> {
        let of_tokens = batch.tokens.iter().filter_map(|row| row.grant.as_ref());
        let of_tokens = of_tokens.filter(|grant| grant.person.is_some()).map(|grant| grant.id);
        let ids: HashSet<_> = batch.grants.iter().map(|change| *change.id.as_bytes()).chain(of_tokens).collect();
        if ids.is_empty() {
            return Ok(());
        }
        sqlx::query("INSERT INTO pg_temp.seen SELECT encode(id, 'hex')::uuid FROM unnest($1::bytea[]) AS new (id)")
            .bind(ids.into_iter().map(|id| id.to_vec()).collect::<Vec<_>>())
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn end_others(connection: &mut PgConnection, now: UnixTime) -> Result<(), PostgresError> {
        let mut transaction = connection.begin().await?;
        // It is one statement, over all of them.
        sqlx::raw_sql("SET LOCAL statement_timeout = '10min'").execute(&mut *transaction).await?;
        sqlx::query(
            "UPDATE tessera.grants known SET ended_at = to_timestamp($1 / 1000.0) \
             WHERE subject_generation IS NOT NULL AND ended_at IS NULL AND live_until > now() \
               AND NOT EXISTS (SELECT FROM pg_temp.seen WHERE seen.id = known.id)",
        )
        .bind(signed(now.as_millis()))
        .execute(&mut *transaction)
        .await?;
        sqlx::raw_sql("DROP TABLE pg_temp.seen").execute(&mut *transaction).await?;
        Ok(transaction.commit().await?)
    }
}

/// The rows of a section.
fn fill(batch: &mut Batch, section: &Section, grants: &mut Grants) -> Result<(), PostgresError> {
    let unreadable = |reason: &dyn ToString| PostgresError::Row { table: "a snapshot", reason: reason.to_string() };
    match section.kind {
        SECTION_RECORDS => {
            for record in section.records() {
                batch.push_registered(&record);
            }
            Ok(())
        }
        SECTION_TOKENS => {
            let view = TokenSectionView::decode(section.schema, section.payload());
            let view = view.map_err(|error| unreadable(&error))?;
            // What a person's grant allows is in its record.
            let scope = |terms: &TermsView<'_>| terms.person.is_some().then(|| Arc::from(terms.scope));
            let audience = |terms: &TermsView<'_>| {
                terms.person.is_some().then(|| terms.audience.iter().map(|member| (*member).to_owned()).collect())
            };
            let row = |terms: &TermsView<'_>| (grants.row(terms), scope(terms), audience(terms));
            let rows: Vec<_> = view.terms().iter().map(row).collect();
            for (token, terms, is_revoked) in view.tokens() {
                let (grant, scope, audience) = rows.get(terms).ok_or_else(|| unreadable(&"a token without terms"))?;
                let issued = TokenRow {
                    token: *token.digest.as_bytes(),
                    grant: Some(Arc::clone(grant)),
                    scope: scope.clone(),
                    audience: audience.clone(),
                    lsn: batch.to,
                    at_ms: u64::from(token.issued_at) * 1000,
                    expires_at: token.expires_at,
                    partition: token.partition,
                };
                if is_revoked {
                    let at_ms = batch.high_water.as_millis();
                    batch.tokens.push(TokenRow { grant: None, scope: None, audience: None, at_ms, ..issued.clone() });
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

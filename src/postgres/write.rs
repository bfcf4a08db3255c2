//! One batch, one transaction.

use std::collections::HashMap;

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Transaction};

use crate::client::event::RegistrationRow;
use crate::postgres::batch::{Batch, ClientChange, DeadLetter, TokenRow, UndatedRevocation};
use crate::postgres::copy::CopyBuffer;
use crate::postgres::error::PostgresError;
use crate::postgres::grants::{upsert_grants, upsert_people_grants};
use crate::postgres::initial_access::upsert_initial_access;
use crate::postgres::keys::upsert_keys;
use crate::postgres::people::upsert_people;
use crate::postgres::proofs::upsert_proofs;
use crate::postgres::session::{signed, within};

/// How long a transaction may take, copying included. After one that took longer the next has half as many rows.
const WRITE_SECONDS: u64 = 20;

/// In whose name is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Author {
    pub(super) instance: [u8; 16],
    pub(super) epoch: u64,
}

/// Whether rows may be there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Novelty {
    /// Nothing of it is there: the LSN says so.
    New,
    /// A snapshot may have brought some of it.
    Unknown,
}

/// Writes the rows and moves the LSN, or neither.
pub(super) async fn write(
    connection: &mut PgConnection,
    author: Author,
    batch: &mut Batch,
    novelty: Novelty,
) -> Result<(), PostgresError> {
    let encoded = batch.encoded.take().unwrap_or_else(|| {
        batch.sort();
        encode(&batch.tokens)
    });
    let batch = &*batch;
    within(WRITE_SECONDS, "write a batch", async {
        let mut transaction = connection.begin().await?;
        if !batch.tokens.is_empty() {
            write_tokens(&mut transaction, &encoded, novelty).await?;
        }
        upsert_grants(&mut transaction, &batch.tokens, &batch.grants).await?;
        upsert_people_grants(&mut transaction, &batch.grants).await?;
        revoke_undated(&mut transaction, &batch.undated).await?;
        upsert_clients(&mut transaction, &batch.clients).await?;
        upsert_people(&mut transaction, &batch.people).await?;
        upsert_keys(&mut transaction, &batch.keys).await?;
        upsert_proofs(&mut transaction, &batch.proofs).await?;
        upsert_initial_access(&mut transaction, &batch.initial_access, &batch.clients).await?;
        put_aside(&mut transaction, &batch.dead).await?;
        advance(&mut transaction, author, batch).await?;
        Ok(transaction.commit().await?)
    })
    .await
}

type Open<'a> = Transaction<'a, sqlx::Postgres>;

async fn write_tokens(transaction: &mut Open<'_>, rows: &[u8], novelty: Novelty) -> Result<(), PostgresError> {
    match novelty {
        Novelty::New => copy(transaction, COPY_EVENTS, rows).await,
        Novelty::Unknown => {
            sqlx::raw_sql("CREATE TEMP TABLE arriving (LIKE tessera.token_events) ON COMMIT DROP")
                .execute(&mut **transaction)
                .await?;
            copy(transaction, COPY_ARRIVING, rows).await?;
            sqlx::raw_sql(
                "INSERT INTO tessera.token_events SELECT * FROM pg_temp.arriving a WHERE NOT EXISTS \
                 (SELECT FROM tessera.token_events e \
                  WHERE e.token = a.token AND e.expires_at = a.expires_at AND e.kind = a.kind)",
            )
            .execute(&mut **transaction)
            .await?;
            Ok(())
        }
    }
}

const COPY_EVENTS: &str = "COPY tessera.token_events (token, grant_id, lsn, at, expires_at, partition_number, kind, scope, audience) \
    FROM STDIN (FORMAT binary)";
const COPY_ARRIVING: &str = "COPY pg_temp.arriving (token, grant_id, lsn, at, expires_at, partition_number, kind, scope, audience) \
    FROM STDIN (FORMAT binary)";
const COLUMNS: i16 = 9;
/// With the lengths of the columns.
const ROW_BYTES: usize = 96;

async fn copy(transaction: &mut Open<'_>, statement: &str, rows: &[u8]) -> Result<(), PostgresError> {
    let mut copying = transaction.copy_in_raw(statement).await?;
    copying.send(rows).await?;
    copying.finish().await?;
    Ok(())
}

/// The rows as `COPY` takes them.
pub(super) fn encode(rows: &[TokenRow]) -> Vec<u8> {
    let mut buffer = CopyBuffer::with_capacity(COLUMNS, rows.len() * ROW_BYTES + ROW_BYTES);
    for TokenRow { token, grant, scope, audience, lsn, at_ms, expires_at, partition } in rows {
        buffer.begin_row();
        buffer.uuid(Some(*token));
        buffer.uuid(grant.as_ref().map(|grant| grant.id));
        buffer.bigint(signed(lsn.value()));
        buffer.timestamp(*at_ms);
        buffer.timestamp(u64::from(*expires_at) * 1000);
        buffer.integer(i32::from(partition.0));
        buffer.smallint(if grant.is_some() { KIND_ISSUED } else { KIND_REVOKED });
        buffer.text(scope.as_deref());
        buffer.texts(audience.as_deref());
    }
    buffer.finish()
}

const KIND_ISSUED: i16 = 1;
const KIND_REVOKED: i16 = 2;

/// When the token would have expired is in the row of its issue.
async fn revoke_undated(transaction: &mut Open<'_>, rows: &[UndatedRevocation]) -> Result<(), PostgresError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO tessera.token_events (token, lsn, at, expires_at, partition_number, kind) \
         SELECT issued.token, new.lsn, to_timestamp(new.at_ms / 1000.0), issued.expires_at, issued.partition_number, 2 \
         FROM unnest($1::bytea[], $2::bigint[], $3::bigint[]) AS new (token, lsn, at_ms) \
         JOIN tessera.token_events issued ON issued.token = encode(new.token, 'hex')::uuid AND issued.kind = 1",
    )
    .bind(rows.iter().map(|row| row.token.to_vec()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| signed(row.lsn.value())).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| signed(row.at_ms)).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn upsert_clients(transaction: &mut Open<'_>, changes: &[ClientChange]) -> Result<(), PostgresError> {
    // Of several changes of a client the last counts, and one statement may touch a row once.
    let last: HashMap<&str, &ClientChange> =
        changes.iter().map(|change| (change.row.client_id.as_str(), change)).collect();
    if last.is_empty() {
        return Ok(());
    }
    let last: Vec<_> = last.into_values().collect();
    let registrations = || last.iter().map(|change| change.row.registration.as_ref());
    let created_at = |row: &RegistrationRow| signed(row.created_at.as_millis());
    let deleted_at = |change: &&ClientChange| change.row.registration.is_none().then(|| signed(change.at_ms));
    sqlx::query(
        "INSERT INTO tessera.client_records AS known \
           (client_id, generation, created_at, deleted_at, secret_sha256, metadata, lsn, secret_hash, initial_access_token, \
            registration_number, used_at) \
         SELECT client_id, generation, to_timestamp(created_at / 1000.0), to_timestamp(deleted_at / 1000.0), secret, metadata, lsn, secret_hash, \
           initial_access, number, to_timestamp(used_at / 1000.0) \
         FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::text[], $7::bigint[], $8::text[], \
             $9::text[], $10::bigint[], $11::bigint[]) \
           AS new (client_id, generation, created_at, deleted_at, secret, metadata, lsn, secret_hash, initial_access, number, used_at) \
         ON CONFLICT (client_id) DO UPDATE SET generation = excluded.generation, \
           created_at = coalesce(excluded.created_at, known.created_at), deleted_at = excluded.deleted_at, \
           secret_sha256 = excluded.secret_sha256, secret_hash = excluded.secret_hash, metadata = excluded.metadata, \
           initial_access_token = excluded.initial_access_token, registration_number = excluded.registration_number, \
           used_at = excluded.used_at, lsn = excluded.lsn \
         WHERE known.lsn <= excluded.lsn",
    )
    .bind(last.iter().map(|change| change.row.client_id.clone()).collect::<Vec<_>>())
    .bind(last.iter().map(|change| signed(change.row.generation)).collect::<Vec<_>>())
    .bind(registrations().map(|row| row.map(created_at)).collect::<Vec<_>>())
    .bind(last.iter().map(deleted_at).collect::<Vec<_>>())
    .bind(registrations().map(|row| Some(row?.secret_sha256?.to_vec())).collect::<Vec<_>>())
    .bind(registrations().map(|row| Some(row?.metadata.clone())).collect::<Vec<_>>())
    .bind(last.iter().map(|change| signed(change.lsn.value())).collect::<Vec<_>>())
    .bind(registrations().map(|row| row?.secret_hash.clone()).collect::<Vec<_>>())
    .bind(registrations().map(|row| Some(row?.dynamic?.initial_access.to_string())).collect::<Vec<_>>())
    .bind(registrations().map(|row| Some(i64::from(row?.dynamic?.number))).collect::<Vec<_>>())
    .bind(registrations().map(|row| Some(signed(row?.dynamic?.used_at.as_millis()))).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn put_aside(transaction: &mut Open<'_>, letters: &[DeadLetter]) -> Result<(), PostgresError> {
    for letter in letters {
        sqlx::query(
            "INSERT INTO tessera.dead_letters (lsn, kind, schema, sqlstate, reason, payload) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (lsn) DO NOTHING",
        )
        .bind(signed(letter.lsn.value()))
        .bind(i32::from(letter.kind))
        .bind(i32::from(letter.schema))
        .bind(letter.sqlstate.as_deref())
        .bind(&letter.reason)
        .bind(&letter.payload)
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}

async fn advance(transaction: &mut Open<'_>, author: Author, batch: &Batch) -> Result<(), PostgresError> {
    let advanced = sqlx::query(
        "UPDATE tessera.projection SET applied_lsn = $1, high_water = to_timestamp($2 / 1000.0) \
         WHERE applied_lsn = $3 AND epoch = $4 AND uuid_send(instance) = $5",
    )
    .bind(signed(batch.to.value()))
    .bind(signed(batch.high_water.as_millis()))
    .bind(signed(batch.from.value()))
    .bind(signed(author.epoch))
    .bind(author.instance.as_slice())
    .execute(&mut **transaction)
    .await?;
    if advanced.rows_affected() == 1 { Ok(()) } else { Err(PostgresError::Superseded) }
}

/// Makes all that was written safe from a crash of the database: a synchronous commit flushes those before it.
pub(super) async fn confirm(connection: &mut PgConnection, author: Author) -> Result<(), PostgresError> {
    within(CONFIRM_SECONDS, "confirm what was written", async {
        let mut transaction = connection.begin().await?;
        sqlx::raw_sql("SET LOCAL synchronous_commit = on").execute(&mut *transaction).await?;
        let confirmed = sqlx::query("UPDATE tessera.projection SET confirmed_at = now() WHERE epoch = $1")
            .bind(signed(author.epoch))
            .execute(&mut *transaction)
            .await?;
        if confirmed.rows_affected() != 1 {
            return Err(PostgresError::Superseded);
        }
        Ok(transaction.commit().await?)
    })
    .await
}

const CONFIRM_SECONDS: u64 = 30;

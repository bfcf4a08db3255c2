//! Proofs that were used: their rows, so that a rebuild knows them, and the end of those that have expired.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use sqlx::postgres::PgConnection;
use sqlx::{Row as _, Transaction};

use crate::journal::snapshot::Foundation;
use crate::journal::{Entry, Lsn};
use crate::postgres::error::PostgresError;
use crate::postgres::records::Records;
use crate::postgres::session::signed;
use crate::token::proof::{KIND_PROOF_USED, ProofDigest, SCHEMA_PROOF_USED, encode_proof_used};

/// What a record says.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProofRow {
    pub(super) digest: ProofDigest,
    /// In seconds since the epoch.
    pub(super) expires_at: u32,
    pub(super) lsn: Lsn,
}

/// Writes what the records say.
pub(super) async fn upsert_proofs(
    transaction: &mut Transaction<'_, sqlx::Postgres>,
    rows: &[ProofRow],
) -> Result<(), PostgresError> {
    // One statement may touch a row once.
    let last: HashMap<_, _> = rows.iter().map(|row| (row.digest, row)).collect();
    if last.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO tessera.used_proofs AS known (digest, expires_at, lsn) \
         SELECT encode(digest, 'hex')::uuid, to_timestamp(expires_at), lsn \
         FROM unnest($1::bytea[], $2::bigint[], $3::bigint[]) AS new (digest, expires_at, lsn) \
         ON CONFLICT (digest) DO UPDATE SET expires_at = excluded.expires_at, lsn = excluded.lsn \
         WHERE known.expires_at < excluded.expires_at",
    )
    .bind(last.keys().map(|digest| digest.as_bytes().to_vec()).collect::<Vec<_>>())
    .bind(last.values().map(|row| i64::from(row.expires_at)).collect::<Vec<_>>())
    .bind(last.values().map(|row| signed(row.lsn.value())).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Deletes some that expired more than an hour ago, so that clocks need not agree. A role that may not leaves them to the owner.
pub(super) async fn delete_expired(connection: &mut PgConnection) -> Result<(), PostgresError> {
    let may_delete = sqlx::query_scalar::<_, bool>("SELECT has_table_privilege('tessera.used_proofs', 'DELETE')");
    if !may_delete.fetch_one(&mut *connection).await? {
        return Ok(());
    }
    sqlx::raw_sql(
        "DELETE FROM tessera.used_proofs WHERE digest IN \
           (SELECT digest FROM tessera.used_proofs WHERE expires_at < now() - interval '1 hour' LIMIT 500000)",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes those that have not expired into a directory that is being rebuilt.
pub(super) async fn write_proofs(
    connection: &mut PgConnection,
    foundation: &mut Foundation,
) -> Result<(), PostgresError> {
    let mut rows = sqlx::query(
        "SELECT uuid_send(digest), extract(epoch FROM expires_at)::bigint FROM tessera.used_proofs \
         WHERE expires_at > now()",
    )
    .fetch(connection);
    let mut records = Records::new(foundation);
    while let Some(row) = rows.try_next().await? {
        let digest = <[u8; 16]>::try_from(row.try_get::<Vec<u8>, _>(0)?).map_err(|_| unreadable(&"digest"))?;
        let expires_at = u32::try_from(row.try_get::<i64, _>(1)?).map_err(|error| unreadable(&error))?;
        let digest = ProofDigest::from_bytes(digest);
        let payload = encode_proof_used(digest, expires_at).map_err(|error| unreadable(&error))?;
        let (kind, schema, routing_id) = (KIND_PROOF_USED, SCHEMA_PROOF_USED, digest.routing_id().0);
        records.push(&Entry { kind, schema, routing_id, payload })?;
    }
    records.finish()
}

fn unreadable(reason: &dyn ToString) -> PostgresError {
    PostgresError::Row { table: "used_proofs", reason: reason.to_string() }
}

//! Keys that sign: their rows, and the way back.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Row as _, Transaction};

use crate::clock::UnixTime;
use crate::journal::Lsn;
use crate::journal::snapshot::Foundation;
use crate::oauth::algorithm::SigningAlgorithm;
use crate::postgres::error::PostgresError;
use crate::postgres::records::Records;
use crate::postgres::session::signed;
use crate::signing::event::{KeyEvent, StoredKey};

/// What one record says.
#[derive(Clone, Debug)]
pub(super) struct KeyChange {
    pub(super) event: KeyEvent,
    pub(super) lsn: Lsn,
    pub(super) at_ms: u64,
}

/// Writes what the records say. Of several about one key the last counts, and one statement may touch a row once.
pub(super) async fn upsert_keys(
    transaction: &mut Transaction<'_, sqlx::Postgres>,
    changes: &[KeyChange],
) -> Result<(), PostgresError> {
    let mut stored: HashMap<&str, (&StoredKey, Lsn)> = HashMap::new();
    let mut removed: HashMap<&str, (Lsn, u64)> = HashMap::new();
    for KeyChange { event, lsn, at_ms } in changes {
        match event {
            KeyEvent::Stored(key) => {
                stored.insert(&key.kid, (key, *lsn));
            }
            KeyEvent::Removed { kid } => {
                removed.insert(kid, (*lsn, *at_ms));
            }
        }
    }
    upsert_stored(transaction, &stored).await?;
    mark_removed(transaction, &removed).await
}

async fn upsert_stored(
    transaction: &mut Transaction<'_, sqlx::Postgres>,
    stored: &HashMap<&str, (&StoredKey, Lsn)>,
) -> Result<(), PostgresError> {
    if stored.is_empty() {
        return Ok(());
    }
    let keys: Vec<_> = stored.values().copied().collect();
    let texts = |text: fn(&StoredKey) -> &str| keys.iter().map(|(key, _)| text(key).to_owned()).collect::<Vec<_>>();
    let numbers = |number: fn(&StoredKey) -> u64| keys.iter().map(|(key, _)| signed(number(key))).collect::<Vec<_>>();
    sqlx::query(
        "INSERT INTO tessera.key_records AS known (kid, algorithm, created_at, signs_from, tokens_until, sealed, lsn) \
         SELECT kid, algorithm, to_timestamp(created_at / 1000.0), to_timestamp(signs_from / 1000.0), \
           to_timestamp(tokens_until), sealed, lsn \
         FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[]) \
           AS new (kid, algorithm, created_at, signs_from, tokens_until, sealed, lsn) \
         ON CONFLICT (kid) DO UPDATE SET algorithm = excluded.algorithm, created_at = excluded.created_at, \
           signs_from = excluded.signs_from, tokens_until = excluded.tokens_until, sealed = excluded.sealed, \
           removed_at = NULL, lsn = excluded.lsn \
         WHERE known.lsn <= excluded.lsn",
    )
    .bind(texts(|key| &key.kid))
    .bind(texts(|key| key.algorithm.as_str()))
    .bind(numbers(|key| key.created_at.as_millis()))
    .bind(numbers(|key| key.signs_from.as_millis()))
    .bind(numbers(|key| u64::from(key.tokens_until)))
    .bind(texts(|key| &key.sealed))
    .bind(keys.iter().map(|(_, lsn)| signed(lsn.value())).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn mark_removed(
    transaction: &mut Transaction<'_, sqlx::Postgres>,
    removed: &HashMap<&str, (Lsn, u64)>,
) -> Result<(), PostgresError> {
    if removed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE tessera.key_records known \
         SET sealed = NULL, removed_at = to_timestamp(new.removed_at / 1000.0), lsn = new.lsn \
         FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS new (kid, removed_at, lsn) \
         WHERE known.kid = new.kid AND known.lsn <= new.lsn",
    )
    .bind(removed.keys().map(|kid| (*kid).to_owned()).collect::<Vec<_>>())
    .bind(removed.values().map(|(_, at_ms)| signed(*at_ms)).collect::<Vec<_>>())
    .bind(removed.values().map(|(lsn, _)| signed(lsn.value())).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Writes the keys that the database knows into a directory that is being rebuilt.
pub(super) async fn write_keys(
    connection: &mut PgConnection,
    foundation: &mut Foundation,
) -> Result<(), PostgresError> {
    let mut rows = sqlx::query(
        "SELECT kid, algorithm, (extract(epoch FROM created_at) * 1000)::bigint, \
           (extract(epoch FROM signs_from) * 1000)::bigint, extract(epoch FROM tokens_until)::bigint, sealed \
         FROM tessera.key_records WHERE removed_at IS NULL",
    )
    .fetch(connection);
    let mut records = Records::new(foundation);
    while let Some(row) = rows.try_next().await? {
        let entry = KeyEvent::Stored(key_of(&row)?).encode().map_err(|error| unreadable(&error))?;
        KeyEvent::decode(entry.kind, entry.schema, &entry.payload).map_err(|error| unreadable(&error))?;
        records.push(&entry)?;
    }
    records.finish()
}

fn key_of(row: &PgRow) -> Result<StoredKey, PostgresError> {
    let number = |at: usize| -> Result<u64, PostgresError> {
        u64::try_from(row.try_get::<i64, _>(at)?).map_err(|error| unreadable(&error))
    };
    Ok(StoredKey {
        kid: row.try_get(0)?,
        algorithm: SigningAlgorithm::parse(row.try_get(1)?).ok_or_else(|| unreadable(&"unknown algorithm"))?,
        created_at: UnixTime::from_millis(number(2)?),
        signs_from: UnixTime::from_millis(number(3)?),
        tokens_until: u32::try_from(number(4)?).map_err(|error| unreadable(&error))?,
        sealed: row.try_get(5)?,
    })
}

fn unreadable(reason: &dyn ToString) -> PostgresError {
    PostgresError::Row { table: "key_records", reason: reason.to_string() }
}

//! Initial access tokens: their rows, and the way back.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Row as _, Transaction};

use crate::client::event::{InitialAccessRow, encode_initial_access};
use crate::client::initial_access::{InitialAccessId, InitialAccessToken};
use crate::client::registration_policy::RegistrationPolicy;
use crate::client::secret::SecretDigest;
use crate::clock::UnixTime;
use crate::journal::Lsn;
use crate::journal::snapshot::Foundation;
use crate::postgres::batch::ClientChange;
use crate::postgres::error::PostgresError;
use crate::postgres::records::Records;
use crate::postgres::session::signed;

/// What one record says.
#[derive(Clone, Debug)]
pub(super) struct InitialAccessChange {
    pub(super) row: InitialAccessRow,
    pub(super) lsn: Lsn,
    pub(super) at_ms: u64,
}

/// Writes what the records say, and counts on what clients have registered.
pub(super) async fn upsert_initial_access(
    transaction: &mut Transaction<'_, sqlx::Postgres>,
    changes: &[InitialAccessChange],
    clients: &[ClientChange],
) -> Result<(), PostgresError> {
    let mut stored: HashMap<InitialAccessId, (&InitialAccessToken, Lsn)> = HashMap::new();
    let mut revoked: HashMap<InitialAccessId, (Lsn, u64)> = HashMap::new();
    for InitialAccessChange { row, lsn, at_ms } in changes {
        match row {
            InitialAccessRow::Stored(token) => {
                stored.insert(token.id, (token, *lsn));
            }
            InitialAccessRow::Revoked(id) => {
                revoked.insert(*id, (*lsn, *at_ms));
            }
        }
    }
    upsert_stored(transaction, &stored).await?;
    mark_revoked(transaction, &revoked).await?;
    count_on(transaction, clients).await
}

async fn upsert_stored(
    transaction: &mut Transaction<'_, sqlx::Postgres>,
    stored: &HashMap<InitialAccessId, (&InitialAccessToken, Lsn)>,
) -> Result<(), PostgresError> {
    if stored.is_empty() {
        return Ok(());
    }
    let tokens: Vec<_> = stored.values().copied().collect();
    let numbers = |number: fn(&InitialAccessToken) -> u64| {
        tokens.iter().map(|(token, _)| signed(number(token))).collect::<Vec<_>>()
    };
    let policy = |token: &InitialAccessToken| serde_json::to_string(&token.policy.to_document()).unwrap_or_default();
    sqlx::query(
        "INSERT INTO tessera.initial_access_records AS known \
           (id, sha256, label, created_at, expires_at, registrations_max, registrations, policy, lsn) \
         SELECT id, sha256, label, to_timestamp(created_at / 1000.0), to_timestamp(expires_at / 1000.0), registrations_max, \
           registrations, policy, lsn \
         FROM unnest($1::text[], $2::bytea[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[], $9::bigint[]) \
           AS new (id, sha256, label, created_at, expires_at, registrations_max, registrations, policy, lsn) \
         ON CONFLICT (id) DO UPDATE SET registrations = greatest(known.registrations, excluded.registrations)",
    )
    .bind(tokens.iter().map(|(token, _)| token.id.to_string()).collect::<Vec<_>>())
    .bind(tokens.iter().map(|(token, _)| token.digest.as_bytes().to_vec()).collect::<Vec<_>>())
    .bind(tokens.iter().map(|(token, _)| token.label.clone()).collect::<Vec<_>>())
    .bind(numbers(|token| token.created_at.as_millis()))
    .bind(numbers(|token| token.expires_at.as_millis()))
    .bind(tokens.iter().map(|(token, _)| token.registrations_max.map(i64::from)).collect::<Vec<_>>())
    .bind(numbers(|token| u64::from(token.registrations)))
    .bind(tokens.iter().map(|(token, _)| policy(token)).collect::<Vec<_>>())
    .bind(tokens.iter().map(|(_, lsn)| signed(lsn.value())).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn mark_revoked(
    transaction: &mut Transaction<'_, sqlx::Postgres>,
    revoked: &HashMap<InitialAccessId, (Lsn, u64)>,
) -> Result<(), PostgresError> {
    if revoked.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE tessera.initial_access_records known \
         SET sha256 = NULL, label = NULL, created_at = NULL, expires_at = NULL, registrations_max = NULL, policy = NULL, \
           revoked_at = to_timestamp(new.revoked_at / 1000.0), lsn = new.lsn \
         FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS new (id, revoked_at, lsn) \
         WHERE known.id = new.id AND known.lsn <= new.lsn",
    )
    .bind(revoked.keys().map(ToString::to_string).collect::<Vec<_>>())
    .bind(revoked.values().map(|(_, at_ms)| signed(*at_ms)).collect::<Vec<_>>())
    .bind(revoked.values().map(|(lsn, _)| signed(lsn.value())).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn count_on(
    transaction: &mut Transaction<'_, sqlx::Postgres>,
    clients: &[ClientChange],
) -> Result<(), PostgresError> {
    let mut registrations: HashMap<InitialAccessId, u32> = HashMap::new();
    for dynamic in clients.iter().filter_map(|change| change.row.registration.as_ref()?.dynamic) {
        let most = registrations.entry(dynamic.initial_access).or_default();
        *most = dynamic.number.max(*most);
    }
    if registrations.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE tessera.initial_access_records known SET registrations = greatest(known.registrations, new.registrations) \
         FROM unnest($1::text[], $2::bigint[]) AS new (id, registrations) WHERE known.id = new.id",
    )
    .bind(registrations.keys().map(ToString::to_string).collect::<Vec<_>>())
    .bind(registrations.values().map(|number| i64::from(*number)).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Writes the initial access tokens that the database knows into a directory that is being rebuilt.
pub(super) async fn write_initial_access(
    connection: &mut PgConnection,
    foundation: &mut Foundation,
) -> Result<(), PostgresError> {
    let mut rows = sqlx::query(
        "SELECT id, sha256, label, (extract(epoch FROM created_at) * 1000)::bigint, \
           (extract(epoch FROM expires_at) * 1000)::bigint, registrations_max, registrations, policy \
         FROM tessera.initial_access_records WHERE revoked_at IS NULL",
    )
    .fetch(connection);
    let mut records = Records::new(foundation);
    while let Some(row) = rows.try_next().await? {
        records.push(&encode_initial_access(&token_of(&row)?).map_err(|error| unreadable(&error))?)?;
    }
    records.finish()
}

fn token_of(row: &PgRow) -> Result<InitialAccessToken, PostgresError> {
    let moment = |at: usize| -> Result<UnixTime, PostgresError> {
        let millis = u64::try_from(row.try_get::<i64, _>(at)?).map_err(|error| unreadable(&error))?;
        Ok(UnixTime::from_millis(millis))
    };
    let count = |value: i64| u32::try_from(value).map_err(|error| unreadable(&error));
    let sha256: Vec<u8> = row.try_get(1)?;
    let policy = serde_json::from_str(row.try_get(7)?).map_err(|error| unreadable(&error))?;
    Ok(InitialAccessToken {
        id: InitialAccessId::parse(row.try_get(0)?).ok_or_else(|| unreadable(&"id"))?,
        digest: SecretDigest::from_bytes(sha256.try_into().map_err(|_| unreadable(&"sha256"))?),
        label: row.try_get(2)?,
        created_at: moment(3)?,
        expires_at: moment(4)?,
        registrations_max: row.try_get::<Option<i64>, _>(5)?.map(count).transpose()?,
        registrations: count(row.try_get(6)?)?,
        policy: RegistrationPolicy::parse(&policy).map_err(|error| unreadable(&error))?.into(),
    })
}

fn unreadable(reason: &dyn ToString) -> PostgresError {
    PostgresError::Row { table: "initial_access_records", reason: reason.to_string() }
}

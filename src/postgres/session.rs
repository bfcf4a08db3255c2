//! A connection that never hangs: everything that is asked has its time, after which the connection is given up.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, Row as _};
use tokio::time::timeout;

use crate::journal::Lsn;
use crate::postgres::error::PostgresError;

/// The schema of all tables.
pub(super) const SCHEMA: &str = "tessera";

/// How far a database is, and of what it is the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// See [`crate::journal::JournalReader::instance`].
    pub instance: [u8; 16],
    /// Of the master key.
    pub key_id: u64,
    /// The start that wrote last.
    pub epoch: u64,
    /// The last record that is there.
    pub applied_lsn: Lsn,
    /// The time of that record, about, in milliseconds since 1970.
    pub high_water_ms: u64,
}

/// Asks a database how far it is, and does not wait for long. `None` where it is not the copy of anything yet.
///
/// # Errors
///
/// [`PostgresError::Url`]; [`PostgresError::Unreachable`] or [`PostgresError::TimedOut`] where nobody answers.
pub async fn ask(url: &str) -> Result<Option<Mark>, PostgresError> {
    let asking = async {
        let mut connection = connect(url).await?;
        let mark = read_mark(&mut connection).await;
        drop(connection.close().await);
        mark
    };
    within(ASK_SECONDS, "how far it is", asking).await
}

/// At a start requests wait for the answer.
const ASK_SECONDS: u64 = 2;

/// A new connection, with settings that bound what each statement may take.
pub(super) async fn connect(url: &str) -> Result<PgConnection, PostgresError> {
    let options = PgConnectOptions::from_str(url).map_err(PostgresError::Url)?;
    let options = options.application_name("tessera").options([
        ("search_path", SCHEMA),
        ("statement_timeout", "15s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "60s"),
        ("synchronous_commit", "off"),
        ("TimeZone", "UTC"),
    ]);
    within(CONNECT_SECONDS, "connect", async { Ok(PgConnection::connect_with(&options).await?) }).await
}

const CONNECT_SECONDS: u64 = 5;

pub(super) async fn read_mark(connection: &mut PgConnection) -> Result<Option<Mark>, PostgresError> {
    let there = sqlx::query("SELECT to_regclass('tessera.projection') IS NOT NULL").fetch_one(&mut *connection).await?;
    if !there.try_get::<bool, _>(0)? {
        return Ok(None);
    }
    let row = sqlx::query(
        "SELECT uuid_send(instance), key_id, epoch, applied_lsn, (extract(epoch FROM high_water) * 1000)::bigint \
         FROM tessera.projection",
    );
    let Some(row) = row.fetch_optional(connection).await? else { return Ok(None) };
    let unreadable = |reason: &str| PostgresError::Row { table: "projection", reason: reason.to_owned() };
    let number = |at| -> Result<u64, PostgresError> {
        u64::try_from(row.try_get::<i64, _>(at)?).map_err(|_| unreadable("a number is negative"))
    };
    let instance = <[u8; 16]>::try_from(row.try_get::<Vec<u8>, _>(0)?).map_err(|_| unreadable("instance"))?;
    Ok(Some(Mark {
        instance,
        key_id: u64::from_le_bytes(row.try_get::<i64, _>(1)?.to_le_bytes()),
        epoch: number(2)?,
        applied_lsn: Lsn::new(number(3)?),
        high_water_ms: number(4)?,
    }))
}

/// A number as PostgreSQL stores it: it has no unsigned ones.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What `future` answers, or [`PostgresError::TimedOut`].
pub(super) async fn within<T>(
    seconds: u64,
    what: &'static str,
    future: impl Future<Output = Result<T, PostgresError>>,
) -> Result<T, PostgresError> {
    let answered = timeout(Duration::from_secs(seconds), future).await;
    answered.unwrap_or(Err(PostgresError::TimedOut { what, seconds }))
}

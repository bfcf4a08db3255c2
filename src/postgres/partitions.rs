//! The partitions of `token_events`: one for each day (UTC) on which tokens expire, made before the first row of the day comes,
//! and dropped whole.

use std::collections::BTreeSet;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};
use time::{Date, Duration, OffsetDateTime};

use crate::postgres::error::PostgresError;

pub(super) const DAY_SECONDS: u32 = 86_400;
/// How many days ahead there are partitions before anybody needs them.
const DAYS_AHEAD: u32 = 8;

/// Days since 1970 that have a partition.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    days: BTreeSet<u32>,
    /// Days whose partition cannot be made: their rows go to the default one.
    impossible: BTreeSet<u32>,
}

impl Partitions {
    /// Those that are there.
    pub(super) async fn load(connection: &mut PgConnection) -> Result<Self, PostgresError> {
        let names = sqlx::query(
            "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
             WHERE i.inhparent = 'tessera.token_events'::regclass",
        );
        let mut days = BTreeSet::new();
        for row in names.fetch_all(connection).await? {
            days.extend(day_of(&row.try_get::<String, _>(0)?));
        }
        Ok(Self { days, impossible: BTreeSet::new() })
    }

    /// Makes those of the days on which the tokens of a batch expire.
    pub(super) async fn ensure(
        &mut self,
        connection: &mut PgConnection,
        days: impl Iterator<Item = u32>,
    ) -> Result<(), PostgresError> {
        let missing: BTreeSet<_> =
            days.filter(|day| !self.days.contains(day) && !self.impossible.contains(day)).collect();
        for day in missing {
            match make(connection, day).await {
                Ok(()) => drop(self.days.insert(day)),
                Err(error @ (PostgresError::Refused(_) | PostgresError::Record { .. })) => {
                    tracing::warn!(%error, partition = name_of(day), "a partition cannot be made; its rows go to token_events_default, which is never dropped");
                    self.impossible.insert(day);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes those of the next days.
    pub(super) async fn ensure_ahead(
        &mut self,
        connection: &mut PgConnection,
        today: u32,
    ) -> Result<(), PostgresError> {
        self.ensure(connection, today..=today + DAYS_AHEAD).await
    }

    /// Drops the days before `first_kept`. One that somebody is reading stays until the next time.
    pub(super) async fn drop_before(
        &mut self,
        connection: &mut PgConnection,
        first_kept: u32,
    ) -> Result<(), PostgresError> {
        let past: Vec<_> = self.days.range(..first_kept).copied().collect();
        for day in past {
            let name = name_of(day);
            let dropped = sqlx::raw_sql(AssertSqlSafe(format!(
                "BEGIN; SET LOCAL lock_timeout = '1s'; DROP TABLE IF EXISTS tessera.{name}; COMMIT"
            )));
            match dropped.execute(&mut *connection).await {
                Ok(_) => {
                    tracing::info!(partition = name, "dropped a day of tokens that expired long ago");
                    self.days.remove(&day);
                }
                Err(error) => {
                    sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await?;
                    tracing::warn!(%error, partition = name, "a partition cannot be dropped now; the next attempt follows");
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Made aside and attached, which lets others read the table meanwhile.
async fn make(connection: &mut PgConnection, day: u32) -> Result<(), PostgresError> {
    let (name, from, to) = (name_of(day), date_of(day), date_of(day + 1));
    let (from, to) = (from.to_string(), to.to_string());
    let sql = format!(
        "BEGIN; SET LOCAL lock_timeout = '2s'; \
         CREATE TABLE tessera.{name} (LIKE tessera.token_events INCLUDING ALL); \
         ALTER TABLE tessera.token_events ATTACH PARTITION tessera.{name} \
         FOR VALUES FROM ('{from} 00:00:00+00') TO ('{to} 00:00:00+00'); COMMIT"
    );
    match sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await {
        Ok(_) => Ok(()),
        Err(error) => {
            sqlx::raw_sql("ROLLBACK").execute(connection).await?;
            Err(error.into())
        }
    }
}

fn date_of(day: u32) -> Date {
    OffsetDateTime::UNIX_EPOCH.date().saturating_add(Duration::days(i64::from(day)))
}

fn name_of(day: u32) -> String {
    format!("{PREFIX}{}", date_of(day).to_string().replace('-', "_"))
}

/// The day that a partition of this name is of.
fn day_of(name: &str) -> Option<u32> {
    let mut parts = name.strip_prefix(PREFIX)?.split('_');
    let mut number = || parts.next()?.parse::<u16>().ok();
    let (year, month, day) = (number()?, number()?, number()?);
    let month = time::Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::from(year), month, u8::try_from(day).ok()?).ok()?;
    let days = (date - OffsetDateTime::UNIX_EPOCH.date()).whole_days();
    u32::try_from(days).ok().filter(|day| name_of(*day) == name)
}

const PREFIX: &str = "token_events_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_has_the_name_of_its_day() {
        assert_eq!(name_of(20_779), "token_events_2026_11_22");
        for day in [0, 1, 20_779, 49_710] {
            assert_eq!(day_of(&name_of(day)), Some(day));
        }
        for other in ["token_events_default", "token_events_2026_02_30", "token_events_2026_1_2", "grants"] {
            assert_eq!(day_of(other), None, "{other}");
        }
    }
}

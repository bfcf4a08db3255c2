//! Makes the tables, and brings them up to date.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _, SqlSafeStr as _};

use crate::postgres::error::PostgresError;
use crate::postgres::session::{SCHEMA, connect};

/// What a migration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrated {
    /// The tables were as this program wants them.
    UpToDate,
    /// They were made, or changed.
    Changed,
}

/// In order; one that was released is never changed.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "tables", include_str!("../../migrations/0001_tables.sql")),
    (2, "people", include_str!("../../migrations/0002_people.sql")),
    (3, "grants", include_str!("../../migrations/0003_grants.sql")),
    (4, "keys", include_str!("../../migrations/0004_keys.sql")),
    (5, "token_id", include_str!("../../migrations/0005_token_id.sql")),
    (6, "access_tokens", include_str!("../../migrations/0006_access_tokens.sql")),
    (7, "used_proofs", include_str!("../../migrations/0007_used_proofs.sql")),
    (8, "registration", include_str!("../../migrations/0008_registration.sql")),
    (9, "claims", include_str!("../../migrations/0009_claims.sql")),
];

/// Makes the tables of a database, or brings them up to date.
///
/// # Errors
///
/// [`PostgresError`].
pub async fn migrate(url: &str) -> Result<Migrated, PostgresError> {
    let mut connection = connect(url).await?;
    let migrated = migrate_on(&mut connection).await;
    drop(connection.close().await);
    migrated
}

/// As [`migrate`]. Asks for no privilege where there is nothing to do.
pub(super) async fn migrate_on(connection: &mut PgConnection) -> Result<Migrated, PostgresError> {
    let newest = MIGRATIONS.last().map_or(0, |(version, ..)| *version);
    let found = version(connection).await?;
    if found > newest {
        return Err(PostgresError::Newer(found));
    }
    if found == newest {
        return Ok(Migrated::UpToDate);
    }
    let migrations = MIGRATIONS.iter().map(|(version, name, sql)| {
        Migration::new(*version, Cow::Borrowed(*name), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.create_schema(SCHEMA);
    migrator.run_direct(None, connection, false).await?;
    tracing::info!(version = newest, "made the tables of the database");
    Ok(Migrated::Changed)
}

/// The newest migration that the database has; 0 for none.
async fn version(connection: &mut PgConnection) -> Result<i64, PostgresError> {
    let there = sqlx::query("SELECT to_regclass('tessera._sqlx_migrations') IS NOT NULL");
    if !there.fetch_one(&mut *connection).await?.try_get::<bool, _>(0)? {
        return Ok(0);
    }
    let version = sqlx::query("SELECT coalesce(max(version), 0) FROM tessera._sqlx_migrations WHERE success");
    Ok(version.fetch_one(connection).await?.try_get(0)?)
}

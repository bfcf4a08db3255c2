//! Users, generations of subjects and consents: their rows, and the way back.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Row as _, Transaction};

use crate::client::id::ClientId;
use crate::clock::UnixTime;
use crate::journal::Lsn;
use crate::journal::snapshot::Foundation;
use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;
use crate::password::hash::PasswordHash;
use crate::postgres::error::PostgresError;
use crate::postgres::records::Records;
use crate::postgres::session::signed;
use crate::user::User;
use crate::user::consent::Consent;
use crate::user::event::UserEvent;
use crate::user::name::UserName;
use crate::user::profile::{Profile, ProfileDocument};

/// What one record says.
#[derive(Clone, Debug)]
pub(super) struct UserChange {
    pub(super) event: UserEvent,
    pub(super) lsn: Lsn,
    pub(super) at_ms: u64,
}

/// Writes what the records say. Of several about one row the last counts, and one statement may touch a row once.
pub(super) async fn upsert_people(
    transaction: &mut Transaction<'_, sqlx::Postgres>,
    changes: &[UserChange],
) -> Result<(), PostgresError> {
    let mut users: HashMap<&Subject, UserRow<'_>> = HashMap::new();
    let mut generations: HashMap<&Subject, u64> = HashMap::new();
    let mut consents: HashMap<(&Subject, &ClientId), ConsentRow<'_>> = HashMap::new();
    for UserChange { event, lsn, at_ms } in changes {
        match event {
            UserEvent::UserStored { user, generation } => {
                users.insert(&user.subject, UserRow { user: Some(user), lsn: *lsn, at_ms: *at_ms });
                raise(&mut generations, &user.subject, *generation);
            }
            UserEvent::UserDeleted { subject, generation } => {
                users.insert(subject, UserRow { user: None, lsn: *lsn, at_ms: *at_ms });
                raise(&mut generations, subject, *generation);
            }
            UserEvent::SubjectRevoked { subject, generation } => raise(&mut generations, subject, *generation),
            UserEvent::ConsentStored { subject, consent } => {
                let row = ConsentRow { consent: Some(consent), lsn: *lsn, at_ms: *at_ms };
                consents.insert((subject, &consent.client_id), row);
            }
            UserEvent::ConsentWithdrawn { subject, client_id } => {
                consents.insert((subject, client_id), ConsentRow { consent: None, lsn: *lsn, at_ms: *at_ms });
            }
            UserEvent::SessionStored(_) | UserEvent::SessionsEnded { .. } => {}
        }
    }
    upsert_users(transaction, &users).await?;
    upsert_generations(transaction, &generations).await?;
    upsert_consents(transaction, &consents).await
}

fn raise<'a>(generations: &mut HashMap<&'a Subject, u64>, subject: &'a Subject, generation: u64) {
    if generation > 0 {
        let known = generations.entry(subject).or_default();
        *known = generation.max(*known);
    }
}

/// `None` where the user was deleted.
struct UserRow<'a> {
    user: Option<&'a Arc<User>>,
    lsn: Lsn,
    at_ms: u64,
}

/// `None` where the consent was withdrawn.
struct ConsentRow<'a> {
    consent: Option<&'a Consent>,
    lsn: Lsn,
    at_ms: u64,
}

async fn upsert_users(
    transaction: &mut Transaction<'_, sqlx::Postgres>,
    users: &HashMap<&Subject, UserRow<'_>>,
) -> Result<(), PostgresError> {
    if users.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = users.iter().collect();
    let texts = |text: fn(&User) -> Option<String>| {
        rows.iter().map(|(_, row)| row.user.and_then(|user| text(user))).collect::<Vec<_>>()
    };
    let times = |time: fn(&User) -> UnixTime| {
        rows.iter().map(|(_, row)| row.user.map(|user| signed(time(user).as_millis()))).collect::<Vec<_>>()
    };
    sqlx::query(
        "INSERT INTO tessera.user_records AS known \
           (subject, username, is_disabled, created_at, updated_at, deleted_at, password_hash, profile, lsn) \
         SELECT subject, username, is_disabled, to_timestamp(created_at / 1000.0), to_timestamp(updated_at / 1000.0), \
           to_timestamp(deleted_at / 1000.0), password_hash, profile, lsn \
         FROM unnest($1::text[], $2::text[], $3::boolean[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], \
             $9::bigint[]) \
           AS new (subject, username, is_disabled, created_at, updated_at, deleted_at, password_hash, profile, lsn) \
         ON CONFLICT (subject) DO UPDATE SET username = excluded.username, is_disabled = excluded.is_disabled, \
           created_at = excluded.created_at, updated_at = excluded.updated_at, deleted_at = excluded.deleted_at, \
           password_hash = excluded.password_hash, profile = excluded.profile, lsn = excluded.lsn \
         WHERE known.lsn <= excluded.lsn",
    )
    .bind(rows.iter().map(|(subject, _)| subject.as_str().to_owned()).collect::<Vec<_>>())
    .bind(texts(|user| Some(user.name.as_str().to_owned())))
    .bind(rows.iter().map(|(_, row)| row.user.map(|user| user.is_disabled)).collect::<Vec<_>>())
    .bind(times(|user| user.created_at))
    .bind(times(|user| user.updated_at))
    .bind(rows.iter().map(|(_, row)| row.user.is_none().then(|| signed(row.at_ms))).collect::<Vec<_>>())
    .bind(texts(|user| user.password.as_ref().map(|hash| hash.as_str().to_owned())))
    .bind(texts(|user| serde_json::to_string(&user.profile.to_document()).ok()))
    .bind(rows.iter().map(|(_, row)| signed(row.lsn.value())).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn upsert_generations(
    transaction: &mut Transaction<'_, sqlx::Postgres>,
    generations: &HashMap<&Subject, u64>,
) -> Result<(), PostgresError> {
    if generations.is_empty() {
        return Ok(());
    }
    let (subjects, values): (Vec<_>, Vec<_>) =
        generations.iter().map(|(subject, value)| (subject.as_str().to_owned(), signed(*value))).unzip();
    sqlx::query(
        "INSERT INTO tessera.subject_generations AS known (subject, generation) \
         SELECT subject, generation FROM unnest($1::text[], $2::bigint[]) AS new (subject, generation) \
         ON CONFLICT (subject) DO UPDATE SET generation = excluded.generation \
         WHERE known.generation < excluded.generation",
    )
    .bind(subjects)
    .bind(values)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn upsert_consents(
    transaction: &mut Transaction<'_, sqlx::Postgres>,
    consents: &HashMap<(&Subject, &ClientId), ConsentRow<'_>>,
) -> Result<(), PostgresError> {
    if consents.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = consents.iter().collect();
    let numbers = |number: fn(&Consent) -> u64| {
        rows.iter().map(|(_, row)| signed(row.consent.map_or(0, number))).collect::<Vec<_>>()
    };
    let granted_at =
        rows.iter().map(|(_, row)| signed(row.consent.map_or(row.at_ms, |consent| consent.granted_at.as_millis())));
    let scopes = rows.iter().map(|(_, row)| row.consent.map_or_else(String::new, |own| own.scope.as_str().to_owned()));
    sqlx::query(
        "INSERT INTO tessera.consent_records AS known \
           (subject, client_id, subject_generation, client_generation, scope, granted_at, withdrawn_at, lsn) \
         SELECT subject, client_id, subject_generation, client_generation, scope, to_timestamp(granted_at / 1000.0), \
           to_timestamp(withdrawn_at / 1000.0), lsn \
         FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[]) \
           AS new (subject, client_id, subject_generation, client_generation, scope, granted_at, withdrawn_at, lsn) \
         ON CONFLICT (subject, client_id) DO UPDATE SET subject_generation = excluded.subject_generation, \
           client_generation = excluded.client_generation, scope = excluded.scope, granted_at = excluded.granted_at, \
           withdrawn_at = excluded.withdrawn_at, lsn = excluded.lsn \
         WHERE known.lsn <= excluded.lsn",
    )
    .bind(rows.iter().map(|((subject, _), _)| subject.as_str().to_owned()).collect::<Vec<_>>())
    .bind(rows.iter().map(|((_, client_id), _)| client_id.as_str().to_owned()).collect::<Vec<_>>())
    .bind(numbers(|consent| consent.subject_generation))
    .bind(numbers(|consent| consent.client_generation))
    .bind(scopes.collect::<Vec<_>>())
    .bind(granted_at.collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, row)| row.consent.is_none().then(|| signed(row.at_ms))).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, row)| signed(row.lsn.value())).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Writes what the database knows of people into a directory that is being rebuilt. Answers how many users are registered.
pub(super) async fn write_people(
    connection: &mut PgConnection,
    foundation: &mut Foundation,
) -> Result<u64, PostgresError> {
    let mut records = Records::new(foundation);
    let mut users = 0;
    let mut rows = sqlx::query(
        "SELECT subject, username, is_disabled, (extract(epoch FROM created_at) * 1000)::bigint, \
           (extract(epoch FROM updated_at) * 1000)::bigint, password_hash, profile, coalesce(generation, 0) \
         FROM tessera.user_records LEFT JOIN tessera.subject_generations USING (subject) WHERE deleted_at IS NULL",
    )
    .fetch(&mut *connection);
    while let Some(row) = rows.try_next().await? {
        records.push(&parsed("user_records", user_of(&row)?.encode())?)?;
        users += 1;
    }
    drop(rows);
    let mut rows = sqlx::query("SELECT subject, generation FROM tessera.subject_generations").fetch(&mut *connection);
    while let Some(row) = rows.try_next().await? {
        let table = "subject_generations";
        let subject = parsed(table, Subject::parse(row.try_get(0)?))?;
        let generation = number(table, row.try_get(1)?)?;
        records.push(&parsed(table, UserEvent::SubjectRevoked { subject, generation }.encode())?)?;
    }
    drop(rows);
    let mut rows = sqlx::query(
        "SELECT subject, client_id, subject_generation, client_generation, scope, (extract(epoch FROM granted_at) * 1000)::bigint \
         FROM tessera.consent_records LEFT JOIN tessera.subject_generations USING (subject) \
         WHERE withdrawn_at IS NULL AND subject_generation = coalesce(generation, 0)",
    )
    .fetch(&mut *connection);
    while let Some(row) = rows.try_next().await? {
        records.push(&parsed("consent_records", consent_of(&row)?.encode())?)?;
    }
    drop(rows);
    records.finish()?;
    Ok(users)
}

fn user_of(row: &PgRow) -> Result<UserEvent, PostgresError> {
    const TABLE: &str = "user_records";
    let profile: ProfileDocument = parsed(TABLE, serde_json::from_str(row.try_get(6)?))?;
    let password = row.try_get::<Option<&str>, _>(5)?.map(PasswordHash::parse).transpose();
    let time = |at: usize| Ok::<_, PostgresError>(UnixTime::from_millis(number(TABLE, row.try_get(at)?)?));
    let user = User {
        subject: parsed(TABLE, Subject::parse(row.try_get(0)?))?,
        name: parsed(TABLE, UserName::parse(row.try_get(1)?))?,
        profile: parsed(TABLE, Profile::parse(profile))?,
        password: parsed(TABLE, password)?,
        is_disabled: row.try_get(2)?,
        created_at: time(3)?,
        updated_at: time(4)?,
    };
    Ok(UserEvent::UserStored { user: Arc::new(user), generation: number(TABLE, row.try_get(7)?)? })
}

fn consent_of(row: &PgRow) -> Result<UserEvent, PostgresError> {
    const TABLE: &str = "consent_records";
    let consent = Consent {
        client_id: parsed(TABLE, ClientId::parse(row.try_get(1)?))?,
        subject_generation: number(TABLE, row.try_get(2)?)?,
        client_generation: number(TABLE, row.try_get(3)?)?,
        scope: parsed(TABLE, Scope::parse(row.try_get(4)?))?,
        granted_at: UnixTime::from_millis(number(TABLE, row.try_get(5)?)?),
    };
    Ok(UserEvent::ConsentStored { subject: parsed(TABLE, Subject::parse(row.try_get(0)?))?, consent })
}

fn parsed<T, E: ToString>(table: &'static str, value: Result<T, E>) -> Result<T, PostgresError> {
    value.map_err(|error| PostgresError::Row { table, reason: error.to_string() })
}

fn number(table: &'static str, value: i64) -> Result<u64, PostgresError> {
    parsed(table, u64::try_from(value))
}

//! A data directory from the database: what is live, as a snapshot that a new journal goes on from.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection as _, Row as _};

use crate::client::event::{ClientRow, RegistrationRow};
use crate::client::id::ClientId;
use crate::clock::UnixTime;
use crate::journal::snapshot::{Foundation, RecordsSection, SectionContent};
use crate::journal::{Disk, JournalKeys, Lsn};
use crate::oauth::audience::Audience;
use crate::oauth::scope::Scope;
use crate::postgres::error::PostgresError;
use crate::postgres::session::{connect, read_mark};
use crate::token::access_token::Partition;
use crate::token::digest::TokenDigest;
use crate::token::grant::GrantTerms;
use crate::token::section::{SECTION_SCHEMA, SECTION_TOKENS, TokenSection, TokenSections};
use crate::token::state::NewToken;

/// What a rebuilt directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Clients that are registered.
    pub clients: u64,
    /// Tokens that have not expired, revoked ones too.
    pub tokens: u64,
    /// All up to this record is in it.
    pub applied_lsn: Lsn,
    /// The time of that record, about.
    pub high_water: UnixTime,
}

/// Makes a data directory of what the database holds. What the lost server had acknowledged after the last record that is
/// here is not in it.
///
/// # Errors
///
/// [`PostgresError`]; the directory then has no journal.
pub async fn rebuild(
    url: &str,
    keys: JournalKeys,
    target: Arc<dyn Disk>,
    now: UnixTime,
) -> Result<Restored, PostgresError> {
    let mut connection = connect(url).await?;
    // Everything as of one moment, however long it takes.
    sqlx::raw_sql(
        "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
        BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    )
    .execute(&mut connection)
    .await?;
    let mark = read_mark(&mut connection).await?.ok_or(PostgresError::Empty)?;
    if mark.key_id != keys.key_id {
        return Err(PostgresError::WrongKey);
    }
    let mut foundation = Foundation::begin(target, mark.instance, now, keys)?;
    let clients = write_clients(&mut connection, &mut foundation).await?;
    let tokens = write_tokens(&mut connection, &mut foundation).await?;
    drop(connection.close().await);
    let high_water = UnixTime::from_millis(mark.high_water_ms);
    foundation.finish(mark.applied_lsn, high_water, mark.epoch)?;
    Ok(Restored { clients, tokens, applied_lsn: mark.applied_lsn, high_water })
}

async fn write_clients(connection: &mut PgConnection, foundation: &mut Foundation) -> Result<u64, PostgresError> {
    let mut rows = sqlx::query(
        "SELECT client_id, generation, (extract(epoch FROM created_at) * 1000)::bigint, secret_sha256, metadata, \
           deleted_at IS NULL FROM tessera.client_records",
    )
    .fetch(connection);
    let (mut section, mut registered) = (RecordsSection::default(), 0);
    while let Some(row) = rows.try_next().await? {
        let client = client_of(&row)?;
        registered += u64::from(client.registration.is_some());
        let unreadable =
            |error: &dyn ToString| PostgresError::Row { table: "client_records", reason: error.to_string() };
        section.push(&client.to_entry().map_err(|error| unreadable(&error))?);
        if section.len_bytes() >= SECTION_BYTES {
            foundation.section(&std::mem::take(&mut section).content())?;
        }
    }
    foundation.section(&section.content())?;
    Ok(registered)
}

const SECTION_BYTES: usize = 1 << 20;

fn client_of(row: &PgRow) -> Result<ClientRow, PostgresError> {
    let unreadable = |reason: &str| PostgresError::Row { table: "client_records", reason: reason.to_owned() };
    let number = |value: i64| u64::try_from(value).map_err(|_| unreadable("a number is negative"));
    let registration = if row.try_get::<bool, _>(5)? {
        let secret = row.try_get::<Option<Vec<u8>>, _>(3)?;
        let secret = secret.map(|bytes| <[u8; 32]>::try_from(bytes).map_err(|_| unreadable("secret_sha256")));
        Some(RegistrationRow {
            created_at: UnixTime::from_millis(number(row.try_get(2)?)?),
            secret_sha256: secret.transpose()?,
            metadata: row.try_get(4)?,
        })
    } else {
        None
    };
    Ok(ClientRow { client_id: row.try_get(0)?, generation: number(row.try_get(1)?)?, registration })
}

async fn write_tokens(connection: &mut PgConnection, foundation: &mut Foundation) -> Result<u64, PostgresError> {
    let grants = read_grants(connection).await?;
    let mut rows = sqlx::query(
        "SELECT uuid_send(issued.token), uuid_send(issued.grant_id), extract(epoch FROM issued.at)::bigint, \
           extract(epoch FROM issued.expires_at)::bigint, issued.partition_number, revoked.token IS NOT NULL \
         FROM tessera.token_events issued \
         LEFT JOIN (SELECT DISTINCT token, expires_at FROM tessera.token_events WHERE kind = 2 AND expires_at > now()) revoked \
           ON revoked.token = issued.token AND revoked.expires_at = issued.expires_at \
         WHERE issued.kind = 1 AND issued.expires_at > now()",
    )
    .fetch(connection);
    let (mut sections, mut tokens) = (TokenSections::default(), 0);
    while let Some(row) = rows.try_next().await? {
        let (token, grant_id) = token_of(&row)?;
        let (grant, terms) = grants.get(&grant_id).ok_or_else(|| unreadable("its grant is not there"))?;
        if let Some(section) = sections.push(&token, row.try_get(5)?, *grant, terms) {
            foundation.section(&content(&section))?;
        }
        tokens += 1;
    }
    if let Some(section) = sections.finish() {
        foundation.section(&content(&section))?;
    }
    Ok(tokens)
}

fn content(section: &TokenSection) -> SectionContent<'_> {
    SectionContent {
        kind: SECTION_TOKENS,
        schema: SECTION_SCHEMA,
        scope: section.scope(),
        items: section.tokens,
        payload: &section.payload,
    }
}

fn token_of(row: &PgRow) -> Result<(NewToken, [u8; 16]), PostgresError> {
    let id = |at: usize| -> Result<[u8; 16], PostgresError> {
        row.try_get::<Vec<u8>, _>(at)?.try_into().map_err(|_| unreadable("an id has not 16 bytes"))
    };
    let seconds = |at: usize| -> Result<u32, PostgresError> {
        u32::try_from(row.try_get::<i64, _>(at)?).map_err(|_| unreadable("a time is out of range"))
    };
    let partition = u16::try_from(row.try_get::<i32, _>(4)?).map_err(|_| unreadable("partition_number"))?;
    let token = NewToken {
        digest: TokenDigest::from_bytes(id(0)?),
        partition: Partition(partition),
        issued_at: seconds(2)?,
        expires_at: seconds(3)?,
    };
    Ok((token, id(1)?))
}

type KnownGrants = HashMap<[u8; 16], (u64, Arc<GrantTerms>)>;

async fn read_grants(connection: &mut PgConnection) -> Result<KnownGrants, PostgresError> {
    let mut rows = sqlx::query(
        "SELECT uuid_send(id), client_id, client_generation, scope, audience FROM tessera.grants WHERE live_until > now()",
    )
    .fetch(connection);
    let mut grants = KnownGrants::new();
    while let Some(row) = rows.try_next().await? {
        let unreadable = |reason: &dyn ToString| PostgresError::Row { table: "grants", reason: reason.to_string() };
        let id = row.try_get::<Vec<u8>, _>(0)?.try_into().map_err(|_| unreadable(&"id"))?;
        let audience: Vec<String> = row.try_get(4)?;
        let terms = GrantTerms {
            client_id: ClientId::parse(row.try_get(1)?).map_err(|error| unreadable(&error))?,
            client_generation: u64::try_from(row.try_get::<i64, _>(2)?).map_err(|error| unreadable(&error))?,
            scope: Scope::parse(row.try_get(3)?).map_err(|error| unreadable(&error))?,
            audience: Audience::parse(audience.iter().map(String::as_str)).map_err(|error| unreadable(&error))?,
        };
        let number = grants.len() as u64;
        grants.insert(id, (number, Arc::new(terms)));
    }
    Ok(grants)
}

fn unreadable(reason: &str) -> PostgresError {
    PostgresError::Row { table: "token_events", reason: reason.to_owned() }
}

//! A data directory from the database: what is live, as a snapshot that a new journal goes on from.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection as _, Row as _};

use crate::client::event::{ClientRow, DynamicRow, RegistrationRow};
use crate::client::id::ClientId;
use crate::client::initial_access::InitialAccessId;
use crate::clock::UnixTime;
use crate::journal::snapshot::{Foundation, SectionContent};
use crate::journal::{Disk, Entry, JournalKeys, Lsn};
use crate::oauth::audience::Audience;
use crate::oauth::authentication_context::AuthenticationContext;
use crate::oauth::claims::ClaimsRequest;
use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;
use crate::postgres::error::PostgresError;
use crate::postgres::initial_access::write_initial_access;
use crate::postgres::keys::write_keys;
use crate::postgres::people::write_people;
use crate::postgres::proofs::write_proofs;
use crate::postgres::records::Records;
use crate::postgres::session::{connect, read_mark};
use crate::token::access_token::Partition;
use crate::token::digest::TokenDigest;
use crate::token::grant::{ClientTerms, GrantTerms};
use crate::token::grant_id::GrantId;
use crate::token::person::{PersonGrant, PersonTerms, RefreshState, Standing};
use crate::token::person_event::{KIND_GRANT_STORED, SCHEMA as PERSON_SCHEMA, encode_grant};
use crate::token::section::{SECTION_SCHEMA, SECTION_TOKENS, TokenSection, TokenSections};
use crate::token::state::NewToken;

/// What a rebuilt directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Clients that are registered.
    pub clients: u64,
    /// Users that are registered.
    pub users: u64,
    /// People's grants that have neither expired nor been ended.
    pub grants: u64,
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
    write_initial_access(&mut connection, &mut foundation).await?;
    let clients = write_clients(&mut connection, &mut foundation).await?;
    let users = write_people(&mut connection, &mut foundation).await?;
    write_keys(&mut connection, &mut foundation).await?;
    write_proofs(&mut connection, &mut foundation).await?;
    let known = write_grants(&mut connection, &mut foundation).await?;
    let tokens = write_tokens(&mut connection, &mut foundation, &known).await?;
    drop(connection.close().await);
    let high_water = UnixTime::from_millis(mark.high_water_ms);
    foundation.finish(mark.applied_lsn, high_water, mark.epoch)?;
    let grants = known.people;
    Ok(Restored { clients, users, grants, tokens, applied_lsn: mark.applied_lsn, high_water })
}

async fn write_clients(connection: &mut PgConnection, foundation: &mut Foundation) -> Result<u64, PostgresError> {
    let mut rows = sqlx::query(
        "SELECT client_id, generation, (extract(epoch FROM created_at) * 1000)::bigint, secret_sha256, metadata, \
           deleted_at IS NULL, secret_hash, initial_access_token, registration_number, \
           (extract(epoch FROM used_at) * 1000)::bigint FROM tessera.client_records",
    )
    .fetch(connection);
    let (mut records, mut registered) = (Records::new(foundation), 0);
    while let Some(row) = rows.try_next().await? {
        let client = client_of(&row)?;
        registered += u64::from(client.registration.is_some());
        let unreadable =
            |error: &dyn ToString| PostgresError::Row { table: "client_records", reason: error.to_string() };
        records.push(&client.to_entry().map_err(|error| unreadable(&error))?)?;
    }
    records.finish()?;
    Ok(registered)
}

fn client_of(row: &PgRow) -> Result<ClientRow, PostgresError> {
    let unreadable = |reason: &str| PostgresError::Row { table: "client_records", reason: reason.to_owned() };
    let number = |value: i64| u64::try_from(value).map_err(|_| unreadable("a number is negative"));
    let registration = if row.try_get::<bool, _>(5)? {
        let secret = row.try_get::<Option<Vec<u8>>, _>(3)?;
        let secret = secret.map(|bytes| <[u8; 32]>::try_from(bytes).map_err(|_| unreadable("secret_sha256")));
        Some(RegistrationRow {
            created_at: UnixTime::from_millis(number(row.try_get(2)?)?),
            secret_sha256: secret.transpose()?,
            secret_hash: row.try_get(6)?,
            metadata: row.try_get(4)?,
            dynamic: dynamic_of(row)?,
        })
    } else {
        None
    };
    Ok(ClientRow { client_id: row.try_get(0)?, generation: number(row.try_get(1)?)?, registration })
}

fn dynamic_of(row: &PgRow) -> Result<Option<DynamicRow>, PostgresError> {
    let unreadable = |reason: &str| PostgresError::Row { table: "client_records", reason: reason.to_owned() };
    let Some(initial_access) = row.try_get::<Option<&str>, _>(7)? else { return Ok(None) };
    Ok(Some(DynamicRow {
        initial_access: InitialAccessId::parse(initial_access).ok_or_else(|| unreadable("initial_access_token"))?,
        number: u32::try_from(row.try_get::<i64, _>(8)?).map_err(|_| unreadable("registration_number"))?,
        used_at: UnixTime::from_millis(u64::try_from(row.try_get::<i64, _>(9)?).map_err(|_| unreadable("used_at"))?),
    }))
}

/// What is known of a grant.
enum Known {
    InForce {
        /// No other terms have it.
        number: u64,
        terms: GrantTerms,
    },
    /// Its tokens are dead, and left out like itself.
    Ended,
}

#[derive(Default)]
struct KnownGrants {
    by_id: HashMap<[u8; 16], Known>,
    /// How many of them are people's and in force.
    people: u64,
}

/// Reads all grants, and writes those of people.
async fn write_grants(
    connection: &mut PgConnection,
    foundation: &mut Foundation,
) -> Result<KnownGrants, PostgresError> {
    let mut rows = sqlx::query(
        "SELECT uuid_send(id) AS id, subject, client_id, client_generation, scope, audience, subject_generation, amr, acr, claims, \
           extract(epoch FROM auth_time)::bigint AS auth_time, ended_at IS NOT NULL AS is_ended, \
           extract(epoch FROM created_at)::bigint AS created_at, uuid_send(code) AS code, \
           extract(epoch FROM access_expires_at)::bigint AS access_expires_at, refresh_generation, \
           uuid_send(refresh_token) AS refresh_token, uuid_send(previous_refresh_token) AS previous_refresh_token, \
           extract(epoch FROM refreshed_at)::bigint AS refreshed_at, \
           extract(epoch FROM refresh_idle_until)::bigint AS refresh_idle_until, \
           extract(epoch FROM refresh_expires_at)::bigint AS refresh_expires_at \
         FROM tessera.grants WHERE live_until > now()",
    )
    .fetch(connection);
    let (mut known, mut records) = (KnownGrants::default(), Records::new(foundation));
    while let Some(row) = rows.try_next().await? {
        let row = GrantColumns(&row);
        let id = row.required("id", GrantColumns::bytes)?;
        if row.0.try_get("is_ended")? {
            known.by_id.insert(id, Known::Ended);
            continue;
        }
        let terms = row.terms(GrantId::from_bytes(id))?;
        if let Some(grant) = row.person_grant(&terms)? {
            let id = GrantId::from_bytes(id);
            let payload = encode_grant(id, &grant, None).map_err(|error| GrantColumns::unreadable(&error))?;
            let (kind, routing_id) = (KIND_GRANT_STORED, id.routing_id().0);
            records.push(&Entry { kind, schema: PERSON_SCHEMA, routing_id, payload })?;
            known.people += 1;
        }
        let number = known.by_id.len() as u64;
        known.by_id.insert(id, Known::InForce { number, terms });
    }
    records.finish()?;
    Ok(known)
}

/// A row of `grants`.
struct GrantColumns<'a>(&'a PgRow);

impl GrantColumns<'_> {
    fn terms(&self, grant_id: GrantId) -> Result<GrantTerms, PostgresError> {
        let audience: Vec<String> = self.0.try_get("audience")?;
        let person = self.number::<u64>("subject_generation")?.map(|subject_generation| {
            Ok::<_, PostgresError>(PersonTerms {
                grant_id,
                subject: Self::parsed(Subject::parse(self.0.try_get("subject")?))?,
                subject_generation,
                auth_time: self.required("auth_time", Self::number)?,
                context: self.context()?,
                standing: Standing::default(),
            })
        });
        let client = ClientTerms {
            id: Self::parsed(ClientId::parse(self.0.try_get("client_id")?))?,
            generation: self.required("client_generation", Self::number)?,
            in_force: Arc::default(),
            scope: Self::parsed(Scope::parse(self.0.try_get("scope")?))?,
            audience: Self::parsed(Audience::parse(audience.iter().map(String::as_str)))?,
            claims: Self::parsed(self.0.try_get::<Option<&str>, _>("claims")?.map(ClaimsRequest::stored).transpose())?,
        };
        Ok(GrantTerms { client: Arc::new(client), person: person.transpose()?.map(Arc::new) })
    }

    fn context(&self) -> Result<AuthenticationContext, PostgresError> {
        let amr: Option<Vec<String>> = self.0.try_get("amr")?;
        Ok(AuthenticationContext::new(amr.iter().flatten().map(String::as_str), self.0.try_get("acr")?))
    }

    /// `None` where a client acts for itself, and where the record of the grant had not come: its tokens are there all the same.
    fn person_grant(&self, terms: &GrantTerms) -> Result<Option<PersonGrant>, PostgresError> {
        let Some(redeemed) = self.digest("code")? else { return Ok(None) };
        Ok(Some(PersonGrant {
            terms: terms.clone(),
            created_at: self.required("created_at", Self::number)?,
            redeemed,
            refresh: self.refresh()?,
            access_expires_at: self.required("access_expires_at", Self::number)?,
        }))
    }

    fn refresh(&self) -> Result<Option<RefreshState>, PostgresError> {
        let Some(generation) = self.number("refresh_generation")? else { return Ok(None) };
        Ok(Some(RefreshState {
            generation,
            current: self.required("refresh_token", Self::digest)?,
            previous: self.digest("previous_refresh_token")?,
            refreshed_at: self.required("refreshed_at", Self::number)?,
            idle_until: self.required("refresh_idle_until", Self::number)?,
            expires_at: self.required("refresh_expires_at", Self::number)?,
        }))
    }

    fn required<T>(
        &self,
        column: &'static str,
        read: impl FnOnce(&Self, &'static str) -> Result<Option<T>, PostgresError>,
    ) -> Result<T, PostgresError> {
        read(self, column)?.ok_or_else(|| Self::unreadable(&format!("{column} is null")))
    }

    fn digest(&self, column: &'static str) -> Result<Option<TokenDigest>, PostgresError> {
        Ok(self.bytes(column)?.map(TokenDigest::from_bytes))
    }

    fn bytes(&self, column: &'static str) -> Result<Option<[u8; 16]>, PostgresError> {
        let value = self.0.try_get::<Option<Vec<u8>>, _>(column)?;
        value.map(|bytes| bytes.try_into().map_err(|_| Self::unreadable(&column))).transpose()
    }

    fn number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<Option<T>, PostgresError> {
        let value = self.0.try_get::<Option<i64>, _>(column)?;
        value.map(|value| T::try_from(value).map_err(|_| Self::unreadable(&column))).transpose()
    }

    fn parsed<T, E: ToString>(value: Result<T, E>) -> Result<T, PostgresError> {
        value.map_err(|error| Self::unreadable(&error))
    }

    fn unreadable(reason: &dyn ToString) -> PostgresError {
        PostgresError::Row { table: "grants", reason: reason.to_string() }
    }
}

async fn write_tokens(
    connection: &mut PgConnection,
    foundation: &mut Foundation,
    grants: &KnownGrants,
) -> Result<u64, PostgresError> {
    let mut rows = sqlx::query(
        "SELECT uuid_send(issued.token), uuid_send(issued.grant_id), extract(epoch FROM issued.at)::bigint, \
           extract(epoch FROM issued.expires_at)::bigint, issued.partition_number, revoked.token IS NOT NULL, issued.scope, \
           issued.audience \
         FROM tessera.token_events issued \
         LEFT JOIN (SELECT DISTINCT token, expires_at FROM tessera.token_events WHERE kind = 2 AND expires_at > now()) revoked \
           ON revoked.token = issued.token AND revoked.expires_at = issued.expires_at \
         WHERE issued.kind = 1 AND issued.expires_at > now()",
    )
    .fetch(connection);
    let (mut sections, mut tokens) = (TokenSections::default(), 0);
    // Terms that are narrower are those of one token.
    let mut narrower = u64::MAX;
    while let Some(row) = rows.try_next().await? {
        let (token, grant_id) = token_of(&row)?;
        let known = grants.by_id.get(&grant_id).ok_or_else(|| unreadable("its grant is not there"))?;
        let Known::InForce { number, terms } = known else { continue };
        let scope = row.try_get::<Option<&str>, _>(6)?.map(Scope::parse).transpose();
        let audience = row.try_get::<Option<Vec<String>>, _>(7)?.map(Audience::try_from).transpose();
        let own = terms.narrowed(
            scope.map_err(|error| unreadable(&error.to_string()))?,
            audience.map_err(|error| unreadable(&error.to_string()))?,
        );
        let section = if own.client == terms.client {
            sections.push(&token, row.try_get(5)?, *number, terms)
        } else {
            narrower -= 1;
            sections.push(&token, row.try_get(5)?, narrower, &own)
        };
        if let Some(section) = section {
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

fn unreadable(reason: &str) -> PostgresError {
    PostgresError::Row { table: "token_events", reason: reason.to_owned() }
}

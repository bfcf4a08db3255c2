//! Grants: their rows. Those of a client that acts for itself follow from its tokens; a person's grant has records of its own.
//!
//! A code or a device that waits has no row: a copy that is behind would not know that it was redeemed, and a rebuild would let it
//! be redeemed again. Who waited asks anew.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use ring::digest::{Context, SHA256};
use sqlx::Transaction;

use crate::journal::Lsn;
use crate::postgres::batch::TokenRow;
use crate::postgres::error::PostgresError;
use crate::postgres::session::signed;
use crate::token::digest::TokenDigest;
use crate::token::event::TermsView;
use crate::token::grant_id::GrantId;
use crate::token::person::RefreshState;
use crate::token::person_event::GrantView;

/// A row of `grants`, but for its times.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GrantRow {
    pub(super) id: [u8; 16],
    pub(super) client_id: String,
    pub(super) client_generation: u64,
    pub(super) scope: String,
    pub(super) audience: Vec<String>,
    pub(super) claims: Option<String>,
    /// `None` where the client acts for itself.
    pub(super) person: Option<PersonRow>,
}

/// Who granted it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PersonRow {
    pub(super) subject: String,
    pub(super) subject_generation: u64,
    pub(super) auth_time: u32,
    pub(super) amr: Vec<String>,
    pub(super) acr: Option<String>,
}

impl PersonRow {
    /// As JSON: an array of arrays would have to be a matrix.
    fn amr(&self) -> String {
        serde_json::to_string(&self.amr).unwrap_or_default()
    }
}

impl GrantRow {
    pub(super) fn of(terms: &TermsView<'_>) -> Self {
        let person = terms.person.as_ref();
        Self {
            id: person.map_or_else(|| id_of(terms), |person| *person.grant_id.as_bytes()),
            client_id: terms.client_id.to_owned(),
            client_generation: terms.client_generation,
            scope: terms.scope.to_owned(),
            audience: terms.audience.iter().map(|member| (*member).to_owned()).collect(),
            claims: terms.claims.map(str::to_owned),
            person: person.map(|person| PersonRow {
                subject: person.subject.to_owned(),
                subject_generation: person.subject_generation,
                auth_time: person.auth_time,
                amr: person.amr.iter().map(|method| (*method).to_owned()).collect(),
                acr: person.acr.map(str::to_owned),
            }),
        }
    }

    fn subject(&self) -> &str {
        self.person.as_ref().map_or(&self.client_id, |person| &person.subject)
    }

    fn is_of(&self, terms: &TermsView<'_>) -> bool {
        self.client_id == terms.client_id
            && self.client_generation == terms.client_generation
            && self.scope == terms.scope
            && self.audience.iter().eq(terms.audience.iter())
    }
}

/// The id of what a client has that acts for itself.
fn id_of(terms: &TermsView<'_>) -> [u8; 16] {
    let TermsView { client_id, client_generation, scope, audience, .. } = terms;
    let mut hash = Context::new(&SHA256);
    // Lengths before texts, so that no two terms are hashed from the same bytes.
    let mut text = |text: &str| {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    text(client_id);
    text(scope);
    audience.iter().for_each(|member| text(member));
    hash.update(&client_generation.to_le_bytes());
    let mut id = [0; 16];
    id.iter_mut().zip(hash.finish().as_ref()).for_each(|(byte, hashed)| *byte = *hashed);
    id
}

/// The grants that were met last, of clients that act for themselves: a person's has few tokens.
#[derive(Default)]
pub(super) struct Grants {
    by_hash: HashMap<u64, Arc<GrantRow>>,
    hasher: RandomState,
}

/// How many are remembered.
const GRANTS_MAX: usize = 100_000;

impl Grants {
    pub(super) fn row(&mut self, terms: &TermsView<'_>) -> Arc<GrantRow> {
        if terms.person.is_some() {
            return Arc::new(GrantRow::of(terms));
        }
        let hash = self.hasher.hash_one(terms);
        if let Some(row) = self.by_hash.get(&hash).filter(|row| row.is_of(terms)) {
            return Arc::clone(row);
        }
        if self.by_hash.len() >= GRANTS_MAX {
            self.by_hash.clear();
        }
        let row = Arc::new(GrantRow::of(terms));
        self.by_hash.insert(hash, Arc::clone(&row));
        row
    }
}

/// What a record says of a person's grant.
#[derive(Clone, Debug)]
pub(super) struct GrantChange {
    pub(super) id: GrantId,
    /// `None` where it was ended.
    pub(super) stored: Option<StoredGrant>,
    pub(super) lsn: Lsn,
    pub(super) at_ms: u64,
}

/// A person's grant as of a record.
#[derive(Clone, Debug)]
pub(super) struct StoredGrant {
    pub(super) row: Arc<GrantRow>,
    code: TokenDigest,
    created_at: u32,
    access_expires_at: u32,
    refresh: Option<RefreshState>,
}

impl StoredGrant {
    pub(super) fn of(view: &GrantView<'_>) -> Self {
        Self {
            row: Arc::new(GrantRow::of(&view.terms)),
            code: view.redeemed,
            created_at: view.created_at,
            access_expires_at: view.access_expires_at,
            refresh: view.refresh,
        }
    }

    fn live_until(&self) -> u32 {
        self.refresh.map_or(0, |refresh| refresh.live_until()).max(self.access_expires_at)
    }
}

type Open<'a> = Transaction<'a, sqlx::Postgres>;

/// Writes what the tokens were issued under. What a record of the same batch says of a person's grant is the whole of it, so there
/// is nothing to add; of a snapshot a token may be there whose grant is in the journal after it.
pub(super) async fn upsert_grants(
    transaction: &mut Open<'_>,
    rows: &[TokenRow],
    changes: &[GrantChange],
) -> Result<(), PostgresError> {
    struct Times {
        first_lsn: Lsn,
        live_until: u32,
    }
    let stored: HashSet<&[u8; 16]> = changes.iter().map(|change| change.id.as_bytes()).collect();
    let mut grants: HashMap<[u8; 16], (&GrantRow, Times)> = HashMap::new();
    for row in rows {
        let Some(grant) = row.grant.as_ref().filter(|grant| !stored.contains(&grant.id)) else { continue };
        let new = || (&**grant, Times { first_lsn: row.lsn, live_until: row.expires_at });
        let (_, times) = grants.entry(grant.id).or_insert_with(new);
        times.first_lsn = times.first_lsn.min(row.lsn);
        times.live_until = times.live_until.max(row.expires_at);
    }
    if grants.is_empty() {
        return Ok(());
    }
    let grants: Vec<_> = grants.into_values().collect();
    let texts = |text: fn(&GrantRow) -> String| grants.iter().map(|(grant, _)| text(grant)).collect::<Vec<_>>();
    let numbers = |number: fn(&GrantRow, &Times) -> u64| {
        grants.iter().map(|(grant, times)| signed(number(grant, times))).collect::<Vec<_>>()
    };
    let of_person = |number: fn(&PersonRow) -> u64| {
        grants.iter().map(|(grant, _)| Some(signed(number(grant.person.as_ref()?)))).collect::<Vec<_>>()
    };
    sqlx::query(
        "INSERT INTO tessera.grants AS known \
           (id, subject, client_id, client_generation, scope, audience, first_lsn, live_until, subject_generation, auth_time, \
            amr, acr, claims) \
         SELECT encode(id, 'hex')::uuid, subject, client_id, generation, scope, \
           ARRAY(SELECT json_array_elements_text(audience::json)), first_lsn, to_timestamp(live_until), \
           subject_generation, to_timestamp(auth_time), \
           CASE WHEN amr IS NOT NULL THEN ARRAY(SELECT json_array_elements_text(amr::json)) END, acr, claims \
         FROM unnest($1::bytea[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], \
             $9::bigint[], $10::bigint[], $11::text[], $12::text[], $13::text[]) \
           AS new (id, subject, client_id, generation, scope, audience, first_lsn, live_until, subject_generation, auth_time, \
             amr, acr, claims) \
         ON CONFLICT (id) DO UPDATE SET live_until = excluded.live_until WHERE known.live_until < excluded.live_until",
    )
    .bind(grants.iter().map(|(grant, _)| grant.id.to_vec()).collect::<Vec<_>>())
    .bind(texts(|grant| grant.subject().to_owned()))
    .bind(texts(|grant| grant.client_id.clone()))
    .bind(numbers(|grant, _| grant.client_generation))
    .bind(texts(|grant| grant.scope.clone()))
    .bind(texts(|grant| serde_json::to_string(&grant.audience).unwrap_or_default()))
    .bind(numbers(|_, times| times.first_lsn.value()))
    .bind(numbers(|_, times| u64::from(times.live_until)))
    .bind(of_person(|person| person.subject_generation))
    .bind(of_person(|person| u64::from(person.auth_time)))
    .bind(grants.iter().map(|(grant, _)| grant.person.as_ref().map(PersonRow::amr)).collect::<Vec<_>>())
    .bind(grants.iter().map(|(grant, _)| grant.person.as_ref()?.acr.clone()).collect::<Vec<_>>())
    .bind(grants.iter().map(|(grant, _)| grant.claims.clone()).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Writes what the records say of people's grants.
pub(super) async fn upsert_people_grants(
    transaction: &mut Open<'_>,
    changes: &[GrantChange],
) -> Result<(), PostgresError> {
    // Of several changes of a grant the last counts, and one statement may touch a row once.
    let mut stored: HashMap<GrantId, Change<'_>> = HashMap::new();
    for GrantChange { id, stored: grant, lsn, .. } in changes {
        if let Some(grant) = grant {
            let first_lsn = stored.get(id).map_or(*lsn, |before| before.first_lsn);
            stored.insert(*id, Change { grant, first_lsn, lsn: *lsn });
        }
    }
    store(transaction, &stored.into_values().collect::<Vec<_>>()).await?;
    let ended: Vec<_> = changes.iter().filter(|change| change.stored.is_none()).collect();
    end(transaction, &ended).await
}

struct Change<'a> {
    grant: &'a StoredGrant,
    first_lsn: Lsn,
    lsn: Lsn,
}

async fn store(transaction: &mut Open<'_>, stored: &[Change<'_>]) -> Result<(), PostgresError> {
    if stored.is_empty() {
        return Ok(());
    }
    let digests = |digest: fn(&StoredGrant) -> Option<TokenDigest>| {
        stored.iter().map(|change| Some(digest(change.grant)?.as_bytes().to_vec())).collect::<Vec<_>>()
    };
    let texts = |text: fn(&GrantRow) -> String| stored.iter().map(|change| text(&change.grant.row)).collect::<Vec<_>>();
    let numbers =
        |number: fn(&Change<'_>) -> u64| stored.iter().map(|change| signed(number(change))).collect::<Vec<_>>();
    let of_person = |number: fn(&PersonRow) -> u64| {
        stored.iter().map(|change| Some(signed(number(change.grant.row.person.as_ref()?)))).collect::<Vec<_>>()
    };
    let of_refresh = |number: fn(&RefreshState) -> u32| {
        stored.iter().map(|change| Some(i64::from(number(change.grant.refresh.as_ref()?)))).collect::<Vec<_>>()
    };
    sqlx::query(
        "INSERT INTO tessera.grants AS known \
           (id, subject, client_id, client_generation, scope, audience, first_lsn, live_until, subject_generation, auth_time, \
            created_at, code, access_expires_at, refresh_generation, refresh_token, previous_refresh_token, refreshed_at, \
            refresh_idle_until, refresh_expires_at, lsn, amr, acr, claims) \
         SELECT encode(id, 'hex')::uuid, subject, client_id, client_generation, scope, \
           ARRAY(SELECT json_array_elements_text(audience::json)), first_lsn, to_timestamp(live_until), subject_generation, \
           to_timestamp(auth_time), to_timestamp(created_at), encode(code, 'hex')::uuid, to_timestamp(access_expires_at), \
           refresh_generation, encode(refresh_token, 'hex')::uuid, encode(previous_refresh_token, 'hex')::uuid, \
           to_timestamp(refreshed_at), to_timestamp(refresh_idle_until), to_timestamp(refresh_expires_at), lsn, \
           CASE WHEN amr IS NOT NULL THEN ARRAY(SELECT json_array_elements_text(amr::json)) END, acr, claims \
         FROM unnest($1::bytea[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], \
             $9::bigint[], $10::bigint[], $11::bigint[], $12::bytea[], $13::bigint[], $14::bigint[], $15::bytea[], $16::bytea[], \
             $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::text[], $22::text[], $23::text[]) \
           AS new (id, subject, client_id, client_generation, scope, audience, first_lsn, live_until, subject_generation, \
             auth_time, created_at, code, access_expires_at, refresh_generation, refresh_token, previous_refresh_token, \
             refreshed_at, refresh_idle_until, refresh_expires_at, lsn, amr, acr, claims) \
         ON CONFLICT (id) DO UPDATE SET scope = excluded.scope, amr = excluded.amr, acr = excluded.acr, claims = excluded.claims, live_until = excluded.live_until, \
           created_at = excluded.created_at, code = excluded.code, access_expires_at = excluded.access_expires_at, \
           refresh_generation = excluded.refresh_generation, refresh_token = excluded.refresh_token, \
           previous_refresh_token = excluded.previous_refresh_token, refreshed_at = excluded.refreshed_at, \
           refresh_idle_until = excluded.refresh_idle_until, refresh_expires_at = excluded.refresh_expires_at, \
           lsn = excluded.lsn \
         WHERE known.lsn IS NULL OR known.lsn <= excluded.lsn",
    )
    .bind(stored.iter().map(|change| change.grant.row.id.to_vec()).collect::<Vec<_>>())
    .bind(texts(|row| row.subject().to_owned()))
    .bind(texts(|row| row.client_id.clone()))
    .bind(numbers(|change| change.grant.row.client_generation))
    .bind(texts(|row| row.scope.clone()))
    .bind(texts(|row| serde_json::to_string(&row.audience).unwrap_or_default()))
    .bind(numbers(|change| change.first_lsn.value()))
    .bind(numbers(|change| u64::from(change.grant.live_until())))
    .bind(of_person(|person| person.subject_generation))
    .bind(of_person(|person| u64::from(person.auth_time)))
    .bind(numbers(|change| u64::from(change.grant.created_at)))
    .bind(digests(|grant| Some(grant.code)))
    .bind(numbers(|change| u64::from(change.grant.access_expires_at)))
    .bind(of_refresh(|refresh| refresh.generation))
    .bind(digests(|grant| Some(grant.refresh?.current)))
    .bind(digests(|grant| grant.refresh?.previous))
    .bind(of_refresh(|refresh| refresh.refreshed_at))
    .bind(of_refresh(|refresh| refresh.idle_until))
    .bind(of_refresh(|refresh| refresh.expires_at))
    .bind(numbers(|change| change.lsn.value()))
    .bind(stored.iter().map(|change| change.grant.row.person.as_ref().map(PersonRow::amr)).collect::<Vec<_>>())
    .bind(stored.iter().map(|change| change.grant.row.person.as_ref()?.acr.clone()).collect::<Vec<_>>())
    .bind(stored.iter().map(|change| change.grant.row.claims.clone()).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Nothing brings back a grant that was ended, so no later record is to be heeded.
async fn end(transaction: &mut Open<'_>, ended: &[&GrantChange]) -> Result<(), PostgresError> {
    if ended.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE tessera.grants AS known SET ended_at = to_timestamp(new.at_ms / 1000.0) \
         FROM unnest($1::bytea[], $2::bigint[]) AS new (id, at_ms) \
         WHERE known.id = encode(new.id, 'hex')::uuid AND known.ended_at IS NULL",
    )
    .bind(ended.iter().map(|change| change.id.as_bytes().to_vec()).collect::<Vec<_>>())
    .bind(ended.iter().map(|change| signed(change.at_ms)).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::person_event::PersonView;

    fn terms<'a>(client_id: &'a str, scope: &'a str, audience: &[&'a str]) -> TermsView<'a> {
        TermsView { client_id, client_generation: 0, scope, audience: audience.to_vec(), claims: None, person: None }
    }

    #[test]
    fn equal_terms_have_one_id_and_others_another() {
        let mut grants = Grants::default();
        let one = grants.row(&terms("a", "b c", &["d"]));
        assert!(Arc::ptr_eq(&one, &grants.row(&terms("a", "b c", &["d"]))));
        assert_eq!(one.id, Grants::default().row(&terms("a", "b c", &["d"])).id);
        for other in [terms("ab", " c", &["d"]), terms("a", "b c", &[]), terms("a", "b c", &["d", ""])] {
            assert_ne!(one.id, grants.row(&other).id, "{other:?}");
        }
        let next = TermsView { client_generation: 1, ..terms("a", "b c", &["d"]) };
        assert_ne!(one.id, grants.row(&next).id);
    }

    #[test]
    fn a_persons_grant_has_its_own_id_whatever_its_terms_are() {
        let person = |id| PersonView {
            grant_id: GrantId::from_bytes([id; 16]),
            subject: "ada",
            subject_generation: 2,
            auth_time: 3,
            amr: vec!["pwd"],
            acr: None,
        };
        let mut grants = Grants::default();
        let client = grants.row(&terms("a", "b", &[]));
        for id in [1, 2] {
            let row = grants.row(&TermsView { person: Some(person(id)), ..terms("a", "b", &[]) });
            let (subject, amr) = ("ada".to_owned(), vec!["pwd".to_owned()]);
            let expected = PersonRow { subject, subject_generation: 2, auth_time: 3, amr, acr: None };
            assert_eq!((row.id, row.subject(), &row.person), ([id; 16], "ada", &Some(expected)));
        }
        assert_eq!((client.subject(), &grants.row(&terms("a", "b", &[])).person), ("a", &None));
    }
}

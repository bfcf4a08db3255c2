//! Grants: what a token may be used for, held once for all the tokens that share it.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prefetch_index::prefetch_index;
use sdd::{AtomicOwned, Guard, Owned, Tag};
use serde::Serialize;

use crate::client::id::ClientId;
use crate::client::registry::Generation;
use crate::oauth::audience::Audience;
use crate::oauth::claims::ClaimsRequest;
use crate::oauth::scope::Scope;
use crate::token::person::PersonTerms;
use crate::token::slot::GRANT_ID_MAX;

/// What was granted, to whom and by whom. Tokens of equal terms share one [`Grant`]. Clones share both parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GrantTerms {
    /// What the client may do. Many people grant a client the same.
    pub client: Arc<ClientTerms>,
    /// The person who granted it; `None` where the client acts for itself.
    pub person: Option<Arc<PersonTerms>>,
}

/// What a client may do, whoever granted it.
#[derive(Clone, Debug)]
pub struct ClientTerms {
    /// The client that it was granted to.
    pub id: ClientId,
    /// The client's generation at that time.
    pub generation: u64,
    /// The client's generation that is in force. Not a part of what was granted: equal terms may have it or not.
    pub in_force: Arc<Generation>,
    /// What it allows.
    pub scope: Scope,
    /// Whom its tokens are meant for.
    pub audience: Audience,
    /// What it has asked by name to know of the person (`OpenID` Connect Core §5.5).
    pub claims: Option<ClaimsRequest>,
}

impl GrantTerms {
    /// The same, granted by a person.
    #[must_use]
    pub fn granted_by(&self, person: PersonTerms) -> Self {
        Self { client: Arc::clone(&self.client), person: Some(Arc::new(person)) }
    }

    /// The same, with what the client has asked by name to know of the person.
    #[must_use]
    pub fn asking(self, claims: Option<ClaimsRequest>) -> Self {
        if claims.is_none() {
            return self;
        }
        Self { client: Arc::new(ClientTerms { claims, ..ClientTerms::clone(&self.client) }), person: self.person }
    }

    /// The same, of another scope or for others, where these are named.
    #[must_use]
    pub fn narrowed(&self, scope: Option<Scope>, audience: Option<Audience>) -> Self {
        if scope.is_none() && audience.is_none() {
            return self.clone();
        }
        let ClientTerms { id, generation, in_force, scope: whole, audience: all, claims } =
            ClientTerms::clone(&self.client);
        let (scope, audience) = (scope.unwrap_or(whole), audience.unwrap_or(all));
        Self {
            client: Arc::new(ClientTerms { id, generation, in_force, scope, audience, claims }),
            person: self.person.clone(),
        }
    }

    /// Whom its tokens speak of. A client that acts for itself is its own subject (RFC 9068 §2.2).
    #[must_use]
    pub fn subject(&self) -> &str {
        self.person.as_ref().map_or(self.client.id.as_str(), |person| person.subject.as_str())
    }

    /// Whether neither client nor person has ended it, durably or not yet.
    #[must_use]
    pub fn are_in_force(&self) -> bool {
        self.client.in_force.value() == self.client.generation
            && self.person.as_ref().is_none_or(|person| person.is_in_force() && person.ended() == 0)
    }
}

impl From<ClientTerms> for GrantTerms {
    fn from(client: ClientTerms) -> Self {
        Self { client: Arc::new(client), person: None }
    }
}

impl PartialEq for ClientTerms {
    fn eq(&self, other: &Self) -> bool {
        let Self { id, generation, in_force: _, scope, audience, claims } = self;
        *id == other.id
            && *generation == other.generation
            && *scope == other.scope
            && *audience == other.audience
            && *claims == other.claims
    }
}

impl Eq for ClientTerms {}

impl Hash for ClientTerms {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { id, generation, in_force: _, scope, audience, claims } = self;
        id.hash(state);
        generation.hash(state);
        scope.hash(state);
        audience.hash(state);
        // Most have none, and that is nothing to hash.
        if let Some(claims) = claims {
            claims.hash(state);
        }
    }
}

/// A grant that at least one token hangs on.
pub struct Grant {
    id: u64,
    /// The same as in the terms, so that a look-up need not follow them.
    client_generation: u64,
    client_in_force: Arc<Generation>,
    introspection: Box<str>,
    terms: GrantTerms,
}

impl Grant {
    /// Its number in its shard, never reused while the process lives.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// What was granted, and to whom.
    #[must_use]
    pub const fn terms(&self) -> &GrantTerms {
        &self.terms
    }

    /// Whether client and subject are still of the generations that it was made under.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        let is_standing = self.terms.person.as_ref().is_none_or(|person| person.is_in_force());
        self.client_in_force.value() == self.client_generation && is_standing
    }

    /// The shard's sequence of its end; 0 while it has none. Only a person's grant is ended by itself.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.terms.person.as_ref().map_or(0, |person| person.ended())
    }

    /// Has the processor fetch what an introspection reads of it; first of all what leads to the text.
    pub fn prefetch(&self) {
        prefetch_index(slice::from_ref(&self.introspection), 0);
        prefetch_index(slice::from_ref(&self.client_in_force), 0);
    }

    /// Has the processor fetch the text, once [`Self::prefetch`] is done.
    pub fn prefetch_introspection(&self) {
        let text = self.introspection.as_bytes();
        prefetch_index(text, 0);
        prefetch_index(text, text.len() / 2);
        prefetch_index(text, text.len());
    }

    /// Its members of an introspection response (RFC 7662 §2.2), as JSON without the braces.
    #[must_use]
    pub const fn introspection(&self) -> &str {
        &self.introspection
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Grant").field("id", &self.id).field("terms", &self.terms).finish_non_exhaustive()
    }
}

/// The grants of a shard by id, for readers. Ids are dense, so it is an array of arrays.
pub struct GrantDirectory {
    chunks: AtomicOwned<Chunks>,
}

type Chunks = Vec<Option<Arc<Chunk>>>;

/// Fewer in unit tests: a simulation makes shards by the ten thousand.
const GRANTS_PER_CHUNK: usize = if cfg!(test) { 64 } else { 4096 };

struct Chunk {
    grants: Box<[AtomicOwned<Grant>]>,
}

impl GrantDirectory {
    fn new() -> Self {
        Self { chunks: AtomicOwned::new(Chunks::new()) }
    }

    /// The grant of that id, if a token still hangs on it.
    pub(super) fn find<'g>(&self, id: u64, guard: &'g Guard) -> Option<&'g Grant> {
        let (chunk, place) = position(id);
        self.cell(chunk, place, guard)?.load(Ordering::Acquire, guard).as_ref()
    }

    fn cell<'g>(&self, chunk: usize, place: usize, guard: &'g Guard) -> Option<&'g AtomicOwned<Grant>> {
        self.chunks(guard).get(chunk)?.as_ref()?.grants.get(place)
    }

    fn chunks<'g>(&self, guard: &'g Guard) -> &'g [Option<Arc<Chunk>>] {
        self.chunks.load(Ordering::Acquire, guard).as_ref().map_or(&[], Vec::as_slice)
    }

    /// Puts other chunks in place. Whoever reads the old ones goes on with them.
    fn replace(&self, chunks: Chunks) {
        self.chunks.swap((Some(Owned::new(chunks)), Tag::None), Ordering::AcqRel);
    }

    fn put(&self, id: u64, grant: Option<Owned<Grant>>) {
        let (chunk, place) = position(id);
        if let Some(cell) = self.cell(chunk, place, &Guard::new()) {
            cell.swap((grant, Tag::None), Ordering::AcqRel);
        }
    }
}

/// The grants of a shard, for its writer: which there are, and how many tokens hang on each.
pub(super) struct GrantBook {
    directory: Arc<GrantDirectory>,
    by_terms: HashMap<GrantTerms, u64>,
    held: HashMap<u64, Held>,
    /// How many grants of each chunk are held.
    held_by_chunk: HashMap<usize, usize>,
    next_id: u64,
    issuer: Arc<str>,
}

struct Held {
    terms: GrantTerms,
    tokens: u64,
}

impl GrantBook {
    pub(super) fn new(issuer: Arc<str>) -> Self {
        Self {
            directory: Arc::new(GrantDirectory::new()),
            by_terms: HashMap::new(),
            held: HashMap::new(),
            held_by_chunk: HashMap::new(),
            next_id: 1,
            issuer,
        }
    }

    pub(super) fn directory(&self) -> Arc<GrantDirectory> {
        Arc::clone(&self.directory)
    }

    pub(super) fn terms(&self, id: u64) -> Option<&GrantTerms> {
        self.held.get(&id).map(|held| &held.terms)
    }

    /// The grant of these terms, with one more token on it.
    pub(super) fn hold(&mut self, terms: &GrantTerms) -> u64 {
        let id = match self.by_terms.get(terms) {
            Some(id) => *id,
            None => self.add(terms.clone()),
        };
        if let Some(held) = self.held.get_mut(&id) {
            held.tokens += 1;
        }
        id
    }

    /// As many tokens more on a grant that has one already.
    pub(super) fn hold_more(&mut self, id: u64, tokens: u64) {
        if let Some(held) = self.held.get_mut(&id) {
            held.tokens += tokens;
        }
    }

    /// Takes one token off a grant; without tokens it goes.
    pub(super) fn release(&mut self, id: u64) {
        let Some(held) = self.held.get_mut(&id) else { return };
        held.tokens -= 1;
        if held.tokens == 0 {
            self.drop_grant(id);
        }
    }

    fn add(&mut self, terms: GrantTerms) -> u64 {
        let id = self.next_id;
        assert!(id <= GRANT_ID_MAX, "a shard has used up its grant ids");
        self.next_id += 1;
        let introspection = render(&terms, &self.issuer);
        let (client_generation, client_in_force) = (terms.client.generation, Arc::clone(&terms.client.in_force));
        self.publish(Grant { id, client_generation, client_in_force, introspection, terms: terms.clone() });
        self.by_terms.insert(terms.clone(), id);
        self.held.insert(id, Held { terms, tokens: 0 });
        id
    }

    fn publish(&mut self, grant: Grant) {
        let (chunk, _) = position(grant.id);
        *self.held_by_chunk.entry(chunk).or_default() += 1;
        let guard = Guard::new();
        let chunks = self.directory.chunks(&guard);
        if chunks.len() <= chunk {
            let mut chunks = chunks.to_vec();
            chunks.resize_with(chunk + 1, || Some(Arc::new(Chunk::empty())));
            self.directory.replace(chunks);
        }
        self.directory.put(grant.id, Some(Owned::new(grant)));
    }

    fn drop_grant(&mut self, id: u64) {
        if let Some(held) = self.held.remove(&id) {
            self.by_terms.remove(&held.terms);
        }
        self.directory.put(id, None);
        self.release_chunk(position(id).0);
    }

    /// Counts one grant less in a chunk, and lets go of a chunk that is empty and will stay so.
    fn release_chunk(&mut self, chunk: usize) {
        let held = self.held_by_chunk.entry(chunk).or_default();
        *held = held.saturating_sub(1);
        if *held > 0 || chunk >= position(self.next_id).0 {
            return;
        }
        self.held_by_chunk.remove(&chunk);
        let mut chunks = self.directory.chunks(&Guard::new()).to_vec();
        if let Some(empty) = chunks.get_mut(chunk) {
            *empty = None;
        }
        self.directory.replace(chunks);
    }
}

impl Chunk {
    fn empty() -> Self {
        Self { grants: (0..GRANTS_PER_CHUNK).map(|_| AtomicOwned::null()).collect() }
    }
}

/// The chunk of an id, and its place in it.
fn position(id: u64) -> (usize, usize) {
    let id = usize::try_from(id).unwrap_or(usize::MAX);
    (id / GRANTS_PER_CHUNK, id % GRANTS_PER_CHUNK)
}

/// The members of an introspection response (RFC 7662 §2.2) that all tokens of a grant share.
fn render(terms: &GrantTerms, issuer: &str) -> Box<str> {
    #[derive(Serialize)]
    struct Members<'a> {
        client_id: &'a str,
        sub: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        scope: &'a str,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        aud: Vec<&'a str>,
        iss: &'a str,
        token_type: &'a str,
        /// RFC 9470 §6.2.
        #[serde(skip_serializing_if = "Option::is_none")]
        auth_time: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        acr: Option<&'a str>,
    }
    let members = Members {
        client_id: terms.client.id.as_str(),
        sub: terms.subject(),
        scope: terms.client.scope.as_str(),
        aud: terms.client.audience.members().collect(),
        iss: issuer,
        token_type: "Bearer",
        auth_time: terms.person.as_ref().map(|person| person.auth_time),
        acr: terms.person.as_ref().and_then(|person| person.context.acr()),
    };
    let object = serde_json::to_string(&members).unwrap_or_default();
    Box::from(object.trim_start_matches('{').trim_end_matches('}'))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn terms(scope: &str) -> GrantTerms {
        GrantTerms::from(client_terms(scope))
    }

    pub(crate) fn client_terms(scope: &str) -> ClientTerms {
        ClientTerms {
            id: ClientId::parse("app").unwrap(),
            generation: 0,
            in_force: Arc::default(),
            scope: Scope::parse(scope).unwrap(),
            audience: Audience::parse(["https://api.example"]).unwrap(),
            claims: None,
        }
    }

    /// A book whose grants 1 to `count` exist.
    pub(in crate::token) fn book_with_grants(count: u64) -> GrantBook {
        let mut book = GrantBook::new(Arc::from("https://as.example"));
        for number in 1..=count {
            assert_eq!(book.hold(&terms(&number.to_string())), number);
        }
        book
    }

    #[test]
    fn equal_terms_share_one_grant() {
        let mut book = book_with_grants(1);
        assert_eq!(book.hold(&terms("1")), 1);
        assert_eq!(book.hold(&terms("2")), 2);
    }

    #[test]
    fn a_grant_goes_with_its_last_token_and_its_id_does_not_come_back() {
        let mut book = book_with_grants(1);
        let directory = book.directory();
        book.hold(&terms("1"));
        book.release(1);
        assert!(directory.find(1, &Guard::new()).is_some());
        book.release(1);
        assert!(directory.find(1, &Guard::new()).is_none());
        assert_eq!(book.hold(&terms("1")), 2);
    }

    #[test]
    fn an_empty_chunk_is_let_go_and_the_others_stay() {
        let count = GRANTS_PER_CHUNK as u64 * 2;
        let mut book = book_with_grants(count);
        for id in 1..GRANTS_PER_CHUNK as u64 {
            book.release(id);
        }
        let guard = Guard::new();
        assert!(book.directory.chunks(&guard)[0].is_none());
        assert_eq!(book.directory().find(GRANTS_PER_CHUNK as u64, &guard).unwrap().id(), GRANTS_PER_CHUNK as u64);
        assert!(book.directory().find(1, &guard).is_none());
    }

    #[test]
    fn the_members_are_rendered_as_json() {
        let book = book_with_grants(1);
        assert_eq!(
            book.directory().find(1, &Guard::new()).unwrap().introspection(),
            r#""client_id":"app","sub":"app","scope":"1","aud":["https://api.example"],"iss":"https://as.example","token_type":"Bearer""#
        );
    }
}

//! Grants: what a token may be used for, held once for all the tokens that share it.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use serde::Serialize;

use crate::client::id::ClientId;
use crate::client::registry::Generation;
use crate::oauth::audience::Audience;
use crate::oauth::scope::Scope;
use crate::token::slot::GRANT_ID_MAX;

/// What was granted, and to whom. Tokens of equal terms share one [`Grant`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GrantTerms {
    /// The client that it was granted to.
    pub client_id: ClientId,
    /// The client's generation at that time.
    pub client_generation: u64,
    /// What it allows.
    pub scope: Scope,
    /// Whom its tokens are meant for.
    pub audience: Audience,
}

/// A grant that at least one token hangs on.
pub struct Grant {
    id: u64,
    terms: Arc<GrantTerms>,
    in_force: Arc<Generation>,
    introspection: Box<str>,
}

impl Grant {
    /// Its number in its shard, never reused while the process lives.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// What was granted, and to whom.
    #[must_use]
    pub fn terms(&self) -> &GrantTerms {
        &self.terms
    }

    pub(super) fn shared_terms(&self) -> Arc<GrantTerms> {
        Arc::clone(&self.terms)
    }

    /// Whether nothing has ended it: the client is still of the generation that it was made under.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        self.in_force.value() == self.terms.client_generation
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

/// A grant that is being read; it stays while this does. Costs no count that other readers share.
pub struct GrantGuard(Guard<Option<Arc<Grant>>>);

impl GrantGuard {
    fn new(guard: Guard<Option<Arc<Grant>>>) -> Option<Self> {
        guard.is_some().then_some(Self(guard))
    }
}

impl Deref for GrantGuard {
    type Target = Grant;

    #[expect(clippy::expect_used, reason = "new() lets no empty guard pass")]
    fn deref(&self) -> &Grant {
        self.0.as_ref().expect("a guard holds a grant")
    }
}

/// The grants of a shard by id, for readers. Ids are dense, so it is an array of arrays.
pub struct GrantDirectory {
    chunks: ArcSwap<Vec<Option<Arc<Chunk>>>>,
}

/// Fewer in unit tests: a simulation makes shards by the ten thousand.
const GRANTS_PER_CHUNK: usize = if cfg!(test) { 64 } else { 4096 };

struct Chunk {
    grants: Box<[ArcSwapOption<Grant>]>,
}

impl GrantDirectory {
    /// The grant of that id, if a token still hangs on it.
    pub(super) fn find(&self, id: u64) -> Option<GrantGuard> {
        let (chunk, place) = position(id);
        GrantGuard::new(self.chunks.load().get(chunk)?.as_ref()?.grants.get(place)?.load())
    }
}

/// The grants of a shard, for its writer: which there are, and how many tokens hang on each.
pub(super) struct GrantBook {
    directory: Arc<GrantDirectory>,
    by_terms: HashMap<Arc<GrantTerms>, u64>,
    held: HashMap<u64, Held>,
    /// How many grants of each chunk are held.
    held_by_chunk: HashMap<usize, usize>,
    next_id: u64,
    issuer: Arc<str>,
}

struct Held {
    terms: Arc<GrantTerms>,
    tokens: u64,
}

impl GrantBook {
    pub(super) fn new(issuer: Arc<str>) -> Self {
        Self {
            directory: Arc::new(GrantDirectory { chunks: ArcSwap::default() }),
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
        self.held.get(&id).map(|held| &*held.terms)
    }

    /// The grant of these terms, with one more token on it.
    pub(super) fn hold(&mut self, terms: &Arc<GrantTerms>, in_force: &Arc<Generation>) -> u64 {
        let id = match self.by_terms.get(terms) {
            Some(id) => *id,
            None => self.add(Arc::clone(terms), Arc::clone(in_force)),
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

    fn add(&mut self, terms: Arc<GrantTerms>, in_force: Arc<Generation>) -> u64 {
        let id = self.next_id;
        assert!(id <= GRANT_ID_MAX, "a shard has used up its grant ids");
        self.next_id += 1;
        let introspection = render(&terms, &self.issuer);
        let grant = Arc::new(Grant { id, terms: Arc::clone(&terms), in_force, introspection });
        self.publish(id, &grant);
        self.by_terms.insert(Arc::clone(&terms), id);
        self.held.insert(id, Held { terms, tokens: 0 });
        id
    }

    fn publish(&mut self, id: u64, grant: &Arc<Grant>) {
        let (chunk, place) = position(id);
        *self.held_by_chunk.entry(chunk).or_default() += 1;
        if self.directory.chunks.load().len() <= chunk {
            let mut chunks = Vec::clone(&self.directory.chunks.load());
            chunks.resize_with(chunk + 1, || Some(Arc::new(Chunk::empty())));
            self.directory.chunks.store(Arc::new(chunks));
        }
        let chunks = self.directory.chunks.load();
        let cell = chunks.get(chunk).and_then(Option::as_ref).and_then(|chunk| chunk.grants.get(place));
        if let Some(cell) = cell {
            cell.store(Some(Arc::clone(grant)));
        }
    }

    fn drop_grant(&mut self, id: u64) {
        let (chunk, place) = position(id);
        if let Some(held) = self.held.remove(&id) {
            self.by_terms.remove(&held.terms);
        }
        if let Some(Some(chunk)) = self.directory.chunks.load().get(chunk)
            && let Some(cell) = chunk.grants.get(place)
        {
            cell.store(None);
        }
        self.release_chunk(chunk);
    }

    /// Counts one grant less in a chunk, and lets go of a chunk that is empty and will stay so.
    fn release_chunk(&mut self, chunk: usize) {
        let held = self.held_by_chunk.entry(chunk).or_default();
        *held = held.saturating_sub(1);
        if *held > 0 || chunk >= position(self.next_id).0 {
            return;
        }
        self.held_by_chunk.remove(&chunk);
        let mut chunks = Vec::clone(&self.directory.chunks.load());
        if let Some(empty) = chunks.get_mut(chunk) {
            *empty = None;
        }
        self.directory.chunks.store(Arc::new(chunks));
    }
}

impl Chunk {
    fn empty() -> Self {
        Self { grants: (0..GRANTS_PER_CHUNK).map(|_| ArcSwapOption::empty()).collect() }
    }
}

/// The chunk of an id, and its place in it.
fn position(id: u64) -> (usize, usize) {
    let id = usize::try_from(id).unwrap_or(usize::MAX);
    (id / GRANTS_PER_CHUNK, id % GRANTS_PER_CHUNK)
}

/// The members of an introspection response (RFC 7662 §2.2) that all tokens of a grant share. A client that acts for itself
/// is its own subject (RFC 9068 §2.2).
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
    }
    let members = Members {
        client_id: terms.client_id.as_str(),
        sub: terms.client_id.as_str(),
        scope: terms.scope.as_str(),
        aud: terms.audience.members().collect(),
        iss: issuer,
        token_type: "Bearer",
    };
    let object = serde_json::to_string(&members).unwrap_or_default();
    Box::from(object.trim_start_matches('{').trim_end_matches('}'))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn terms(scope: &str) -> Arc<GrantTerms> {
        Arc::new(GrantTerms {
            client_id: ClientId::parse("app").unwrap(),
            client_generation: 0,
            scope: Scope::parse(scope).unwrap(),
            audience: Audience::parse(["https://api.example"]).unwrap(),
        })
    }

    /// A book whose grants 1 to `count` exist.
    pub(crate) fn book_with_grants(count: u64) -> GrantBook {
        let mut book = GrantBook::new(Arc::from("https://as.example"));
        for number in 1..=count {
            assert_eq!(book.hold(&terms(&number.to_string()), &Arc::default()), number);
        }
        book
    }

    #[test]
    fn equal_terms_share_one_grant() {
        let mut book = book_with_grants(1);
        assert_eq!(book.hold(&terms("1"), &Arc::default()), 1);
        assert_eq!(book.hold(&terms("2"), &Arc::default()), 2);
    }

    #[test]
    fn a_grant_goes_with_its_last_token_and_its_id_does_not_come_back() {
        let mut book = book_with_grants(1);
        let directory = book.directory();
        book.hold(&terms("1"), &Arc::default());
        book.release(1);
        assert!(directory.find(1).is_some());
        book.release(1);
        assert!(directory.find(1).is_none());
        assert_eq!(book.hold(&terms("1"), &Arc::default()), 2);
    }

    #[test]
    fn an_empty_chunk_is_let_go_and_the_others_stay() {
        let count = GRANTS_PER_CHUNK as u64 * 2;
        let mut book = book_with_grants(count);
        for id in 1..GRANTS_PER_CHUNK as u64 {
            book.release(id);
        }
        assert!(book.directory.chunks.load()[0].is_none());
        assert_eq!(book.directory().find(GRANTS_PER_CHUNK as u64).unwrap().id(), GRANTS_PER_CHUNK as u64);
        assert!(book.directory().find(1).is_none());
    }

    #[test]
    fn the_members_are_rendered_as_json() {
        let book = book_with_grants(1);
        assert_eq!(
            book.directory().find(1).unwrap().introspection(),
            r#""client_id":"app","sub":"app","scope":"1","aud":["https://api.example"],"iss":"https://as.example","token_type":"Bearer""#
        );
    }
}

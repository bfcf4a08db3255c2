//! Tokens as a snapshot holds them: sections that stand alone, each with the terms that its tokens share.

use std::collections::HashMap;

use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::with::InlineAsBox;
use rkyv::{Archive, Serialize};
use sdd::Guard;

use crate::token::access_token::Partition;
use crate::token::digest::TokenDigest;
use crate::token::event::TermsView;
use crate::token::grant::GrantTerms;
use crate::token::person_event::{ArchivedTerms, Terms};
use crate::token::slot::SlotData;
use crate::token::state::NewToken;
use crate::token::table::{Contended, TABLES, TokenReader};

/// The kind of a section of a snapshot that holds tokens; its scope is the lowest and the highest of their partitions.
pub const SECTION_TOKENS: u16 = 16;
/// The newest schema of a section. The first knew no people.
pub const SECTION_SCHEMA: u16 = 2;

/// The partitions that a section of tokens concerns.
#[must_use]
pub fn partitions_of(scope: u64) -> (Partition, Partition) {
    let part = |bits: u64| Partition(u16::try_from(bits & u64::from(u16::MAX)).unwrap_or_default());
    (part(scope), part(scope >> 16))
}

#[derive(Archive, Serialize)]
struct Tokens<'a> {
    terms: Vec<Terms<'a>>,
    tokens: Vec<Token>,
}

/// The first schema of [`Tokens`].
#[derive(Archive)]
#[expect(dead_code, reason = "it is read and no longer written")]
struct Tokens1<'a> {
    terms: Vec<Terms1<'a>>,
    tokens: Vec<Token>,
}

#[derive(Archive)]
struct Terms1<'a> {
    client_generation: u64,
    #[rkyv(with = InlineAsBox)]
    client_id: &'a str,
    #[rkyv(with = InlineAsBox)]
    scope: &'a str,
    audience: Vec<String>,
}

/// 32 bytes.
#[derive(Archive, Serialize)]
struct Token {
    digest: [u8; 16],
    issued_at: u32,
    expires_at: u32,
    /// Index into the terms of the section.
    terms: u32,
    partition: u16,
    /// 1 if it is revoked, else 0.
    revoked: u16,
}

/// A section that was made: bytes, and what a reader may want to know before it looks at them.
#[derive(Debug)]
pub struct TokenSection {
    /// The bytes.
    pub payload: AlignedVec,
    /// How many tokens they hold.
    pub tokens: u64,
    partitions: (Partition, Partition),
}

impl TokenSection {
    /// The lowest and the highest partition among its tokens, as a section states them.
    #[must_use]
    pub fn scope(&self) -> u64 {
        let (first, last) = self.partitions;
        u64::from(first.0) | u64::from(last.0) << 16
    }
}

/// Sections of tokens that come from elsewhere than a table, of about 1 MiB each.
#[derive(Default)]
pub struct TokenSections {
    gathering: Gathering,
}

impl TokenSections {
    /// Adds a token. `grant` stands for its terms: the same for all tokens of them. Answers the section that is full now.
    pub fn push(&mut self, token: &NewToken, is_revoked: bool, grant: u64, terms: &GrantTerms) -> Option<TokenSection> {
        let known = self.gathering.place_of(grant, || Some(terms.clone()));
        self.gathering.push_token(token, is_revoked, known);
        (self.gathering.bytes >= SECTION_BYTES).then(|| self.finish()).flatten()
    }

    /// The section of what was added last; `None` where there is nothing.
    pub fn finish(&mut self) -> Option<TokenSection> {
        std::mem::take(&mut self.gathering).finish()
    }
}

/// Goes through the tokens of a shard while it goes on, and makes sections of them. Each token is as it was at some moment
/// of the walk; one that was there from its beginning to its end is not missed.
pub struct TokenWalk {
    reader: TokenReader,
    /// What has expired by then is left out.
    now: u32,
    next_table: usize,
}

impl TokenWalk {
    /// A walk that is at its beginning.
    #[must_use]
    pub const fn new(reader: TokenReader, now: u32) -> Self {
        Self { reader, now, next_table: 0 }
    }

    /// The next section, of about 1 MiB; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Contended`] when the shard was put off its core in the middle of a write; the walk then has to begin anew.
    pub fn next_section(&mut self) -> Result<Option<TokenSection>, Contended> {
        let mut section = Gathering::default();
        while self.next_table < TABLES && section.bytes < SECTION_BYTES {
            self.reader.walk_table(self.next_table, &mut |reader, data| {
                if data.expires_at <= self.now {
                    return true;
                }
                let Some(terms) = section.terms_of(reader, data.grant_id) else { return false };
                section.push(data, terms);
                true
            })?;
            self.next_table += 1;
        }
        Ok(section.finish())
    }
}

/// When a section is full.
const SECTION_BYTES: usize = 1 << 20;

/// A section in the making.
#[derive(Default)]
struct Gathering {
    /// `Dead` for a grant that is no longer in force: its tokens are left out. One that was ended is dead although that may not be
    /// durable: the snapshot counts only once it is.
    known: HashMap<u64, Known>,
    terms: Vec<GrantTerms>,
    tokens: Vec<Token>,
    bytes: usize,
}

#[derive(Clone, Copy)]
enum Known {
    At(u32),
    Dead,
}

impl Gathering {
    /// Where the terms of a grant stand in this section. `None` when the grant has gone, and so has its token.
    fn terms_of(&mut self, reader: &TokenReader, grant_id: u64) -> Option<Known> {
        if let Some(known) = self.known.get(&grant_id) {
            return Some(*known);
        }
        let guard = Guard::new();
        let grant = reader.grant(grant_id, &guard)?;
        Some(self.place_of(grant_id, || (grant.is_in_force() && grant.ended() == 0).then(|| grant.terms().clone())))
    }

    /// Where the terms of a grant stand. `terms` answers `None` for one that is not in force.
    fn place_of(&mut self, grant_id: u64, terms: impl FnOnce() -> Option<GrantTerms>) -> Known {
        if let Some(known) = self.known.get(&grant_id) {
            return *known;
        }
        let known = terms().map_or(Known::Dead, |terms| {
            self.bytes += terms.client.scope.as_str().len() + TERMS_BYTES;
            self.terms.push(terms);
            Known::At(u32::try_from(self.terms.len() - 1).unwrap_or_default())
        });
        self.known.insert(grant_id, known);
        known
    }

    fn push(&mut self, data: SlotData, terms: Known) {
        let SlotData { issued_at, expires_at, partition, revoked, .. } = data;
        let (digest, partition) = (TokenDigest::from_words(data.digest), Partition(partition));
        self.push_token(&NewToken { digest, partition, issued_at, expires_at }, revoked != 0, terms);
    }

    fn push_token(&mut self, token: &NewToken, is_revoked: bool, terms: Known) {
        let Known::At(terms) = terms else { return };
        let NewToken { digest, partition: Partition(partition), issued_at, expires_at } = *token;
        self.bytes += size_of::<Token>();
        let (digest, revoked) = (*digest.as_bytes(), u16::from(is_revoked));
        self.tokens.push(Token { digest, issued_at, expires_at, terms, partition, revoked });
    }

    fn finish(self) -> Option<TokenSection> {
        let partitions = self.tokens.iter().map(|token| Partition(token.partition));
        let partitions = (partitions.clone().min()?, partitions.max()?);
        let tokens = self.tokens.len() as u64;
        let terms = self.terms.iter().map(Terms::of);
        let section = Tokens { terms: terms.collect(), tokens: self.tokens };
        let payload = rkyv::to_bytes::<rancor::Error>(&section).ok()?;
        Some(TokenSection { payload, tokens, partitions })
    }
}

/// What terms take beside their scope, about.
const TERMS_BYTES: usize = 96;

/// A section whose bytes are what was written and that cannot be read: of a newer version, or a bug.
#[derive(Debug, thiserror::Error)]
#[error("snapshot section of tokens, schema {schema}, cannot be read: {reason}; start the version that wrote it")]
pub struct UnreadableSection {
    schema: u16,
    reason: String,
}

/// A section as read.
pub struct TokenSectionView<'a> {
    terms: TermsOf<'a>,
    tokens: &'a [ArchivedToken],
}

/// By the schema of the section.
enum TermsOf<'a> {
    First(&'a [ArchivedTerms1<'a>]),
    Newest(&'a [ArchivedTerms<'a>]),
}

impl<'a> TokenSectionView<'a> {
    /// Reads a section.
    ///
    /// # Errors
    ///
    /// [`UnreadableSection`]: nothing may be skipped, so the caller refuses to start.
    pub fn decode(schema: u16, payload: &'a [u8]) -> Result<Self, UnreadableSection> {
        let unreadable = |reason: String| UnreadableSection { schema, reason };
        let broken = |error: rancor::Error| unreadable(error.to_string());
        match schema {
            SECTION_SCHEMA => {
                let section = rkyv::access::<ArchivedTokens<'_>, _>(payload).map_err(broken)?;
                Ok(Self { terms: TermsOf::Newest(&section.terms), tokens: &section.tokens })
            }
            1 => {
                let section = rkyv::access::<ArchivedTokens1<'_>, _>(payload).map_err(broken)?;
                Ok(Self { terms: TermsOf::First(&section.terms), tokens: &section.tokens })
            }
            _ => Err(unreadable("unknown schema".to_owned())),
        }
    }

    /// The terms that its tokens share, in their order.
    #[must_use]
    pub fn terms(&self) -> Vec<TermsView<'a>> {
        match self.terms {
            TermsOf::Newest(terms) => terms.iter().map(|terms| terms.view()).collect(),
            TermsOf::First(terms) => terms.iter().map(ArchivedTerms1::view).collect(),
        }
    }

    /// Its tokens, each with the index of its terms, and whether it is revoked.
    pub fn tokens(&self) -> impl Iterator<Item = (NewToken, usize, bool)> {
        self.tokens.iter().map(|token| {
            let new = NewToken {
                digest: TokenDigest::from_bytes(token.digest),
                partition: Partition(token.partition.to_native()),
                issued_at: token.issued_at.to_native(),
                expires_at: token.expires_at.to_native(),
            };
            (new, usize::try_from(token.terms.to_native()).unwrap_or(usize::MAX), token.revoked != 0)
        })
    }
}

impl ArchivedTerms1<'_> {
    fn view(&self) -> TermsView<'_> {
        TermsView {
            client_id: &self.client_id,
            client_generation: self.client_generation.to_native(),
            scope: &self.scope,
            audience: self.audience.iter().map(|member| member.as_str()).collect(),
            claims: None,
            person: None,
        }
    }
}

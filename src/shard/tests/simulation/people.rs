//! People's grants in the simulation: what happens to them, what callers were told, and so what must hold.
//!
//! A caller here is a client that follows its grant from the code on. It knows the refresh token that it was given last, and
//! keeps those from before. What the shard may answer follows from that, from the time, and from what was never answered.

use std::collections::HashMap;

use tokio::sync::oneshot::{Receiver, Sender};

use super::database::Fold;
use super::engine::{Process, index, name};
use super::oracle::Expected;
use super::*;
use crate::grant::terms_of;
use crate::oauth::audience::Audience;
use crate::oauth::authentication_context::AuthenticationContext;
use crate::oauth::subject::Subject;
use crate::shard::people::{
    Exchanged, GrantedToken, MintedAccess, MintedRefresh, NewCode, PersonError, PersonRequest, Proof, RedeemCode,
    RefreshGrant, Refreshed,
};
use crate::token::code::CodeReference;
use crate::token::grant_id::GrantId;
use crate::token::person::{PersonTerms, Standing};
use crate::token::refresh_token::RefreshReference;

/// A grant from its code on, as its client knows it.
pub(super) struct KnownGrant {
    id: GrantId,
    pub(super) client: usize,
    pub(super) client_generation: u64,
    code_expires_at: u32,
    /// `Some(true)`: the code was acknowledged, or there after a start.
    stored: Option<bool>,
    /// How many times the code was presented.
    redemptions: u32,
    /// Presented, and nobody knows what became of it.
    may_be_redeemed: bool,
    /// The redemption that gave tokens, and the generation of the refresh token that was given last.
    granted: Option<Leaf>,
    live_until: u32,
    /// When a refresh token of a generation was presented first and last.
    presented: HashMap<u32, (u32, u32)>,
    accesses: Vec<KnownAccess>,
    /// The generation of the refresh token whose answer's access token lives no more, as its client was told.
    outlived: Option<u32>,
    /// How many access tokens were asked for in the place of such a one.
    renewals: u32,
    questions: Vec<Question>,
    /// Something that may have ended it was never answered.
    may_have_ended: bool,
    /// Its end was acknowledged, or seen.
    ended: bool,
}

/// A refresh token: the redemption from which its chain comes, and its place in that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leaf {
    redemption: u32,
    generation: u32,
}

/// An access token that was acknowledged.
struct KnownAccess {
    reference: TokenReference,
    expires_at: u32,
}

/// What was not answered yet.
struct Question {
    asked: Asked,
    /// Nothing but a success, or a shard that could do nothing, is right.
    must: bool,
    /// A success is right.
    may: bool,
    may_end: bool,
}

enum Asked {
    Store(Receiver<Result<bool, PersonError>>),
    Redeem {
        redemption: u32,
        live_until: u32,
        answer: Receiver<Result<Exchanged<GrantedToken>, PersonError>>,
    },
    Refresh {
        generation: u32,
        access: TokenReference,
        asked_at: u32,
        answer: Receiver<Result<Exchanged<Refreshed>, PersonError>>,
    },
    End(Receiver<Result<bool, PersonError>>),
}

/// How often something happened, or was told.
#[derive(Default)]
pub(super) struct Told {
    pub(super) granted: u64,
    pub(super) refreshed: u64,
    pub(super) again: u64,
    pub(super) outlived: u64,
    pub(super) reused: u64,
    pub(super) ended: u64,
}

const RETRY_SECONDS: u32 = 30;
/// How long access tokens live, in one grant and the other: in some they end before a lost answer is asked for again.
const ACCESS_SECONDS: [u32; 4] = [1_800, 1_800, 1, 0];

impl KnownGrant {
    /// Stores a code.
    pub(super) fn store(process: &mut Process, random: &mut Random, client: usize) -> Option<Self> {
        let registered = process.registry.find(name(client).as_str())?;
        let bytes = (u128::from(random.next()) << 64 | u128::from(random.next())).to_le_bytes();
        let (id, now) = (GrantId::from_bytes(bytes), process.clock.now().as_seconds_u32());
        let (subject, standing) = (subject(), Standing::default());
        let context = AuthenticationContext::default();
        let person = PersonTerms { grant_id: id, subject, subject_generation: 0, auth_time: now, context, standing };
        let terms = terms_of(&registered, Scope::parse("read write").unwrap(), Audience::empty());
        let code_expires_at = now + 60 + u32::try_from(random.below(600)).unwrap();
        let code = NewCode {
            code: CodeReference { grant_id: id, digest: code_digest(id) },
            terms: terms.granted_by(person),
            redirect_uri: None,
            code_challenge: None,
            nonce: None,
            expires_at: code_expires_at,
        };
        let answer = process.ask(id.routing_id(), |reply| PersonRequest::StoreCode(code, reply));
        Some(Self {
            id,
            client,
            client_generation: registered.generation,
            code_expires_at,
            stored: None,
            redemptions: 0,
            may_be_redeemed: false,
            granted: None,
            live_until: 0,
            presented: HashMap::new(),
            accesses: Vec::new(),
            outlived: None,
            renewals: 0,
            questions: vec![Question { asked: Asked::Store(answer), must: false, may: true, may_end: false }],
            may_have_ended: false,
            ended: false,
        })
    }

    /// One thing happens to it.
    pub(super) fn step(&mut self, process: &mut Process, lives: Expected, random: &mut Random) {
        match (self.granted, random.below(16)) {
            (None, 0..14) | (Some(_), 0) => self.redeem(process, lives, random),
            (Some(_), 1..10) => self.refresh(process, lives, 0),
            (Some(_), 10..14) => self.refresh(process, lives, 1),
            (Some(_), 14) => self.refresh(process, lives, 2),
            _ => self.end(process),
        }
    }

    fn redeem(&mut self, process: &mut Process, lives: Expected, random: &mut Random) {
        let (redemption, now) = (self.redemptions, process.clock.now());
        self.redemptions += 1;
        let seconds = now.as_seconds_u32();
        let lifetime_seconds = 600 + u32::try_from(random.below(7200)).unwrap();
        let leaf = Leaf { redemption, generation: 1 };
        let request = RedeemCode {
            code: CodeReference { grant_id: self.id, digest: code_digest(self.id) },
            client_id: name(self.client),
            proof: Proof::Authorization { redirect_uri: None, code_challenge: None },
            resources: None,
            access: Some(minted(self.access_of(Leaf { redemption, generation: 0 }))),
            refresh: Some(MintedRefresh {
                digest: self.digest_of(leaf),
                lifetime_seconds,
                idle_seconds: lifetime_seconds,
            }),
            now,
        };
        let is_first = self.granted.is_none() && !self.may_be_redeemed;
        let must = is_first && self.stored == Some(true) && lives.must && seconds < self.code_expires_at;
        let answer = process.ask(self.id.routing_id(), |reply| PersonRequest::Redeem(request, reply));
        let asked = Asked::Redeem { redemption, live_until: seconds + lifetime_seconds, answer };
        self.questions.push(Question { asked, must, may: self.granted.is_none(), may_end: !is_first });
        self.may_be_redeemed = true;
    }

    fn refresh(&mut self, process: &mut Process, lives: Expected, back: u32) {
        let Some(last) = self.granted else { return };
        let Some(generation) = last.generation.checked_sub(back).filter(|generation| *generation > 0) else { return };
        let now = process.clock.now();
        let seconds = now.as_seconds_u32();
        let serving_since = process.serving_since(self.id.routing_id());
        let is_within = |since: u32| seconds.saturating_sub(since.max(serving_since)) < RETRY_SECONDS;
        let presented = self.presented.get(&generation).copied();
        let (must, may) = match back {
            0 => (presented.is_none_or(|(first, _)| is_within(first)), true),
            1 => {
                let is_unused = !self.presented.contains_key(&last.generation);
                let (first, latest) = presented.unwrap_or_default();
                (is_unused && is_within(first), is_within(latest))
            }
            _ => (false, false),
        };
        let must = must && self.must_live(seconds, lives);
        let leaf = Leaf { generation, ..last };
        let is_access_new = self.outlived == Some(generation);
        self.renewals += u32::from(is_access_new);
        let access = if is_access_new { self.renewed_access_of(leaf) } else { self.access_of(leaf) };
        let request = RefreshGrant {
            reference: RefreshReference { grant_id: self.id, generation, digest: self.digest_of(leaf) },
            client_id: name(self.client),
            scope: None,
            resources: None,
            access: Some(minted(access)),
            is_access_new,
            successor: Some(self.digest_of(Leaf { generation: generation + 1, ..leaf })),
            retry_seconds: RETRY_SECONDS,
            idle_seconds: u32::MAX / 4,
            now,
        };
        let answer = process.ask(self.id.routing_id(), |reply| PersonRequest::Refresh(request, reply));
        self.questions.push(Question {
            asked: Asked::Refresh { generation, access, asked_at: seconds, answer },
            must,
            may,
            may_end: !must,
        });
        let (first, _) = presented.unwrap_or((seconds, seconds));
        self.presented.insert(generation, (first, seconds));
    }

    fn end(&mut self, process: &mut Process) {
        let answer = process.ask(self.id.routing_id(), |reply| PersonRequest::End(self.id, None, reply));
        self.questions.push(Question { asked: Asked::End(answer), must: false, may: true, may_end: true });
    }

    /// Takes in what was answered, in the order in which it was asked.
    pub(super) fn listen(&mut self, told: &mut Told) {
        for mut question in std::mem::take(&mut self.questions) {
            if !self.hear(&mut question, told) {
                self.questions.push(question);
            }
        }
    }

    /// Answers whether there was an answer.
    fn hear(&mut self, question: &mut Question, told: &mut Told) -> bool {
        let Question { asked, must, may, .. } = question;
        match asked {
            Asked::Store(answer) => {
                let Ok(answer) = answer.try_recv() else { return false };
                assert_ne!(answer, Ok(false), "nobody has redeemed it");
                self.stored = Some(answer.is_ok());
            }
            Asked::Redeem { redemption, live_until, answer } => {
                let Ok(answer) = answer.try_recv() else { return false };
                let (redemption, live_until) = (*redemption, *live_until);
                if let Some(token) = self.success(answer.and_then(Exchanged::done), *must, *may, told) {
                    assert!(self.granted.is_none(), "a code gave tokens twice");
                    self.granted = Some(Leaf { redemption, generation: 1 });
                    self.live_until = live_until;
                    let reference = self.access_of(Leaf { redemption, generation: 0 });
                    self.accesses.push(KnownAccess { reference, expires_at: token.expires_at });
                    told.granted += 1;
                }
            }
            Asked::Refresh { generation, access, asked_at, answer } => {
                let Ok(answer) = answer.try_recv() else { return false };
                let (generation, access, asked_at) = (*generation, *access, *asked_at);
                match self.success(answer.and_then(Exchanged::done), *must, *may, told) {
                    Some(Refreshed::Granted(token)) => self.refreshed(generation, access, &token, told),
                    Some(Refreshed::Outlived) => self.outlived(generation, access, asked_at, told),
                    None => {}
                }
            }
            Asked::End(answer) => {
                let Ok(answer) = answer.try_recv() else { return false };
                self.ended |= answer == Ok(true);
                told.ended += u64::from(answer == Ok(true));
            }
        }
        true
    }

    /// The tokens of an answer, if it has some, and none that it must not have.
    fn success<T>(&mut self, answer: Result<T, PersonError>, must: bool, may: bool, told: &mut Told) -> Option<T> {
        match answer {
            Ok(token) => {
                assert!(may && !self.ended, "tokens for what was used before, or ended");
                Some(token)
            }
            Err(PersonError::Refused(error)) => {
                assert!(!must, "refused: {error}");
                if error.description.contains("used before") {
                    self.ended = true;
                    told.reused += 1;
                }
                None
            }
            // Nothing was changed.
            Err(PersonError::Shard(_)) => None,
        }
    }

    fn refreshed(&mut self, generation: u32, access: TokenReference, token: &GrantedToken, told: &mut Told) {
        let Some(last) = &mut self.granted else { panic!("refreshed before it was granted") };
        if generation == last.generation {
            last.generation += 1;
            told.refreshed += 1;
        } else {
            assert_eq!(generation + 1, last.generation, "an older refresh token gave tokens");
            told.again += 1;
        }
        match self.accesses.iter().find(|known| known.reference == access) {
            Some(known) => assert_eq!(token.expires_at, known.expires_at, "the same token with another end"),
            None => self.accesses.push(KnownAccess { reference: access, expires_at: token.expires_at }),
        }
    }

    /// The rotation stands, and nothing else was given: the client asks again, for a new access token.
    fn outlived(&mut self, generation: u32, access: TokenReference, asked_at: u32, told: &mut Told) {
        let Some(last) = self.granted else { panic!("refreshed before it was granted") };
        assert!(generation == last.generation || generation + 1 == last.generation, "an older refresh token is good");
        self.granted = Some(Leaf { generation: generation + 1, ..last });
        self.outlived = Some(generation);
        let known = self.accesses.iter().find(|known| known.reference == access);
        assert!(
            known.is_none_or(|known| known.expires_at <= asked_at),
            "an access token that lives is not given again"
        );
        told.outlived += 1;
    }

    /// The process is gone: no answer will come.
    pub(super) fn forget_answers(&mut self, told: &mut Told) {
        self.listen(told);
        self.may_have_ended |= self.questions.iter().any(|question| question.may_end);
        self.questions.clear();
    }

    fn must_live(&self, now: u32, lives: Expected) -> bool {
        let may_have_ended = self.may_have_ended || self.questions.iter().any(|question| question.may_end);
        self.granted.is_some() && !self.ended && !may_have_ended && lives.must && now < self.live_until
    }

    /// Holds a process against what callers were told, and learns nothing from it.
    pub(super) fn check(&self, process: &Process, lives: Expected) {
        let now = process.clock.now().as_seconds_u32();
        let state = process.state_of(self.id.routing_id());
        let pending = state.pending(self.id);
        let grant = state.person_grant(self.id);
        let in_force = grant.filter(|grant| grant.is_in_force());
        assert!(in_force.is_some() || !self.must_live(now, lives), "a grant that was acknowledged is gone");
        assert!(in_force.is_none() || lives.may && !self.ended, "a grant that was ended is back");
        if self.granted.is_some() || self.ended {
            assert!(pending.is_none(), "a code that was used can be used again");
        }
        let must_wait = self.stored == Some(true) && !self.may_be_redeemed && lives.must && now < self.code_expires_at;
        assert!(pending.is_some() || !must_wait, "a code that was acknowledged is gone");
        if let (Some(refresh), Some(last)) = (in_force.and_then(|grant| grant.refresh), self.granted) {
            // One leaf: what was told last, or what follows from that where somebody asked and was not told.
            let is_presented = self.presented.contains_key(&last.generation);
            let generation = refresh.generation;
            assert!(
                generation == last.generation || is_presented && generation == last.generation + 1,
                "the refresh token of generation {generation} is good, and {} was told",
                last.generation
            );
            assert_eq!(refresh.current, self.digest_of(Leaf { generation, ..last }));
        }
        for access in &self.accesses {
            let is_active = process.is_access_active(access.reference);
            assert!(!is_active || lives.may && !self.ended && now < access.expires_at, "an access token is back");
            let must = lives.must && now < access.expires_at && self.must_live(0, lives);
            assert!(is_active || !must, "an access token that was acknowledged is gone");
        }
    }

    /// What a look tells: an end that somebody has seen is one.
    pub(super) fn look(&mut self, process: &Process, lives: Expected) {
        self.check(process, lives);
        let now = process.clock.now().as_seconds_u32();
        let is_gone = |access: &KnownAccess| now < access.expires_at && !process.is_access_active(access.reference);
        self.ended |= lives.must && self.accesses.iter().any(is_gone);
    }

    /// After a start nothing is on its way, so what is there is so.
    pub(super) fn settle(&mut self, process: &Process, lives: Expected) {
        self.check(process, lives);
        let now = process.clock.now().as_seconds_u32();
        let state = process.state_of(self.id.routing_id());
        let is_pending = state.pending(self.id).is_some();
        let grant = state.person_grant(self.id).filter(|grant| grant.is_in_force());
        let refresh = grant.and_then(|grant| grant.refresh);
        self.may_be_redeemed &= !is_pending;
        if is_pending {
            self.stored = Some(true);
        }
        if let Some(refresh) = refresh {
            self.may_have_ended = false;
            let mut chains = (0..self.redemptions).map(|redemption| Leaf { redemption, generation: 1 });
            let last = self.granted.or_else(|| chains.find(|leaf| self.digest_of(*leaf) == refresh.current));
            let last = last.expect("a grant that nobody has redeemed");
            self.live_until = refresh.expires_at;
            self.granted = Some(Leaf { generation: refresh.generation, ..last });
        } else if self.granted.is_some() && lives.must && now < self.live_until {
            self.ended = true;
        }
        self.look(process, lives);
    }

    /// The journal's records, taken together, against the memory.
    pub(super) fn check_fold(&self, process: &Process, fold: &Fold) {
        let Some(grant) = process.state_of(self.id.routing_id()).person_grant(self.id) else { return };
        let generation = grant.refresh.map(|refresh| refresh.generation);
        assert_eq!(fold.grants.get(&self.id).copied(), generation, "a grant in memory and in the tables");
        let is_ended = grant.terms.person.as_ref().is_some_and(|person| person.ended() != 0);
        assert_eq!(fold.ended.contains(&self.id), is_ended, "the end of a grant in memory and in the tables");
    }

    fn digest_of(&self, leaf: Leaf) -> TokenDigest {
        TokenDigest::of(&format!("refresh {} {leaf:?}", self.id))
    }

    /// What comes with the successor of a leaf; with the first refresh token comes that of generation 0.
    fn access_of(&self, leaf: Leaf) -> TokenReference {
        let digest = TokenDigest::of(&format!("access {} {leaf:?}", self.id));
        TokenReference { routing_id: self.id.routing_id(), digest }
    }

    /// A new one in the place of such a one.
    fn renewed_access_of(&self, leaf: Leaf) -> TokenReference {
        let digest = TokenDigest::of(&format!("access {} {leaf:?} {}", self.id, self.renewals));
        TokenReference { routing_id: self.id.routing_id(), digest }
    }
}

impl Process {
    fn ask<T>(
        &mut self,
        routing_id: RoutingId,
        request: impl FnOnce(Sender<Result<T, PersonError>>) -> PersonRequest,
    ) -> Receiver<Result<T, PersonError>> {
        let (reply, answer) = oneshot::channel();
        self.tell_about_person(routing_id, request(reply));
        answer
    }
}

fn subject() -> Subject {
    Subject::parse("ada").unwrap()
}

fn code_digest(id: GrantId) -> TokenDigest {
    TokenDigest::of(&format!("code {id}"))
}

fn minted(access: TokenReference) -> MintedAccess {
    let lifetime_seconds = ACCESS_SECONDS[usize::try_from(access.routing_id.0 % 4).unwrap()];
    MintedAccess { digest: access.digest, lifetime_seconds }
}

/// Which of so many grants something happens to: mostly to a late one.
pub(super) fn draw(random: &mut Random, grants: usize) -> Option<usize> {
    let back = 1 + random.below(grants.clamp(1, 3) as u64);
    grants.checked_sub(index(back))
}

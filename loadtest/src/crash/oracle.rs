//! The truth: what the server has acknowledged, and so what it may answer.
//!
//! ```text
//!          its end is asked for              acknowledged, or somebody has seen it
//!   Live ───────────────────────▶ Doubtful ───────────────────────────────────────▶ Dead
//!    ▲                                │
//!    └────────────────────────────────┘
//!     refused; or alive after a restart, which ended all requests
//! ```
//!
//! Tokens and clients both go this way. Whoever asks the server about one makes a question before the request is sent and
//! hands it back with the answer: what had to be dead by then must be; what is live even now must have been alive. The
//! oracle reads no clock and sends nothing.

mod devices;
mod grants;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::client::{Credentials, Request};
use crate::crash::oracle::devices::Devices;
pub(super) use crate::crash::oracle::devices::{Decision, DeviceNumber, Polled};
use crate::crash::oracle::grants::People;
pub(super) use crate::crash::oracle::grants::{GrantNumber, LeftCode};
use crate::crash::violation::{Place, Violation};

/// A token, by its number in the order of issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TokenNumber(usize);

/// A client, by its number in the order of registration. A client that is registered again is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClientNumber(usize);

/// Everything that was acknowledged.
#[derive(Default)]
pub(super) struct Oracle {
    tokens: Vec<Token>,
    clients: Vec<Client>,
    people: People,
    devices: Devices,
    /// Touched since the last check.
    changed_tokens: BTreeSet<TokenNumber>,
    changed_clients: BTreeSet<ClientNumber>,
    /// The last [`ENDING`] tokens that somebody began to revoke.
    ending: VecDeque<TokenNumber>,
    lost: Vec<(TokenNumber, Place)>,
    /// All others.
    violations: Vec<Violation>,
    /// How often the server was started so far.
    start: usize,
}

struct Token {
    text: String,
    client: ClientNumber,
    /// The person's grant that it hangs on.
    grant: Option<GrantNumber>,
    /// Who was told of it, and after which start.
    connection: usize,
    start: usize,
    life: Life,
    /// Until then it lives, if nobody ends it.
    active_until: Instant,
    /// From then on it has expired.
    inactive_from: Instant,
}

struct Client {
    credentials: Credentials,
    lifetime: Duration,
    life: Life,
    /// Its id was given to another client.
    is_followed: bool,
    tokens: Vec<TokenNumber>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Live,
    /// Its end was asked for, and nobody knows whether it came.
    Doubtful,
    Dead,
}

/// What the server must say about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Active,
    Inactive,
    Either,
}

/// Asked before the request is sent, handed back with the answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<T> {
    subject: T,
    must_be_dead: bool,
    /// No other request is under way, so that what is in doubt is decided now.
    settles: bool,
}

/// By how much the clocks of the server and of this process may differ: both round, and a restart reads the wall clock.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);

impl Oracle {
    /// The server starts once more: all requests to the one before have ended.
    pub(super) fn started(&mut self) {
        self.start += 1;
        self.give_back_all();
        self.give_back_all_devices();
    }

    /// A client was registered.
    pub(super) fn registered(&mut self, credentials: Credentials, lifetime: Duration) -> ClientNumber {
        let number = ClientNumber(self.clients.len());
        self.clients.push(Client { credentials, lifetime, life: Life::Live, is_followed: false, tokens: Vec::new() });
        self.changed_clients.insert(number);
        number
    }

    /// A token was issued on a request that was sent and answered then.
    pub(super) fn issued(
        &mut self,
        client: ClientNumber,
        text: String,
        connection: usize,
        times: (Instant, Instant),
    ) -> TokenNumber {
        self.issued_of(client, text, None, connection, times)
    }

    fn issued_of(
        &mut self,
        client: ClientNumber,
        text: String,
        grant: Option<GrantNumber>,
        connection: usize,
        (sent, answered): (Instant, Instant),
    ) -> TokenNumber {
        let number = TokenNumber(self.tokens.len());
        let lifetime = self.client(client).lifetime;
        self.tokens.push(Token {
            text,
            client,
            grant,
            connection,
            start: self.start,
            life: Life::Live,
            active_until: sent + lifetime.saturating_sub(CLOCK_TOLERANCE),
            inactive_from: answered + lifetime + CLOCK_TOLERANCE,
        });
        self.client_mut(client).tokens.push(number);
        self.changed_tokens.insert(number);
        number
    }

    /// A revocation is about to be sent, this one; nobody else revokes the token.
    pub(super) fn begin_revocation(&mut self, token: TokenNumber) -> Request {
        self.changed_tokens.insert(token);
        self.ending.push_back(token);
        if self.ending.len() > ENDING {
            self.ending.pop_front();
        }
        let own = self.token_mut(token);
        own.life = own.life.max_doubt();
        let own = self.token(token);
        self.client(own.client).credentials.revoke(&own.text)
    }

    /// It was acknowledged.
    pub(super) fn revoked(&mut self, token: TokenNumber) {
        self.token_mut(token).life = Life::Dead;
    }

    /// It was refused, and a refusal changes nothing.
    pub(super) fn revocation_refused(&mut self, token: TokenNumber) {
        let token = self.token_mut(token);
        token.life = token.life.after_refusal();
    }

    /// A deletion is about to be sent; nobody else deletes this client. Its id.
    pub(super) fn begin_deletion(&mut self, client: ClientNumber) -> &str {
        self.changed_clients.insert(client);
        let tokens = self.client(client).tokens.clone();
        self.changed_tokens.extend(tokens);
        let own = self.client_mut(client);
        own.life = own.life.max_doubt();
        &own.credentials.id
    }

    /// It was acknowledged.
    pub(super) fn deleted(&mut self, client: ClientNumber) {
        self.client_mut(client).life = Life::Dead;
    }

    /// It was refused, and a refusal changes nothing.
    pub(super) fn deletion_refused(&mut self, client: ClientNumber) {
        let client = self.client_mut(client);
        client.life = client.life.after_refusal();
    }

    /// A question about a token, about to be sent.
    pub(super) fn ask(&self, token: TokenNumber, now: Instant) -> Question<TokenNumber> {
        let must_be_dead = self.expected(token, now) == Expected::Inactive;
        Question { subject: token, must_be_dead, settles: false }
    }

    /// The server's answer to it.
    pub(super) fn observe(&mut self, question: Question<TokenNumber>, is_active: bool, now: Instant) {
        let number = question.subject;
        if is_active && question.must_be_dead {
            self.violations.push(Violation::Revived(self.place(number)));
        } else if is_active && question.settles {
            // Were its end in the journal, it would be over: it will never come.
            let &Token { client, grant, .. } = self.token(number);
            self.token_mut(number).life = Life::Live;
            self.client_mut(client).life = Life::Live;
            self.settle_grant(grant, Life::Live);
        } else if !is_active {
            if self.expected(number, now) == Expected::Active {
                self.lost.push((number, self.place(number)));
            }
            self.seen_inactive(number, now);
        }
    }

    /// A question about a client's credentials, about to be sent.
    pub(super) fn ask_credentials(&self, client: ClientNumber) -> Question<ClientNumber> {
        let must_be_dead = self.client(client).life == Life::Dead;
        Question { subject: client, must_be_dead, settles: false }
    }

    /// A question about the credentials by which a token is revoked.
    pub(super) fn ask_credentials_of(&self, token: TokenNumber) -> Question<ClientNumber> {
        self.ask_credentials(self.token(token).client)
    }

    /// The server's answer to it.
    pub(super) fn observe_credentials(&mut self, question: Question<ClientNumber>, are_accepted: bool) {
        let number = question.subject;
        let place = self.place_of_client(number);
        let client = self.client_mut(number);
        let violation = match (are_accepted, client.life) {
            (true, _) if question.must_be_dead => Some(Violation::ClientRevived(place)),
            (false, Life::Live) => Some(Violation::ClientLost(place)),
            _ => None,
        };
        if !are_accepted {
            client.life = Life::Dead;
        } else if question.settles && !question.must_be_dead {
            client.life = Life::Live;
        }
        self.violations.extend(violation);
    }

    /// Whether the tables hold a token as live, asked and answered then. All has been looked up and nothing changes any
    /// more, so that what is expected is what the server says; around the end of a token either is right.
    pub(super) fn observe_in_tables(
        &mut self,
        number: TokenNumber,
        is_live: bool,
        (asked, answered): (Instant, Instant),
    ) {
        let expected = self.expected(number, asked);
        let violation = match (expected, is_live) {
            _ if self.expected(number, answered) != expected => None,
            (Expected::Active, false) => Some(Violation::NotInTables(self.place(number))),
            (Expected::Inactive, true) => Some(Violation::StillInTables(self.place(number))),
            _ => None,
        };
        self.violations.extend(violation);
    }

    /// Whether the tables hold a client as registered, with its secret; like [`observe_in_tables`](Self::observe_in_tables).
    pub(super) fn observe_client_in_tables(&mut self, number: ClientNumber, is_there: bool) {
        let violation = match (self.client(number).life, is_there) {
            (Life::Live, false) => Some(Violation::ClientNotInTables(self.place_of_client(number))),
            (Life::Dead, true) => Some(Violation::ClientStillInTables(self.place_of_client(number))),
            _ => None,
        };
        self.violations.extend(violation);
    }

    /// Something was found that is not about one token or client.
    pub(super) fn note(&mut self, violation: Violation) {
        self.violations.push(violation);
    }

    /// Whether everything held so far.
    pub(super) const fn is_content(&self) -> bool {
        self.lost.is_empty() && self.violations.is_empty()
    }

    /// What did not hold so far. Which losses are holes is known only when all has been looked at.
    pub(super) fn violations(&self) -> Vec<Violation> {
        let lost = self.lost.iter().map(|(number, place)| {
            let is_hole = self.has_later(*number);
            if is_hole { Violation::Hole(place.clone()) } else { Violation::Lost(place.clone()) }
        });
        lost.chain(self.violations.iter().cloned()).collect()
    }

    fn expected(&self, token: TokenNumber, now: Instant) -> Expected {
        let token = self.token(token);
        let lives = [token.life, self.client(token.client).life, self.life_of_grant(token.grant)];
        if lives.contains(&Life::Dead) || now >= token.inactive_from {
            Expected::Inactive
        } else if lives == [Life::Live; 3] && now < token.active_until {
            Expected::Active
        } else {
            Expected::Either
        }
    }

    /// A token that somebody has seen inactive stays so; and if nothing but the deletion of its client, or the end of its
    /// grant, can be why, that has happened.
    fn seen_inactive(&mut self, number: TokenNumber, now: Instant) {
        let token = self.token_mut(number);
        let &mut Token { client, grant, .. } = token;
        let is_by_another = token.life == Life::Live && now < token.active_until;
        token.life = Life::Dead;
        let is_grant_live = self.life_of_grant(grant) == Life::Live;
        let client = self.client_mut(client);
        let is_client_live = client.life == Life::Live;
        if is_by_another && is_grant_live && client.life == Life::Doubtful {
            client.life = Life::Dead;
        }
        if is_by_another && is_client_live {
            self.settle_grant(grant, Life::Dead);
        }
    }

    /// Whether something is there that the connection of a lost token was told of later.
    fn has_later(&self, lost: TokenNumber) -> bool {
        let connection = self.token(lost).connection;
        let mut later = self.tokens.iter().skip(lost.0 + 1);
        later.any(|token| token.connection == connection && token.life == Life::Live)
    }

    fn place(&self, number: TokenNumber) -> Place {
        let token = self.token(number);
        let client = self.client(token.client).credentials.id.clone();
        Place { client, issued: Some((number.0, token.connection, token.start)), start: self.start }
    }

    fn place_of_client(&self, number: ClientNumber) -> Place {
        Place { client: self.client(number).credentials.id.clone(), issued: None, start: self.start }
    }
}

/// What is looked up after a restart.
impl Oracle {
    /// All that was touched since this was last called, and `sample` others at random. No request may be under way.
    pub(super) fn take_changed(&mut self, sample: usize, random: &mut fastrand::Rng) -> Vec<TokenNumber> {
        let changed = std::mem::take(&mut self.changed_tokens);
        with_sample(changed, sample, self.tokens.len(), TokenNumber, random)
    }

    /// The same for clients.
    pub(super) fn take_changed_clients(&mut self, sample: usize, random: &mut fastrand::Rng) -> Vec<ClientNumber> {
        let changed = std::mem::take(&mut self.changed_clients);
        with_sample(changed, sample, self.clients.len(), ClientNumber, random)
    }

    /// So many tokens at random, fewer if there are fewer.
    pub(super) fn sample_tokens(&self, count: usize, random: &mut fastrand::Rng) -> Vec<TokenNumber> {
        sample(count, self.tokens.len(), TokenNumber, random).collect()
    }

    /// So many clients at random, fewer if there are fewer.
    pub(super) fn sample_clients(&self, count: usize, random: &mut fastrand::Rng) -> Vec<ClientNumber> {
        sample(count, self.clients.len(), ClientNumber, random).collect()
    }

    pub(super) fn all_tokens(&self) -> Vec<TokenNumber> {
        (0..self.tokens.len()).map(TokenNumber).collect()
    }

    pub(super) fn all_clients(&self) -> Vec<ClientNumber> {
        (0..self.clients.len()).map(ClientNumber).collect()
    }

    /// A question while no other request is under way.
    pub(super) fn ask_alone(&self, token: TokenNumber, now: Instant) -> Question<TokenNumber> {
        Question { settles: true, ..self.ask(token, now) }
    }

    /// A question while no other request is under way.
    pub(super) fn ask_credentials_alone(&self, client: ClientNumber) -> Question<ClientNumber> {
        Question { settles: true, ..self.ask_credentials(client) }
    }

    pub(super) fn text(&self, token: TokenNumber) -> &str {
        &self.token(token).text
    }

    pub(super) fn credentials(&self, client: ClientNumber) -> &Credentials {
        &self.client(client).credentials
    }
}

/// What a connection may do next.
impl Oracle {
    /// Any token; often one that is being revoked, or of the last [`RECENT`].
    pub(super) fn pick_token(&self, random: &mut fastrand::Rng) -> Option<TokenNumber> {
        let ending = (random.u8(..4) == 0 && !self.ending.is_empty()).then(|| random.usize(..self.ending.len()));
        let ending = ending.and_then(|index| self.ending.get(index).copied());
        ending.or_else(|| pick(self.tokens.len(), random).map(TokenNumber))
    }

    /// A token that nobody has asked to revoke yet.
    pub(super) fn pick_live_token(&self, random: &mut fastrand::Rng) -> Option<TokenNumber> {
        let is_live = |token: &TokenNumber| {
            let token = self.token(*token);
            let lives = [token.life, self.client(token.client).life, self.life_of_grant(token.grant)];
            lives == [Life::Live; 3]
        };
        (0..TRIES).filter_map(|_| self.pick_token(random)).find(is_live)
    }

    /// A client that may ask for tokens and that nobody has asked to delete yet; the first `kept` are taken half of the time.
    pub(super) fn pick_live_client(&self, kept: usize, random: &mut fastrand::Rng) -> Option<ClientNumber> {
        let kept = kept.min(self.clients.len());
        let from_kept = (kept > 0 && random.bool()).then(|| ClientNumber(random.usize(..kept)));
        let picked = from_kept.or_else(|| self.pick_client(random, |client| client.life == Life::Live));
        picked.filter(|number| !self.is_of_people(*number))
    }

    /// A client of another number than the first `kept`, which people do not use, that nobody has asked to delete yet.
    pub(super) fn pick_client_to_delete(&self, kept: usize, random: &mut fastrand::Rng) -> Option<ClientNumber> {
        self.pick_client(random, |client| client.life == Life::Live)
            .filter(|number| number.0 >= kept && !self.is_of_people(*number))
    }

    /// The id of a client that is deleted, for another one. It is given once.
    pub(super) fn take_dead_id(&mut self, random: &mut fastrand::Rng) -> Option<String> {
        let number = self.pick_client(random, |client| client.life == Life::Dead && !client.is_followed)?;
        let client = self.client_mut(number);
        client.is_followed = true;
        Some(client.credentials.id.clone())
    }

    fn pick_client(&self, random: &mut fastrand::Rng, is_wanted: impl Fn(&Client) -> bool) -> Option<ClientNumber> {
        let picked = (0..TRIES).filter_map(|_| pick(self.clients.len(), random).map(ClientNumber));
        picked.into_iter().find(|number| is_wanted(self.client(*number)))
    }

    #[expect(clippy::indexing_slicing, reason = "numbers are made here alone, and nothing is ever removed")]
    fn token(&self, number: TokenNumber) -> &Token {
        &self.tokens[number.0]
    }

    #[expect(clippy::indexing_slicing, reason = "numbers are made here alone, and nothing is ever removed")]
    fn token_mut(&mut self, number: TokenNumber) -> &mut Token {
        &mut self.tokens[number.0]
    }

    #[expect(clippy::indexing_slicing, reason = "numbers are made here alone, and nothing is ever removed")]
    fn client(&self, number: ClientNumber) -> &Client {
        &self.clients[number.0]
    }

    #[expect(clippy::indexing_slicing, reason = "numbers are made here alone, and nothing is ever removed")]
    fn client_mut(&mut self, number: ClientNumber) -> &mut Client {
        &mut self.clients[number.0]
    }
}

/// How often a random pick is tried before there is none.
const TRIES: usize = 16;
const RECENT: usize = 500;
const ENDING: usize = 64;

/// So many of `count` at random, fewer if there are none.
fn sample<N>(
    wanted: usize,
    count: usize,
    number: fn(usize) -> N,
    random: &mut fastrand::Rng,
) -> impl Iterator<Item = N> {
    (0..wanted).filter_map(move |_| pick(count, random).map(number))
}

/// What has changed, and a sample of all.
fn with_sample<N: Ord>(
    mut changed: BTreeSet<N>,
    wanted: usize,
    count: usize,
    number: fn(usize) -> N,
    random: &mut fastrand::Rng,
) -> Vec<N> {
    changed.extend(sample(wanted, count, number, random));
    changed.into_iter().collect()
}

fn pick(count: usize, random: &mut fastrand::Rng) -> Option<usize> {
    let first = if random.bool() { count.saturating_sub(RECENT) } else { 0 };
    (count > 0).then(|| random.usize(first..count))
}

impl Life {
    const fn max_doubt(self) -> Self {
        match self {
            Self::Dead => Self::Dead,
            Self::Live | Self::Doubtful => Self::Doubtful,
        }
    }

    const fn after_refusal(self) -> Self {
        match self {
            Self::Dead => Self::Dead,
            Self::Live | Self::Doubtful => Self::Live,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(3600);

    /// An oracle with one client and one token of it, which were acknowledged.
    fn one_token() -> (Oracle, ClientNumber, TokenNumber, Instant) {
        let (mut oracle, now) = (Oracle::default(), Instant::now());
        oracle.started();
        let client = oracle.registered(Credentials::new("app", "secret"), LIFETIME);
        let token = oracle.issued(client, "token".to_owned(), 0, (now, now));
        (oracle, client, token, now)
    }

    fn look(oracle: &mut Oracle, token: TokenNumber, is_active: bool, now: Instant) {
        let question = oracle.ask(token, now);
        oracle.observe(question, is_active, now);
    }

    fn look_alone(oracle: &mut Oracle, token: TokenNumber, is_active: bool, now: Instant) {
        let question = oracle.ask_alone(token, now);
        oracle.observe(question, is_active, now);
    }

    fn log_in(oracle: &mut Oracle, client: ClientNumber, are_accepted: bool) {
        let question = oracle.ask_credentials_alone(client);
        oracle.observe_credentials(question, are_accepted);
    }

    #[track_caller]
    pub(super) fn check(oracle: &Oracle, expected: &[fn(Place) -> Violation]) {
        let kinds = |violations: &[Violation]| violations.iter().map(std::mem::discriminant).collect::<Vec<_>>();
        let place = Place { client: String::new(), issued: None, start: 0 };
        let expected: Vec<_> = expected.iter().map(|violation| violation(place.clone())).collect();
        assert_eq!(kinds(&oracle.violations()), kinds(&expected), "{:?}", oracle.violations());
    }

    #[test]
    fn an_acknowledged_token_is_active() {
        let (mut oracle, _, token, now) = one_token();
        look(&mut oracle, token, true, now);
        check(&oracle, &[]);
        look(&mut oracle, token, false, now);
        check(&oracle, &[Violation::Lost]);
    }

    #[test]
    fn a_lost_token_before_one_that_is_there_is_a_hole() {
        let (mut oracle, client, token, now) = one_token();
        oracle.issued(client, "of another connection".to_owned(), 1, (now, now));
        look(&mut oracle, token, false, now);
        check(&oracle, &[Violation::Lost]);

        let last = oracle.issued(client, "the last of the connection".to_owned(), 0, (now, now));
        look(&mut oracle, last, false, now);
        check(&oracle, &[Violation::Lost, Violation::Lost]);
        let texts = ["first", "second", "third"];
        let [first, second, _] = texts.map(|text| oracle.issued(client, text.to_owned(), 2, (now, now)));
        look(&mut oracle, first, false, now);
        look(&mut oracle, second, false, now);
        check(&oracle, &[Violation::Lost, Violation::Lost, Violation::Hole, Violation::Hole]);
    }

    #[test]
    fn an_acknowledged_revocation_is_final() {
        let (mut oracle, _, token, now) = one_token();
        oracle.begin_revocation(token);
        oracle.revoked(token);
        look_alone(&mut oracle, token, false, now);
        check(&oracle, &[]);
        look_alone(&mut oracle, token, true, now);
        check(&oracle, &[Violation::Revived]);
    }

    #[test]
    fn a_revocation_that_nobody_answered_may_have_happened_or_not_but_what_was_seen_of_it_stays() {
        let (mut oracle, _, token, now) = one_token();
        oracle.begin_revocation(token);
        for is_active in [true, true, false, false] {
            look(&mut oracle, token, is_active, now);
        }
        check(&oracle, &[]);
        look(&mut oracle, token, true, now);
        check(&oracle, &[Violation::Revived]);
    }

    #[test]
    fn a_revocation_that_a_restart_has_not_found_never_happens() {
        let (mut oracle, _, token, now) = one_token();
        oracle.begin_revocation(token);
        look_alone(&mut oracle, token, true, now);
        check(&oracle, &[]);
        look(&mut oracle, token, false, now);
        check(&oracle, &[Violation::Lost]);
    }

    #[test]
    fn a_refused_revocation_changes_nothing() {
        let (mut oracle, _, token, now) = one_token();
        oracle.begin_revocation(token);
        oracle.revocation_refused(token);
        look(&mut oracle, token, false, now);
        check(&oracle, &[Violation::Lost]);
    }

    #[test]
    fn an_answer_from_before_the_end_is_no_revival_and_one_from_after_the_request_is_no_loss() {
        let (mut oracle, _, token, now) = one_token();
        let (early, late) = (oracle.ask(token, now), oracle.ask(token, now));
        oracle.begin_revocation(token);
        oracle.observe(late, false, now);
        oracle.revoked(token);
        oracle.observe(early, true, now);
        check(&oracle, &[]);
    }

    #[test]
    fn an_expired_token_is_inactive_and_around_its_end_either_is_right() {
        let (mut oracle, _, token, now) = one_token();
        look(&mut oracle, token, true, now + LIFETIME);
        check(&oracle, &[]);
        look(&mut oracle, token, false, now + LIFETIME);
        check(&oracle, &[]);
        look(&mut oracle, token, true, now + LIFETIME);
        check(&oracle, &[Violation::Revived]);

        let (mut oracle, _, token, now) = one_token();
        look(&mut oracle, token, true, now + LIFETIME + CLOCK_TOLERANCE);
        check(&oracle, &[Violation::Revived]);
    }

    #[test]
    fn what_a_deleted_client_had_is_dead() {
        let (mut oracle, client, token, now) = one_token();
        oracle.begin_deletion(client);
        look(&mut oracle, token, true, now);
        oracle.deleted(client);
        log_in(&mut oracle, client, false);
        look(&mut oracle, token, false, now);
        check(&oracle, &[]);
        log_in(&mut oracle, client, true);
        look(&mut oracle, token, true, now);
        check(&oracle, &[Violation::ClientRevived, Violation::Revived]);
    }

    #[test]
    fn a_deletion_that_one_token_shows_has_ended_them_all() {
        let (mut oracle, client, token, now) = one_token();
        let other = oracle.issued(client, "other".to_owned(), 0, (now, now));
        oracle.begin_deletion(client);
        look(&mut oracle, token, false, now);
        look(&mut oracle, other, true, now);
        log_in(&mut oracle, client, true);
        check(&oracle, &[Violation::Revived, Violation::ClientRevived]);
    }

    #[test]
    fn a_deletion_that_a_restart_has_not_found_never_happens() {
        let (mut oracle, client, token, now) = one_token();
        oracle.begin_deletion(client);
        log_in(&mut oracle, client, true);
        check(&oracle, &[]);
        look(&mut oracle, token, false, now);
        check(&oracle, &[Violation::Lost]);
    }

    #[test]
    fn the_credentials_of_a_client_are_accepted() {
        let (mut oracle, client, ..) = one_token();
        log_in(&mut oracle, client, true);
        check(&oracle, &[]);
        log_in(&mut oracle, client, false);
        check(&oracle, &[Violation::ClientLost]);
    }

    #[test]
    fn the_tables_hold_what_is_active_and_around_its_end_either_is_right() {
        let (mut oracle, client, token, now) = one_token();
        let tables = |oracle: &mut Oracle, is_live, after| {
            oracle.observe_in_tables(token, is_live, (now + after, now + after));
        };
        tables(&mut oracle, true, Duration::ZERO);
        tables(&mut oracle, true, LIFETIME);
        tables(&mut oracle, false, LIFETIME);
        tables(&mut oracle, false, 2 * LIFETIME);
        oracle.observe_in_tables(token, false, (now, now + LIFETIME));
        oracle.observe_client_in_tables(client, true);
        check(&oracle, &[]);
        tables(&mut oracle, false, Duration::ZERO);
        tables(&mut oracle, true, 2 * LIFETIME);
        oracle.observe_client_in_tables(client, false);
        check(&oracle, &[Violation::NotInTables, Violation::StillInTables, Violation::ClientNotInTables]);
    }

    #[test]
    fn the_tables_do_not_hold_a_deleted_client_nor_its_tokens() {
        let (mut oracle, client, token, now) = one_token();
        oracle.begin_deletion(client);
        oracle.deleted(client);
        oracle.observe_in_tables(token, false, (now, now));
        oracle.observe_client_in_tables(client, false);
        check(&oracle, &[]);
        oracle.observe_in_tables(token, true, (now, now));
        oracle.observe_client_in_tables(client, true);
        check(&oracle, &[Violation::StillInTables, Violation::ClientStillInTables]);
    }

    #[test]
    fn a_check_sees_all_that_changed_once() {
        let (mut oracle, client, token, _) = one_token();
        let mut random = fastrand::Rng::with_seed(1);
        assert_eq!(oracle.take_changed(0, &mut random), [token]);
        assert_eq!(oracle.take_changed(0, &mut random), []);
        oracle.begin_revocation(token);
        assert_eq!(oracle.take_changed(0, &mut random), [token]);
        oracle.begin_deletion(client);
        assert_eq!(oracle.take_changed(0, &mut random), [token]);
        assert_eq!(oracle.take_changed_clients(0, &mut random), [client]);
    }
}

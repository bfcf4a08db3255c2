//! What people have let clients do: codes, chains of refresh tokens, and sessions.
//!
//! A grant is worked with by one connection at a time, so that its chain is known: each token of it is the successor of the one
//! before, and the last one, the leaf, is good. Where the answer to a refresh was lost the leaf may have been used; whoever
//! presents it again gets its successor. What a grant gave is active only while the grant is.

use std::collections::BTreeSet;

use tokio::time::{Duration, Instant};

use crate::client::{Credentials, Granted};
use crate::crash::oracle::{ClientNumber, Life, Oracle, TRIES, TokenNumber, sample, with_sample};
use crate::crash::violation::Violation;
use crate::people::{Account, Browser};

/// A grant, by its number in the order of the first answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::crash) struct GrantNumber(usize);

/// Everything of people's that was acknowledged.
#[derive(Default)]
pub(super) struct People {
    grants: Vec<Grant>,
    /// Touched since the last check.
    changed: BTreeSet<GrantNumber>,
    /// Codes that nobody has redeemed, or perhaps somebody whose answer was lost.
    codes: Vec<LeftCode>,
    accounts: Vec<Account>,
    /// Browsers with a session.
    sessions: Vec<Browser>,
    /// The clients that people let act for them.
    clients: Vec<ClientNumber>,
}

struct Grant {
    client: ClientNumber,
    origin: Origin,
    chain: Vec<String>,
    /// The last access token of it.
    token: TokenNumber,
    life: Life,
    is_taken: bool,
    /// A refresh with it was sent, and nobody knows what became of it.
    may_leaf_be_used: bool,
}

/// What a grant was made of.
pub(super) enum Origin {
    Code(LeftCode),
    /// A device code, which is kept with the device.
    Device,
}

/// A code of a client.
#[derive(Clone)]
pub(in crate::crash) struct LeftCode {
    pub(in crate::crash) client: ClientNumber,
    pub(in crate::crash) text: String,
    asked_at: Instant,
    may_be_used: bool,
}

/// For how long a code can surely be redeemed, and its second use be recognised.
const CODE_GOOD: Duration = Duration::from_secs(45);

impl Grant {
    const fn code(&self) -> Option<&LeftCode> {
        match &self.origin {
            Origin::Code(code) => Some(code),
            Origin::Device => None,
        }
    }
}

impl LeftCode {
    /// A code that was asked for then.
    pub(in crate::crash) const fn new(client: ClientNumber, text: String, asked_at: Instant) -> Self {
        Self { client, text, asked_at, may_be_used: false }
    }

    fn is_good(&self, now: Instant) -> bool {
        now < self.asked_at + CODE_GOOD
    }
}

/// Asked before a refresh is sent, handed back with the answer.
#[derive(Clone, Copy, Debug)]
pub(in crate::crash) struct Refreshing {
    grant: GrantNumber,
    must_be_dead: bool,
}

/// What a connection may do next.
impl Oracle {
    pub(in crate::crash) fn has_account(&mut self, account: Account) {
        self.people.accounts.push(account);
    }

    pub(in crate::crash) fn has_session(&mut self, browser: Browser) {
        self.people.sessions.push(browser);
    }

    pub(in crate::crash) fn serves_people(&mut self, client: ClientNumber) {
        self.people.clients.push(client);
    }

    pub(in crate::crash) fn accounts(&self) -> &[Account] {
        &self.people.accounts
    }

    pub(in crate::crash) fn sessions(&self) -> &[Browser] {
        &self.people.sessions
    }

    /// A browser whose person is logged in, and a client that it may let in.
    pub(in crate::crash) fn pick_visit(&self, random: &mut fastrand::Rng) -> Option<(Browser, ClientNumber)> {
        let People { sessions, clients, .. } = &self.people;
        let browser = sessions.get(random.usize(..sessions.len().max(1)))?;
        Some((browser.clone(), *clients.get(random.usize(..clients.len().max(1)))?))
    }

    /// A code that was left, which is the caller's now.
    pub(in crate::crash) fn take_code(&mut self, random: &mut fastrand::Rng) -> Option<LeftCode> {
        let count = self.people.codes.len();
        (count > 0).then(|| self.people.codes.swap_remove(random.usize(..count)))
    }

    /// A code is left, for whoever comes.
    pub(in crate::crash) fn leave_code(&mut self, code: LeftCode) {
        self.people.codes.push(code);
    }

    /// A live grant that nobody works with. It is the caller's until it is given back.
    pub(in crate::crash) fn take_grant(&mut self, random: &mut fastrand::Rng) -> Option<GrantNumber> {
        let found = sample(TRIES, self.people.grants.len(), GrantNumber, random)
            .find(|number| !self.grant(*number).is_taken && self.grant(*number).life == Life::Live)?;
        self.take_this_grant(found);
        Some(found)
    }

    /// That grant, while nobody else asks for anything.
    pub(in crate::crash) fn take_this_grant(&mut self, number: GrantNumber) {
        self.people.changed.insert(number);
        self.grant_mut(number).is_taken = true;
    }

    pub(in crate::crash) fn give_back(&mut self, number: GrantNumber) {
        self.grant_mut(number).is_taken = false;
    }

    /// Its client.
    pub(in crate::crash) fn credentials_of_grant(&self, number: GrantNumber) -> &Credentials {
        self.credentials(self.grant(number).client)
    }

    pub(in crate::crash) fn leaf(&self, number: GrantNumber) -> &str {
        self.grant(number).chain.last().map_or("", String::as_str)
    }

    /// The token before the leaf, if the leaf was surely not used: whoever presents it again gets the leaf.
    pub(in crate::crash) fn parent(&self, number: GrantNumber) -> Option<&str> {
        let Grant { chain, may_leaf_be_used, .. } = self.grant(number);
        chain.iter().rev().nth(1).filter(|_| !may_leaf_be_used).map(String::as_str)
    }

    /// A token whose successor was used: whoever presents it ends the grant.
    pub(in crate::crash) fn ancestor(&self, number: GrantNumber, random: &mut fastrand::Rng) -> Option<&str> {
        let chain = &self.grant(number).chain;
        let used = chain.get(..chain.len().saturating_sub(2)).filter(|used| !used.is_empty())?;
        used.get(random.usize(..used.len())).map(String::as_str)
    }

    /// The code that a grant was redeemed with, while a second use is recognised.
    pub(in crate::crash) fn used_code(&self, number: GrantNumber, now: Instant) -> Option<&str> {
        self.grant(number).code().filter(|code| code.is_good(now)).map(|code| &*code.text)
    }
}

/// What happens to codes and grants.
impl Oracle {
    /// A code was redeemed.
    pub(in crate::crash) fn redeemed(
        &mut self,
        code: LeftCode,
        granted: Granted,
        connection: usize,
        times: (Instant, Instant),
    ) {
        self.granted(code.client, Origin::Code(code), granted, connection, times);
    }

    /// A client was granted something.
    pub(super) fn granted(
        &mut self,
        client: ClientNumber,
        origin: Origin,
        Granted { access_token, refresh_token }: Granted,
        connection: usize,
        times: (Instant, Instant),
    ) {
        let number = GrantNumber(self.people.grants.len());
        let token = self.issued_of(client, access_token, Some(number), connection, times);
        self.people.grants.push(Grant {
            client,
            origin,
            chain: vec![refresh_token],
            token,
            life: Life::Live,
            is_taken: false,
            may_leaf_be_used: false,
        });
        self.people.changed.insert(number);
    }

    /// A code was refused. It must not have been, if nobody can have used it.
    pub(in crate::crash) fn code_refused(&mut self, code: &LeftCode, now: Instant) {
        if !code.may_be_used && code.is_good(now) {
            let place = self.place_of_client(code.client);
            self.note(Violation::CodeLost(place));
        }
    }

    /// The answer about a code was lost.
    pub(in crate::crash) fn code_unanswered(&mut self, code: LeftCode) {
        self.people.codes.push(LeftCode { may_be_used: true, ..code });
    }

    /// The end of a taken grant is about to be asked for.
    pub(in crate::crash) fn begin_end(&mut self, number: GrantNumber) {
        let grant = self.grant_mut(number);
        grant.life = grant.life.max_doubt();
    }

    /// It was acknowledged.
    pub(in crate::crash) fn ended(&mut self, number: GrantNumber) {
        self.grant_mut(number).life = Life::Dead;
    }

    /// It was refused, and a refusal changes nothing.
    pub(in crate::crash) fn end_refused(&mut self, number: GrantNumber) {
        let grant = self.grant_mut(number);
        grant.life = grant.life.after_refusal();
    }

    /// What was used before was answered with tokens.
    pub(in crate::crash) fn used_twice(&mut self, number: GrantNumber) {
        let place = self.place_of_grant(number);
        self.note(Violation::UsedTwice(place));
    }

    /// A refresh with the leaf of a taken grant is about to be sent.
    pub(in crate::crash) fn begin_refresh(&mut self, number: GrantNumber) -> Refreshing {
        let grant = self.grant_mut(number);
        grant.may_leaf_be_used = true;
        Refreshing { grant: number, must_be_dead: grant.life == Life::Dead }
    }

    /// It gave new tokens. Were the end of the grant in the journal, there would be none: it will never come.
    pub(in crate::crash) fn refreshed(
        &mut self,
        Refreshing { grant: number, must_be_dead }: Refreshing,
        Granted { access_token, refresh_token }: Granted,
        connection: usize,
        times: (Instant, Instant),
    ) {
        if must_be_dead {
            let place = self.place_of_grant(number);
            return self.note(Violation::GrantRevived(place));
        }
        let client = self.grant(number).client;
        let token = self.issued_of(client, access_token, Some(number), connection, times);
        let grant = self.grant_mut(number);
        (grant.life, grant.token, grant.may_leaf_be_used) = (Life::Live, token, false);
        grant.chain.push(refresh_token);
    }

    /// It was refused, for good.
    pub(in crate::crash) fn refresh_refused(&mut self, refreshing: Refreshing) {
        let number = refreshing.grant;
        if self.grant(number).life == Life::Live {
            let place = self.place_of_grant(number);
            self.note(Violation::GrantLost(place));
        }
        self.grant_mut(number).life = Life::Dead;
    }

    /// The parent of the leaf was presented again, and gave this.
    pub(in crate::crash) fn refreshed_again(&mut self, number: GrantNumber, refresh_token: &str) {
        if self.leaf(number) != refresh_token {
            let place = self.place_of_grant(number);
            self.note(Violation::OtherSuccessor(place));
        }
    }

    /// The parent of the leaf was presented again, and refused.
    pub(in crate::crash) fn again_refused(&mut self, number: GrantNumber) {
        let place = self.place_of_grant(number);
        self.note(Violation::GrantLost(place));
        self.grant_mut(number).life = Life::Dead;
    }

    /// A session that was begun is not known.
    pub(in crate::crash) fn session_lost(&mut self, client: ClientNumber) {
        let place = self.place_of_client(client);
        self.note(Violation::SessionLost(place));
    }
}

/// What is looked up after a restart, and how tokens and grants hang together.
impl Oracle {
    /// All grants that were touched since this was last called, and `sample` others. No request may be under way.
    pub(in crate::crash) fn take_changed_grants(
        &mut self,
        sample: usize,
        random: &mut fastrand::Rng,
    ) -> Vec<GrantNumber> {
        let changed = std::mem::take(&mut self.people.changed);
        with_sample(changed, sample, self.people.grants.len(), GrantNumber, random)
    }

    pub(in crate::crash) fn all_grants(&self) -> Vec<GrantNumber> {
        (0..self.people.grants.len()).map(GrantNumber).collect()
    }

    /// Nobody works with a grant any more: the requests to the server before have ended.
    pub(super) fn give_back_all(&mut self) {
        self.people.grants.iter_mut().for_each(|grant| grant.is_taken = false);
    }

    /// The refresh tokens and the code of a grant.
    pub(in crate::crash) fn secrets_of(&self, number: GrantNumber) -> impl Iterator<Item = &str> {
        let grant = self.grant(number);
        grant.chain.iter().chain(grant.code().map(|code| &code.text)).map(String::as_str)
    }

    pub(super) fn is_of_people(&self, client: ClientNumber) -> bool {
        self.people.clients.contains(&client)
    }

    pub(super) fn life_of_grant(&self, number: Option<GrantNumber>) -> Life {
        number.map_or(Life::Live, |number| self.grant(number).life)
    }

    /// A token of it is active, and nobody else asks for anything: what was in doubt has not happened.
    pub(super) fn settle_grant(&mut self, number: Option<GrantNumber>, life: Life) {
        if let Some(number) = number {
            let grant = self.grant_mut(number);
            if grant.life == Life::Doubtful {
                grant.life = life;
            }
        }
    }

    fn place_of_grant(&self, number: GrantNumber) -> crate::crash::violation::Place {
        self.place(self.grant(number).token)
    }

    #[expect(clippy::indexing_slicing, reason = "numbers are made here alone, and nothing is ever removed")]
    fn grant(&self, number: GrantNumber) -> &Grant {
        &self.people.grants[number.0]
    }

    #[expect(clippy::indexing_slicing, reason = "numbers are made here alone, and nothing is ever removed")]
    fn grant_mut(&mut self, number: GrantNumber) -> &mut Grant {
        &mut self.people.grants[number.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash::oracle::tests::check;

    fn granted(name: &str) -> Granted {
        Granted { access_token: format!("at-{name}"), refresh_token: format!("rt-{name}") }
    }

    /// An oracle with one grant, which was acknowledged.
    fn one_grant() -> (Oracle, GrantNumber, Instant) {
        let (mut oracle, now) = (Oracle::default(), Instant::now());
        oracle.started();
        let client = oracle.registered(Credentials::new("app", "secret"), Duration::from_secs(3600));
        oracle.redeemed(LeftCode::new(client, "code".to_owned(), now), granted("1"), 0, (now, now));
        let grant = oracle.take_grant(&mut fastrand::Rng::with_seed(1)).unwrap();
        (oracle, grant, now)
    }

    fn refresh(oracle: &mut Oracle, grant: GrantNumber, answer: Option<&str>, now: Instant) {
        let refreshing = oracle.begin_refresh(grant);
        match answer {
            Some(name) => oracle.refreshed(refreshing, granted(name), 0, (now, now)),
            None => oracle.refresh_refused(refreshing),
        }
    }

    #[test]
    fn an_acknowledged_refresh_token_refreshes() {
        let (mut oracle, grant, now) = one_grant();
        refresh(&mut oracle, grant, Some("2"), now);
        assert_eq!((oracle.leaf(grant), oracle.parent(grant)), ("rt-2", Some("rt-1")));
        check(&oracle, &[]);
        refresh(&mut oracle, grant, None, now);
        check(&oracle, &[Violation::GrantLost]);
    }

    #[test]
    fn a_refresh_whose_answer_was_lost_is_tried_again_with_the_same_token() {
        let (mut oracle, grant, now) = one_grant();
        refresh(&mut oracle, grant, Some("2"), now);
        oracle.begin_refresh(grant);
        assert_eq!((oracle.leaf(grant), oracle.parent(grant)), ("rt-2", None));
        refresh(&mut oracle, grant, Some("3"), now);
        assert_eq!((oracle.leaf(grant), oracle.parent(grant)), ("rt-3", Some("rt-2")));
        assert_eq!(oracle.ancestor(grant, &mut fastrand::Rng::with_seed(1)), Some("rt-1"));
        check(&oracle, &[]);
    }

    #[test]
    fn an_acknowledged_end_is_final_for_the_grant_and_all_that_it_gave() {
        let (mut oracle, grant, now) = one_grant();
        oracle.begin_end(grant);
        oracle.ended(grant);
        refresh(&mut oracle, grant, None, now);
        let token = oracle.grant(grant).token;
        let question = oracle.ask(token, now);
        oracle.observe(question, false, now);
        check(&oracle, &[]);
        let question = oracle.ask(token, now);
        oracle.observe(question, true, now);
        refresh(&mut oracle, grant, Some("2"), now);
        check(&oracle, &[Violation::Revived, Violation::GrantRevived]);
    }

    #[test]
    fn an_end_that_nobody_answered_may_have_happened_or_not_but_what_was_seen_of_it_stays() {
        let (mut oracle, grant, now) = one_grant();
        let token = oracle.grant(grant).token;
        oracle.begin_end(grant);
        let question = oracle.ask_alone(token, now);
        oracle.observe(question, true, now);
        refresh(&mut oracle, grant, Some("2"), now);
        check(&oracle, &[]);

        let (mut oracle, grant, now) = one_grant();
        let token = oracle.grant(grant).token;
        oracle.begin_end(grant);
        let question = oracle.ask_alone(token, now);
        oracle.observe(question, false, now);
        refresh(&mut oracle, grant, Some("2"), now);
        check(&oracle, &[Violation::GrantRevived]);
    }

    #[test]
    fn a_token_that_is_gone_while_its_grant_lives_is_lost() {
        let (mut oracle, grant, now) = one_grant();
        let question = oracle.ask(oracle.grant(grant).token, now);
        oracle.observe(question, false, now);
        check(&oracle, &[Violation::Lost]);
    }

    #[test]
    fn a_retry_gives_the_same_successor() {
        let (mut oracle, grant, now) = one_grant();
        refresh(&mut oracle, grant, Some("2"), now);
        oracle.refreshed_again(grant, "rt-2");
        check(&oracle, &[]);
        oracle.refreshed_again(grant, "rt-3");
        check(&oracle, &[Violation::OtherSuccessor]);
    }

    #[test]
    fn a_code_is_good_unless_it_may_have_been_used_or_is_old() {
        let (mut oracle, grant, now) = one_grant();
        let code = LeftCode::new(oracle.grant(grant).client, "other".to_owned(), now);
        oracle.code_refused(&code, now + CODE_GOOD);
        oracle.code_unanswered(code.clone());
        let used = oracle.take_code(&mut fastrand::Rng::with_seed(1)).unwrap();
        oracle.code_refused(&used, now);
        check(&oracle, &[]);
        oracle.code_refused(&code, now);
        check(&oracle, &[Violation::CodeLost]);
    }
}

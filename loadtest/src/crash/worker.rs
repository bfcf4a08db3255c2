//! One connection: sends one request after the other, and tells the oracle what it was told.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Duration;

use hyper::StatusCode;
use tokio::time::Instant;

use crate::client::{Answer, Bearer, Connection, Credentials, NoAnswer, Registration, Request};
use crate::crash::oracle::{ClientNumber, Oracle, Question, TokenNumber};
use crate::crash::tally::{Kind, Outcome, Tally};
use crate::crash::violation::Violation;

/// What all connections have in common while one server runs.
pub(super) struct Load<'a> {
    pub(super) address: SocketAddr,
    pub(super) admin: &'a Credentials,
    pub(super) bearer: &'a Bearer,
    pub(super) oracle: &'a RefCell<Oracle>,
    pub(super) tally: &'a RefCell<Tally>,
    /// The server is about to be killed: no answer is no surprise.
    pub(super) is_ending: Cell<bool>,
}

/// How many clients are there from the beginning and are never deleted.
pub(super) const KEPT_CLIENTS: usize = 5;
/// How long the tokens of a usual client live: longer than a run.
pub(super) const LIFETIME_SECONDS: u32 = 30 * 24 * 3600;
pub(super) const LIFETIME: Duration = Duration::from_secs(LIFETIME_SECONDS as u64);
/// How long the tokens of some clients live: they expire during a run.
pub(super) const SHORT_LIFETIME: Duration = Duration::from_secs(5);

/// How often each is asked for beside the others.
const MIX: &[(Kind, u32)] = &[
    (Kind::Issue, 400),
    (Kind::Introspect, 250),
    (Kind::IntrospectBatch, 30),
    (Kind::Revoke, 310),
    (Kind::Register, 6),
    (Kind::Delete, 4),
    (Kind::Snapshot, 1),
    (Kind::LogIn, 1),
    (Kind::Authorize, 70),
    (Kind::Redeem, 15),
    (Kind::RedeemAgain, 6),
    (Kind::BeginDevice, 25),
    (Kind::DecideDevice, 25),
    (Kind::Poll, 50),
    (Kind::PollAgain, 6),
    (Kind::Refresh, 200),
    (Kind::RefreshAgain, 40),
    (Kind::Reuse, 8),
    (Kind::RevokeGrant, 10),
    (Kind::EndGrant, 10),
];
const BATCH_TOKENS: usize = 50;

/// A connection, over all servers of a run.
pub(super) struct Worker {
    number: usize,
    random: fastrand::Rng,
}

/// The server does not answer any more.
#[derive(Debug)]
pub(super) struct Gone;

impl Worker {
    pub(super) const fn new(number: usize, random: fastrand::Rng) -> Self {
        Self { number, random }
    }

    /// Sends requests until the server is gone.
    pub(super) async fn run(&mut self, load: &Load<'_>) {
        if let Ok(mut connection) = load.connect(Kind::Issue).await {
            while self.step(&mut connection, load).await.is_ok() {}
        }
    }

    async fn step(&mut self, connection: &mut Connection, load: &Load<'_>) -> Result<(), Gone> {
        match self.pick_kind() {
            Kind::Introspect => self.introspect(connection, load).await,
            Kind::IntrospectBatch => self.introspect_batch(connection, load).await,
            Kind::Revoke => self.revoke(connection, load).await,
            Kind::Register => self.register(connection, load).await,
            Kind::Delete => self.delete(connection, load).await,
            Kind::Snapshot => load.take_snapshot(connection).await,
            Kind::LogIn => load.log_somebody_in(&mut self.random, connection).await,
            Kind::Authorize => load.let_in(self.number, &mut self.random, connection).await,
            Kind::Redeem => load.redeem_left(self.number, &mut self.random, connection).await,
            Kind::BeginDevice => load.begin_device(&mut self.random, connection).await,
            Kind::FindDevice | Kind::DecideDevice => load.decide_device(&mut self.random, connection).await,
            kind @ (Kind::Poll | Kind::PollAgain) => load.poll(kind, self.number, &mut self.random, connection).await,
            kind @ (Kind::RedeemAgain
            | Kind::Refresh
            | Kind::RefreshAgain
            | Kind::Reuse
            | Kind::RevokeGrant
            | Kind::EndGrant) => load.work_with_grant(kind, self.number, &mut self.random, connection).await,
            Kind::Issue | Kind::WhileStarting | Kind::LookUp => self.issue(connection, load).await,
        }
    }

    fn pick_kind(&mut self) -> Kind {
        let mut rest = self.random.u32(..MIX.iter().map(|(_, weight)| weight).sum::<u32>());
        for (kind, weight) in MIX {
            if rest < *weight {
                return *kind;
            }
            rest -= weight;
        }
        Kind::Issue
    }

    async fn issue(&mut self, connection: &mut Connection, load: &Load<'_>) -> Result<(), Gone> {
        let Some(client) = load.oracle.borrow().pick_live_client(KEPT_CLIENTS, &mut self.random) else { return Ok(()) };
        load.issue(client, self.number, connection).await
    }

    async fn introspect(&mut self, connection: &mut Connection, load: &Load<'_>) -> Result<(), Gone> {
        let Some(token) = load.oracle.borrow().pick_token(&mut self.random) else { return Ok(()) };
        let question = load.oracle.borrow().ask(token, Instant::now());
        let request = load.admin.introspect(load.oracle.borrow().text(token));
        let answer = load.ask(Kind::Introspect, request, connection).await?;
        if let Some(is_active) = load.judge(Kind::Introspect, &answer, &[], Answer::is_active) {
            load.oracle.borrow_mut().observe(question, is_active, Instant::now());
        }
        Ok(())
    }

    async fn introspect_batch(&mut self, connection: &mut Connection, load: &Load<'_>) -> Result<(), Gone> {
        let pick = |_| load.oracle.borrow().pick_token(&mut self.random);
        let tokens: Vec<_> = (0..BATCH_TOKENS).filter_map(pick).collect();
        load.introspect_batch(Kind::IntrospectBatch, &tokens, Oracle::ask, connection).await
    }

    async fn revoke(&mut self, connection: &mut Connection, load: &Load<'_>) -> Result<(), Gone> {
        let Some(token) = load.oracle.borrow().pick_live_token(&mut self.random) else { return Ok(()) };
        let question = load.oracle.borrow().ask_credentials_of(token);
        let request = load.oracle.borrow_mut().begin_revocation(token);
        let answer = load.ask(Kind::Revoke, request, connection).await?;
        let is_done = load.judge(Kind::Revoke, &answer, &[StatusCode::UNAUTHORIZED], |_| Some(())).is_some();
        load.observe_credentials(question, &answer);
        let mut oracle = load.oracle.borrow_mut();
        if is_done {
            oracle.revoked(token)
        } else {
            oracle.revocation_refused(token)
        }
        Ok(())
    }

    async fn register(&mut self, connection: &mut Connection, load: &Load<'_>) -> Result<(), Gone> {
        let is_again = self.random.u8(..4) == 0;
        let dead_id = is_again.then(|| load.oracle.borrow_mut().take_dead_id(&mut self.random)).flatten();
        let client_id = dead_id.unwrap_or_else(|| format!("app-{}-{:016x}", self.number, self.random.u64(..)));
        let is_short = self.random.u8(..4) == 0;
        load.register(client_id, if is_short { SHORT_LIFETIME } else { LIFETIME }, connection).await
    }

    async fn delete(&mut self, connection: &mut Connection, load: &Load<'_>) -> Result<(), Gone> {
        let picked = load.oracle.borrow().pick_client_to_delete(KEPT_CLIENTS, &mut self.random);
        let Some(client) = picked else { return Ok(()) };
        let request = load.bearer.delete(load.oracle.borrow_mut().begin_deletion(client));
        let answer = load.ask(Kind::Delete, request, connection).await?;
        let is_done = load.judge(Kind::Delete, &answer, &[], |_| Some(())).is_some();
        let mut oracle = load.oracle.borrow_mut();
        if is_done {
            oracle.deleted(client)
        } else {
            oracle.deletion_refused(client)
        }
        Ok(())
    }
}

impl Load<'_> {
    /// A connection, for requests of that kind.
    pub(super) async fn connect(&self, kind: Kind) -> Result<Connection, Gone> {
        Connection::open(self.address).await.map_err(|reason| self.gone(kind, &reason))
    }

    /// A token that opens the admin API. The oracle does not know it, so that nobody revokes it.
    pub(super) async fn bearer(&self, connection: &mut Connection) -> Result<Bearer, Gone> {
        let answer = self.ask(Kind::Issue, self.admin.issue(), connection).await?;
        let token = self.judge(Kind::Issue, &answer, &[], Answer::access_token).ok_or(Gone)?;
        Ok(Bearer::new(&token))
    }

    /// Issues a token.
    pub(super) async fn issue(
        &self,
        client: ClientNumber,
        worker: usize,
        connection: &mut Connection,
    ) -> Result<(), Gone> {
        let question = self.oracle.borrow().ask_credentials(client);
        let request = self.oracle.borrow().credentials(client).issue();
        let sent = Instant::now();
        let answer = self.ask(Kind::Issue, request, connection).await?;
        let token = self.judge(Kind::Issue, &answer, &[StatusCode::UNAUTHORIZED], Answer::access_token);
        self.observe_credentials(question, &answer);
        if let Some(token) = token {
            self.oracle.borrow_mut().issued(client, token, worker, (sent, Instant::now()));
        }
        Ok(())
    }

    /// Takes a snapshot. A server that keeps nothing has none to take.
    async fn take_snapshot(&self, connection: &mut Connection) -> Result<(), Gone> {
        let answer = self.ask(Kind::Snapshot, self.bearer.take_snapshot(), connection).await?;
        self.judge(Kind::Snapshot, &answer, &[StatusCode::CONFLICT], |_| Some(()));
        Ok(())
    }

    /// Registers a client.
    pub(super) async fn register(
        &self,
        client_id: String,
        lifetime: Duration,
        connection: &mut Connection,
    ) -> Result<(), Gone> {
        let access_token_lifetime_seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        let registration = Registration { client_id, scope: "read write", access_token_lifetime_seconds };
        let answer = self.ask(Kind::Register, self.bearer.register(&registration), connection).await?;
        if let Some(credentials) = self.judge(Kind::Register, &answer, &[], Answer::credentials) {
            self.oracle.borrow_mut().registered(credentials, lifetime);
        }
        Ok(())
    }

    /// Looks at tokens, at most [`BATCH_TOKENS_MAX`](crate::client::BATCH_TOKENS_MAX); `ask` makes the questions.
    pub(super) async fn introspect_batch(
        &self,
        kind: Kind,
        tokens: &[TokenNumber],
        ask: impl Fn(&Oracle, TokenNumber, Instant) -> Question<TokenNumber>,
        connection: &mut Connection,
    ) -> Result<(), Gone> {
        let (questions, request) = {
            let (oracle, now) = (self.oracle.borrow(), Instant::now());
            let questions: Vec<_> = tokens.iter().map(|token| ask(&oracle, *token, now)).collect();
            (questions, self.admin.introspect_batch(tokens.iter().map(|token| oracle.text(*token))))
        };
        let answer = self.ask(kind, request, connection).await?;
        let are_active = |answer: &Answer| answer.are_active().filter(|results| results.len() == tokens.len());
        let Some(are_active) = self.judge(kind, &answer, &[], are_active) else { return Ok(()) };
        let (mut oracle, now) = (self.oracle.borrow_mut(), Instant::now());
        for (question, is_active) in questions.into_iter().zip(are_active) {
            oracle.observe(question, is_active, now);
        }
        Ok(())
    }

    /// Asks for a token that nobody issued, with the client's own credentials: are they accepted?
    pub(super) async fn log_in(
        &self,
        kind: Kind,
        client: ClientNumber,
        connection: &mut Connection,
    ) -> Result<(), Gone> {
        let question = self.oracle.borrow().ask_credentials_alone(client);
        let request = self.oracle.borrow().credentials(client).introspect("nobody-issued-this");
        let answer = self.ask(kind, request, connection).await?;
        self.judge(kind, &answer, &[StatusCode::UNAUTHORIZED], Answer::is_active);
        self.observe_credentials(question, &answer);
        Ok(())
    }

    fn observe_credentials(&self, question: Question<ClientNumber>, answer: &Answer) {
        let are_accepted = answer.status.is_success();
        if are_accepted || answer.status == StatusCode::UNAUTHORIZED {
            self.oracle.borrow_mut().observe_credentials(question, are_accepted);
        }
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn ask(&self, kind: Kind, request: Request, connection: &mut Connection) -> Result<Answer, Gone> {
        connection.ask(request).await.map_err(|reason| self.gone(kind, &reason))
    }

    /// Counts a request that was not answered, and asks why.
    pub(super) fn gone(&self, kind: Kind, reason: &NoAnswer) -> Gone {
        self.tally.borrow_mut().count(kind, Outcome::Unknown);
        if !self.is_ending.get() {
            let reason = reason.to_string();
            self.oracle.borrow_mut().note(Violation::NoAnswer { kind, reason });
        }
        Gone
    }

    /// Counts an answer, and reads what it holds if it is the one that was hoped for. 503 and the statuses of `refusals`
    /// refuse; any other is wrong.
    pub(super) fn judge<T>(
        &self,
        kind: Kind,
        answer: &Answer,
        refusals: &[StatusCode],
        read: impl FnOnce(&Answer) -> Option<T>,
    ) -> Option<T> {
        let content = if answer.status.is_success() { read(answer) } else { None };
        self.judge_content(kind, answer, refusals, content)
    }

    /// The same, where a browser is sent on.
    pub(super) fn judge_redirect<T>(
        &self,
        kind: Kind,
        answer: &Answer,
        refusals: &[StatusCode],
        read: impl FnOnce(&Answer) -> Option<T>,
    ) -> Option<T> {
        let content = if answer.status == StatusCode::SEE_OTHER { read(answer) } else { None };
        self.judge_content(kind, answer, refusals, content)
    }

    fn judge_content<T>(&self, kind: Kind, answer: &Answer, refusals: &[StatusCode], content: Option<T>) -> Option<T> {
        let is_refusal = answer.status == StatusCode::SERVICE_UNAVAILABLE || refusals.contains(&answer.status);
        let outcome = if content.is_some() { Outcome::Acknowledged } else { Outcome::Refused };
        self.tally.borrow_mut().count(kind, outcome);
        if content.is_none() && !is_refusal {
            self.oracle.borrow_mut().note(Violation::wrong_answer(kind, answer));
        }
        content
    }
}

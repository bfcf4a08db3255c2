//! One connection's work with people's grants.

use hyper::StatusCode;
use tokio::time::Instant;

use crate::client::{Answer, Connection, Granted};
use crate::crash::oracle::{ClientNumber, GrantNumber, LeftCode};
use crate::crash::tally::Kind;
use crate::crash::worker::{Gone, Load};
use crate::people::{Account, Browser, PeopleRegistration, code, grant_id};

/// Clients that people let act for them; never deleted.
const PEOPLE_CLIENTS: usize = 3;
const ACCOUNTS: usize = 6;
/// Of so many codes one is left for somebody else, perhaps after a restart.
const LEFT_CODES: u8 = 4;

/// What a grant gave, or a refusal that is final. Anything else is no answer to build upon.
enum Said {
    Granted(Granted),
    /// `invalid_grant`.
    Refused,
    /// It changed nothing.
    Busy,
}

impl Load<'_> {
    /// Makes people, logs each of them in, and registers the clients that they let in.
    pub(super) async fn make_people(
        &self,
        random: &mut fastrand::Rng,
        connection: &mut Connection,
    ) -> Result<(), Gone> {
        for number in 0..PEOPLE_CLIENTS {
            let registration = PeopleRegistration::new("crash: people", super::worker::LIFETIME_SECONDS).with_devices();
            let request = self.bearer.register(&registration.named(format!("people-{number}")));
            let answer = self.ask(Kind::Register, request, connection).await?;
            if let Some(credentials) = self.judge(Kind::Register, &answer, &[], Answer::credentials) {
                let client = self.oracle.borrow_mut().registered(credentials, super::worker::LIFETIME);
                self.oracle.borrow_mut().serves_people(client);
            }
        }
        for number in 0..ACCOUNTS {
            let account = Account::new(format!("person-{number}"), random);
            let answer = self.ask(Kind::Register, self.bearer.create_user(&account), connection).await?;
            if self.judge(Kind::Register, &answer, &[], |_| Some(())).is_some() {
                self.oracle.borrow_mut().has_account(account.clone());
                self.log_in_person(&account, connection).await?;
            }
        }
        Ok(())
    }

    /// Logs one of them in.
    pub(super) async fn log_somebody_in(
        &self,
        random: &mut fastrand::Rng,
        connection: &mut Connection,
    ) -> Result<(), Gone> {
        let account = random.choice(self.oracle.borrow().accounts()).cloned();
        match account {
            Some(account) => self.log_in_person(&account, connection).await,
            None => Ok(()),
        }
    }

    async fn log_in_person(&self, account: &Account, connection: &mut Connection) -> Result<(), Gone> {
        let mut browser = Browser::default();
        let page = self.ask(Kind::LogIn, browser.login_page(), connection).await?;
        browser.take(&page);
        let answer = self.ask(Kind::LogIn, browser.log_in(&page, account), connection).await?;
        browser.take(&answer);
        let is_in = |_: &Answer| browser.has_session().then_some(());
        if self.judge_redirect(Kind::LogIn, &answer, &[StatusCode::TOO_MANY_REQUESTS], is_in).is_some() {
            self.oracle.borrow_mut().has_session(browser);
        }
        Ok(())
    }

    /// A person lets a client in, which redeems its code at once or leaves it.
    pub(super) async fn let_in(
        &self,
        worker: usize,
        random: &mut fastrand::Rng,
        connection: &mut Connection,
    ) -> Result<(), Gone> {
        let Some((browser, client)) = self.oracle.borrow().pick_visit(random) else { return Ok(()) };
        let Some(code) = self.authorize(&browser, client, connection).await? else { return Ok(()) };
        if random.u8(..LEFT_CODES) == 0 {
            self.oracle.borrow_mut().leave_code(code);
            return Ok(());
        }
        self.redeem(code, worker, connection).await
    }

    async fn authorize(
        &self,
        browser: &Browser,
        client: ClientNumber,
        connection: &mut Connection,
    ) -> Result<Option<LeftCode>, Gone> {
        let request = browser.authorize(&self.oracle.borrow().credentials(client).id);
        let asked_at = Instant::now();
        let answer = self.ask(Kind::Authorize, request, connection).await?;
        if answer.status == StatusCode::OK {
            // The login page: nobody knows this browser.
            self.oracle.borrow_mut().session_lost(client);
        }
        let code = self.judge_redirect(Kind::Authorize, &answer, &[StatusCode::OK], code);
        Ok(code.map(|code| LeftCode::new(client, code, asked_at)))
    }

    /// A code that somebody left is redeemed.
    pub(super) async fn redeem_left(
        &self,
        worker: usize,
        random: &mut fastrand::Rng,
        connection: &mut Connection,
    ) -> Result<(), Gone> {
        let code = self.oracle.borrow_mut().take_code(random);
        match code {
            Some(code) => self.redeem(code, worker, connection).await,
            None => Ok(()),
        }
    }

    async fn redeem(&self, code: LeftCode, worker: usize, connection: &mut Connection) -> Result<(), Gone> {
        let request = self.oracle.borrow().credentials(code.client).redeem(&code.text);
        let sent = Instant::now();
        let said = match self.ask(Kind::Redeem, request, connection).await {
            Ok(answer) => self.judge_grant(Kind::Redeem, &answer),
            Err(gone) => {
                self.oracle.borrow_mut().code_unanswered(code);
                return Err(gone);
            }
        };
        let (mut oracle, now) = (self.oracle.borrow_mut(), Instant::now());
        match said {
            Said::Granted(granted) => oracle.redeemed(code, granted, worker, (sent, now)),
            Said::Refused => oracle.code_refused(&code, now),
            Said::Busy => oracle.leave_code(code),
        }
        Ok(())
    }

    /// Does something with a grant that nobody else works with.
    pub(super) async fn work_with_grant(
        &self,
        kind: Kind,
        worker: usize,
        random: &mut fastrand::Rng,
        connection: &mut Connection,
    ) -> Result<(), Gone> {
        let Some(grant) = self.oracle.borrow_mut().take_grant(random) else { return Ok(()) };
        let done = match kind {
            Kind::RefreshAgain => self.refresh_again(grant, connection).await,
            Kind::Reuse => {
                let used = self.oracle.borrow().ancestor(grant, random).map(str::to_owned);
                let request = used.map(|used| self.oracle.borrow().credentials_of_grant(grant).refresh(&used));
                self.use_again(kind, grant, request, connection).await
            }
            Kind::RedeemAgain => {
                let used = self.oracle.borrow().used_code(grant, Instant::now()).map(str::to_owned);
                let request = used.map(|used| self.oracle.borrow().credentials_of_grant(grant).redeem(&used));
                self.use_again(kind, grant, request, connection).await
            }
            Kind::RevokeGrant | Kind::EndGrant => self.end(kind, grant, connection).await,
            _ => self.refresh(Kind::Refresh, grant, worker, connection).await,
        };
        self.oracle.borrow_mut().give_back(grant);
        done
    }

    /// Looks up a grant while nobody else asks for anything: its last token refreshes, unless it was ended.
    pub(super) async fn look_at_grant(&self, grant: GrantNumber, connection: &mut Connection) -> Result<(), Gone> {
        self.oracle.borrow_mut().take_this_grant(grant);
        let looked = self.refresh(Kind::LookUp, grant, usize::MAX, connection).await;
        self.oracle.borrow_mut().give_back(grant);
        looked
    }

    async fn refresh(
        &self,
        kind: Kind,
        grant: GrantNumber,
        worker: usize,
        connection: &mut Connection,
    ) -> Result<(), Gone> {
        let refreshing = self.oracle.borrow_mut().begin_refresh(grant);
        let request = {
            let oracle = self.oracle.borrow();
            oracle.credentials_of_grant(grant).refresh(oracle.leaf(grant))
        };
        let sent = Instant::now();
        let answer = self.ask(kind, request, connection).await?;
        let said = self.judge_grant(kind, &answer);
        let mut oracle = self.oracle.borrow_mut();
        match said {
            Said::Granted(granted) => oracle.refreshed(refreshing, granted, worker, (sent, Instant::now())),
            Said::Refused => oracle.refresh_refused(refreshing),
            Said::Busy => {}
        }
        Ok(())
    }

    async fn refresh_again(&self, grant: GrantNumber, connection: &mut Connection) -> Result<(), Gone> {
        let parent = self.oracle.borrow().parent(grant).map(str::to_owned);
        let Some(parent) = parent else { return Ok(()) };
        let request = self.oracle.borrow().credentials_of_grant(grant).refresh(&parent);
        let answer = self.ask(Kind::RefreshAgain, request, connection).await?;
        let said = self.judge_grant(Kind::RefreshAgain, &answer);
        let mut oracle = self.oracle.borrow_mut();
        match said {
            Said::Granted(granted) => oracle.refreshed_again(grant, &granted.refresh_token),
            Said::Refused => oracle.again_refused(grant),
            Said::Busy => {}
        }
        Ok(())
    }

    /// Uses what was used before: that ends the grant.
    async fn use_again(
        &self,
        kind: Kind,
        grant: GrantNumber,
        request: Option<crate::client::Request>,
        connection: &mut Connection,
    ) -> Result<(), Gone> {
        let Some(request) = request else { return Ok(()) };
        self.oracle.borrow_mut().begin_end(grant);
        let answer = self.ask(kind, request, connection).await?;
        let said = self.judge_grant(kind, &answer);
        let mut oracle = self.oracle.borrow_mut();
        match said {
            Said::Granted(_) => oracle.used_twice(grant),
            Said::Refused => oracle.ended(grant),
            Said::Busy => oracle.end_refused(grant),
        }
        Ok(())
    }

    async fn end(&self, kind: Kind, grant: GrantNumber, connection: &mut Connection) -> Result<(), Gone> {
        let request = {
            let oracle = self.oracle.borrow();
            let leaf = oracle.leaf(grant);
            match kind {
                Kind::EndGrant => self.bearer.end_grant(&grant_id(leaf).unwrap_or_default()),
                _ => oracle.credentials_of_grant(grant).revoke(leaf),
            }
        };
        self.oracle.borrow_mut().begin_end(grant);
        let answer = self.ask(kind, request, connection).await?;
        let is_done = self.judge(kind, &answer, &[], |_| Some(())).is_some();
        let mut oracle = self.oracle.borrow_mut();
        if is_done {
            oracle.ended(grant);
        } else {
            oracle.end_refused(grant);
        }
        Ok(())
    }

    /// Like [`judge`](Load::judge), of an answer that may say `invalid_grant`.
    fn judge_grant(&self, kind: Kind, answer: &Answer) -> Said {
        match self.judge(kind, answer, &[StatusCode::BAD_REQUEST], Answer::granted) {
            Some(granted) => Said::Granted(granted),
            None if answer.status == StatusCode::BAD_REQUEST => Said::Refused,
            None => Said::Busy,
        }
    }
}

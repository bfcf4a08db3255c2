//! One connection's work with devices, and with the people who let them in.

use hyper::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::client::{Answer, Connection};
use crate::crash::oracle::{Decision, DeviceNumber, Polled};
use crate::crash::tally::Kind;
use crate::crash::violation::Violation;
use crate::crash::worker::{Gone, Load};
use crate::people::Browser;

/// Of so many decisions one is a denial.
const DENIALS: u8 = 3;

impl Load<'_> {
    /// A device of a client asks to be let in.
    pub(super) async fn begin_device(
        &self,
        random: &mut fastrand::Rng,
        connection: &mut Connection,
    ) -> Result<(), Gone> {
        let Some((_, client)) = self.oracle.borrow().pick_visit(random) else { return Ok(()) };
        let request = self.oracle.borrow().credentials(client).authorize_device();
        let sent = Instant::now();
        let answer = self.ask(Kind::BeginDevice, request, connection).await?;
        if let Some(DeviceResponse { device_code, user_code }) = self.judge(Kind::BeginDevice, &answer, &[], parse) {
            self.oracle.borrow_mut().device_begun(client, device_code, user_code, sent);
        }
        Ok(())
    }

    /// A person says yes or no to a device.
    pub(super) async fn decide_device(
        &self,
        random: &mut fastrand::Rng,
        connection: &mut Connection,
    ) -> Result<(), Gone> {
        let Some((browser, _)) = self.oracle.borrow().pick_visit(random) else { return Ok(()) };
        let Some(device) = self.oracle.borrow_mut().take_undecided(random, Instant::now()) else { return Ok(()) };
        let decision = if random.u8(..DENIALS) == 0 { Decision::Deny } else { Decision::Allow };
        let decided = self.decide(&browser, device, decision, connection).await;
        self.oracle.borrow_mut().give_back_device(device);
        decided
    }

    async fn decide(
        &self,
        browser: &Browser,
        device: DeviceNumber,
        decision: Decision,
        connection: &mut Connection,
    ) -> Result<(), Gone> {
        let page = self.ask(Kind::FindDevice, browser.device_page(), connection).await?;
        if is_login_page(&page) {
            let client = self.oracle.borrow().client_of_device(device);
            self.oracle.borrow_mut().session_lost(client);
            return Ok(());
        }
        if self.judge(Kind::FindDevice, &page, &[], |_| Some(())).is_none() {
            return Ok(());
        }
        let user_code = self.oracle.borrow().user_code(device).to_owned();
        let page = self.ask(Kind::FindDevice, browser.find_device(&page, &user_code), connection).await?;
        if page.status == StatusCode::BAD_REQUEST {
            self.oracle.borrow_mut().device_unknown(device);
        }
        let refusals = [StatusCode::BAD_REQUEST, StatusCode::TOO_MANY_REQUESTS];
        if self.judge(Kind::FindDevice, &page, &refusals, |_| Some(())).is_none() {
            return Ok(());
        }
        self.oracle.borrow_mut().begin_decision(device, decision);
        let request = browser.decide_device(&page, &user_code, word(decision));
        let answer = self.ask(Kind::DecideDevice, request, connection).await?;
        let location = self.judge_redirect(Kind::DecideDevice, &answer, &[], crate::people::destination);
        let mut oracle = self.oracle.borrow_mut();
        match location {
            Some(location) if location.ends_with("?late") => oracle.device_unknown(device),
            Some(_) => oracle.decided(device, decision),
            None => oracle.decision_refused(device),
        }
        Ok(())
    }

    /// A device asks for its tokens.
    pub(super) async fn poll(
        &self,
        kind: Kind,
        worker: usize,
        random: &mut fastrand::Rng,
        connection: &mut Connection,
    ) -> Result<(), Gone> {
        let taken = match kind {
            Kind::PollAgain => self.oracle.borrow_mut().take_redeemed(random),
            _ => self.oracle.borrow_mut().take_waiting(random, Instant::now()),
        };
        let Some(device) = taken else { return Ok(()) };
        let polled = self.poll_this(kind, device, worker, connection).await;
        self.oracle.borrow_mut().give_back_device(device);
        polled
    }

    /// Looks up a device while nobody else asks for anything: it is told what a person said, and gets its tokens once.
    pub(super) async fn look_at_device(&self, device: DeviceNumber, connection: &mut Connection) -> Result<(), Gone> {
        self.oracle.borrow_mut().take_this_device(device);
        let looked = self.poll_this(Kind::LookUp, device, usize::MAX, connection).await;
        self.oracle.borrow_mut().give_back_device(device);
        looked
    }

    async fn poll_this(
        &self,
        kind: Kind,
        device: DeviceNumber,
        worker: usize,
        connection: &mut Connection,
    ) -> Result<(), Gone> {
        let polling = self.oracle.borrow_mut().begin_poll(device);
        let request = {
            let oracle = self.oracle.borrow();
            oracle.credentials(oracle.client_of_device(device)).poll(oracle.device_code(device))
        };
        let sent = Instant::now();
        let answer = self.ask(kind, request, connection).await?;
        let polled = self.judge_poll(kind, &answer);
        self.oracle.borrow_mut().polled(polling, polled, worker, (sent, Instant::now()));
        Ok(())
    }

    fn judge_poll(&self, kind: Kind, answer: &Answer) -> Polled {
        if let Some(granted) = self.judge(kind, answer, &[StatusCode::BAD_REQUEST], Answer::granted) {
            return Polled::Granted(granted);
        }
        let error = parse(answer).map_or_else(String::new, |ErrorResponse { error }| error);
        match (answer.status, &*error) {
            (StatusCode::BAD_REQUEST, "authorization_pending" | "slow_down") => Polled::Pending,
            (StatusCode::BAD_REQUEST, "access_denied") => Polled::Denied,
            (StatusCode::BAD_REQUEST, "invalid_grant" | "expired_token") => Polled::Refused,
            (StatusCode::BAD_REQUEST, _) => {
                self.oracle.borrow_mut().note(Violation::wrong_answer(kind, answer));
                Polled::Busy
            }
            _ => Polled::Busy,
        }
    }
}

/// RFC 8628 §3.2
#[derive(Deserialize)]
struct DeviceResponse {
    device_code: String,
    user_code: String,
}

/// RFC 6749 §5.2
#[derive(Deserialize)]
struct ErrorResponse {
    error: String,
}

fn parse<T: DeserializeOwned>(answer: &Answer) -> Option<T> {
    serde_json::from_slice(&answer.body).ok()
}

/// As the page's buttons call it.
const fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allow",
        Decision::Deny => "deny",
    }
}

/// Nobody knows this browser.
fn is_login_page(page: &Answer) -> bool {
    str::from_utf8(&page.body).is_ok_and(|body| body.contains("name=\"password\""))
}

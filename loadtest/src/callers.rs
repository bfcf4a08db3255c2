//! The well-behaved: requests at a fixed rate over keep-alive connections, each answer timed.
//!
//! The rate is open: a request is due at its moment even if the one before is not answered yet, and its time counts from
//! that moment; so a server that stalls is charged for all who had to wait. Only where a connection is idle does the time
//! count from when the request was really sent, for then the delay is this process's own timer.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use crate::client::{Answer, Bearer, Connection, Credentials, NoAnswer, Registration, Request};
use crate::server::Installation;

/// What the callers saw.
pub(crate) struct Calls {
    /// How long the right answers took, in microseconds.
    latencies: Histogram<u64>,
    /// Requests that were not answered, or not rightly.
    pub(crate) errors: u64,
    /// How long after its moment the last request could be sent, because the one before was not answered.
    pub(crate) behind: Duration,
}

/// Who calls: `rate` requests a second over so many connections.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Rate {
    pub(crate) per_second: u32,
    pub(crate) connections: u32,
}

impl Calls {
    pub(crate) fn none() -> Self {
        let latencies = Histogram::new_with_max(LATENCY_MICROS_MAX, SIGNIFICANT_DIGITS);
        let latencies = latencies.expect("such a maximum and so many digits are allowed");
        Self { latencies, errors: 0, behind: Duration::ZERO }
    }

    /// The latency that so many percent of the calls do not exceed.
    fn percentile(&self, percent: f64) -> Duration {
        Duration::from_micros(self.latencies.value_at_percentile(percent))
    }

    /// How many calls were answered rightly.
    pub(crate) fn answered(&self) -> u64 {
        self.latencies.len()
    }

    fn record(&mut self, latency: Duration) {
        self.latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    fn and(mut self, other: Self) -> Self {
        self.latencies += other.latencies;
        self.errors += other.errors;
        self.behind = self.behind.max(other.behind);
        self
    }
}

/// What takes longer is recorded as this: a minute.
const LATENCY_MICROS_MAX: u64 = 60_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// How long calls took.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Latencies {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) p999: Duration,
}

/// How many times as long as alone the callers' p99 may be.
const RATIO_MAX: f64 = 2.0;
/// A p99 that is longer than alone by no more than this is no failure, whatever the ratio.
const FLOOR: Duration = Duration::from_millis(1);
/// A p99 alone that is longer than this says that the machine is too busy: a ratio to it would pass anything.
const ALONE_MAX: Duration = Duration::from_millis(20);

impl Latencies {
    pub(crate) fn of(calls: &Calls) -> Self {
        Self { p50: calls.percentile(50.0), p99: calls.percentile(99.0), p999: calls.percentile(99.9) }
    }

    /// How many times as long as alone the p99 is.
    pub(crate) fn ratio(self, alone: Self) -> f64 {
        self.p99.as_secs_f64() / alone.p99.as_secs_f64()
    }

    /// What callers must not notice, in words.
    pub(crate) fn failures(self, alone: Self) -> Vec<String> {
        let ratio = self.ratio(alone);
        let is_slow = ratio > RATIO_MAX && self.p99 > alone.p99 + FLOOR;
        let is_blind = alone.p99 > ALONE_MAX;
        let failures = [
            is_blind.then(|| "not measured: the machine is too busy, even callers alone wait too long".to_owned()),
            is_slow.then(|| format!("p99 is {ratio:.1} times as long as alone, and may be {RATIO_MAX} times")),
        ];
        failures.into_iter().flatten().collect()
    }
}

/// Introspects tokens for so long.
pub(crate) async fn introspect(
    address: SocketAddr,
    asker: &Credentials,
    tokens: &[String],
    rate: Rate,
    time: Duration,
) -> Calls {
    introspect_until(address, asker, tokens, rate, &Cell::new(Some(Instant::now() + time))).await
}

/// Introspects tokens until that moment, once it is known.
pub(crate) async fn introspect_until(
    address: SocketAddr,
    asker: &Credentials,
    tokens: &[String],
    rate: Rate,
    end: &Cell<Option<Instant>>,
) -> Calls {
    let mut of_call = tokens.iter().map(String::as_str).cycle();
    let request = || asker.introspect(of_call.next().unwrap_or_default());
    call(address, rate, end, request, |answer| answer.is_active() == Some(true)).await
}

/// Issues tokens to a client until that moment, once it is known.
pub(crate) async fn issue_until(
    address: SocketAddr,
    client: &Credentials,
    rate: Rate,
    end: &Cell<Option<Instant>>,
) -> Calls {
    call(address, rate, end, || client.issue(), |answer| answer.access_token().is_some()).await
}

async fn call(
    address: SocketAddr,
    Rate { per_second, connections }: Rate,
    end: &Cell<Option<Instant>>,
    request: impl FnMut() -> Request,
    is_right: fn(&Answer) -> bool,
) -> Calls {
    let period = Duration::from_secs(1) * connections / per_second;
    let (begin, request) = (Instant::now(), &RefCell::new(request));
    let callers = (0..connections).map(|number| async move {
        let first = begin + period * number / connections;
        let mut caller = Caller { address, is_right, connection: None, calls: Calls::none() };
        for call in 0.. {
            let due = first + period * call;
            let is_over = || end.get().is_some_and(|end| due >= end);
            if is_over() {
                break;
            }
            let began = wait_until(due).await;
            // The end may have become known meanwhile.
            if is_over() {
                break;
            }
            let next = request.borrow_mut()();
            caller.calls.behind = began.elapsed();
            caller.call(next, began).await;
        }
        caller.calls
    });
    join_all(callers).await.into_iter().fold(Calls::none(), Calls::and)
}

/// From when the time of a request counts that is due then.
async fn wait_until(due: Instant) -> Instant {
    if Instant::now() >= due {
        return due;
    }
    sleep_until(due).await;
    Instant::now()
}

struct Caller {
    address: SocketAddr,
    is_right: fn(&Answer) -> bool,
    connection: Option<Connection>,
    calls: Calls,
}

impl Caller {
    async fn call(&mut self, request: Request, began: Instant) {
        match self.ask(request).await {
            Ok(answer) if (self.is_right)(&answer) => self.calls.record(began.elapsed()),
            Ok(_) => self.calls.errors += 1,
            Err(_) => {
                self.connection = None;
                self.calls.errors += 1;
            }
        }
    }

    async fn ask(&mut self, request: Request) -> Result<Answer, NoAnswer> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(self.address).await?),
        };
        connection.ask(request).await
    }
}

/// What callers work with.
pub(crate) struct Prepared {
    /// Who may be issued tokens.
    pub(crate) client: Credentials,
    /// Tokens that were.
    pub(crate) tokens: Vec<String>,
    /// How many tokens were issued in all.
    pub(crate) issued: u64,
}

/// Why callers have nothing to work with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error("the server cannot be prepared: {0}")]
    NoAnswer(#[from] NoAnswer),
    #[error("the server cannot be prepared: it answered a request with {0}")]
    Refused(u16),
}

/// How many tokens callers ask for.
const TOKENS: usize = 2000;
/// Over how many connections those are issued.
const ISSUERS: usize = 50;

/// Registers a client, and issues the tokens that callers ask for.
pub(crate) async fn prepare(installation: &Installation) -> Result<Prepared, PrepareError> {
    let mut connection = Connection::open(installation.address).await?;
    let answer = connection.ask(installation.admin.issue()).await?;
    let bearer = Bearer::new(&answer.access_token().ok_or(PrepareError::Refused(answer.status.as_u16()))?);
    let registration =
        Registration { client_id: "app".to_owned(), scope: "read write", access_token_lifetime_seconds: 86_400 };
    let answer = connection.ask(bearer.register(&registration)).await?;
    let client = answer.credentials().ok_or(PrepareError::Refused(answer.status.as_u16()))?;
    // Side by side, so that many share one sync of the disk.
    let tokens = (0..ISSUERS).map(|_| issue(installation.address, &client, TOKENS / ISSUERS));
    let tokens = try_join_all(tokens).await?.concat();
    // And the one of the admin.
    let issued = u64::try_from(tokens.len() + 1).unwrap_or(u64::MAX);
    Ok(Prepared { client, tokens, issued })
}

async fn issue(address: SocketAddr, client: &Credentials, count: usize) -> Result<Vec<String>, PrepareError> {
    let mut connection = Connection::open(address).await?;
    let mut tokens = Vec::with_capacity(count);
    for _ in 0..count {
        let answer = connection.ask(client.issue()).await?;
        tokens.push(answer.access_token().ok_or(PrepareError::Refused(answer.status.as_u16()))?);
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(alone_micros: u64, beside_micros: u64, expected_failures: usize) {
        let latencies = |micros| {
            let p99 = Duration::from_micros(micros);
            Latencies { p50: p99, p99, p999: p99 }
        };
        let failures = latencies(beside_micros).failures(latencies(alone_micros));
        assert_eq!(failures.len(), expected_failures, "{failures:?}");
    }

    #[test]
    fn twice_as_long_is_too_long_but_for_a_little() {
        check(3000, 6000, 0);
        check(3000, 6001, 1);
        check(200, 1200, 0);
        check(200, 1201, 1);
    }

    #[test]
    fn nothing_is_measured_on_a_busy_machine() {
        check(20_000, 20_000, 0);
        check(20_001, 20_001, 1);
    }
}

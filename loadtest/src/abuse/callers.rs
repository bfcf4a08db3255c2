//! The well-behaved: introspection at a fixed rate over keep-alive connections, each answer timed.
//!
//! The rate is open: a request is due at its moment even if the one before is not answered yet, and its time counts from
//! that moment; so a server that stalls is charged for all who had to wait. Only where a connection is idle does the time
//! count from when the request was really sent, for then the delay is this process's own timer.

use std::time::Duration;

use futures_util::future::join_all;
use hdrhistogram::Histogram;
use tokio::time::{Instant, sleep_until};

use crate::abuse::attack::Target;
use crate::client::{Connection, NoAnswer};

/// What the callers saw.
pub(super) struct Calls {
    /// How long the right answers took, in microseconds.
    latencies: Histogram<u64>,
    /// Requests that were not answered, or not rightly.
    pub(super) errors: u64,
}

/// Who calls: `rate` requests a second over so many connections.
#[derive(Clone, Copy)]
pub(super) struct Rate {
    pub(super) per_second: u32,
    pub(super) connections: u32,
}

impl Calls {
    fn none() -> Self {
        let latencies = Histogram::new_with_max(LATENCY_MICROS_MAX, SIGNIFICANT_DIGITS);
        let latencies = latencies.expect("such a maximum and so many digits are allowed");
        Self { latencies, errors: 0 }
    }

    /// The latency that so many percent of the calls do not exceed.
    pub(super) fn percentile(&self, percent: f64) -> Duration {
        Duration::from_micros(self.latencies.value_at_percentile(percent))
    }

    /// How many calls were answered rightly.
    pub(super) fn answered(&self) -> u64 {
        self.latencies.len()
    }

    fn record(&mut self, latency: Duration) {
        self.latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }
}

/// What takes longer is recorded as this: a minute.
const LATENCY_MICROS_MAX: u64 = 60_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// Calls for so long.
pub(super) async fn call(target: &Target, tokens: &[String], rate: Rate, time: Duration) -> Calls {
    let period = Duration::from_secs(1) * rate.connections / rate.per_second;
    let begin = Instant::now();
    let callers = (0..rate.connections).map(|number| async move {
        let first = begin + period * number / rate.connections;
        let mut caller = Caller { target, connection: None, calls: Calls::none() };
        for (call, token) in (0..).zip(tokens.iter().cycle()) {
            let due = first + period * call;
            if due >= begin + time {
                break;
            }
            caller.call(token, due).await;
        }
        caller.calls
    });
    join_all(callers).await.into_iter().fold(Calls::none(), |mut all, calls| {
        all.latencies += calls.latencies;
        all.errors += calls.errors;
        all
    })
}

struct Caller<'a> {
    target: &'a Target,
    connection: Option<Connection>,
    calls: Calls,
}

impl Caller<'_> {
    async fn call(&mut self, token: &str, due: Instant) {
        let began = if Instant::now() < due {
            sleep_until(due).await;
            Instant::now()
        } else {
            due
        };
        match self.is_active(token).await {
            Ok(Some(true)) => self.calls.record(began.elapsed()),
            Ok(_) => self.calls.errors += 1,
            Err(_) => {
                self.connection = None;
                self.calls.errors += 1;
            }
        }
    }

    async fn is_active(&mut self, token: &str) -> Result<Option<bool>, NoAnswer> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(self.target.address).await?),
        };
        Ok(connection.ask(self.target.admin.introspect(token)).await?.is_active())
    }
}

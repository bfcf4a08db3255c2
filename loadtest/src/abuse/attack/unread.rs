//! Requests without end whose answers nobody reads.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::abuse::attack::socket::Socket;
use crate::abuse::attack::{Deeds, Target};

pub(super) const CONNECTIONS: usize = 100;
/// Short ones with long answers.
const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: tessera\r\n\r\n";
const REQUESTS_A_TICK: usize = 100;
/// Between the first requests of two connections.
const RAMP: Duration = Duration::from_millis(60);
const TICK: Duration = Duration::from_millis(100);

/// Sends until the server takes no more, and holds the connection then.
pub(super) async fn run(target: &Target, deeds: &Deeds) {
    let requests = REQUEST.repeat(REQUESTS_A_TICK);
    join_all((0..).take(CONNECTIONS).map(async |number| {
        // While the server still answers, a connection is as dear as any that asks for much.
        sleep(RAMP * number).await;
        loop {
            let Ok(mut socket) = Socket::open_narrow(target, deeds).await else {
                sleep(TICK).await;
                continue;
            };
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while socket.write(&requests).await.is_ok() {
                deeds.note("writes taken");
                ticks.tick().await;
            }
            deeds.note("closed");
        }
    }))
    .await;
}

//! Floods of what means nothing: bytes, tokens, secrets. At a bounded rate, so that this process is not the one that is
//! flooded.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::abuse::attack::socket::{Ending, Socket};
use crate::abuse::attack::{Deeds, Target};
use crate::client::{Connection, Credentials, Request};

pub(super) const CONNECTIONS: usize = 20;
/// Between two requests on one connection: 2,000 a second in all.
const PERIOD: Duration = Duration::from_millis(10);
/// Between two connections of random bytes: 500 a second in all.
const BYTES_PERIOD: Duration = Duration::from_millis(40);
const BYTES: usize = 600;

/// Connections that send bytes which are no HTTP, each once.
pub(super) async fn bytes(target: &Target, deeds: &Deeds) {
    join_all((0..CONNECTIONS).map(async |_| {
        let mut random = fastrand::Rng::new();
        sleep(BYTES_PERIOD.mul_f64(random.f64())).await;
        loop {
            sleep(BYTES_PERIOD).await;
            let bytes: Vec<_> = std::iter::repeat_with(|| random.u8(..)).take(BYTES).collect();
            let Ok(mut socket) = Socket::open(target, deeds).await else { continue };
            if socket.write(&bytes).await.is_ok() {
                // Some of it begins as HTTP might, and then the server waits for more.
                let ending = timeout(BYTES_PERIOD, socket.answer()).await;
                deeds.note(ending.unwrap_or(Ending::Swallowed));
            }
        }
    }))
    .await;
}

/// Tokens of the right shape that nobody issued.
pub(super) async fn tokens(target: &Target, deeds: &Deeds) {
    flood(target, deeds, |random| target.admin.introspect(&random_token(random))).await;
}

/// The admin's id with secrets that are not its own.
pub(super) async fn secrets(target: &Target, deeds: &Deeds) {
    flood(target, deeds, |random| {
        let wrong = Credentials::new(target.admin.id.clone(), random_token(random));
        wrong.introspect("any")
    })
    .await;
}

/// Sends requests on connections that are kept.
async fn flood(target: &Target, deeds: &Deeds, request: impl Fn(&mut fastrand::Rng) -> Request) {
    join_all((0..CONNECTIONS).map(async |_| {
        let mut random = fastrand::Rng::new();
        sleep(PERIOD.mul_f64(random.f64())).await;
        loop {
            sleep(PERIOD).await;
            let Ok(mut connection) = Connection::open(target.address).await else { continue };
            deeds.connected();
            let mut ticks = interval(PERIOD);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while let Ok(answer) = connection.ask(request(&mut random)).await {
                deeds.note(format_args!("answered {}", answer.status.as_u16()));
                ticks.tick().await;
            }
        }
    }))
    .await;
}

fn random_token(random: &mut fastrand::Rng) -> String {
    let body: String = std::iter::repeat_with(|| random.alphanumeric()).take(60).collect();
    format!("tsr_at_{body}")
}

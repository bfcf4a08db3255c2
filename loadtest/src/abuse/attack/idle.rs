//! Connections that are answered once and then idle.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::abuse::attack::socket::Socket;
use crate::abuse::attack::{Deeds, Target};

const REQUEST: &[u8] = b"GET /livez HTTP/1.1\r\nHost: tessera\r\n\r\n";
/// How fast they are opened: a few thousand a second.
const OPENED_A_TICK: usize = 5;
const TICK: Duration = Duration::from_millis(2);

/// Opens them and holds them.
pub(super) async fn run(target: &Target, deeds: &Deeds) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut held = Vec::with_capacity(target.idle);
    while held.len() < target.idle {
        ticks.tick().await;
        for _ in 0..OPENED_A_TICK {
            let Ok(mut socket) = Socket::open(target, deeds).await else { continue };
            if socket.write(REQUEST).await.is_ok() {
                deeds.note(socket.answer().await);
                held.push(socket);
            }
        }
    }
    std::future::pending::<()>().await;
}

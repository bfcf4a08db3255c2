//! A connection for those who do not keep to HTTP.

use std::fmt;
use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Duration, interval};

use crate::abuse::attack::{Deeds, Target};

/// A connection on which any bytes can be sent.
pub(super) struct Socket {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
}

/// How the server dealt with it.
pub(super) enum Ending {
    /// It answered, with this status.
    Answered(String),
    /// It closed the connection without an answer.
    Closed,
    /// There was more to send than there was time, and no answer.
    Swallowed,
}

const NARROW_BYTES: u32 = 4096;

impl fmt::Display for Ending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(status) => write!(formatter, "answered {status}"),
            Self::Closed => formatter.write_str("closed"),
            Self::Swallowed => formatter.write_str("swallowed"),
        }
    }
}

impl Socket {
    pub(super) async fn open(target: &Target, deeds: &Deeds) -> io::Result<Self> {
        Self::open_on(TcpSocket::new_v4()?, target, deeds).await
    }

    /// A connection that takes in next to nothing before it is read.
    pub(super) async fn open_narrow(target: &Target, deeds: &Deeds) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(NARROW_BYTES)?;
        Self::open_on(socket, target, deeds).await
    }

    async fn open_on(socket: TcpSocket, target: &Target, deeds: &Deeds) -> io::Result<Self> {
        let stream = socket.connect(target.address).await.inspect_err(|_| deeds.note("not connected"))?;
        // A close leaves nothing behind, so that ports do not run out.
        stream.set_zero_linger()?;
        deeds.connected();
        let (reader, writer) = stream.into_split();
        Ok(Self { reader, writer })
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes).await
    }

    /// Sends the pieces, one a `period`, until there are no more or the server answers or closes.
    pub(super) async fn drip<'a>(mut self, pieces: impl IntoIterator<Item = &'a [u8]>, period: Duration) -> Ending {
        let mut ticks = interval(period);
        let mut pieces = pieces.into_iter();
        let mut answer = [0; 1024];
        let sending = async {
            for piece in &mut pieces {
                ticks.tick().await;
                if self.writer.write_all(piece).await.is_err() {
                    // Why is in the answer, if there is one.
                    return std::future::pending().await;
                }
            }
        };
        tokio::select! {
            biased;
            read = self.reader.read(&mut answer) => ending(answer.get(..read.unwrap_or_default()).unwrap_or_default()),
            () = sending => Ending::Swallowed,
        }
    }

    /// Waits for the answer.
    pub(super) async fn answer(&mut self) -> Ending {
        let mut answer = [0; 1024];
        let read = self.reader.read(&mut answer).await.unwrap_or_default();
        ending(answer.get(..read).unwrap_or_default())
    }
}

fn ending(answer: &[u8]) -> Ending {
    let head = String::from_utf8_lossy(answer);
    head.split(' ').nth(1).map_or(Ending::Closed, |status| Ending::Answered(status.to_owned()))
}

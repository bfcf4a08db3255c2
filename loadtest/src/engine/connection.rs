//! One keep-alive connection, which never blocks and has one request under way at most.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::engine::answer::{Answer, AnswerError, AnswerReader, Expected};
use crate::engine::ledger::Due;
use crate::engine::requests::Sent;

/// A connection, and what it is doing.
pub(crate) struct Connection {
    stream: TcpStream,
    token: Token,
    reader: AnswerReader,
    state: State,
    /// What of the request the system would not take yet.
    unsent: Vec<u8>,
    /// The bytes of the answer so far, where they are kept.
    kept: Option<Vec<u8>>,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum State {
    Connecting,
    Idle { since: Duration },
    Asking { due: Due, expected: Expected },
}

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error("the server closed the connection")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl Connection {
    /// Begins to connect.
    pub(crate) fn open(address: SocketAddr, token: Token, registry: &Registry) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let (reader, state, unsent) = (AnswerReader::default(), State::Connecting, Vec::new());
        Ok(Self { stream, token, reader, state, unsent, kept: None })
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    /// Something happened while it was connecting: whether it is connected.
    pub(crate) fn connected(&mut self, registry: &Registry, now: Duration) -> io::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(false),
            Err(error) => return Err(error),
        }
        self.stream.set_nodelay(true)?;
        registry.reregister(&mut self.stream, self.token, Interest::READABLE)?;
        self.state = State::Idle { since: now };
        Ok(true)
    }

    /// Sends a request.
    pub(crate) fn ask(&mut self, request: &[u8], due: Due, sent: Sent, registry: &Registry) -> io::Result<()> {
        self.state = State::Asking { due, expected: sent.expected };
        match &mut self.kept {
            Some(kept) if sent.keeps_answer => kept.clear(),
            kept => *kept = sent.keeps_answer.then(Vec::new),
        }
        let written = write(&mut self.stream, request)?;
        if let Some(unsent) = request.get(written..).filter(|unsent| !unsent.is_empty()) {
            self.unsent.extend_from_slice(unsent);
            registry.reregister(&mut self.stream, self.token, Interest::READABLE | Interest::WRITABLE)?;
        }
        Ok(())
    }

    /// Sends what could not be sent at once.
    pub(crate) fn flush(&mut self, registry: &Registry) -> io::Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let written = write(&mut self.stream, &self.unsent)?;
        self.unsent.drain(..written.min(self.unsent.len()));
        if self.unsent.is_empty() {
            registry.reregister(&mut self.stream, self.token, Interest::READABLE)?;
        }
        Ok(())
    }

    /// Reads what is there: the answer, if it is whole. `is_closed`: the server will send no more than what is there.
    pub(crate) fn read(
        &mut self,
        expected: Expected,
        is_closed: bool,
        buffer: &mut [u8],
    ) -> Result<Option<Answer>, ConnectionError> {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return Err(ConnectionError::Closed),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let bytes = buffer.get(..read).unwrap_or_default();
            if let Some(kept) = &mut self.kept {
                kept.extend_from_slice(bytes);
            }
            let answer = self.reader.take(bytes, expected)?;
            // What comes after a short read is told by an event of its own, but the end that is there already is not.
            if answer.is_some() || (read < buffer.len() && !is_closed) {
                return Ok(answer);
            }
        }
    }

    /// All of the last answer, if it was to be kept.
    pub(crate) fn kept(&self) -> Option<&[u8]> {
        self.kept.as_deref()
    }

    /// Its answer is there.
    pub(crate) const fn rest(&mut self, now: Duration) {
        self.state = State::Idle { since: now };
    }

    /// Whether nothing of the answer has come.
    pub(crate) const fn is_unanswered(&self) -> bool {
        self.reader.is_empty()
    }
}

/// How much of it the system takes.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match stream.write(bytes) {
            Ok(written) => return Ok(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

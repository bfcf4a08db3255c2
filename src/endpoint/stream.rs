//! A connection that is read no faster than its answers are taken.
//!
//! Left alone, actix-http reads on while the client takes no answer. It decodes all that it has read, into a hundred times
//! the bytes; and once 128 KiB more are there it asks for its next turn at once, again and again: one client that pipelines
//! requests and reads nothing would keep a worker busy for good. It also answers all that it has read before anybody else has
//! a turn. So nothing is read while an answer waits, little is written in one turn, and a client that takes nothing for too
//! long is gone. (What is read is not cut into turns: actix-http leaves requests undecoded while 16 wait for their answers, and
//! where it had not seen the end of what there is, nothing would call it again.)

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use actix_web::rt::net::{ActixStream, Ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::endpoint::turns::wake_in_turn;

/// A stream between a client and its dispatcher.
pub(super) struct Paced<T> {
    stream: T,
    answer_timeout: Duration,
    /// Runs while the client takes nothing.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Wanted to read meanwhile.
    reader: Option<Waker>,
    /// Written since others had their turn, which is when there is nothing more to read.
    written_bytes: usize,
}

/// After so many bytes no more are written in a turn, so that long answers to pipelined requests let others through. What is
/// in actix-http's buffer is more where one answer is longer, so a turn is one long answer or some short ones.
const TURN_WRITTEN_BYTES: usize = 16 * 1024;

impl<T> Paced<T> {
    /// A client that takes nothing for `answer_timeout` is gone.
    pub(super) const fn new(stream: T, answer_timeout: Duration) -> Self {
        Self { stream, answer_timeout, waiting: None, reader: None, written_bytes: 0 }
    }

    /// The client has taken something, or is gone.
    fn resume(&mut self) {
        self.waiting = None;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Lets others have their turn, and goes on after them. A bare wake-up would let all who write much go on before anybody's
    /// new request is looked at.
    fn end_turn<R>(&mut self, context: &Context<'_>) -> Poll<R> {
        self.written_bytes = 0;
        wake_in_turn(context.waker().clone());
        Poll::Pending
    }

    fn poll_waiting(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let answer_timeout = self.answer_timeout;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(answer_timeout)));
        waiting.as_mut().poll(context).map(|()| io::ErrorKind::TimedOut.into())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Paced<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.waiting.is_some() {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let read = Pin::new(&mut self.stream).poll_read(context, buf);
        if read.is_pending() {
            self.written_bytes = 0;
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Paced<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.written_bytes >= TURN_WRITTEN_BYTES {
            return self.end_turn(context);
        }
        let written = match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(ready!(self.poll_waiting(context))),
        };
        self.written_bytes += written.as_ref().map_or(0, |bytes| *bytes);
        self.resume();
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<T: ActixStream> ActixStream for Paced<T> {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.stream.poll_read_ready(context)
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.stream.poll_write_ready(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use actix_web::rt::System;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// A client that takes so many bytes before it reads, and the server's end.
    fn pair(bytes: usize, answer_timeout: Duration) -> (DuplexStream, Paced<DuplexStream>) {
        let (client, server) = duplex(bytes);
        (client, Paced::new(server, answer_timeout))
    }

    async fn is_pending(future: &mut (impl Future + Unpin)) -> bool {
        poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context).is_pending())).await
    }

    #[tokio::test]
    async fn nothing_is_read_while_an_answer_waits() {
        let (mut client, server) = pair(4, Duration::MAX);
        let (mut reader, mut writer) = tokio::io::split(server);
        client.write_all(b"ask").await.unwrap();
        let mut answering = Box::pin(writer.write_all(b"answer"));
        assert!(is_pending(&mut answering).await);
        let mut request = [0; 3];
        let mut reading = Box::pin(reader.read_exact(&mut request));
        assert!(is_pending(&mut reading).await);

        let mut answer = [0; 6];
        let (answered, read, written) = tokio::join!(client.read_exact(&mut answer), reading, answering);
        assert_eq!((answered.unwrap(), read.unwrap()), (6, 3));
        written.unwrap();
        assert_eq!((&answer, &request), (b"answer", b"ask"));
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_for_too_long_is_gone() {
        let (_client, mut server) = pair(4, Duration::from_millis(10));
        let error = server.write_all(b"answer").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_turn_ends_after_some_bytes_and_the_next_goes_on() {
        System::new().block_on(async {
            let (_client, mut server) = pair(1 << 20, Duration::MAX);
            let answers = [b'b'; 3 * TURN_WRITTEN_BYTES];
            let (first, rest) = answers.split_at(TURN_WRITTEN_BYTES);
            let mut writing = Box::pin(server.write_all(first));
            assert!(!is_pending(&mut writing).await, "a turn has so many bytes");
            drop(writing);
            let mut writing = Box::pin(server.write_all(rest));
            assert!(is_pending(&mut writing).await, "others have their turn");
            writing.await.unwrap();
        });
    }
}

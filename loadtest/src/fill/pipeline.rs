//! Many numbered requests over a few keep-alive connections, `depth` of them in flight on each.
//!
//! An answer of 503 is not an answer: its request waits for `Retry-After` and is sent again, as are the requests of a
//! connection that the server closed. So a request may be sent twice, and every request is answered at last.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time;

/// What is sent, and what becomes of the answers. Requests are numbered from zero.
pub(crate) trait Work {
    /// Appends request `number` to `out`.
    fn write_request(&self, number: usize, out: &mut Vec<u8>);

    /// Takes the answer to request `number`; never a 503.
    ///
    /// # Errors
    /// [`PipelineError::Refused`] where the answer is not the one hoped for, [`PipelineError::Output`] where it cannot be
    /// written down: the whole run ends.
    fn take_answer(&mut self, number: usize, status: u16, body: &[u8]) -> Result<(), PipelineError>;
}

/// Where to and how.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The server.
    pub(crate) server: SocketAddr,
    pub(crate) connections: usize,
    /// Requests in flight on one connection.
    pub(crate) depth: usize,
}

/// What a run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) elapsed: Duration,
    /// Answers of 503.
    pub(crate) busy: u64,
    /// Connections that broke and were made again.
    pub(crate) reconnects: u64,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PipelineError {
    #[error("connection to the server: {0}")]
    Connection(#[from] io::Error),
    #[error("answer is not HTTP: {0}")]
    Head(#[from] httparse::Error),
    #[error("answer has no Content-Length, or too many headers")]
    Length,
    #[error("writing an answer down: {0}")]
    Output(io::Error),
    #[error("request {number} was answered with {status}: {body}")]
    Refused { number: usize, status: u16, body: String },
}

impl PipelineError {
    /// The error for an answer that was not the one hoped for.
    pub(crate) fn refused(number: usize, status: u16, body: &[u8]) -> Self {
        Self::Refused { number, status, body: String::from_utf8_lossy(body).into_owned() }
    }
}

/// Sends requests `0..count` of `work` and hands it every answer.
///
/// # Errors
/// The first [`PipelineError`] of any connection; a broken connection counts after [`FAILURES_MAX`] of them in a row.
pub(crate) async fn run(work: &mut dyn Work, count: usize, plan: &Plan) -> Result<Report, PipelineError> {
    let start = time::Instant::now();
    let shared = RefCell::new(Shared { work, next: 0, count, again: Vec::new(), busy: 0, reconnects: 0 });
    let connections = plan.connections.min(count.div_ceil(plan.depth)).max(1);
    future::try_join_all((0..connections).map(|_| keep_connected(plan, &shared))).await?;
    let shared = shared.into_inner();
    Ok(Report { elapsed: start.elapsed(), busy: shared.busy, reconnects: shared.reconnects })
}

/// What the connections of a run share; one thread runs them all.
struct Shared<'a> {
    work: &'a mut dyn Work,
    next: usize,
    count: usize,
    /// Requests to send again.
    again: Vec<usize>,
    busy: u64,
    reconnects: u64,
}

impl Shared<'_> {
    fn next_number(&mut self) -> Option<usize> {
        self.again.pop().or_else(|| {
            let number = self.next;
            (number < self.count).then(|| {
                self.next += 1;
                number
            })
        })
    }

    /// Takes up to `depth` requests: their numbers into `pending`, their bytes into `out`.
    fn next_batch(&mut self, depth: usize, pending: &mut Vec<usize>, out: &mut Vec<u8>) {
        out.clear();
        while pending.len() < depth
            && let Some(number) = self.next_number()
        {
            pending.push(number);
            self.work.write_request(number, out);
        }
        // Answers are taken from the end.
        pending.reverse();
    }

    fn take_answer(&mut self, number: usize, head: &Head, body: &[u8]) -> Result<(), PipelineError> {
        if head.status == 503 {
            self.busy += 1;
            self.again.push(number);
            return Ok(());
        }
        self.work.take_answer(number, head.status, body)
    }
}

/// Works until no request is left, over as many connections in a row as that takes.
async fn keep_connected(plan: &Plan, shared: &RefCell<Shared<'_>>) -> Result<(), PipelineError> {
    let mut pending = Vec::with_capacity(plan.depth);
    let mut failures = 0;
    loop {
        match one_connection(plan, shared, &mut pending, &mut failures).await {
            Ok(End::Done) => return Ok(()),
            Ok(End::Closed) => {}
            Err(PipelineError::Connection(_)) if failures < FAILURES_MAX => {
                failures += 1;
                time::sleep(PAUSE_AFTER_FAILURE).await;
            }
            Err(error) => return Err(error),
        }
        let mut shared = shared.borrow_mut();
        shared.reconnects += 1;
        shared.again.append(&mut pending);
    }
}

/// How a connection ended that did not fail.
enum End {
    Done,
    /// The server said `Connection: close`.
    Closed,
}

async fn one_connection(
    plan: &Plan,
    shared: &RefCell<Shared<'_>>,
    pending: &mut Vec<usize>,
    failures: &mut u32,
) -> Result<End, PipelineError> {
    let mut stream = TcpStream::connect(plan.server).await?;
    stream.set_nodelay(true)?;
    let mut out = Vec::new();
    let mut input = Vec::with_capacity(READ_BYTES);
    loop {
        shared.borrow_mut().next_batch(plan.depth, pending, &mut out);
        if pending.is_empty() {
            return Ok(End::Done);
        }
        stream.write_all(&out).await?;
        let mut pause = Duration::ZERO;
        while let Some(&number) = pending.last() {
            let head = read_answer(&mut stream, &mut input).await?;
            let answer_len = head.len + head.body_len;
            let body = input.get(head.len..answer_len).unwrap_or_default();
            shared.borrow_mut().take_answer(number, &head, body)?;
            input.drain(..answer_len);
            pending.pop();
            *failures = 0;
            pause = pause.max(head.retry_after);
            if head.close {
                return Ok(End::Closed);
            }
        }
        if !pause.is_zero() {
            time::sleep(pause).await;
        }
    }
}

/// Reads until `input` begins with a whole answer; returns its head.
async fn read_answer(stream: &mut TcpStream, input: &mut Vec<u8>) -> Result<Head, PipelineError> {
    loop {
        if let Some(head) = Head::parse(input)?
            && input.len() >= head.len + head.body_len
        {
            return Ok(head);
        }
        input.reserve(READ_BYTES);
        if stream.read_buf(input).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// The head of an answer: what of it matters here.
#[derive(Debug, PartialEq)]
struct Head {
    status: u16,
    /// Bytes of the head itself, the empty line included.
    len: usize,
    body_len: usize,
    /// How long to wait; zero unless the status is 503.
    retry_after: Duration,
    close: bool,
}

impl Head {
    /// `None` while the head is incomplete.
    fn parse(input: &[u8]) -> Result<Option<Self>, PipelineError> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(len) = response.parse(input)? else {
            return Ok(None);
        };
        let header = |name: &str| {
            let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(found.value).ok().map(str::trim)
        };
        let body_len = header("content-length").and_then(|value| value.parse().ok()).ok_or(PipelineError::Length)?;
        let status = response.code.unwrap_or_default();
        let asked = header("retry-after").and_then(|value| value.parse().ok()).map(Duration::from_secs);
        let retry_after = if status == 503 { asked.unwrap_or(RETRY_DEFAULT).min(RETRY_MAX) } else { Duration::ZERO };
        let close = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        Ok(Some(Self { status, len, body_len, retry_after, close }))
    }
}

/// Failures of one connection in a row, no answer between them, that end the run.
const FAILURES_MAX: u32 = 5;
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(200);
const RETRY_DEFAULT: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(10);
const HEADERS_MAX: usize = 32;
const READ_BYTES: usize = 16 * 1024;

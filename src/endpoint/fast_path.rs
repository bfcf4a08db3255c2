//! Connections as their callers use them: requests to the endpoints that carry the load, one after the other.
//!
//! actix-http spends more on such a request than its answer does: fields in a hash map, boxed bodies, timers. Here a request
//! is read where it lies, and its answer is written behind the one before. The first request that is out of the ordinary
//! takes its connection to actix-http for good, unread.
//!
//! An idle connection holds no buffer, and has no timer: a task looks after all connections of the worker once a second.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::MessageBody as _;
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::rt::{spawn, time};
use actix_web::web::Data;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::clock::{Clock, UnixTime};
use crate::endpoint::loaded::{Loaded, LoadedRequest};
use crate::endpoint::posted::{Missing, Parsed, Posted};
use crate::endpoint::reject::Rejection;
use crate::endpoint::service::Worker;

/// What the connections of one worker share.
pub(super) struct FastPath {
    worker: Data<Worker>,
    limits: Limits,
    /// Empty buffers that are warm.
    buffers: RefCell<Vec<Vec<u8>>>,
    date: RefCell<AnswerDate>,
    connections: Rc<Connections>,
}

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For the head of a request, the first included.
    pub(super) head: Duration,
    /// Between two requests.
    pub(super) idle: Duration,
}

/// How a connection went.
pub(super) enum End<T> {
    /// Nothing more is to be done.
    Closed,
    /// What was read of it last is for actix-http.
    Other { stream: T, read: Vec<u8> },
}

/// How many buffers are kept warm: one to read and one to write for each connection that is at work at once.
const BUFFERS_KEPT: usize = 16;
/// The size of a buffer at first.
const BUFFER_BYTES: usize = 16 * 1024;
/// A buffer that has grown beyond this is not kept.
const BUFFER_BYTES_KEPT: usize = 512 * 1024;
/// Room is made for so much of a body before it has arrived.
const BODY_BYTES_AT_ONCE: usize = 64 * 1024;
/// Answers to pipelined requests are gathered up to so many bytes.
const GATHERED_BYTES: usize = 16 * 1024;

impl FastPath {
    /// For a worker.
    pub(super) fn new(worker: Data<Worker>, limits: Limits) -> Self {
        Self { worker, limits, buffers: RefCell::default(), date: RefCell::default(), connections: Rc::default() }
    }

    /// Looks after the connections until `stopping` ends, and then lets them end. Call it once, on the worker's own thread.
    pub(super) fn watch(&self, stopping: impl Future<Output = ()> + 'static) {
        spawn(stop(Rc::clone(&self.connections), stopping));
        spawn(watch(Rc::downgrade(&self.connections), Data::clone(&self.worker)));
    }

    /// Answers the requests of a connection, as long as they are usual.
    pub(super) async fn serve<T: AsyncRead + AsyncWrite + Unpin>(&self, stream: T) -> io::Result<End<T>> {
        let place = self.connections.enter(self.clock().monotonic() + self.limits.head);
        Connection { path: self, stream, place, read: Vec::new(), answers: Vec::new() }.serve().await
    }

    fn clock(&self) -> &Clock {
        &self.worker.gate.clock
    }

    fn buffer(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
    }

    /// Takes a buffer back, and leaves none.
    fn keep(&self, buffer: &mut Vec<u8>) {
        let mut buffer = std::mem::take(buffer);
        let mut kept = self.buffers.borrow_mut();
        if (BUFFER_BYTES..=BUFFER_BYTES_KEPT).contains(&buffer.capacity()) && kept.len() < BUFFERS_KEPT {
            buffer.clear();
            kept.push(buffer);
        }
    }

    /// Appends the answer to a request. Says when it was made, and whether it is the connection's last.
    pub(super) async fn answer(&self, request: &Posted<'_>, answers: &mut Vec<u8>) -> Answered {
        let started = self.clock().monotonic();
        let now = self.clock().at(started);
        let begin = answers.len();
        let Posted { loaded, fields, body, .. } = *request;
        let is_last = self.connections.is_stopping.get();
        let length = self.date.borrow_mut().write_head(now, loaded, is_last, answers);
        let answered = match self.worker.gate.service() {
            Some(service) => {
                loaded.answer(&LoadedRequest { service, fields, body, now }, answers).await.map(|()| StatusCode::OK)
            }
            None => Err(Rejection::NotReady),
        };
        let status = match answered {
            Ok(status) => {
                length.fill_in(answers);
                status
            }
            Err(rejection) => {
                answers.truncate(begin);
                self.reject(&rejection, now, is_last, answers)
            }
        };
        let finished = self.clock().monotonic();
        self.worker.metrics.record(loaded.endpoint(), status.as_u16(), finished.saturating_sub(started));
        Answered { at: finished, is_last }
    }

    /// Appends a refusal, and says its status.
    fn reject(&self, rejection: &Rejection, now: UnixTime, is_last: bool, answers: &mut Vec<u8>) -> StatusCode {
        let mut response = rejection.response();
        if is_last {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        let status = response.status();
        write_response(response, self.date.borrow_mut().at(now), answers);
        status
    }
}

#[derive(Clone, Copy)]
pub(super) struct Answered {
    at: Duration,
    is_last: bool,
}

struct Connection<'a, T> {
    path: &'a FastPath,
    stream: T,
    place: Place,
    /// Bytes of requests that are not answered yet.
    read: Vec<u8>,
    /// Bytes of answers that are not written yet.
    answers: Vec<u8>,
}

/// What came of waiting for more bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arrival {
    Bytes,
    /// The peer sends no more.
    End,
    /// Nothing came in time.
    Overdue,
    /// The server stops, and nothing has come.
    Stopping,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<'_, T> {
    async fn serve(mut self) -> io::Result<End<T>> {
        loop {
            let (missing, done) = match self.answer_all().await? {
                Turn::Other { done } => {
                    self.write().await?;
                    self.read.drain(..done);
                    return Ok(End::Other { stream: self.stream, read: self.read });
                }
                Turn::Last => return self.close().await,
                Turn::Part { missing, done } => (missing, done),
            };
            self.read.drain(..done);
            self.write().await?;
            let is_over = match missing {
                Missing::Head => self.wait_for_head().await?,
                Missing::Body { loaded, bytes } => self.wait_for_body(loaded, bytes).await?,
            };
            if is_over {
                return self.close().await;
            }
        }
    }

    /// Answers what has arrived whole.
    async fn answer_all(&mut self) -> io::Result<Turn> {
        let mut done = 0;
        loop {
            let rest = self.read.get(done..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(Turn::Part { missing: Missing::Head, done });
            }
            let request = match Parsed::of(rest) {
                Parsed::Whole(request) => request,
                Parsed::Part(missing) => return Ok(Turn::Part { missing, done }),
                Parsed::Other => return Ok(Turn::Other { done }),
            };
            // Nobody's answer waits for somebody else's disk.
            if self.answers.len() > GATHERED_BYTES || (request.loaded.may_wait() && !self.answers.is_empty()) {
                self.stream.write_all(&self.answers).await?;
                self.answers.clear();
            }
            if self.answers.capacity() == 0 {
                self.answers = self.path.buffer();
            }
            let Answered { at, is_last } = self.path.answer(&request, &mut self.answers).await;
            done += request.bytes;
            self.place.expect_by(at + self.path.limits.idle);
            if is_last {
                return Ok(Turn::Last);
            }
        }
    }

    /// Waits for the head of a request, or for more of it. Whether the connection is over.
    async fn wait_for_head(&mut self) -> io::Result<bool> {
        if !self.read.is_empty() && !self.place.waits_for_head.get() {
            self.place.expect_by(self.path.clock().monotonic() + self.path.limits.head);
            self.place.waits_for_head.set(true);
        }
        let arrival = self.arrival().await?;
        if arrival == Arrival::Overdue && !self.read.is_empty() {
            self.refuse(&Rejection::HeadTimeout);
        }
        Ok(arrival != Arrival::Bytes)
    }

    /// Waits for the rest of a body. Whether the connection is over.
    async fn wait_for_body(&mut self, loaded: Loaded, bytes: usize) -> io::Result<bool> {
        let started = self.path.clock().monotonic();
        let timeout = self.path.worker.gate.body_timeout;
        let whole = self.read.len() + bytes;
        // What is only announced takes no memory.
        self.read.reserve(bytes.min(BODY_BYTES_AT_ONCE));
        let arriving = async {
            while self.read.len() < whole {
                if self.stream.read_buf(&mut self.read).await? == 0 {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        // In a box, so that requests that arrive whole do not carry its state.
        let arrived = Box::pin(time::timeout(timeout, arriving)).await;
        match arrived {
            Ok(is_over) => is_over,
            Err(_) => {
                let status = self.refuse(&Rejection::BodyTimeout);
                let duration = self.path.clock().monotonic().saturating_sub(started);
                self.path.worker.metrics.record(loaded.endpoint(), status.as_u16(), duration);
                Ok(true)
            }
        }
    }

    async fn arrival(&mut self) -> io::Result<Arrival> {
        poll_fn(|context| self.poll_arrival(context)).await
    }

    fn poll_arrival(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Arrival>> {
        if self.read.capacity() == 0 {
            self.read = self.path.buffer();
        }
        if let Poll::Ready(read) = pin!(self.stream.read_buf(&mut self.read)).poll(context) {
            return Poll::Ready(read.map(|bytes| if bytes == 0 { Arrival::End } else { Arrival::Bytes }));
        }
        let is_idle = self.read.is_empty();
        if is_idle {
            self.path.keep(&mut self.read);
        }
        if is_idle && self.path.connections.is_stopping.get() {
            return Poll::Ready(Ok(Arrival::Stopping));
        }
        if self.place.is_overdue.get() {
            return Poll::Ready(Ok(Arrival::Overdue));
        }
        self.place.wake_with(context.waker());
        Poll::Pending
    }

    /// Appends a last answer that is nobody's in particular.
    fn refuse(&mut self, rejection: &Rejection) -> StatusCode {
        let now = self.path.clock().now();
        self.path.reject(rejection, now, true, &mut self.answers)
    }

    async fn write(&mut self) -> io::Result<()> {
        if !self.answers.is_empty() {
            self.stream.write_all(&self.answers).await?;
            self.path.keep(&mut self.answers);
        }
        Ok(())
    }

    async fn close(mut self) -> io::Result<End<T>> {
        self.write().await?;
        self.stream.shutdown().await?;
        Ok(End::Closed)
    }
}

/// What is left once what had arrived is answered; `done` bytes of it are.
enum Turn {
    Part {
        missing: Missing,
        done: usize,
    },
    Other {
        done: usize,
    },
    /// The connection has had its last answer.
    Last,
}

/// The connections of a worker, for those that look after all of them.
#[derive(Default)]
struct Connections {
    is_stopping: Cell<bool>,
    watched: RefCell<HashMap<u64, Rc<Watched>>>,
    entered: Cell<u64>,
}

/// What is known of a connection from outside of it.
struct Watched {
    /// When it must have moved on, on the monotonic clock.
    deadline: Cell<Duration>,
    is_overdue: Cell<bool>,
    waits_for_head: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// The place of a connection among the others. It goes with it.
struct Place {
    connections: Rc<Connections>,
    number: u64,
    watched: Rc<Watched>,
}

impl Connections {
    fn enter(self: &Rc<Self>, deadline: Duration) -> Place {
        let number = self.entered.get();
        self.entered.set(number + 1);
        let watched = Rc::new(Watched {
            deadline: Cell::new(deadline),
            is_overdue: Cell::new(false),
            waits_for_head: Cell::new(false),
            waker: RefCell::new(None),
        });
        self.watched.borrow_mut().insert(number, Rc::clone(&watched));
        Place { connections: Rc::clone(self), number, watched }
    }

    fn wake_all(&self) {
        self.watched.borrow().values().for_each(|watched| watched.wake());
    }

    fn wake_overdue(&self, now: Duration) {
        for watched in self.watched.borrow().values().filter(|watched| watched.deadline.get() <= now) {
            watched.is_overdue.set(true);
            watched.wake();
        }
    }
}

impl Watched {
    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Place {
    /// It must have moved on by then.
    fn expect_by(&self, deadline: Duration) {
        self.watched.deadline.set(deadline);
        self.watched.is_overdue.set(false);
        self.watched.waits_for_head.set(false);
    }

    fn wake_with(&self, waker: &Waker) {
        let mut known = self.watched.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }
}

impl std::ops::Deref for Place {
    type Target = Watched;

    fn deref(&self) -> &Watched {
        &self.watched
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.watched.borrow_mut().remove(&self.number);
    }
}

async fn stop(connections: Rc<Connections>, stopping: impl Future<Output = ()>) {
    stopping.await;
    connections.is_stopping.set(true);
    connections.wake_all();
}

/// How often connections are looked after.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

async fn watch(connections: std::rc::Weak<Connections>, worker: Data<Worker>) {
    loop {
        time::sleep(WATCH_PERIOD).await;
        let Some(connections) = connections.upgrade() else { return };
        connections.wake_overdue(worker.gate.clock.monotonic());
    }
}

/// The `Date` of answers, made once a second.
#[derive(Default)]
struct AnswerDate {
    seconds: u64,
    text: String,
}

/// Where the length of a body belongs, once it is known.
struct LengthToCome {
    at: usize,
    body: usize,
}

/// Room for the length of a body, in digits. It is filled up with spaces, which are allowed before a value (RFC 9110 §5.5).
const LENGTH_DIGITS: usize = 10;

impl AnswerDate {
    fn at(&mut self, now: UnixTime) -> &str {
        if self.seconds != now.as_seconds() || self.text.is_empty() {
            self.seconds = now.as_seconds();
            self.text = now.to_http_date();
        }
        &self.text
    }

    /// Appends the head of an answer; its body comes next.
    fn write_head(&mut self, now: UnixTime, loaded: Loaded, is_last: bool, answers: &mut Vec<u8>) -> LengthToCome {
        answers.extend_from_slice(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\ndate: ",
        );
        answers.extend_from_slice(self.at(now).as_bytes());
        if loaded.has_pragma() {
            answers.extend_from_slice(b"\r\npragma: no-cache");
        }
        if is_last {
            answers.extend_from_slice(b"\r\nconnection: close");
        }
        answers.extend_from_slice(b"\r\ncontent-length: ");
        let at = answers.len();
        answers.extend_from_slice(&[b' '; LENGTH_DIGITS]);
        answers.extend_from_slice(b"\r\n\r\n");
        LengthToCome { at, body: answers.len() }
    }
}

impl LengthToCome {
    fn fill_in(&self, answers: &mut [u8]) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(answers.len() - self.body).as_bytes();
        let end = self.at + LENGTH_DIGITS;
        if let Some(place) = answers.get_mut(end - digits.len()..end) {
            place.copy_from_slice(digits);
        }
    }
}

/// Appends an answer as actix-http would write it.
fn write_response(response: HttpResponse, date: &str, answers: &mut Vec<u8>) {
    let (response, body) = response.into_parts();
    let body = body.try_into_bytes().unwrap_or_default();
    let mut digits = itoa::Buffer::new();
    let status = response.status();
    answers.extend_from_slice(b"HTTP/1.1 ");
    answers.extend_from_slice(status.as_str().as_bytes());
    answers.push(b' ');
    answers.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    for (name, value) in response.headers() {
        write_field(name.as_str(), value.as_bytes(), answers);
    }
    write_field("date", date.as_bytes(), answers);
    if response.head().connection_type() == ConnectionType::Close {
        write_field("connection", b"close", answers);
    }
    write_field("content-length", digits.format(body.len()).as_bytes(), answers);
    answers.extend_from_slice(b"\r\n\r\n");
    answers.extend_from_slice(&body);
}

fn write_field(name: &str, value: &[u8], answers: &mut Vec<u8>) {
    answers.extend_from_slice(b"\r\n");
    answers.extend_from_slice(name.as_bytes());
    answers.extend_from_slice(b": ");
    answers.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use actix_web::rt::System;
    use tokio::io::{DuplexStream, duplex};
    use tokio::task::yield_now;

    use super::*;
    use crate::clock::ManualTime;
    use crate::endpoint::service::Gate;
    use crate::telemetry::http::HttpMetrics;
    use crate::telemetry::progress::StartProgress;

    const REQUEST: &[u8] = b"POST /oauth2/introspect HTTP/1.1\r\nContent-Length: 7\r\n\r\ntoken=a";
    const LIMITS: Limits = Limits { head: Duration::from_secs(5), idle: Duration::from_secs(75) };

    /// A worker of a server that is starting, so that each answer is 503; and the client's end of a connection to it.
    struct Scene {
        time: ManualTime,
        path: Rc<FastPath>,
        client: DuplexStream,
        served: actix_web::rt::task::JoinHandle<io::Result<End<DuplexStream>>>,
    }

    fn scene(stopping: impl Future<Output = ()> + 'static) -> Scene {
        let time = ManualTime::new(UnixTime::from_seconds(784_111_777));
        let clock = Arc::new(Clock::on(Box::new(time.clone())));
        let gate = Gate::new(clock, Arc::new(StartProgress::default()), Duration::from_millis(10), Duration::MAX);
        let worker = Worker { gate: Arc::new(gate), metrics: HttpMetrics::default().worker() };
        let path = Rc::new(FastPath::new(Data::new(worker), LIMITS));
        path.watch(stopping);
        let (client, stream) = duplex(1 << 20);
        let serving = Rc::clone(&path);
        Scene { time, path, client, served: spawn(async move { serving.serve(stream).await }) }
    }

    impl Scene {
        /// Sends bytes, and lets the server take them.
        async fn send(&mut self, bytes: &[u8]) {
            self.client.write_all(bytes).await.unwrap();
            // Tasks of a worker run in turn: by the second one everything has been looked at.
            yield_now().await;
            yield_now().await;
        }

        /// Lets time pass, and the watch look.
        fn advance(&self, duration: Duration) {
            self.time.advance(duration);
            self.path.connections.wake_overdue(self.path.clock().monotonic());
        }

        /// All that the server has to say until it closes the connection.
        async fn rest(mut self) -> String {
            let mut rest = String::new();
            self.client.read_to_string(&mut rest).await.unwrap();
            assert!(matches!(self.served.await.unwrap().unwrap(), End::Closed));
            rest
        }
    }

    fn run(story: impl Future<Output = ()>) {
        System::new().block_on(story);
    }

    #[test]
    fn a_request_is_answered_however_it_is_cut() {
        run(async {
            for cut in 1..REQUEST.len() {
                let mut scene = scene(std::future::pending());
                let (first, rest) = REQUEST.split_at(cut);
                scene.send(first).await;
                scene.send(rest).await;
                scene.client.shutdown().await.unwrap();
                let answer = scene.rest().await;
                assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "cut at {cut}: {answer}");
                assert!(answer.contains("\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), "{answer}");
                assert_eq!(answer.matches("HTTP/1.1").count(), 1, "cut at {cut}: {answer}");
            }
        });
    }

    #[test]
    fn what_is_out_of_the_ordinary_is_handed_on_unread_and_after_the_answers_before_it() {
        run(async {
            let mut scene = scene(std::future::pending());
            scene.send(&[REQUEST, REQUEST, b"GET /livez HTTP/1.1\r\n\r\n", REQUEST].concat()).await;
            let Ok(End::Other { read, stream }) = scene.served.await.unwrap() else { panic!("it is closed") };
            assert_eq!(read, [b"GET /livez HTTP/1.1\r\n\r\n", REQUEST].concat());
            drop(stream);
            let mut answers = String::new();
            scene.client.read_to_string(&mut answers).await.unwrap();
            assert_eq!(answers.matches("HTTP/1.1 503").count(), 2);
        });
    }

    #[test]
    fn an_idle_connection_holds_no_buffer_and_is_closed_in_the_end() {
        run(async {
            let mut scene = scene(std::future::pending());
            scene.send(REQUEST).await;
            assert_eq!(scene.path.buffers.borrow().len(), 2, "both are back");
            scene.advance(LIMITS.idle - Duration::from_secs(1));
            scene.send(REQUEST).await;
            scene.advance(LIMITS.idle - Duration::from_secs(1));
            yield_now().await;
            assert!(!scene.served.is_finished(), "it had a request meanwhile");
            scene.advance(Duration::from_secs(1));
            assert_eq!(scene.rest().await.matches("HTTP/1.1 503").count(), 2);
        });
    }

    #[test]
    fn a_head_that_does_not_arrive_in_time_is_408_however_often_some_of_it_comes() {
        run(async {
            let mut scene = scene(std::future::pending());
            scene.send(REQUEST).await;
            scene.advance(Duration::from_secs(60));
            scene.send(b"POST ").await;
            scene.advance(Duration::from_secs(3));
            scene.send(b"/oauth2/").await;
            scene.advance(Duration::from_secs(2));
            let answers = scene.rest().await;
            let (_, last) = answers.rsplit_once("HTTP/1.1 ").unwrap();
            assert!(last.starts_with("408 ") && last.contains("\r\nconnection: close\r\n"), "{answers}");
        });
    }

    #[test]
    fn a_connection_that_never_asks_is_closed() {
        run(async {
            let mut scene = scene(std::future::pending());
            scene.send(b"").await;
            scene.advance(LIMITS.head);
            assert_eq!(scene.rest().await, "");
        });
    }

    #[test]
    fn a_server_that_stops_closes_idle_connections_and_answers_what_is_under_way() {
        run(async {
            let (stop, stopping) = tokio::sync::oneshot::channel::<()>();
            let mut idle = scene(async { drop(stopping.await) });
            idle.send(REQUEST).await;
            let (client, stream) = duplex(1 << 20);
            let (path, mut busy) = (Rc::clone(&idle.path), client);
            let served = spawn(async move { path.serve(stream).await });
            let (first, rest) = REQUEST.split_at(30);
            busy.write_all(first).await.unwrap();
            yield_now().await;
            stop.send(()).unwrap();
            assert!(!idle.rest().await.contains("connection: close"));
            busy.write_all(rest).await.unwrap();
            let mut answer = String::new();
            busy.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
            assert!(matches!(served.await.unwrap().unwrap(), End::Closed));
        });
    }

    #[test]
    fn the_length_of_a_body_is_filled_in_behind_spaces() {
        let (mut date, mut answers) = (AnswerDate::default(), b"before".to_vec());
        let length = date.write_head(UnixTime::from_seconds(0), Loaded::Token, false, &mut answers);
        answers.extend_from_slice(b"{\"a\":123456}");
        length.fill_in(&mut answers);
        assert_eq!(
            String::from_utf8(answers).unwrap(),
            "beforeHTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\n\
             date: Thu, 01 Jan 1970 00:00:00 GMT\r\npragma: no-cache\r\ncontent-length:         12\r\n\r\n{\"a\":123456}"
        );
    }
}

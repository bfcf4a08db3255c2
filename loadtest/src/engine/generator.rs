//! One thread that sends requests over many connections and times the answers.
//!
//! ```text
//!           due?                 idle connection?
//!  Schedule ────▶ Ledger: waiting ──────────────▶ send ─▶ epoll ─▶ read ─▶ Ledger: answered
//! ```
//!
//! It must cost less than the server that it loads: it has no tasks and no timers, sends bytes that were made before, and
//! reads into one buffer. While the next request is due within a millisecond it polls without sleeping, for a thread that
//! sleeps is woken late.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use mio::{Events, Poll, Token};
use tokio::time::Instant;

use crate::engine::answer::Answer;
use crate::engine::connection::{Connection, ConnectionError, State};
use crate::engine::ledger::{Due, Ledger, Tally};
use crate::engine::requests::Requests;

/// What a thread is seen by, and stopped with, while it works.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Right answers so far, in the warm-up too.
    pub(crate) answered: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) stop: AtomicBool,
}

/// Why no load could be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GeneratorError {
    #[error("not all connections could be opened within {} s: {reason}", CONNECT_LIMIT.as_secs())]
    NotConnected { reason: String },
    #[error("a thread that made load has ended before its time")]
    Gone,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a thread has to tell in the end.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// What went wrong first, for people.
    pub(crate) first_failure: Option<String>,
}

/// Connections, and what is sent over them.
pub(crate) struct Generator {
    address: SocketAddr,
    poll: Poll,
    /// `None` where one is to be opened again.
    connections: Vec<Option<Connection>>,
    /// Those, with when.
    broken: Vec<(Duration, usize)>,
    /// Idle ones, the longest idle first. One may stand here twice, or have been closed meanwhile.
    idle: VecDeque<usize>,
    began: Instant,
    ledger: Ledger,
    requests: Box<dyn Requests>,
    watch: Arc<Watch>,
    /// Whether the server may have to wait for this thread's core.
    shares_its_core: bool,
    out: Vec<u8>,
    buffer: Vec<u8>,
    first_failure: Option<String>,
}

impl Generator {
    /// Opens the connections.
    pub(crate) fn connect(
        address: SocketAddr,
        connections: usize,
        ledger: Ledger,
        requests: Box<dyn Requests>,
        watch: Arc<Watch>,
    ) -> Result<Self, GeneratorError> {
        let mut generator = Self {
            address,
            poll: Poll::new()?,
            connections: Vec::new(),
            broken: Vec::new(),
            idle: VecDeque::new(),
            began: Instant::now(),
            ledger,
            requests,
            watch,
            shares_its_core: false,
            out: Vec::new(),
            buffer: vec![0; READ_BYTES],
            first_failure: None,
        };
        let mut events = Events::with_capacity(EVENTS);
        while generator.idle.len() < connections {
            // A server takes so many at once and lets the others wait for a second.
            while generator.connections.len() < connections.min(generator.idle.len() + OPENING_MAX) {
                let number = generator.connections.len();
                generator.connections.push(None);
                generator.open(number, Duration::ZERO);
            }
            generator.poll.poll(&mut events, Some(TICK))?;
            let now = generator.began.elapsed();
            generator.handle(&events);
            generator.mend(now);
            if now > CONNECT_LIMIT {
                let reason = generator.first_failure.unwrap_or_else(|| "the server does not accept them".to_owned());
                return Err(GeneratorError::NotConnected { reason });
            }
        }
        generator.first_failure = None;
        Ok(generator)
    }

    /// Works until all is answered, or cut short. Time counts from `began`, which may be still to come.
    pub(crate) fn run(mut self, began: Instant, shares_its_core: bool) -> io::Result<Outcome> {
        thread::sleep(began.saturating_duration_since(Instant::now()));
        (self.began, self.shares_its_core) = (began, shares_its_core);
        let is_idle = |connection: &&mut Connection| matches!(connection.state(), State::Idle { .. });
        self.connections.iter_mut().flatten().filter(is_idle).for_each(|connection| connection.rest(Duration::ZERO));
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let turn = self.now();
            if self.ledger.is_over(turn) || self.watch.stop.load(Ordering::Relaxed) {
                break;
            }
            self.mend(turn);
            self.ledger.advance(turn);
            let has_sent = self.send();
            self.wait(turn, has_sent, &mut events)?;
            self.handle(&events);
        }
        let now = self.now();
        let under_way = self.connections.iter().flatten().filter_map(|connection| match connection.state() {
            State::Asking { due, .. } => Some(due),
            State::Connecting | State::Idle { .. } => None,
        });
        Ok(Outcome { tally: self.ledger.close(under_way, now), first_failure: self.first_failure })
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Sends what is due, as long as there are idle connections: whether there was anything.
    fn send(&mut self) -> bool {
        let mut has_sent = false;
        while let Some(&number) = self.idle.front() {
            let Some(Some(connection)) = self.connections.get_mut(number) else {
                self.idle.pop_front();
                continue;
            };
            let State::Idle { since } = connection.state() else {
                self.idle.pop_front();
                continue;
            };
            let Some(due) = self.ledger.take(self.began.elapsed(), since) else { break };
            self.out.clear();
            let Some(sent) = self.requests.write_next(&mut self.out) else {
                self.ledger.run_out();
                break;
            };
            self.idle.pop_front();
            has_sent = true;
            let due = Due { is_timed: sent.is_timed, ..due };
            if let Err(error) = connection.ask(&self.out, due, sent, self.poll.registry()) {
                self.lose(number, &error.into());
            }
        }
        has_sent
    }

    /// Waits for events, or until the next request is due.
    fn wait(&mut self, turn: Duration, has_sent: bool, events: &mut Events) -> io::Result<()> {
        self.look(Duration::ZERO, events)?;
        // What comes at once was not waited for.
        if has_sent || !events.is_empty() {
            return Ok(());
        }
        let sleep = self.sleep(turn);
        if !sleep.is_zero() {
            self.look(sleep, events)?;
        } else if self.shares_its_core {
            thread::yield_now();
        }
        self.ledger.rest(turn, self.now());
        Ok(())
    }

    fn look(&mut self, limit: Duration, events: &mut Events) -> io::Result<()> {
        match self.poll.poll(events, Some(limit)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            result => result,
        }
    }

    /// How long it may sleep. The system counts in milliseconds and wakes late, so the rest of the time is polled.
    fn sleep(&mut self, now: Duration) -> Duration {
        if self.ledger.is_closed() {
            return TICK;
        }
        let until = self.ledger.next_due().map_or(TICK, |due| due.saturating_sub(now));
        let millis = until.saturating_sub(SPIN).min(TICK).as_millis();
        Duration::from_millis(u64::try_from(millis).unwrap_or_default())
    }

    fn handle(&mut self, events: &Events) {
        for event in events {
            let Token(number) = event.token();
            let Some(Some(connection)) = self.connections.get_mut(number) else { continue };
            let registry = self.poll.registry();
            let result = match connection.state() {
                State::Connecting => match connection.connected(registry, self.began.elapsed()) {
                    Ok(true) => {
                        self.idle.push_back(number);
                        Ok(None)
                    }
                    Ok(false) => Ok(None),
                    Err(error) => Err(error.into()),
                },
                State::Idle { .. } => connection.read(b"", event.is_read_closed(), &mut self.buffer).map(|_| None),
                State::Asking { due, expected } => {
                    let flushed = if event.is_writable() { connection.flush(registry) } else { Ok(()) };
                    let answer = match flushed {
                        Ok(()) => connection.read(expected, event.is_read_closed(), &mut self.buffer),
                        Err(error) => Err(error.into()),
                    };
                    answer.map(|answer| answer.map(|answer| (due, answer)))
                }
            };
            match result {
                Ok(None) => {}
                Ok(Some((due, answer))) => {
                    let now = self.answered(number, due, answer, event.is_read_closed());
                    // At once, and not after all events: the server would be given its work in bursts, and rest between.
                    self.ledger.advance(now);
                    self.send();
                }
                Err(error) => self.lose(number, &error),
            }
        }
    }

    fn answered(&mut self, number: usize, due: Due, answer: Answer, is_closed: bool) -> Duration {
        let now = self.now();
        self.ledger.answer(due, now, answer.is_right);
        let counter = if answer.is_right { &self.watch.answered } else { &self.watch.errors };
        counter.fetch_add(1, Ordering::Relaxed);
        let kept = self.connections.get(number).and_then(|connection| connection.as_ref()?.kept());
        if let Some(kept) = kept.filter(|_| answer.is_right) {
            self.requests.take_answer(kept);
        }
        if !answer.is_right {
            self.note(|| match answer.status {
                200 => "answered with 200, but not with what was expected".to_owned(),
                status => format!("answered with {status}"),
            });
        }
        if answer.closes || is_closed {
            self.open(number, now);
        } else if let Some(Some(connection)) = self.connections.get_mut(number) {
            connection.rest(now);
            self.idle.push_back(number);
        }
        now
    }

    /// A connection broke. Where the server had closed an idle one, nobody is to blame.
    fn lose(&mut self, number: usize, error: &ConnectionError) {
        let now = self.now();
        let Some(Some(connection)) = self.connections.get(number) else { return };
        match connection.state() {
            State::Idle { .. } => {}
            State::Connecting => {
                self.note(|| error.to_string());
                if let Some(connection) = self.connections.get_mut(number) {
                    *connection = None;
                }
                return self.broken.push((now + RECONNECT_PAUSE, number));
            }
            State::Asking { due, .. } if connection.is_unanswered() && !due.is_again => self.ledger.give_back(due, now),
            State::Asking { due, .. } => {
                self.ledger.fail(due, now);
                self.watch.errors.fetch_add(1, Ordering::Relaxed);
                self.note(|| error.to_string());
            }
        }
        self.open(number, now);
    }

    /// Opens a connection, in the place of the one before.
    fn open(&mut self, number: usize, now: Duration) {
        let Some(place) = self.connections.get_mut(number) else { return };
        // The one before is closed first: its place among the events is its successor's.
        *place = None;
        match Connection::open(self.address, Token(number), self.poll.registry()) {
            Ok(connection) => *place = Some(connection),
            Err(error) => {
                self.note(|| error.to_string());
                self.broken.push((now + RECONNECT_PAUSE, number));
            }
        }
    }

    /// Opens connections again that could not be opened a moment ago.
    fn mend(&mut self, now: Duration) {
        while let Some(at) = self.broken.iter().position(|(when, _)| *when <= now) {
            let (_, number) = self.broken.swap_remove(at);
            self.open(number, now);
        }
    }

    fn note(&mut self, failure: impl FnOnce() -> String) {
        self.first_failure.get_or_insert_with(failure);
    }
}

/// How long before a request is due the thread is awake.
const SPIN: Duration = Duration::from_millis(1);
/// The longest sleep.
const TICK: Duration = Duration::from_millis(10);
/// Events that are handled before more is sent.
const EVENTS: usize = 64;
const READ_BYTES: usize = 256 * 1024;
/// Connections that are opened at once.
const OPENING_MAX: usize = 256;
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;
    use crate::engine::ledger::{Pace, Window};
    use crate::engine::requests::Ready;
    use crate::engine::schedule::{Arrivals, Schedule};

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    fn generator(address: SocketAddr, per_second: f64, end: Duration) -> Generator {
        let window = Window { warm_up: Duration::ZERO, end, interval: None };
        let schedule = Schedule::new(Arrivals::Even, per_second, end, (0, 1), 0);
        let ledger = Ledger::new(Pace::Open(schedule.peekable()), window, 1_000_000);
        let requests = Arc::new(vec![b"GET / HTTP/1.1\r\n\r\n".to_vec()]);
        let ready = Ready { requests, random: fastrand::Rng::with_seed(1), expected: b"ok" };
        Generator::connect(address, 1, ledger, Box::new(ready), Arc::default()).unwrap()
    }

    /// A server of one connection after the other, each with its own answers.
    fn serve(connections: Vec<Vec<&'static [u8]>>) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for answers in connections {
                let (mut stream, _) = listener.accept().unwrap();
                for answer in answers {
                    let mut request = [0; 18];
                    stream.read_exact(&mut request).unwrap();
                    stream.write_all(answer).unwrap();
                }
            }
        });
        address
    }

    fn run(per_second: f64, count: u32, connections: Vec<Vec<&'static [u8]>>) -> Outcome {
        let end = Duration::from_secs_f64((f64::from(count) - 0.5) / per_second);
        generator(serve(connections), per_second, end).run(Instant::now(), true).unwrap()
    }

    #[test]
    fn every_request_is_answered_over_the_same_connection() {
        let outcome = run(10_000.0, 100, vec![vec![ANSWER; 100]]);
        assert_eq!((outcome.tally.errors, outcome.tally.sent_again), (0, 0), "{:?}", outcome.first_failure);
        assert!(outcome.tally.latency().max > 0);
    }

    #[test]
    fn a_wrong_answer_is_an_error_and_said() {
        let outcome = run(10_000.0, 2, vec![vec![b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", ANSWER]]);
        assert_eq!((outcome.tally.errors, outcome.first_failure.as_deref()), (1, Some("answered with 503")));
    }

    #[test]
    fn a_closed_connection_is_opened_again_and_its_request_sent_again() {
        let outcome = run(10_000.0, 5, vec![vec![ANSWER; 2], vec![ANSWER; 3]]);
        assert_eq!((outcome.tally.errors, outcome.first_failure), (0, None));
    }

    #[test]
    fn an_answer_that_breaks_off_is_an_error() {
        let outcome = run(10_000.0, 2, vec![vec![b"HTTP/1.1 200 OK\r\nContent-"], vec![ANSWER]]);
        assert_eq!(outcome.tally.errors, 1);
        assert_eq!(outcome.first_failure.as_deref(), Some("the server closed the connection"));
    }

    #[test]
    fn requests_that_the_server_kept_waiting_are_charged_from_when_they_were_due() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let end = Duration::from_millis(50);
        let generator = generator(listener.local_addr().unwrap(), 1000.0, end);
        let (mut stream, _) = listener.accept().unwrap();
        let watch = Arc::clone(&generator.watch);
        let began = Instant::now();
        let running = thread::spawn(move || generator.run(began, true).unwrap());
        // The first answer comes when all fifty are due, and the others at once after it.
        let mut request = [0; 18];
        stream.read_exact(&mut request).unwrap();
        while began.elapsed() < end {
            thread::yield_now();
        }
        stream.write_all(ANSWER).unwrap();
        for _ in 1..50 {
            stream.read_exact(&mut request).unwrap();
            stream.write_all(ANSWER).unwrap();
        }
        let Outcome { tally, .. } = running.join().unwrap();
        assert_eq!((watch.answered.load(Ordering::Relaxed), tally.errors), (50, 0));
        assert!(tally.latency().max >= 50_000 && tally.latency().p50 >= 24_000, "{:?}", tally.latency());
    }
}

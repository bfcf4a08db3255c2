//! Load on a server: its threads are started, watched and joined.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use crate::engine::generator::{Generator, GeneratorError, Outcome, Watch};
use crate::engine::ledger::{Ledger, Pace, Window};
use crate::engine::requests::Requests;
use crate::engine::scenario::{Recipe, Scenario, Shares};
use crate::engine::schedule::{Arrivals, Schedule};
use crate::machine::Cores;

/// What is asked for, how often, and for how long.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Load {
    pub(crate) scenario: Scenario,
    /// Requests a second. `None`: each connection asks again as soon as it is answered.
    pub(crate) per_second: Option<f64>,
    pub(crate) arrivals: Arrivals,
    pub(crate) connections: u32,
    /// What does not count, before what does.
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    pub(crate) shares: Shares,
}

impl Load {
    /// Even arrivals, and a short warm-up.
    pub(crate) fn new(scenario: Scenario, per_second: Option<f64>, duration: Duration) -> Self {
        Self {
            scenario,
            per_second,
            arrivals: Arrivals::Even,
            connections: scenario.connections(),
            warm_up: WARM_UP,
            duration,
            shares: Shares::default(),
        }
    }

    pub(super) fn end(&self) -> Duration {
        self.warm_up + self.duration
    }

    /// How many requests there may be.
    pub(super) fn requests_max(&self) -> f64 {
        self.per_second.unwrap_or(CLOSED_PER_SECOND_MAX) * self.end().as_secs_f64()
    }
}

/// How long there is load before it counts, where nobody says how long.
const WARM_UP: Duration = Duration::from_secs(1);
/// No server of ours answers more a second.
const CLOSED_PER_SECOND_MAX: f64 = 100_000.0;
/// A run in which so much of the schedule waits is cut short.
const WAITING_MAX: Duration = Duration::from_secs(2);
/// How long after all connections are open the first request is due.
const LEAD: Duration = Duration::from_millis(20);

/// Load that goes on. Dropping it ends it.
pub(crate) struct Running {
    /// When the first request is due.
    pub(crate) began: Instant,
    watch: Arc<Watch>,
    /// What the threads say, one after the other.
    said: UnboundedReceiver<Result<Said, GeneratorError>>,
    outcomes: Vec<Outcome>,
    threads: usize,
}

/// What a thread says.
enum Said {
    Connected,
    Done(Box<Outcome>),
}

impl Running {
    /// Starts a thread for each of the cores, and opens the connections.
    pub(crate) async fn start(
        load: &Load,
        address: SocketAddr,
        recipe: &Recipe,
        cores: &Cores,
        shares_cores: bool,
        interval: Option<Duration>,
    ) -> Result<Self, GeneratorError> {
        let threads = u32::try_from(cores.count()).unwrap_or(1).clamp(1, load.connections.max(1));
        let (speak, mut said) = unbounded_channel();
        let (watch, mut starts) = (Arc::<Watch>::default(), Vec::new());
        let window = Window { warm_up: load.warm_up, end: load.end(), interval };
        for number in 0..threads {
            let seed = fastrand::u64(..);
            let pace = load.per_second.map_or(Pace::Closed, |per_second| {
                let schedule = Schedule::new(load.arrivals, per_second, window.end, (number, threads), seed);
                Pace::Open(schedule.peekable())
            });
            let waiting = load.per_second.unwrap_or_default() * WAITING_MAX.as_secs_f64() / f64::from(threads);
            let connections = (load.connections / threads + u32::from(number < load.connections % threads)) as usize;
            let (start, started) = channel();
            let worker = Worker {
                address,
                connections,
                ledger: Ledger::new(pace, window, whole(waiting)),
                requests: recipe.requests((number, threads), seed),
                watch: Arc::clone(&watch),
                cores: cores.clone(),
                number: number as usize,
                shares_cores,
            };
            starts.push(start);
            let speak = speak.clone();
            thread::Builder::new().name(format!("load-{number}")).spawn(move || worker.run(&speak, &started))?;
        }
        for _ in 0..threads {
            said.recv().await.unwrap_or(Err(GeneratorError::Gone))?;
        }
        let began = Instant::now() + LEAD;
        for start in &starts {
            start.send(began).map_err(|_| GeneratorError::Gone)?;
        }
        Ok(Self { began, watch, said, outcomes: Vec::new(), threads: threads as usize })
    }

    /// Right answers and errors so far.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.watch.answered.load(Ordering::Relaxed), self.watch.errors.load(Ordering::Relaxed))
    }

    /// Waits until all threads are done. May be dropped and called again.
    pub(crate) async fn done(&mut self) -> Result<(), GeneratorError> {
        while self.outcomes.len() < self.threads {
            if let Said::Done(outcome) = self.said.recv().await.unwrap_or(Err(GeneratorError::Gone))? {
                self.outcomes.push(*outcome);
            }
        }
        Ok(())
    }

    /// What all threads have seen together.
    pub(crate) async fn finish(mut self) -> Result<Outcome, GeneratorError> {
        self.done().await?;
        let all = std::mem::take(&mut self.outcomes).into_iter().reduce(|one, other| Outcome {
            tally: one.tally.and(&other.tally),
            first_failure: one.first_failure.or(other.first_failure),
        });
        all.ok_or(GeneratorError::Gone)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.watch.stop.store(true, Ordering::Relaxed);
    }
}

/// What one thread needs.
struct Worker {
    address: SocketAddr,
    connections: usize,
    ledger: Ledger,
    requests: Box<dyn Requests>,
    watch: Arc<Watch>,
    cores: Cores,
    number: usize,
    shares_cores: bool,
}

impl Worker {
    /// Whoever listens may be gone: then nobody wants to know.
    fn run(self, speak: &UnboundedSender<Result<Said, GeneratorError>>, started: &Receiver<Instant>) {
        let done = self.work(speak, started).transpose();
        if let Some(done) = done {
            let _ = speak.send(done.map(|outcome| Said::Done(Box::new(outcome))));
        }
    }

    fn work(
        self,
        speak: &UnboundedSender<Result<Said, GeneratorError>>,
        started: &Receiver<Instant>,
    ) -> Result<Option<Outcome>, GeneratorError> {
        let Self { address, connections, ledger, requests, watch, cores, number, shares_cores } = self;
        cores.pin_to(number)?;
        let generator = Generator::connect(address, connections, ledger, requests, watch)?;
        let _ = speak.send(Ok(Said::Connected));
        let Ok(began) = started.recv() else { return Ok(None) };
        Ok(Some(generator.run(began, shares_cores)?))
    }
}

/// A number of things, of a product that is no negative.
pub(super) fn whole(number: f64) -> usize {
    usize::try_from(Duration::try_from_secs_f64(number.ceil()).unwrap_or_default().as_secs()).unwrap_or(usize::MAX)
}

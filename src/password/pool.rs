//! The threads that check passwords.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use ring::rand::SecureRandom;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::journal::run_at_lowest_priority;
use crate::password::hash::{NoResources, PasswordHash};
use crate::telemetry::cell::{Counter, Histogram};

/// Checks and hashes passwords, on threads of its own behind a bounded queue. The threads end once the pool is gone.
pub struct PasswordPool {
    jobs: Sender<Job>,
    metrics: Arc<PoolMetrics>,
}

/// What a pool counts.
#[derive(Debug, Default)]
pub struct PoolMetrics {
    /// Checks that were refused because the queue was full.
    pub refused: Counter,
    /// How long each job ran, in nanoseconds. Its count is the count of jobs.
    pub duration: Histogram,
}

/// The queue is full; the same request may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being checked")]
pub struct Busy;

enum Job {
    Verify { hash: PasswordHash, password: Zeroizing<String>, answer: oneshot::Sender<bool> },
    Hash { password: Zeroizing<String>, answer: oneshot::Sender<Result<PasswordHash, NoResources>> },
}

impl PasswordPool {
    /// Starts the threads. `waiting_max` jobs may wait for them.
    ///
    /// # Errors
    ///
    /// What the system answers when it has no thread to give.
    pub fn start(
        name: &str,
        threads: NonZeroUsize,
        waiting_max: usize,
        clock: &Arc<Clock>,
        random: &Arc<dyn SecureRandom + Send + Sync>,
    ) -> io::Result<Self> {
        let (jobs, waiting) = bounded(waiting_max);
        let metrics = Arc::<PoolMetrics>::default();
        for _ in 0..threads.get() {
            let (clock, random, metrics) = (Arc::clone(clock), Arc::clone(random), Arc::clone(&metrics));
            let worker = PoolWorker { waiting: waiting.clone(), clock, random, metrics };
            thread::Builder::new().name(name.to_owned()).spawn(move || worker.run())?;
        }
        Ok(Self { jobs, metrics })
    }

    /// Whether `hash` is that of `password`.
    ///
    /// # Errors
    ///
    /// [`Busy`]: nothing was checked.
    pub async fn verify(&self, hash: PasswordHash, password: Zeroizing<String>) -> Result<bool, Busy> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Verify { hash, password, answer })?;
        answered.await.map_err(|_| Busy)
    }

    /// The hash of a new password.
    ///
    /// # Errors
    ///
    /// [`Busy`]: nothing was hashed.
    pub async fn hash(&self, password: Zeroizing<String>) -> Result<PasswordHash, Busy> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Hash { password, answer })?;
        answered.await.map_err(|_| Busy)?.map_err(|_| Busy)
    }

    fn send(&self, job: Job) -> Result<(), Busy> {
        self.jobs.try_send(job).map_err(|error| {
            if let TrySendError::Full(_) = error {
                self.metrics.refused.increment();
            }
            Busy
        })
    }

    /// How many jobs wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.jobs.len()
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &PoolMetrics {
        &self.metrics
    }
}

impl std::fmt::Debug for PasswordPool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("PasswordPool(..)")
    }
}

/// One thread of a pool.
struct PoolWorker {
    waiting: Receiver<Job>,
    clock: Arc<Clock>,
    random: Arc<dyn SecureRandom + Send + Sync>,
    metrics: Arc<PoolMetrics>,
}

impl PoolWorker {
    fn run(self) {
        run_at_lowest_priority();
        for job in &self.waiting {
            // Who asked may have gone away: no work for nobody.
            if job.is_wanted() {
                let started = self.clock.monotonic();
                let observe = || {
                    self.metrics.duration.observe_duration(self.clock.monotonic().saturating_sub(started));
                };
                job.run(&*self.random, observe);
            }
        }
    }
}

impl Job {
    fn is_wanted(&self) -> bool {
        match self {
            Self::Verify { answer, .. } => !answer.is_closed(),
            Self::Hash { answer, .. } => !answer.is_closed(),
        }
    }

    /// What is answered has been observed.
    fn run(self, random: &dyn SecureRandom, observe: impl FnOnce()) {
        match self {
            Self::Verify { hash, password, answer } => {
                let is_right = hash.verify(&password);
                observe();
                let _ = answer.send(is_right);
            }
            Self::Hash { password, answer } => {
                let hash = PasswordHash::of(&password, random);
                observe();
                let _ = answer.send(hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::sync::{Mutex, MutexGuard};
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;
    use ring::rand::SystemRandom;

    use super::*;
    use crate::clock::{TimeSource, UnixTime};

    /// A pool whose one thread has begun with a job, and does not go on with it before what is answered is dropped.
    fn pool(waiting_max: usize) -> (PasswordPool, MutexGuard<'static, ()>) {
        let random: Arc<dyn SecureRandom + Send + Sync> = Arc::new(SystemRandom::new());
        let gate: &Mutex<()> = Box::leak(Box::default());
        let (sender, began) = channel();
        let clock = Arc::new(Clock::on(Box::new(Gated { gate, began: Mutex::new(sender) })));
        let pool = PasswordPool::start("password", NonZeroUsize::MIN, waiting_max, &clock, &random).unwrap();
        let closed = gate.lock().unwrap();
        // The clock itself has looked once.
        began.recv().unwrap();
        let mut begun = Box::pin(pool.hash(password()));
        assert!((&mut begun).now_or_never().is_none());
        began.recv().unwrap();
        drop(begun);
        (pool, closed)
    }

    /// A clock at which whoever looks waits for a gate. The thread looks before it checks.
    struct Gated {
        gate: &'static Mutex<()>,
        began: Mutex<Sender<()>>,
    }

    impl TimeSource for Gated {
        fn wall(&self) -> UnixTime {
            UnixTime::default()
        }

        fn monotonic(&self) -> Duration {
            let _ = self.began.lock().unwrap().send(());
            drop(self.gate.lock().unwrap());
            Duration::ZERO
        }
    }

    fn wait<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn hash() -> PasswordHash {
        PasswordHash::of(&password(), &SystemRandom::new()).unwrap()
    }

    fn password() -> Zeroizing<String> {
        Zeroizing::new("correct horse".to_owned())
    }

    #[test]
    fn what_the_queue_has_no_room_for_is_refused() {
        let hash = hash();
        let (pool, closed) = pool(1);
        let mut first = Box::pin(pool.verify(hash.clone(), password()));
        assert!((&mut first).now_or_never().is_none(), "one runs and one waits");
        let others = wait(join_all((0..50).map(|_| pool.verify(hash.clone(), password()))));
        assert_eq!((others, pool.waiting()), (vec![Err(Busy); 50], 1));
        drop(closed);
        assert_eq!(wait(first), Ok(true));
        assert_eq!(pool.metrics().refused.value(), 50);
    }

    #[test]
    fn nothing_is_checked_for_who_has_gone_away() {
        let hash = hash();
        let (pool, closed) = pool(8);
        for _ in 0..6 {
            assert!(pool.verify(hash.clone(), password()).now_or_never().is_none());
        }
        assert_eq!(pool.waiting(), 6);
        drop(closed);
        assert_eq!(wait(pool.verify(hash, password())), Ok(true));
        let mut totals = crate::telemetry::cell::HistogramTotals::default();
        pool.metrics().duration.add_to(&mut totals);
        assert_eq!(totals.count(), 2, "what had begun, and the last");
    }
}

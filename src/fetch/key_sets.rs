//! The keys of clients that are behind a `jwks_uri`, each set as it was last fetched.
//!
//! Who names an unknown key has it fetched again, so that a client may change its keys when it wants to; but not more often than
//! [`REFETCH_SECONDS_MIN`] allows, and after failures more and more seldom: nobody can make this server knock at somebody's door with
//! assertions that anybody can write. One fetch of an address goes on at a time; those who want it wait for it, on their own
//! worker's time but without holding it up, and nobody else waits.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};

use crate::clock::{Clock, UnixTime};
use crate::fetch::allow::AllowList;
use crate::fetch::client::{FetchError, Fetcher};
use crate::fetch::metrics::FetchMetrics;
use crate::oauth::fetch_uri::FetchUri;
use crate::signing::jwk_set::{InvalidJwkSet, JwkSet};

/// How long a set is good, in seconds, where its site does not say (`max-age`).
pub const FRESH_SECONDS_USUAL: u64 = 300;
/// The least and the most that a site may say.
pub const FRESH_SECONDS_MIN: u64 = 60;
/// See [`FRESH_SECONDS_MIN`].
pub const FRESH_SECONDS_MAX: u64 = 3_600;
/// How much longer a set is used while it cannot be fetched again, in seconds.
pub const STALE_SECONDS_MAX: u64 = 3_600;
/// The least time from one fetch of an address to the next, in seconds.
pub const REFETCH_SECONDS_MIN: u64 = 30;
/// The least time after a failure, in seconds; it doubles with each that follows.
const RETRY_SECONDS_MIN: u64 = 10;
/// The longest that it grows to, in seconds.
const RETRY_SECONDS_MAX: u64 = 300;
/// The most sets. Beyond them, that one goes which was used the longest ago.
const KEY_SETS_MAX: usize = 10_000;
/// Names are looked up on threads that wait; so many at most.
const RESOLVING_THREADS_MAX: usize = 4;

/// Nothing can be said of the client's keys now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keys of the client cannot be fetched from its jwks_uri at the moment")]
pub struct KeysUnavailable;

/// The sets of keys, for whoever checks assertions. It has a thread of its own, on which all fetches are made.
#[derive(Clone)]
pub struct KeySets(Option<Arc<Inner>>);

struct Inner {
    fetcher: Fetcher,
    runtime: Handle,
    clock: Arc<Clock>,
    sets: Mutex<HashMap<String, KeySet>>,
    metrics: Arc<FetchMetrics>,
}

/// What is known of one address.
#[derive(Default)]
struct KeySet {
    keys: Option<Arc<JwkSet>>,
    fresh_until: UnixTime,
    usable_until: UnixTime,
    /// Nothing is fetched before.
    next_fetch: UnixTime,
    failures: u32,
    used_at: UnixTime,
    /// Closed when the fetch that goes on has ended.
    fetching: Option<watch::Receiver<()>>,
}

/// Why a set of keys was not taken.
#[derive(Debug, thiserror::Error)]
enum KeySetError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("it is no JWK Set: {0}")]
    NotJson(#[from] serde_json::Error),
    #[error("its JWK Set is refused: {0}")]
    Invalid(#[from] InvalidJwkSet),
}

impl KeySetError {
    const fn name(&self) -> &'static str {
        match self {
            Self::Fetch(error) => error.name(),
            Self::NotJson(_) | Self::Invalid(_) => "no_keys",
        }
    }
}

impl fmt::Debug for KeySets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("KeySets").field(self.allow()).finish()
    }
}

impl KeySets {
    /// Fetches nothing: what a server does unless its operator allows a host.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Whom keys are fetched from.
    #[must_use]
    pub fn allow(&self) -> &AllowList {
        const NOBODY: &AllowList = &AllowList::none();
        self.0.as_ref().map_or(NOBODY, |inner| inner.fetcher.allow())
    }

    /// The keys at an address. Where those in memory lack what is wanted, they are fetched again if that may be; so what is
    /// answered may lack it too.
    ///
    /// # Errors
    ///
    /// [`KeysUnavailable`] where there are none, or none that are not too old.
    pub async fn find(
        &self,
        uri: &FetchUri,
        now: UnixTime,
        lacks: impl Fn(&JwkSet) -> bool,
    ) -> Result<Arc<JwkSet>, KeysUnavailable> {
        let inner = self.0.as_ref().ok_or(KeysUnavailable)?;
        if let Some(keys) = inner.fresh(uri, now).filter(|keys| !lacks(keys)) {
            return Ok(keys);
        }
        if let Some(mut fetching) = inner.fetch_to_wait_for(uri, now) {
            // It is closed, never written to.
            let _ = fetching.changed().await;
        }
        inner.usable(uri, now).ok_or(KeysUnavailable)
    }
}

impl Inner {
    fn sets(&self) -> MutexGuard<'_, HashMap<String, KeySet>> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self, uri: &FetchUri, now: UnixTime) -> Option<Arc<JwkSet>> {
        let mut sets = self.sets();
        let set = sets.get_mut(uri.as_str())?;
        set.used_at = now;
        set.keys.clone().filter(|_| now < set.fresh_until)
    }

    /// The fetch that goes on, or a new one if it is time for it.
    fn fetch_to_wait_for(self: &Arc<Self>, uri: &FetchUri, now: UnixTime) -> Option<watch::Receiver<()>> {
        let mut sets = self.sets();
        if sets.len() >= KEY_SETS_MAX && !sets.contains_key(uri.as_str()) {
            forget_oldest(&mut sets);
        }
        let set = sets.entry(uri.as_str().to_owned()).or_default();
        set.used_at = now;
        if set.is_being_fetched() {
            return set.fetching.clone();
        }
        if now < set.next_fetch {
            return None;
        }
        let (ended, fetching) = watch::channel(());
        set.fetching = Some(fetching.clone());
        self.metrics.key_sets.set(sets.len() as u64);
        self.runtime.spawn(Arc::clone(self).refetch(uri.clone(), now, ended));
        Some(fetching)
    }

    /// Fetches a set, and lets those go on who wait for it: also when this is given up, for `ended` is dropped then.
    async fn refetch(self: Arc<Self>, uri: FetchUri, begun: UnixTime, ended: watch::Sender<()>) {
        let start = self.clock.monotonic();
        let outcome = self.fetch_keys(&uri).await;
        let name = outcome.as_ref().map_or_else(KeySetError::name, |_| "ok");
        self.metrics.record(name, self.clock.monotonic().saturating_sub(start));
        if let Err(error) = &outcome {
            tracing::warn!(jwks_uri = uri.as_str(), %error, "the keys of a client cannot be fetched");
        }
        if let Some(set) = self.sets().get_mut(uri.as_str()) {
            set.take(outcome.ok(), begun);
        }
        drop(ended);
    }

    /// The keys at an address, and for how many seconds they are good.
    async fn fetch_keys(&self, uri: &FetchUri) -> Result<(JwkSet, u64), KeySetError> {
        let fetched = self.fetcher.fetch(uri).await?;
        let keys = JwkSet::parse_fetched(&serde_json::from_slice(&fetched.body)?)?;
        let seconds = fetched.max_age_seconds.unwrap_or(FRESH_SECONDS_USUAL);
        Ok((keys, seconds.clamp(FRESH_SECONDS_MIN, FRESH_SECONDS_MAX)))
    }

    /// What there is, after all that can be done.
    fn usable(&self, uri: &FetchUri, now: UnixTime) -> Option<Arc<JwkSet>> {
        let sets = self.sets();
        let set = sets.get(uri.as_str())?;
        let keys = set.keys.clone().filter(|_| now < set.usable_until)?;
        if now >= set.fresh_until {
            self.metrics.stale.increment();
        }
        Some(keys)
    }
}

impl KeySet {
    fn is_being_fetched(&self) -> bool {
        self.fetching.as_ref().is_some_and(|fetching| fetching.has_changed().is_ok())
    }

    /// Takes what a fetch has brought that began then; `None` for a failure, after which what was there stays.
    fn take(&mut self, fetched: Option<(JwkSet, u64)>, begun: UnixTime) {
        self.fetching = None;
        let Some((keys, fresh_seconds)) = fetched else {
            let doubled = RETRY_SECONDS_MIN.checked_shl(self.failures).unwrap_or(RETRY_SECONDS_MAX);
            self.failures = self.failures.saturating_add(1).min(RETRY_SECONDS_MAX.ilog2());
            self.next_fetch = begun.plus_seconds(doubled.min(RETRY_SECONDS_MAX));
            return;
        };
        self.keys = Some(Arc::new(keys));
        self.failures = 0;
        self.fresh_until = begun.plus_seconds(fresh_seconds);
        self.usable_until = self.fresh_until.plus_seconds(STALE_SECONDS_MAX);
        self.next_fetch = begun.plus_seconds(REFETCH_SECONDS_MIN);
    }
}

fn forget_oldest(sets: &mut HashMap<String, KeySet>) {
    let idle = sets.iter().filter(|(_, set)| !set.is_being_fetched());
    let oldest = idle.min_by_key(|(_, set)| set.used_at).map(|(uri, _)| uri.clone());
    if let Some(oldest) = oldest {
        sets.remove(&oldest);
    }
}

/// The thread on which everything is fetched: a handshake, or a site that sends in small pieces, takes no time of a worker's.
#[derive(Debug)]
pub struct RunningFetches {
    key_sets: KeySets,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl RunningFetches {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// What the system answers when it has no thread to give.
    pub fn start(fetcher: Fetcher, clock: Arc<Clock>, metrics: Arc<FetchMetrics>) -> io::Result<Self> {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().max_blocking_threads(RESOLVING_THREADS_MAX).build()?;
        let inner = Inner { fetcher, runtime: runtime.handle().clone(), clock, sets: Mutex::default(), metrics };
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = move || {
            let _ = runtime.block_on(stopped);
            // A name may still be looked up: that is not waited for.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("fetch".to_owned()).spawn(thread)?;
        Ok(Self { key_sets: KeySets(Some(Arc::new(inner))), stop, thread })
    }

    /// The sets.
    #[must_use]
    pub fn key_sets(&self) -> KeySets {
        self.key_sets.clone()
    }

    /// Gives up what is being fetched, and ends the thread.
    pub fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

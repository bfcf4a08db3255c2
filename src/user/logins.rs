//! Who may try a password, and whether it is right.
//!
//! Failures count in two places. **By account**: after [`LoginLimits::failures_max`] in a row the next attempt has to wait a
//! second, then two, then four, up to [`LoginLimits::delay_seconds_max`]; a success clears it, and each such delay that
//! passes without an attempt forgives one. An account is a name as it was typed, whether a user has it or not, so that a
//! delay tells nothing. Where the account was logged in from before, failures from elsewhere do not count: nobody can lock a person out of
//! their own places for longer than they try there. **By address** (an IPv6 address by its /64):
//! [`LoginLimits::address_failures_per_minute`], whatever the names.
//!
//! An attempt counts as a failure from its beginning, so that a thousand at once are no way around. What is counted stays in
//! memory, in tables of a fixed size, and a restart forgets it.
//!
//! Unknown users, users without a password and disabled ones are checked against a hash too, and answered alike and as late.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::Addr;
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use crate::clock::UnixTime;
use crate::password::hash::{NoResources, PASSWORD_BYTES_MAX, PasswordHash};
use crate::password::pool::{Busy, PasswordPool, PoolMetrics};
use crate::telemetry::cell::Counter;
use crate::user::User;
use crate::user::actor::{RenewHash, UserActor, ask};
use crate::user::name::UserName;
use crate::user::registry::UserRegistry;

/// Lets people log in by password.
pub struct Logins {
    registry: Arc<UserRegistry>,
    users: Option<Addr<UserActor>>,
    pool: PasswordPool,
    /// Checked where no user has a password yet.
    decoy: PasswordHash,
    limits: LoginLimits,
    accounts: Table<AccountFailures>,
    /// Until when failures from elsewhere do not count, by account and address.
    own_places: Table<UnixTime>,
    addresses: Table<AddressFailures>,
    metrics: LoginMetrics,
}

/// How many failures are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginLimits {
    /// Failures in a row, of one account, after which the next attempt has to wait.
    pub failures_max: u32,
    /// The longest that it has to wait, in seconds.
    pub delay_seconds_max: u32,
    /// Failures that an address may have in a minute.
    pub address_failures_per_minute: u32,
}

/// Why nobody is logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Not this user with this password; it is not said what is wrong.
    #[error("the username or the password is wrong")]
    Refused,
    /// Too many failures; the password was not looked at.
    #[error("too many attempts: try again later")]
    TooMany {
        /// When the next attempt is looked at.
        retry_after: Duration,
    },
    /// Too many passwords are being checked; the same attempt may succeed later.
    #[error("too many people are logging in: try again in a moment")]
    Busy,
}

/// What logins come to.
#[derive(Debug, Default)]
pub struct LoginMetrics {
    /// A person has logged in.
    pub succeeded: Counter,
    /// See [`LoginError::Refused`].
    pub refused: Counter,
    /// See [`LoginError::TooMany`], by the account.
    pub too_many_of_account: Counter,
    /// See [`LoginError::TooMany`], by the address.
    pub too_many_of_address: Counter,
    /// See [`LoginError::Busy`].
    pub busy: Counter,
}

impl Logins {
    /// Lets the users of the registry log in. Hashes of other systems are replaced by ours where `users` says who does so.
    ///
    /// # Errors
    ///
    /// [`NoResources`] when the system has no randomness to give.
    pub fn new(
        registry: Arc<UserRegistry>,
        users: Option<Addr<UserActor>>,
        pool: PasswordPool,
        limits: LoginLimits,
        random: &dyn SecureRandom,
    ) -> Result<Self, NoResources> {
        Ok(Self {
            registry,
            users,
            pool,
            decoy: PasswordHash::decoy(random)?,
            limits,
            accounts: Table::new(),
            own_places: Table::new(),
            addresses: Table::new(),
            metrics: LoginMetrics::default(),
        })
    }

    /// The user of that name, if that is their password. A session is begun with the hash that the user then has
    /// ([`StartSession::checked`](crate::user::actor::StartSession::checked)).
    ///
    /// # Errors
    ///
    /// [`LoginError`].
    pub async fn authenticate(
        &self,
        name: &str,
        password: &str,
        address: Option<IpAddr>,
        now: UnixTime,
    ) -> Result<Arc<User>, LoginError> {
        let account = Account::of(name);
        let attempt = self.begin(&account, address.map(Place::of), now).inspect_err(|error| self.count(Err(error)))?;
        let outcome = self.check(&account, password).await;
        match &outcome {
            Ok(_) => self.succeed(&account, &attempt, now),
            Err(LoginError::Busy) => self.undo(&account, &attempt),
            Err(_) => {}
        }
        self.count(outcome.as_ref().map(drop));
        outcome
    }

    /// Hashes a new password, on the threads that check them.
    ///
    /// # Errors
    ///
    /// [`Busy`].
    pub async fn hash(&self, password: &str) -> Result<PasswordHash, Busy> {
        self.pool.hash(Zeroizing::new(password.to_owned())).await
    }

    /// What logins come to.
    #[must_use]
    pub fn metrics(&self) -> &LoginMetrics {
        &self.metrics
    }

    /// What the threads that check passwords count.
    #[must_use]
    pub fn pool_metrics(&self) -> &PoolMetrics {
        self.pool.metrics()
    }

    /// How many passwords wait to be checked.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pool.waiting()
    }

    /// Checks the password, without a look at any limit. Whoever there is or is not, one hash is checked.
    async fn check(&self, account: &Account, password: &str) -> Result<Arc<User>, LoginError> {
        let found = account.name.as_ref().and_then(|name| self.registry.find_by_name(name));
        let own = found.as_ref().and_then(|user| user.password.clone());
        let may_succeed = own.is_some() && found.as_ref().is_some_and(|user| !user.is_disabled);
        let hash = own.clone().or_else(|| self.registry.stand_in(&account.text)).unwrap_or_else(|| self.decoy.clone());
        // What is longer is nobody's password; what is checked in its place is none either.
        let (password, may_succeed) =
            if password.len() <= PASSWORD_BYTES_MAX { (password, may_succeed) } else { ("", false) };
        let is_right = self.verify(hash, password).await? && may_succeed;
        let user = found.filter(|_| is_right).ok_or(LoginError::Refused)?;
        if user.password.as_ref().is_some_and(|hash| !hash.is_ours()) {
            self.renew(&user, password).await;
        }
        // What was true before the check may not be any more.
        let user = self.registry.find(&user.subject).filter(|now| now.name == user.name && !now.is_disabled);
        user.ok_or(LoginError::Refused)
    }

    async fn verify(&self, hash: PasswordHash, password: &str) -> Result<bool, LoginError> {
        let verified = self.pool.verify(hash, Zeroizing::new(password.to_owned())).await;
        verified.map_err(|Busy| LoginError::Busy)
    }

    /// Puts a hash of ours in the place of one that was imported. Where that fails the next login tries again.
    async fn renew(&self, user: &User, password: &str) {
        let (Some(users), Some(checked)) = (&self.users, user.password.clone()) else { return };
        if let Ok(renewed) = self.hash(password).await {
            let _ = ask(users, RenewHash { subject: user.subject.clone(), checked, renewed }).await;
        }
    }

    /// Counts an attempt as a failure, unless there were too many.
    fn begin(&self, account: &Account, place: Option<Place>, now: UnixTime) -> Result<Attempt, LoginError> {
        let is_own = place.is_some_and(|place| {
            self.own_places.with(&(&account.text, place), now, |until| until.is_some_and(|until| now < until))
        });
        // From their own places a person has failures of their own.
        let own_place = place.filter(|_| is_own);
        let address = place.map(|place| (place, self.limits.address_interval_ms()));
        if let Some((place, interval_ms)) = address {
            self.addresses
                .with(&place, now, |failures| {
                    failures
                        .get_or_insert_default()
                        .begin(now, interval_ms)
                        .map_err(|retry_after| LoginError::TooMany { retry_after })
                })
                .inspect_err(|_| self.metrics.too_many_of_address.increment())?;
        }
        let begun = self.accounts.with(&(&account.text, own_place), now, |failures| {
            failures.get_or_insert_default().begin(now, &self.limits)
        });
        let before = begun.map_err(|retry_after| {
            self.undo_address(place, now);
            self.metrics.too_many_of_account.increment();
            LoginError::TooMany { retry_after }
        })?;
        Ok(Attempt { place, own_place, before, at: now })
    }

    fn succeed(&self, account: &Account, attempt: &Attempt, now: UnixTime) {
        self.undo_address(attempt.place, attempt.at);
        self.accounts.with(&(&account.text, attempt.own_place), now, |failures| *failures = None);
        if let Some(place) = attempt.place {
            let until = UnixTime::from_millis(now.as_millis().saturating_add(OWN_PLACE_MS));
            self.own_places.with(&(&account.text, place), now, |own| *own = Some(until));
        }
    }

    /// An attempt that nobody has looked at is none.
    fn undo(&self, account: &Account, attempt: &Attempt) {
        self.undo_address(attempt.place, attempt.at);
        self.accounts.with(&(&account.text, attempt.own_place), attempt.at, |failures| {
            if let Some(failures) = failures {
                failures.undo(attempt.before);
            }
        });
    }

    fn undo_address(&self, place: Option<Place>, now: UnixTime) {
        let Some(place) = place else { return };
        let interval_ms = self.limits.address_interval_ms();
        self.addresses.with(&place, now, |failures| {
            if let Some(failures) = failures {
                failures.full_at_ms = failures.full_at_ms.saturating_sub(interval_ms);
            }
        });
    }

    fn count(&self, outcome: Result<(), &LoginError>) {
        match outcome {
            Ok(()) => self.metrics.succeeded.increment(),
            Err(LoginError::Refused) => self.metrics.refused.increment(),
            Err(LoginError::Busy) => self.metrics.busy.increment(),
            // Counted where it is known whether by the account or by the address.
            Err(LoginError::TooMany { .. }) => {}
        }
    }
}

impl std::fmt::Debug for Logins {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Logins(..)")
    }
}

impl LoginLimits {
    fn address_interval_ms(&self) -> u64 {
        MINUTE_MS / u64::from(self.address_failures_per_minute.max(1))
    }
}

const MINUTE_MS: u64 = 60_000;
/// A place is a person's own for 30 days after a login.
const OWN_PLACE_MS: u64 = 30 * 24 * 3_600_000;

/// What somebody wants to log in as.
struct Account {
    /// Names it in the tables: what was typed, in its canonical form where it has one.
    text: String,
    /// `None` for what can be nobody's name.
    name: Option<UserName>,
}

impl Account {
    fn of(typed: &str) -> Self {
        let name = UserName::parse(typed).ok();
        // A text that is no name is counted like one, whatever its length.
        let text = name.as_ref().map_or_else(|| blake3::hash(typed.as_bytes()).to_string(), ToString::to_string);
        Self { text, name }
    }
}

/// Where an attempt comes from, as limits take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The address.
    V4([u8; 4]),
    /// Its /64: whoever has one address of it has them all.
    V6([u8; 8]),
}

impl Place {
    /// The place of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// An attempt that was counted, to be taken back.
struct Attempt {
    place: Option<Place>,
    own_place: Option<Place>,
    before: AccountFailures,
    at: UnixTime,
}

/// What failed of an account.
#[derive(Clone, Copy, Default)]
struct AccountFailures {
    count: u32,
    last_ms: u64,
    closed_until_ms: u64,
}

impl AccountFailures {
    /// Counts an attempt; answers what was before. An error says how long to wait.
    fn begin(&mut self, now: UnixTime, limits: &LoginLimits) -> Result<Self, Duration> {
        let now_ms = now.as_millis();
        if now_ms < self.closed_until_ms {
            return Err(Duration::from_millis(self.closed_until_ms - now_ms));
        }
        let before = *self;
        let delay_ms_max = u64::from(limits.delay_seconds_max).saturating_mul(1000).max(1);
        let forgiven = now_ms.saturating_sub(self.closed_until_ms.max(self.last_ms)) / delay_ms_max;
        let count = self.count.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX)).saturating_add(1);
        let delay_ms = count.checked_sub(limits.failures_max).map_or(0, |beyond| {
            1000_u64.checked_shl(beyond).filter(|_| beyond < 32).unwrap_or(u64::MAX).min(delay_ms_max)
        });
        *self = Self { count, last_ms: now_ms, closed_until_ms: now_ms.saturating_add(delay_ms) };
        Ok(before)
    }

    fn undo(&mut self, before: Self) {
        self.count = self.count.saturating_sub(1);
        if self.count == before.count {
            *self = before;
        }
    }
}

/// What failed of an address: a bucket that is filled by failures and leaks.
#[derive(Clone, Copy, Default)]
struct AddressFailures {
    /// When all that is in it will have leaked.
    full_at_ms: u64,
}

impl AddressFailures {
    fn begin(&mut self, now: UnixTime, interval_ms: u64) -> Result<(), Duration> {
        let now_ms = now.as_millis();
        let filled_ms = self.full_at_ms.max(now_ms) - now_ms;
        if let Some(beyond_ms) = (filled_ms + interval_ms).checked_sub(MINUTE_MS).filter(|beyond| *beyond > 0) {
            return Err(Duration::from_millis(beyond_ms));
        }
        self.full_at_ms = now_ms + filled_ms + interval_ms;
        Ok(())
    }
}

/// Until when a value means anything.
trait Remembered: Copy {
    fn until_ms(&self) -> u64;
}

impl Remembered for AccountFailures {
    fn until_ms(&self) -> u64 {
        // Many failures weigh more than late ones.
        self.closed_until_ms.max(self.last_ms).saturating_add(u64::from(self.count).saturating_mul(MINUTE_MS))
    }
}

impl Remembered for AddressFailures {
    fn until_ms(&self) -> u64 {
        self.full_at_ms
    }
}

impl Remembered for UnixTime {
    fn until_ms(&self) -> u64 {
        self.as_millis()
    }
}

/// A map of a fixed size: where a set is full, what means least gives way. Nobody can aim at a set, for its hash is keyed.
struct Table<V> {
    sets: Mutex<Vec<Set<V>>>,
    hasher: RandomState,
}

/// Values by the hash of their key.
type Set<V> = [Option<(u64, V)>; WAYS];

const WAYS: usize = 8;
/// 32,768 values, in about 1 MiB.
const SETS: usize = 4096;

impl<V: Remembered> Table<V> {
    fn new() -> Self {
        Self { sets: Mutex::new(vec![[None; WAYS]; SETS]), hasher: RandomState::new() }
    }

    /// Lets `change` see and change the value of a key.
    fn with<R>(&self, key: &impl Hash, now: UnixTime, change: impl FnOnce(&mut Option<V>) -> R) -> R {
        let hash = self.hasher.hash_one(key);
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let set = usize::try_from(hash % SETS as u64).ok().and_then(|set| sets.get_mut(set));
        let Some(set) = set else { return change(&mut None) };
        let found = set.iter().flatten().find(|(known, _)| *known == hash).map(|(_, value)| *value);
        let mut value = found;
        let changed = change(&mut value);
        let kept = value.map(|value| (hash, value));
        if found.is_some() {
            if let Some(way) = set.iter_mut().find(|way| way.is_some_and(|(known, _)| known == hash)) {
                *way = kept;
            }
        } else if kept.is_some() {
            let weight = |way: &Option<(u64, V)>| way.map_or(0, |(_, value)| value.until_ms().max(now.as_millis()));
            if let Some(way) = set.iter_mut().min_by_key(|way| weight(way)) {
                *way = kept;
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use ring::rand::SystemRandom;

    use super::*;
    use crate::clock::Clock;
    use crate::oauth::subject::Subject;
    use crate::user::profile::Profile;

    const START: u64 = 1_800_000_000;
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
    /// Of "correct horse".
    const HASH: &str = "$2b$04$.q7HRqjabY2c352Ir0WJdeVmf0i1ngkBmBHD61YINN/0d6QHMe6bm";

    struct Scene {
        logins: Logins,
        seconds: u64,
        runtime: tokio::runtime::Runtime,
    }

    impl Scene {
        fn new() -> Self {
            let registry = Arc::new(UserRegistry::default());
            let user = |name: &str, password, is_disabled| User {
                subject: Subject::parse(name).unwrap(),
                name: UserName::parse(name).unwrap(),
                profile: Profile::default(),
                password,
                is_disabled,
                created_at: UnixTime::default(),
                updated_at: UnixTime::default(),
            };
            let hash = || Some(PasswordHash::parse(HASH).unwrap());
            for user in [user("alice", hash(), false), user("disabled", hash(), true), user("new", None, false)] {
                registry.publish(&Arc::new(user), 0);
            }
            let random: Arc<dyn SecureRandom + Send + Sync> = Arc::new(SystemRandom::new());
            let clock = Arc::new(Clock::system());
            let pool = PasswordPool::start("password", NonZeroUsize::MIN, 4, &clock, &random).unwrap();
            let limits = LoginLimits { failures_max: 3, delay_seconds_max: 8, address_failures_per_minute: 6 };
            let logins = Logins::new(registry, None, pool, limits, &*random).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            Self { logins, seconds: START, runtime }
        }

        fn attempt(&self, name: &str, password: &str, address: Option<IpAddr>) -> Result<Arc<User>, LoginError> {
            let now = UnixTime::from_seconds(self.seconds);
            self.runtime.block_on(self.logins.authenticate(name, password, address, now))
        }

        /// 0 where it was looked at.
        fn wait_of(&self, name: &str, password: &str, address: Option<IpAddr>) -> u64 {
            match self.attempt(name, password, address) {
                Err(LoginError::TooMany { retry_after }) => retry_after.as_secs(),
                _ => 0,
            }
        }
    }

    #[test]
    fn only_the_right_password_of_somebody_who_may_log_in_does() {
        let scene = Scene::new();
        assert_eq!(scene.attempt("ALICE", "correct horse", None).unwrap().name.as_str(), "alice");
        for (name, password) in [
            ("alice", "correct horsf"),
            ("alice", ""),
            ("nobody", "correct horse"),
            ("no body", "correct horse"),
            ("disabled", "correct horse"),
            ("new", "correct horse"),
            ("new", ""),
            ("alice", &"x".repeat(PASSWORD_BYTES_MAX + 1)),
        ] {
            assert_eq!(scene.attempt(name, password, None), Err(LoginError::Refused), "{name}");
        }
        let checked = || {
            let mut totals = crate::telemetry::cell::HistogramTotals::default();
            scene.logins.pool_metrics().duration.add_to(&mut totals);
            totals.count()
        };
        // A job is counted once it is answered.
        while checked() < 9 {
            std::thread::yield_now();
        }
        assert_eq!(checked(), 9, "each was checked against one hash");
    }

    #[test]
    fn failures_of_an_account_cost_more_and_more_up_to_a_bound() {
        for name in ["alice", "nobody", "no body", "disabled"] {
            let mut scene = Scene::new();
            for _ in 0..3 {
                assert_eq!(scene.wait_of(name, "wrong", None), 0, "{name}");
            }
            for expected in [1, 2, 4, 8, 8] {
                assert_eq!(scene.wait_of(name, "correct horse", None), expected, "{name}: not even that is looked at");
                scene.seconds += expected;
                assert_eq!(scene.wait_of(name, "wrong", None), 0, "{name}");
            }
            // Each 8 seconds more forgive a failure: of 8 there are 2 left.
            scene.seconds += 8 + 8 * 6;
            assert_eq!([(); 2].map(|()| scene.wait_of(name, "wrong", None)), [0, 1], "{name}");
        }
    }

    #[test]
    fn a_success_clears_what_failed() {
        let scene = Scene::new();
        for _ in 0..5 {
            scene.attempt("alice", "wrong", None).unwrap_err();
            scene.attempt("alice", "wrong", None).unwrap_err();
            scene.attempt("alice", "correct horse", None).unwrap();
        }
    }

    #[test]
    fn failures_from_elsewhere_lock_nobody_out_where_they_have_logged_in_before() {
        let scene = Scene::new();
        scene.attempt("alice", "correct horse", Some(HERE)).unwrap();
        for _ in 0..3 {
            scene.attempt("alice", "wrong", Some(THERE)).unwrap_err();
        }
        assert_eq!(scene.wait_of("alice", "correct horse", Some(THERE)), 1);
        assert!(scene.attempt("alice", "correct horse", Some(HERE)).is_ok());
        for _ in 0..3 {
            scene.attempt("alice", "wrong", Some(HERE)).unwrap_err();
        }
        assert_eq!(scene.wait_of("alice", "correct horse", Some(HERE)), 1, "the place is no way around");
    }

    #[test]
    fn an_address_has_so_many_failures_a_minute_whatever_the_names() {
        let mut scene = Scene::new();
        for number in 0..6 {
            assert_eq!(scene.wait_of(&format!("name-{number}"), "wrong", Some(HERE)), 0);
        }
        assert_eq!(scene.wait_of("alice", "correct horse", Some(HERE)), 10);
        assert!(scene.attempt("alice", "correct horse", Some(THERE)).is_ok());
        scene.seconds += 10;
        assert!(scene.attempt("alice", "correct horse", Some(HERE)).is_ok(), "a success takes nothing of it");
        assert_eq!([(); 2].map(|()| scene.wait_of("other", "wrong", Some(HERE))), [0, 10]);
    }

    #[test]
    fn the_addresses_of_one_network_are_one() {
        let place = |text: &str| Place::of(text.parse().unwrap());
        assert!(place("2001:db8:1:2::1") == place("2001:db8:1:2:ffff::9"));
        assert!(place("2001:db8:1:2::1") != place("2001:db8:1:3::1"));
        assert!(place("::ffff:192.0.2.1") == place("192.0.2.1"));
        assert!(place("192.0.2.1") != place("192.0.2.2"));
    }

    #[test]
    fn what_nobody_looked_at_is_no_failure() {
        let scene = Scene::new();
        let account = Account::of("alice");
        let now = UnixTime::from_seconds(START);
        for _ in 0..20 {
            let attempt = scene.logins.begin(&account, Some(Place::of(HERE)), now).unwrap();
            scene.logins.undo(&account, &attempt);
        }
        let begun: Vec<_> = (0..3).map(|_| scene.logins.begin(&account, Some(Place::of(HERE)), now)).collect();
        assert!(begun.iter().all(Result::is_ok), "attempts at once count from their beginning");
        assert!(scene.logins.begin(&account, Some(Place::of(HERE)), now).is_err());
    }

    #[test]
    fn a_table_is_of_a_fixed_size_and_keeps_what_means_most() {
        let table = Table::new();
        let now = UnixTime::from_seconds(START);
        let severe = AccountFailures { count: 50, last_ms: now.as_millis(), closed_until_ms: now.as_millis() + 8000 };
        table.with(&"severe", now, |failures| *failures = Some(severe));
        for number in 0..100_000_u32 {
            table.with(&number, now, |failures| {
                *failures = Some(AccountFailures { count: 1, last_ms: now.as_millis(), closed_until_ms: 0 });
            });
        }
        assert_eq!(table.with(&"severe", now, |failures| failures.map(|failures| failures.count)), Some(50));
        assert_eq!(table.sets.lock().unwrap().iter().flatten().count(), SETS * WAYS);
    }
}

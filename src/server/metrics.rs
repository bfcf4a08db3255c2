//! The metrics of a server, gathered at each scrape.

use std::sync::Arc;

use prometheus_client::registry::Unit;

use crate::client::actor::ClientMessage;
use crate::client::registry::ClientRegistry;
use crate::clock::{Clock, UnixTime};
use crate::fetch::metrics::{FetchMetrics, OUTCOMES};
use crate::journal::{JournalMetrics, JournalReader, Lsn};
use crate::password::pool::PasswordPool;
use crate::shard::snapshot::SnapshotMetrics;
use crate::shard::{ShardView, Shards};
use crate::telemetry::cell::{Gauge, Histogram, HistogramTotals};
use crate::telemetry::exposition::{Exposition, Family, Labels, Points, Scale};
use crate::telemetry::http::{Endpoint, HttpMetrics, STATUSES};
use crate::telemetry::message::{MessageKind, MessageMetrics};
use crate::telemetry::projection::{DatabaseHealth, DatabaseState, Lag, ProjectionMetrics};
use crate::user::actor::UserMessage;
use crate::user::logins::{LoginMetrics, Logins};
use crate::user::registry::UserRegistry;

/// Everything that counts.
pub(super) struct Sources {
    pub(super) http: Arc<HttpMetrics>,
    pub(super) shards: Arc<Shards>,
    pub(super) registry: Arc<ClientRegistry>,
    pub(super) idle_clients_deleted: Arc<Gauge>,
    pub(super) clients: Arc<MessageMetrics<ClientMessage>>,
    pub(super) users: Arc<UserRegistry>,
    pub(super) user_messages: Arc<MessageMetrics<UserMessage>>,
    pub(super) logins: Arc<Logins>,
    pub(super) secret_pool: Arc<PasswordPool>,
    /// `None` with durability `memory`.
    pub(super) journal: Option<Arc<JournalMetrics>>,
    /// `None` with durability `memory`.
    pub(super) snapshots: Option<Arc<SnapshotMetrics>>,
    /// `None` where there is no database.
    pub(super) projection: Option<Projection>,
    /// `None` where nothing is fetched.
    pub(super) fetches: Option<Arc<FetchMetrics>>,
}

impl Sources {
    pub(super) fn expose(self) -> Exposition {
        Exposition::new(move || {
            let mut families = self.http();
            families.extend(self.shards());
            families.extend(self.messages());
            families.extend(self.journal.iter().flat_map(|journal| journal_families(journal)));
            families.extend(self.snapshots.iter().flat_map(|snapshots| snapshot_families(snapshots)));
            families.extend(self.projection.iter().flat_map(Projection::families));
            families.extend(self.fetches.iter().flat_map(|fetches| fetch_families(fetches)));
            let clients = Points::Gauges(vec![(Vec::new(), as_gauge(self.registry.len() as u64))]);
            families.push(family("clients", "Registered clients", None, clients));
            let deleted = Points::Counters(vec![(Vec::new(), self.idle_clients_deleted.value())]);
            families.push(family("idle_clients_deleted", "Dynamic clients that nobody used", None, deleted));
            families.extend(self.people());
            families
        })
    }

    fn http(&self) -> Vec<Family> {
        let workers = self.http.workers();
        let (mut requests, mut durations) = (Vec::new(), Vec::new());
        for endpoint in Endpoint::ALL {
            let cells = || workers.iter().filter_map(|worker| worker.cells(endpoint));
            for (place, status) in STATUSES.iter().enumerate() {
                let count = cells().filter_map(|cells| cells.by_status.get(place)).map(|count| count.value()).sum();
                if count > 0 {
                    let labels = vec![("endpoint", endpoint.name().to_owned()), ("status", status.to_string())];
                    requests.push((labels, count));
                }
            }
            let totals = totals(cells().map(|cells| &cells.duration));
            if totals.count() > 0 {
                durations.push((vec![("endpoint", endpoint.name().to_owned())], totals));
            }
        }
        let durations = Points::Histograms(Scale::Nanoseconds, durations);
        vec![
            family("http_requests", "HTTP requests answered", None, Points::Counters(requests)),
            family("http_request_duration", "From head read to response made", Some(Unit::Seconds), durations),
        ]
    }

    fn people(&self) -> Vec<Family> {
        let gauge = |value: usize| Points::Gauges(vec![(Vec::new(), as_gauge(value as u64))]);
        let LoginMetrics { succeeded, refused, too_many_of_account, too_many_of_address, busy } = self.logins.metrics();
        let outcomes = [
            ("succeeded", succeeded),
            ("refused", refused),
            ("too_many_of_account", too_many_of_account),
            ("too_many_of_address", too_many_of_address),
            ("busy", busy),
        ];
        let outcomes = outcomes.map(|(outcome, count)| (vec![("outcome", outcome.to_owned())], count.value()));
        let pools = [
            ("password", self.logins.pool_metrics(), self.logins.waiting()),
            ("client_secret", self.secret_pool.metrics(), self.secret_pool.waiting()),
        ];
        let of_pool = |pool: &str| vec![("pool", pool.to_owned())];
        let waiting = pools.map(|(pool, _, waiting)| (of_pool(pool), as_gauge(waiting as u64)));
        let refused = pools.map(|(pool, metrics, _)| (of_pool(pool), metrics.refused.value()));
        let durations = pools.map(|(pool, metrics, _)| (of_pool(pool), totals([&metrics.duration])));
        let durations = Points::Histograms(Scale::Nanoseconds, durations.into());
        vec![
            family("users", "Registered users", None, gauge(self.users.len())),
            family("sessions", "Sessions that have not been forgotten", None, gauge(self.users.sessions_len())),
            family("logins", "Attempts to log in by password", None, Points::Counters(outcomes.into())),
            family(
                "password_checks_waiting",
                "Passwords that wait to be checked",
                None,
                Points::Gauges(waiting.into()),
            ),
            family(
                "password_checks_refused",
                "Passwords for which there was no room",
                None,
                Points::Counters(refused.into()),
            ),
            family("password_check_duration", "How long a password was checked", Some(Unit::Seconds), durations),
        ]
    }

    fn shards(&self) -> Vec<Family> {
        let by_shard = |value: fn(&ShardView) -> u64| -> Vec<(Labels, u64)> {
            let views = self.shards.views().enumerate();
            views.map(|(number, view)| (vec![("shard", number.to_string())], value(view))).collect()
        };
        let gauges = |value| {
            Points::Gauges(by_shard(value).into_iter().map(|(labels, value)| (labels, as_gauge(value))).collect())
        };
        vec![
            family("shard_mailbox_depth", "Messages that wait", None, gauges(ShardView::mailbox_depth)),
            family("shard_tokens", "Tokens in memory", None, gauges(|view| view.metrics.tokens.value())),
            family(
                "shard_tokens_expired",
                "Tokens removed after they had expired",
                None,
                Points::Counters(by_shard(|view| view.metrics.expired.value())),
            ),
            family(
                "shard_rebuilds",
                "Rebuilds after a panic",
                None,
                Points::Counters(by_shard(|view| view.metrics.rebuilds.value())),
            ),
        ]
    }

    fn messages(&self) -> Vec<Family> {
        let mut messages = Messages::default();
        messages.add("client", &[&*self.clients]);
        messages.add("user", &[&*self.user_messages]);
        messages.add("shard", &self.shards.views().map(|view| &*view.metrics.messages).collect::<Vec<_>>());
        let durations = Points::Histograms(Scale::Nanoseconds, messages.durations);
        vec![
            family("actor_messages", "Messages handled", None, Points::Counters(messages.counts)),
            family("actor_message_errors", "Messages refused", None, Points::Counters(messages.errors)),
            family("actor_message_duration", "How long a message was handled", Some(Unit::Seconds), durations),
        ]
    }
}

/// Counts of messages by actor, number of the actor and type of message; durations of those that came, by actor and type: their
/// many buckets once a shard would make a scrape long.
#[derive(Default)]
struct Messages {
    counts: Vec<(Labels, u64)>,
    errors: Vec<(Labels, u64)>,
    durations: Vec<(Labels, HistogramTotals)>,
}

impl Messages {
    fn add<K: MessageKind>(&mut self, actor: &str, of_each: &[&MessageMetrics<K>]) {
        for (number, metrics) in of_each.iter().enumerate() {
            for (message, cells) in metrics.cells() {
                let mut labels = labels(actor, message);
                labels.push(("number", number.to_string()));
                self.counts.push((labels.clone(), totals([&cells.duration]).count()));
                self.errors.push((labels, cells.errors.value()));
            }
        }
        for (kind, message) in K::NAMES.iter().enumerate() {
            let cells = of_each.iter().filter_map(|metrics| metrics.cells().nth(kind));
            let totals = totals(cells.map(|(_, cells)| &cells.duration));
            if totals.count() > 0 {
                self.durations.push((labels(actor, message), totals));
            }
        }
    }
}

fn labels(actor: &str, message: &str) -> Labels {
    vec![("actor", actor.to_owned()), ("message", message.to_owned())]
}

fn journal_families(journal: &JournalMetrics) -> Vec<Family> {
    let counter = |value| Points::Counters(vec![(Vec::new(), value)]);
    let gauge = |value| Points::Gauges(vec![(Vec::new(), as_gauge(value))]);
    let histogram = |scale, cell: &Histogram| Points::Histograms(scale, vec![(Vec::new(), totals([cell]))]);
    let seconds = |cell| histogram(Scale::Nanoseconds, cell);
    vec![
        family("journal_commits", "Group commits", None, counter(journal.commits.value())),
        family("journal_records", "Records made durable", None, counter(journal.records.value())),
        family("journal_written", "Bytes written", Some(Unit::Bytes), counter(journal.bytes.value())),
        family("journal_batch_records", "Records of a commit", None, histogram(Scale::Plain, &journal.batch_records)),
        family("journal_batch", "Size of a commit", Some(Unit::Bytes), histogram(Scale::Plain, &journal.batch_bytes)),
        family("journal_sync_duration", "How long a sync took", Some(Unit::Seconds), seconds(&journal.sync_ns)),
        family("journal_commit_duration", "How long a commit took", Some(Unit::Seconds), seconds(&journal.commit_ns)),
        family("journal_durable_lsn", "The last durable record", None, gauge(journal.durable_lsn.value())),
        family("journal_segments", "Segments on disk", None, gauge(journal.segments.value())),
        family("journal_size", "Journal on disk", Some(Unit::Bytes), gauge(journal.journal_bytes.value())),
        family("journal_budget", "What the journal may use", Some(Unit::Bytes), gauge(journal.budget_bytes.value())),
        family("journal_used", "What it uses of its budget", Some(Unit::Bytes), gauge(journal.used_bytes.value())),
        family("journal_reserve", "Kept for revocations", Some(Unit::Bytes), gauge(journal.reserve_bytes.value())),
        family("journal_pressure", PRESSURE_HELP, None, gauge(journal.pressure.value())),
    ]
}

fn snapshot_families(snapshots: &SnapshotMetrics) -> Vec<Family> {
    let counter = |value| Points::Counters(vec![(Vec::new(), value)]);
    let gauge = |value| Points::Gauges(vec![(Vec::new(), value)]);
    let bytes = |cell: &Gauge| gauge(as_gauge(cell.value()));
    let last = as_gauge(snapshots.duration_ms.value()) / 1000.0;
    vec![
        family("snapshots", "Snapshots taken", None, counter(snapshots.taken.value())),
        family("snapshot_failures", "Snapshots that came to nothing", None, counter(snapshots.failed.value())),
        family("snapshot_size", "Length of the newest snapshot", Some(Unit::Bytes), bytes(&snapshots.bytes)),
        family("snapshot_duration", "How long the last snapshot took", Some(Unit::Seconds), gauge(last)),
        family(
            "journal_tail",
            "What a restart would read of the journal",
            Some(Unit::Bytes),
            bytes(&snapshots.tail_bytes),
        ),
        family(
            "journal_segments_retired",
            "Segments that a snapshot made superfluous",
            None,
            counter(snapshots.retired_segments.value()),
        ),
    ]
}

fn fetch_families(fetches: &FetchMetrics) -> Vec<Family> {
    let outcomes = OUTCOMES.iter().zip(&fetches.by_outcome);
    let outcomes = outcomes.map(|(outcome, count)| (vec![("outcome", (*outcome).to_owned())], count.value()));
    let durations = Points::Histograms(Scale::Nanoseconds, vec![(Vec::new(), totals([&fetches.duration]))]);
    let sets = Points::Gauges(vec![(Vec::new(), as_gauge(fetches.key_sets.value()))]);
    let stale = Points::Counters(vec![(Vec::new(), fetches.stale.value())]);
    vec![
        family("fetches", "Documents fetched, or not", None, Points::Counters(outcomes.collect())),
        family("fetch_duration", "How long a fetch took", Some(Unit::Seconds), durations),
        family("fetched_key_sets", "Addresses of keys of clients", None, sets),
        family("stale_key_sets_used", "Uses of keys that could not be fetched again", None, stale),
    ]
}

/// The database, and what it is behind of.
#[derive(Clone)]
pub(super) struct Projection {
    pub(super) metrics: Arc<ProjectionMetrics>,
    pub(super) reader: JournalReader,
    pub(super) clock: Arc<Clock>,
}

impl Projection {
    pub(super) fn health(&self) -> DatabaseHealth {
        let dead_letters = self.metrics.dead_letters.value();
        DatabaseHealth { state: self.metrics.state(), lag: self.lag(), dead_letters }
    }

    fn lag(&self) -> Lag {
        let applied = Lsn::new(self.metrics.applied_lsn.value());
        let records = self.reader.durable_lsn().value().saturating_sub(applied.value());
        let since = UnixTime::from_millis(self.metrics.applied_at_ms.value());
        let seconds = self.clock.now().as_seconds().saturating_sub(since.as_seconds());
        Lag { records, bytes: self.reader.bytes_after(applied), seconds: if records == 0 { 0 } else { seconds } }
    }

    fn families(&self) -> Vec<Family> {
        let (metrics, lag) = (&self.metrics, self.lag());
        let counter = |value| Points::Counters(vec![(Vec::new(), value)]);
        let gauge = |value| Points::Gauges(vec![(Vec::new(), as_gauge(value))]);
        let connected = u64::from(metrics.state() == DatabaseState::Connected);
        vec![
            family("database_connected", "1 while the database is written", None, gauge(connected)),
            family("projection_applied_lsn", "The last record in it", None, gauge(metrics.applied_lsn.value())),
            family(
                "projection_confirmed_lsn",
                "The last that its crash cannot take back",
                None,
                gauge(metrics.confirmed_lsn.value()),
            ),
            family("projection_lag_records", "Durable records that it lacks", None, gauge(lag.records)),
            family("projection_lag", "The journal that holds them", Some(Unit::Bytes), gauge(lag.bytes)),
            family("projection_lag", "The age of the last that it has", Some(Unit::Seconds), gauge(lag.seconds)),
            family("projection_rows", "Rows written", None, counter(metrics.rows.value())),
            family("projection_batches", "Transactions that wrote them", None, counter(metrics.batches.value())),
            family("projection_failures", "Attempts made again", None, counter(metrics.failures.value())),
            family("dead_letters", "Records that it refused", None, counter(metrics.dead_letters.value())),
        ]
    }
}

const PRESSURE_HELP: &str = "0 normal, 1 warned, 2 no registrations, 3 revocations only, 4 full: nothing is written";

const fn family(name: &'static str, help: &'static str, unit: Option<Unit>, points: Points) -> Family {
    Family { name, help, unit, points }
}

fn totals<'a>(cells: impl IntoIterator<Item = &'a Histogram>) -> HistogramTotals {
    let mut totals = HistogramTotals::default();
    cells.into_iter().for_each(|cell| cell.add_to(&mut totals));
    totals
}

#[expect(clippy::cast_precision_loss, reason = "gauges are shown, not calculated with")]
const fn as_gauge(value: u64) -> f64 {
    value as f64
}

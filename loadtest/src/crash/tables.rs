//! The copy in PostgreSQL: disturbed while the server is killed, compared with memory in the end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use sqlx::postgres::PgConnection;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, ClusterError};
use crate::crash::oracle::Oracle;
use crate::crash::violation::Violation;

/// A PostgreSQL cluster that the server writes.
pub(super) struct Tables {
    cluster: Cluster,
    random: fastrand::Rng,
    /// Whether it was not disturbed just now.
    is_up: Rc<Cell<bool>>,
    pub(super) counts: Counts,
}

/// What was done to it, and what was compared.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Counts {
    /// How often it was killed, stopped as an operator does, and paused.
    pub(super) kills: usize,
    pub(super) stops: usize,
    pub(super) pauses: usize,
    /// What was compared in the end.
    pub(super) tokens_compared: usize,
    pub(super) clients_compared: usize,
    /// How long it took to catch up then, and how many records that were. `None` where it did not.
    pub(super) catch_up: Option<CatchUp>,
}

/// The last time that the database caught up.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct CatchUp {
    pub(super) seconds: f64,
    pub(super) records: u64,
}

/// How long the database is up, and how long it is not.
const UP_MILLIS: std::ops::Range<u64> = 50..600;
const DOWN_MILLIS: std::ops::Range<u64> = 0..600;
/// How many tokens are asked for at once.
const TOKENS: usize = 5000;

impl Tables {
    pub(super) fn new(cluster: Cluster, random: fastrand::Rng) -> Self {
        Self { cluster, random, is_up: Rc::new(Cell::new(true)), counts: Counts::default() }
    }

    pub(super) fn url(&self) -> String {
        self.cluster.url()
    }

    /// Tells whether PostgreSQL is up, also while it is being disturbed.
    pub(super) fn is_up(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.is_up)
    }

    /// Kills, stops and pauses it at random moments, until one of that fails.
    pub(super) async fn disturb(&mut self) -> ClusterError {
        loop {
            if let Err(error) = self.disturb_once().await {
                return error;
            }
        }
    }

    async fn disturb_once(&mut self) -> Result<(), ClusterError> {
        sleep(self.pick(UP_MILLIS)).await;
        self.is_up.set(false);
        match self.random.u8(..3) {
            0 => {
                self.counts.kills += 1;
                self.cluster.kill()?;
            }
            1 => {
                self.counts.stops += 1;
                self.cluster.stop().await?;
            }
            _ => {
                self.counts.pauses += 1;
                self.cluster.pause();
            }
        }
        sleep(self.pick(DOWN_MILLIS)).await;
        self.start().await
    }

    /// Brings it up, whatever it was.
    pub(super) async fn start(&mut self) -> Result<(), ClusterError> {
        self.cluster.start().await?;
        self.is_up.set(true);
        Ok(())
    }

    /// Tells the oracle of every token and client whether it is in the tables. Nothing may change meanwhile.
    pub(super) async fn compare(&mut self, oracle: &RefCell<Oracle>) -> Result<(), ClusterError> {
        let mut connection = self.cluster.connect().await?;
        sqlx::raw_sql("ANALYZE").execute(&mut connection).await?;
        let (tokens, clients) = (oracle.borrow().all_tokens(), oracle.borrow().all_clients());
        for tokens in tokens.chunks(TOKENS) {
            let texts: Vec<_> = tokens.iter().map(|token| oracle.borrow().text(*token).to_owned()).collect();
            let asked = Instant::now();
            let are_live: Vec<bool> =
                sqlx::query_scalar(ARE_LIVE_TOKENS).bind(texts).fetch_all(&mut connection).await?;
            let (mut oracle, times) = (oracle.borrow_mut(), (asked, Instant::now()));
            for (token, is_live) in tokens.iter().zip(are_live) {
                oracle.observe_in_tables(*token, is_live, times);
                self.counts.tokens_compared += 1;
            }
        }
        let credentials = clients.iter().map(|client| oracle.borrow().credentials(*client).clone());
        let (ids, secrets): (Vec<_>, Vec<_>) = credentials.map(|own| (own.id, own.secret)).unzip();
        let are_there: Vec<bool> =
            sqlx::query_scalar(ARE_CLIENTS).bind(ids).bind(secrets).fetch_all(&mut connection).await?;
        for (client, is_there) in clients.into_iter().zip(are_there) {
            oracle.borrow_mut().observe_client_in_tables(client, is_there);
            self.counts.clients_compared += 1;
        }
        Ok(())
    }

    /// What is wrong with the tables by themselves, where the journal ends with that record.
    pub(super) async fn faults(&self, durable_lsn: u64) -> Result<Vec<Violation>, ClusterError> {
        let mut connection = self.cluster.connect().await?;
        let applied_lsn = count(APPLIED_LSN, &mut connection).await?;
        let faults = [
            (applied_lsn != durable_lsn).then_some(Violation::OtherLsn { applied_lsn, durable_lsn }),
            some(count(EVENTS_TWICE, &mut connection).await?).map(Violation::EventsTwice),
            some(count(DEAD_LETTERS, &mut connection).await?).map(Violation::DeadLetters),
            some(count(GAPS, &mut connection).await?).map(Violation::Gaps),
        ];
        Ok(faults.into_iter().flatten().collect())
    }

    fn pick(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.u64(range))
    }
}

async fn count(sql: &'static str, connection: &mut PgConnection) -> Result<u64, ClusterError> {
    let count: i64 = sqlx::query_scalar(sql).fetch_one(connection).await?;
    Ok(u64::try_from(count).unwrap_or_default())
}

fn some(count: u64) -> Option<u64> {
    Some(count).filter(|count| *count > 0)
}

/// Of each of some tokens.
const ARE_LIVE_TOKENS: &str = "
    SELECT EXISTS (SELECT FROM tessera.live_tokens WHERE live_tokens.token = asked.id)
    FROM (
        SELECT tessera.token_id(text) AS id, number
        FROM unnest($1::text[]) WITH ORDINALITY AS given (text, number)
        OFFSET 0
    ) AS asked
    ORDER BY number";

/// Of each of some credentials. A client that is registered again has another secret.
const ARE_CLIENTS: &str = "
    SELECT EXISTS (
        SELECT FROM tessera.clients JOIN tessera.client_records AS record USING (client_id)
        WHERE client_id = given.id AND record.secret_sha256 = sha256(convert_to(given.secret, 'UTF8'))
    )
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS given (id, secret, number)
    ORDER BY number";

const APPLIED_LSN: &str = "SELECT applied_lsn FROM tessera.projection";

const EVENTS_TWICE: &str = "
    SELECT count(*)
    FROM (SELECT FROM tessera.token_events GROUP BY token, kind, expires_at HAVING count(*) > 1) AS twice";

const DEAD_LETTERS: &str = "SELECT count(*) FROM tessera.dead_letters";

const GAPS: &str = "SELECT count(*) FROM tessera.gaps";

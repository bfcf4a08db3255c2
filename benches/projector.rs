//! How fast the projector fills a database, beside a bare binary `COPY` of the same rows into the same tables by one connection.
//!
//! Each round makes a journal of so many records, lets the projector copy it, reads the rows back as they lie in the table, and
//! copies those in again. Prints one JSON object: rows a second of both, and the ratio, each the median of the rounds; and how
//! long the drop of a day's partition took.
//!
//! The database must be one that may be lost: its schema `tessera` is dropped.
#![expect(clippy::print_stdout, reason = "the report is what this program is for")]
#![expect(clippy::disallowed_methods, reason = "it measures with the machine's clock")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use futures_util::TryStreamExt as _;
use ring::rand::SystemRandom;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _};
use tessera::client::id::ClientId;
use tessera::clock::Clock;
use tessera::journal::{self, Entry, JournalKeys, Opened, Options, RealDisk};
use tessera::oauth::audience::Audience;
use tessera::oauth::scope::Scope;
use tessera::postgres::{ProjectorParts, RunningProjector, migrate};
use tessera::signing::derivation::DerivedKeys;
use tessera::token::access_token::{AccessToken, Partition, TokenReference};
use tessera::token::event::{KIND_ISSUED, KIND_REVOKED, SCHEMA_ISSUED, SCHEMA_REVOKED, encode_issued, encode_revoked};
use tessera::token::grant::ClientTerms;

#[derive(Parser)]
struct Arguments {
    /// A database that may be lost.
    #[arg(long)]
    database_url: String,
    /// Records of issued tokens in the journal; one in twenty is revoked too.
    #[arg(long, default_value_t = 1_000_000)]
    tokens: u32,
    /// Clients that they were issued to.
    #[arg(long, default_value_t = 1000)]
    clients: u32,
    /// Rounds, of which the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rounds = Vec::new();
    for _ in 0..arguments.rounds {
        runtime.block_on(empty(&arguments.database_url))?;
        let (rows, projected) = project(&arguments)?;
        let (bare, dropped) = runtime.block_on(copy(&arguments.database_url))?;
        rounds.push([
            rows / projected.as_secs_f64(),
            rows / bare.as_secs_f64(),
            bare.div_duration_f64(projected),
            dropped,
        ]);
    }
    let median = |at: usize| {
        let mut values: Vec<_> = rounds.iter().filter_map(|round| round.get(at).copied()).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let [projected, bare, ratio, dropped] = [median(0), median(1), median(2), median(3)];
    println!(
        "{{\"tokens\":{},\"rounds\":{},\"projected_rows_per_second\":{projected:.0},\"bare_copy_rows_per_second\":{bare:.0},\
         \"projected_to_bare\":{ratio:.3},\"drop_partition_ms\":{dropped:.1}}}",
        arguments.tokens, arguments.rounds
    );
    Ok(())
}

async fn empty(url: &str) -> Outcome<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql("DROP SCHEMA IF EXISTS tessera CASCADE; CHECKPOINT").execute(&mut connection).await?;
    Ok(migrate(url).await.map(drop)?)
}

/// How many rows the projector has written of a new journal, and in what time.
fn project(arguments: &Arguments) -> Outcome<(f64, Duration)> {
    let directory = tempfile::tempdir()?;
    let (clock, keys) = (Arc::new(Clock::system()), JournalKeys::from(&DerivedKeys::of(&[7; 32])));
    let key_id = keys.key_id;
    let disk = Arc::new(RealDisk::new(directory.path().to_owned())?);
    let Opened { journal, mut lanes, .. } =
        journal::open(disk, Options::new(keys, 1, 8192), Arc::clone(&clock), &mut |_| {})?;
    let lane = lanes.first_mut().ok_or("no lane")?;
    let (random, now) = (SystemRandom::new(), clock.now().as_seconds_u32());
    let terms: Vec<_> = (0..arguments.clients).map(terms).collect::<Result<_, _>>()?;
    for (number, terms) in (0..arguments.tokens).zip(terms.iter().cycle()) {
        let TokenReference { routing_id, digest } =
            AccessToken::random(&random).map_err(|error| error.to_string())?.reference();
        // An hour and some, within one day or two.
        let expires_at = now + 3600 + number % 60;
        let entry = |kind, schema, payload| Entry { kind, schema, routing_id: routing_id.0, payload };
        let payload = encode_issued(digest, now, expires_at, terms)?;
        lane.append(entry(KIND_ISSUED, SCHEMA_ISSUED, payload), None);
        if number % 20 == 0 {
            lane.append(entry(KIND_REVOKED, SCHEMA_REVOKED, encode_revoked(digest, expires_at)?), None);
        }
    }
    let rows = u64::from(arguments.tokens) + u64::from(arguments.tokens.div_ceil(20));
    let reader = journal.reader();
    while reader.durable_lsn().value() < rows {
        std::thread::sleep(PAUSE);
    }
    let metrics = Arc::default();
    let started = Instant::now();
    let projector = RunningProjector::start(ProjectorParts {
        url: arguments.database_url.clone(),
        key_id,
        reader,
        snapshots: journal.snapshots(),
        clock,
        partition_of: Arc::new(|_| Partition(0)),
        history_retention_days: 30,
        metrics: Arc::clone(&metrics),
    })?;
    while metrics.applied_lsn.value() < rows {
        std::thread::sleep(PAUSE);
    }
    let took = started.elapsed();
    projector.stop();
    drop(lanes);
    journal.close()?;
    Ok((f64::from(u32::try_from(rows)?), took))
}

const PAUSE: Duration = Duration::from_millis(1);

fn terms(number: u32) -> Outcome<ClientTerms> {
    Ok(ClientTerms {
        id: ClientId::parse(&format!("client-{number:04}")).map_err(|error| error.to_string())?,
        generation: 0,
        in_force: Arc::default(),
        scope: Scope::parse("read write").map_err(|error| error.to_string())?,
        audience: Audience::empty(),
        claims: None,
    })
}

/// The time of a bare copy of what the projector wrote, in its order, with as much in one transaction as a batch has; and how
/// many milliseconds the drop of the fullest partition takes.
async fn copy(url: &str) -> Outcome<(Duration, f64)> {
    let mut connection = PgConnection::connect(url).await?;
    let rows: Vec<Bytes> = connection
        .copy_out_raw("COPY (SELECT * FROM tessera.token_events) TO STDOUT (FORMAT binary)")
        .await?
        .try_collect()
        .await?;
    sqlx::raw_sql("TRUNCATE tessera.token_events; CHECKPOINT; SET synchronous_commit = off")
        .execute(&mut connection)
        .await?;
    let bytes = rows.concat();
    let started = Instant::now();
    let mut copying = connection.copy_in_raw("COPY tessera.token_events FROM STDIN (FORMAT binary)").await?;
    for piece in bytes.chunks(PIECE_BYTES) {
        copying.send(piece).await?;
    }
    copying.finish().await?;
    let took = started.elapsed();
    let fullest = sqlx::query(
        "SELECT tableoid::regclass::text FROM tessera.token_events GROUP BY 1 ORDER BY count(*) DESC LIMIT 1",
    );
    let fullest: String = fullest.fetch_one(&mut connection).await?.try_get(0)?;
    let started = Instant::now();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("DROP TABLE {fullest}"))).execute(&mut connection).await?;
    let dropped = started.elapsed();
    connection.close().await?;
    Ok((took, dropped.as_secs_f64() * 1000.0))
}

const PIECE_BYTES: usize = 4 << 20;

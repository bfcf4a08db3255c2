//! `/metrics`: what was done can be counted.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::harness::{TestServer, admin};
use crate::http::Request;

/// The samples of a scrape by name and labels, as they stand in the text.
struct Scrape {
    text: String,
    samples: BTreeMap<String, f64>,
}

fn scrape(server: &TestServer) -> Scrape {
    let answer = server.ask_socket(&Request::get("/metrics"));
    assert_eq!(answer.status, 200);
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.field("content-type"), Some(media_type));
    let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    let samples = samples.collect();
    Scrape { text: answer.body, samples }
}

impl Scrape {
    /// The sum of all samples of that name whose labels have these among them.
    fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let matching = self.samples.iter().filter(|(sample, _)| {
            let (own, own_labels) = sample.split_once('{').unwrap_or((sample, ""));
            own == name && labels.iter().all(|label| own_labels.contains(label))
        });
        matching.map(|(_, value)| value).sum()
    }

    fn has(&self, name: &str) -> bool {
        self.samples.keys().any(|sample| sample.split('{').next() == Some(name))
    }
}

/// Scrapes until the sum is as expected: what a shard does by itself is done soon, but nobody is told.
#[track_caller]
fn await_sum(server: &TestServer, name: &str, expected: f64) {
    await_sum_of(server, name, &[], expected);
}

#[track_caller]
fn await_sum_of(server: &TestServer, name: &str, labels: &[&str], expected: f64) {
    let mut seen = f64::NAN;
    for _ in 0..ATTEMPTS_MAX {
        seen = scrape(server).sum(name, labels);
        if seen == expected {
            return;
        }
        std::thread::sleep(PAUSE);
    }
    panic!("{name} is {seen}, and does not become {expected}");
}

const PAUSE: Duration = Duration::from_millis(5);
/// Two minutes or more.
const ATTEMPTS_MAX: usize = 24_000;

#[test]
fn the_metrics_are_openmetrics_text() {
    let server = TestServer::start_durable();
    let app = server.register_app("app");
    server.revoke(&app, &server.issue(&app));
    let scrape = scrape(&server);
    assert!(scrape.text.ends_with("# EOF\n"));
    let mut family = String::new();
    let mut families = Vec::new();
    for line in scrape.text.lines().filter(|line| *line != "# EOF") {
        if let Some(descriptor) = line.strip_prefix("# ") {
            let [kind, name, rest] = descriptor.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            assert!(matches!(kind, "HELP" | "TYPE" | "UNIT") && !rest.is_empty(), "{line}");
            if name != family {
                assert!(name.starts_with("tessera_") && !families.contains(&name), "{line}");
                families.push(name);
                family = name.to_owned();
            }
        } else {
            let suffix = line.strip_prefix(&*family).unwrap_or_else(|| panic!("{line} is not of {family}"));
            let suffix = suffix.split(['{', ' ']).next().unwrap();
            assert!(matches!(suffix, "" | "_total" | "_bucket" | "_sum" | "_count"), "{line}");
        }
    }
    assert!(families.len() >= 15, "{families:?}");
}

#[test]
fn requests_are_counted_by_endpoint_and_status() {
    let server = TestServer::start();
    let app = server.register_app("app");
    let counts = |scrape: &Scrape, endpoint: &str, status: u16| {
        let labels = [format!("endpoint=\"{endpoint}\""), format!("status=\"{status}\"")];
        scrape.sum("tessera_http_requests_total", &[&labels[0], &labels[1]])
    };
    let token = server.issue(&app);
    (0..3).for_each(|_| drop(server.introspect(&app, &token)));
    server.introspect(&crate::http::Credentials::new("app", "wrong"), &token);
    server.ask(&Request::post("/oauth2/introspect/batch").basic(&app).json(&json!({ "tokens": [] })));
    server.revoke(&admin(), &token);
    server.revoke(&app, &token);
    server.ask(&Request::get("/nowhere"));
    server.ask(&Request::get("/oauth2/token"));
    server.ask(&Request::get("/livez"));
    let scrape = scrape(&server);
    for (endpoint, status, count) in [
        ("token", 200, 1.0),
        ("introspect", 200, 3.0),
        ("introspect", 401, 1.0),
        ("introspect_batch", 200, 1.0),
        ("revoke", 400, 1.0),
        ("revoke", 200, 1.0),
        ("admin_clients", 201, 1.0),
        ("other", 404, 1.0),
        ("other", 405, 1.0),
        ("livez", 200, 1.0),
    ] {
        assert_eq!(counts(&scrape, endpoint, status), count, "{endpoint} {status}\n{}", scrape.text);
    }
    let introspections = scrape.sum("tessera_http_request_duration_seconds_count", &["endpoint=\"introspect\""]);
    assert_eq!(introspections, 4.0);
}

#[test]
fn messages_are_counted_by_actor_and_type() {
    let server = TestServer::start();
    let app = server.register_app("app");
    let tokens: Vec<_> = (0..8).map(|_| server.issue(&app)).collect();
    tokens[..5].iter().for_each(|token| drop(server.revoke(&app, token)));
    let refused = server.ask_socket(&Request::post("/admin/v1/clients").json(&json!({ "client_id": "app" })));
    assert_eq!(refused.status, 409);
    // A message is counted once it has been handled to its end, which may be after its answer.
    for handled in ["message=\"revoke\"", "message=\"create\""] {
        let expected = if handled.contains("revoke") { 5.0 } else { 2.0 };
        await_sum_of(&server, "tessera_actor_message_duration_seconds_count", &[handled], expected);
    }
    let scrape = scrape(&server);
    for (actor, message, handled, errors) in [
        ("shard", "issue", 8.0, 0.0),
        ("shard", "revoke", 5.0, 0.0),
        ("client", "create", 2.0, 1.0),
        ("client", "ensure", 1.0, 0.0),
        ("client", "delete", 0.0, 0.0),
    ] {
        let labels = [format!("actor=\"{actor}\""), format!("message=\"{message}\"")];
        let sum = |name: &str| scrape.sum(name, &[&labels[0], &labels[1]]);
        assert_eq!(sum("tessera_actor_messages_total"), handled, "{actor} {message}");
        assert_eq!(sum("tessera_actor_message_errors_total"), errors, "{actor} {message}");
        assert_eq!(sum("tessera_actor_message_duration_seconds_count"), handled, "{actor} {message}");
    }
    let by_shard = |number: &str| scrape.sum("tessera_actor_messages_total", &["message=\"issue\"", number]);
    assert_eq!(by_shard("number=\"0\"") + by_shard("number=\"1\""), 8.0);
}

#[test]
fn shards_tell_what_they_hold_and_what_has_expired() {
    let server = TestServer::start();
    let brief = server.register(&json!({ "access_token_lifetime_seconds": 10 }));
    let lasting = server.register(&json!({ "access_token_lifetime_seconds": 1000 }));
    (0..5).for_each(|_| drop(server.issue(&lasting)));
    let mut issued = 5.0;
    // Which shard has a token is drawn.
    let both_have_some = |scraped: &Scrape| {
        ["shard=\"0\"", "shard=\"1\""].iter().all(|shard| scraped.sum("tessera_shard_tokens", &[shard]) > 0.0)
    };
    while issued < 25.0 || !both_have_some(&scrape(&server)) {
        server.issue(&brief);
        issued += 1.0;
    }
    await_sum(&server, "tessera_shard_tokens", issued);
    server.time.advance(Duration::from_secs(60));
    server.tick();
    await_sum(&server, "tessera_shard_tokens", 5.0);
    await_sum(&server, "tessera_shard_tokens_expired_total", issued - 5.0);
    await_sum(&server, "tessera_shard_mailbox_depth", 0.0);
    assert_eq!(scrape(&server).sum("tessera_clients", &[]), 3.0);
}

#[test]
fn the_journal_tells_how_much_it_writes_and_how_long_that_takes() {
    let server = TestServer::start_durable();
    let app = server.register_app("app");
    let names =
        ["tessera_journal_commits_total", "tessera_journal_records_total", "tessera_journal_written_bytes_total"];
    let before = scrape(&server);
    (0..10).for_each(|_| drop(server.issue(&app)));
    let after = scrape(&server);
    let [commits, records, bytes] = names.map(|name| after.sum(name, &[]) - before.sum(name, &[]));
    assert_eq!((commits, records), (10.0, 10.0), "one after the other, each has a commit of its own");
    assert!((10.0 * 4096.0..=20.0 * 4096.0).contains(&bytes), "{bytes}");
    for name in [
        "tessera_journal_batch_records_count",
        "tessera_journal_batch_bytes_count",
        "tessera_journal_sync_duration_seconds_count",
        "tessera_journal_commit_duration_seconds_count",
        "tessera_journal_durable_lsn",
    ] {
        assert!(after.sum(name, &[]) >= before.sum(name, &[]) + 10.0, "{name}");
    }
    assert!(after.sum("tessera_journal_batch_records_sum", &[]) >= 12.0);
    assert!(after.has("tessera_journal_segments") && after.has("tessera_journal_size_bytes"));
    let used = |scrape: &Scrape| scrape.sum("tessera_journal_used_bytes", &[]);
    assert_eq!(used(&after) - used(&before), bytes, "what is written is used");
    assert_eq!(after.sum("tessera_journal_budget_bytes", &[]), 256.0 * 1024.0 * 1024.0);
    assert_eq!(after.sum("tessera_journal_reserve_bytes", &[]), 64.0 * 1024.0 * 1024.0);
    assert!(after.has("tessera_journal_pressure") && after.sum("tessera_journal_pressure", &[]) == 0.0);
    assert!(
        !scrape(&TestServer::start()).text.contains("tessera_journal"),
        "without a journal there is none to tell of"
    );
}

#[test]
fn no_metric_names_a_client_or_a_token() {
    let server = TestServer::start_durable();
    let app = server.register_app("a-client-with-a-name");
    let token = server.issue(&app);
    server.revoke(&app, &token);
    let text = scrape(&server).text;
    for secret in [&app.id, &app.secret, &token, "tsr_at_", &admin().secret] {
        assert!(!text.contains(secret), "{secret}");
    }
}

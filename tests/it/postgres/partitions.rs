//! A partition for each day on which tokens expire, dropped whole.

use serde_json::json;

use super::cluster::{Database, until};
use super::scene::{Scene, run};
use crate::process::program::Home;

/// The name of the partition of the day that began so long ago, its first moment and its last.
fn day(database: &Database, days_ago: i32) -> [String; 3] {
    let start = format!("date_trunc('day', now() AT TIME ZONE 'UTC') - interval '{days_ago} days'");
    let rows = database.rows(&format!(
        "SELECT to_char({start}, 'YYYY_MM_DD'), to_char({start}, 'YYYY-MM-DD 00:00:00+00'),
           to_char({start} + interval '1 day', 'YYYY-MM-DD 00:00:00+00')"
    ));
    let [name, from, to] = &rows[0][..] else { panic!("{rows:?}") };
    [format!("token_events_{name}"), from.clone(), to.clone()]
}

#[test]
fn tokens_are_in_the_partition_of_the_day_on_which_they_expire() {
    let mut scene = Scene::shared();
    let Scene { program, oracle, database, .. } = &mut scene;
    // The last is as long as a token may live.
    let days = [0, 1, 2, 7, 8, 9, 30, 365];
    for days in days {
        let lifetime = (days * 86_400).clamp(60, 31_536_000);
        let client = oracle.register(program, &json!({ "access_token_lifetime_seconds": lifetime }));
        let [_, revoked] = [(); 2].map(|()| oracle.issue(program, &client));
        oracle.revoke(program, &client, &revoked);
    }
    oracle.check(program, database);
    assert_eq!(database.number("SELECT count(*) FROM tessera.token_events_default"), 0);
    let by_day = "SELECT tableoid::regclass, to_char(min(expires_at) AT TIME ZONE 'UTC', 'YYYY_MM_DD'),
           to_char(max(expires_at) AT TIME ZONE 'UTC', 'YYYY_MM_DD'), count(*) >= 3
         FROM tessera.token_events GROUP BY 1";
    let rows = database.rows(by_day);
    for row in &rows {
        assert_eq!(
            row[..],
            [format!("tessera.token_events_{}", row[1]), row[1].clone(), row[1].clone(), "t".to_owned()]
        );
    }
    // In the last minute of a day what lives for a minute expires tomorrow.
    assert!(rows.len() + 1 >= days.len(), "{rows:?}");
    let ahead = day(database, -1)[0].clone();
    assert_ne!(
        database.value(&format!("SELECT to_regclass('tessera.{ahead}')")),
        "",
        "tomorrow has one before it comes"
    );
}

#[test]
fn days_are_dropped_once_the_retention_is_over_and_no_day_before() {
    let (home, database) = (Home::new(), Database::shared());
    let url = database.address.to_string();
    run(&home, &["database", "migrate", "--database-url", &url], 0);
    let days = [40, 32, 28, 2].map(|days_ago| day(&database, days_ago));
    for [name, from, to] in &days {
        database.rows(&format!(
            "CREATE TABLE tessera.{name} PARTITION OF tessera.token_events FOR VALUES FROM ('{from}') TO ('{to}');
             INSERT INTO tessera.token_events SELECT md5(i::text)::uuid, NULL, i, '{from}', '{from}', 0, 1
             FROM generate_series(1, 1000) i"
        ));
    }
    let is_there = |name: &str| !database.value(&format!("SELECT to_regclass('tessera.{name}')")).is_empty();
    let program = home.start(&["--database-url", &url, "--history-retention-days", "30"]);
    until("old days are gone", || !is_there(&days[0][0]) && !is_there(&days[1][0]));
    assert!(is_there(&days[2][0]) && is_there(&days[3][0]));
    assert_eq!(database.number("SELECT count(*) FROM tessera.token_events WHERE kind = 1 AND grant_id IS NULL"), 2000);
    program.stop();

    let _program = home.start(&["--database-url", &url, "--history-retention-days", "7"]);
    until("what is kept no longer is gone", || !is_there(&days[2][0]));
    assert!(is_there(&days[3][0]));
}

/// Somebody who reads for long keeps a day from being dropped, and nothing else waits for that.
#[test]
fn a_day_that_somebody_reads_does_not_hold_up_the_copy() {
    use super::cluster::Session;
    let (home, database) = (Home::new(), Database::shared());
    let url = database.address.to_string();
    run(&home, &["database", "migrate", "--database-url", &url], 0);
    let [name, from, to] = day(&database, 40);
    database.rows(&format!(
        "CREATE TABLE tessera.{name} PARTITION OF tessera.token_events FOR VALUES FROM ('{from}') TO ('{to}')"
    ));
    let mut reader = Session::open(&database.address).unwrap();
    reader.rows("BEGIN").unwrap();
    reader.rows(&format!("SELECT count(*) FROM tessera.{name}")).unwrap();
    let program = home.start(&["--database-url", &url]);
    let mut oracle = super::oracle::Oracle::default();
    oracle.load(&program, |load| load.goes_on(100));
    oracle.check(&program, &database);
    assert_ne!(database.value(&format!("SELECT to_regclass('tessera.{name}')")), "");
}

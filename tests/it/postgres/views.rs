//! What people want to know of the copy, and how the database finds it.

use serde_json::json;

use super::scene::Scene;

/// Who held this token at that time?
fn who_held(token: &str, time: &str) -> String {
    format!(
        "SELECT subject, client_id, scope, revoked_at IS NOT NULL FROM tessera.token_history
         WHERE token = tessera.token_id('{token}') AND issued_at <= {time} AND {time} < coalesce(revoked_at, expires_at)"
    )
}

/// What did this client issue in the last hour?
const ISSUED_LAST_HOUR: &str = "SELECT count(*) FROM tessera.token_history
     WHERE client_id = 'gateway' AND issued_at > now() - interval '1 hour'";

/// What has this user granted, that is still good?
const GRANTS_OF_USER: &str = "SELECT client_id, scope FROM tessera.grants_by_user
     WHERE subject = 'gateway' AND is_live ORDER BY scope";

/// What has anybody granted to this client, and when did it end?
const GRANTS_OF_CLIENT: &str = "SELECT subject, created_at, ended_at, is_live FROM tessera.grants_by_user
     WHERE client_id = 'gateway'";

/// Which live tokens does this user have?
const TOKENS_OF_USER: &str = "SELECT token FROM tessera.live_tokens WHERE subject = 'gateway'";

#[test]
fn the_views_answer_what_people_ask() {
    let mut scene = Scene::shared();
    let Scene { program, oracle, database, .. } = &mut scene;
    let gateway = oracle.register_app(program, "gateway");
    let other = oracle.register_app(program, "other");
    let [all, read, revoked] =
        ["read write", "read", "write"].map(|scope| oracle.issue_scope(program, &gateway, scope));
    let foreign = oracle.issue(program, &other);
    oracle.revoke(program, &gateway, &revoked);
    oracle.check(program, database);

    // The time of what is issued is known to the second.
    let now = "now() + interval '1 second'";
    assert_eq!(database.rows(&who_held(&read, now)), [["gateway", "gateway", "read", "f"]]);
    assert_eq!(database.rows(&who_held(&foreign, now)), [["other", "other", "read write", "f"]]);
    let none: [[&str; 0]; 0] = [];
    assert_eq!(database.rows(&who_held(&read, "now() - interval '1 hour'")), none);
    assert_eq!(database.rows(&who_held(&read, "now() + interval '1 day'")), none);
    assert_eq!(database.rows(&who_held(&revoked, "now() + interval '1 minute'")), none);
    assert_eq!(database.rows(&who_held("tsr_at_made_up", now)), none);
    let ended = format!(
        "SELECT issued_at <= revoked_at, revoked_at <= now() + interval '1 second' FROM tessera.token_history
         WHERE token = tessera.token_id('{revoked}')"
    );
    assert_eq!(database.rows(&ended), [["t", "t"]]);
    assert_eq!(database.number(ISSUED_LAST_HOUR), 3);
    assert_eq!(database.rows(GRANTS_OF_USER).len(), 3, "a grant outlives its tokens' revocation");
    let held = [&all, &read].map(|token| database.value(&format!("SELECT tessera.token_id('{token}')")));
    let mut seen = database.rows(TOKENS_OF_USER).concat();
    seen.sort();
    assert_eq!(seen, {
        let mut held = held.to_vec();
        held.sort();
        held
    });

    oracle.delete(program, &gateway);
    oracle.check(program, database);
    assert_eq!(database.rows(GRANTS_OF_USER), none);
    assert_eq!(database.rows(TOKENS_OF_USER), none);
    assert_eq!(database.number(ISSUED_LAST_HOUR), 3, "the history stays");
}

#[test]
fn no_question_reads_a_whole_table_and_what_has_expired_is_not_looked_at() {
    let mut scene = Scene::shared();
    let Scene { program, oracle, database, .. } = &mut scene;
    let mut token = String::new();
    for days in 0..4 {
        let lifetime = days * 86_400 + 3600;
        let document = json!({ "access_token_lifetime_seconds": lifetime, "scope": "read" });
        let client = oracle.register(program, &document);
        for _ in 0..20 {
            token = oracle.issue(program, &client);
        }
    }
    oracle.check(program, database);
    let yesterday = "to_char((now() - interval '1 day') AT TIME ZONE 'UTC', 'YYYY-MM-DD 00:00:00+00')";
    let today = "to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD 00:00:00+00')";
    database.rows(&format!(
        "DO $$BEGIN EXECUTE format('CREATE TABLE tessera.past PARTITION OF tessera.token_events
         FOR VALUES FROM (%L) TO (%L)', {yesterday}, {today}); END$$; ANALYZE tessera.token_events"
    ));
    let of_token = format!("SELECT * FROM tessera.live_tokens WHERE token = tessera.token_id('{token}')");
    for (query, indexes) in [
        (&*who_held(&token, "now()"), ["_token_idx", "grants_pkey"]),
        (&*of_token, ["_token_idx", "subject_generations_pkey"]),
        (TOKENS_OF_USER, ["subject_generations_pkey", "client_records_pkey"]),
        (GRANTS_OF_CLIENT, ["grants_by_client", "client_records_pkey"]),
        (ISSUED_LAST_HOUR, ["_at_idx", "grants_"]),
        (GRANTS_OF_USER, ["grants_by_subject", "subject_generations_pkey"]),
    ] {
        let plan = database.plan(query);
        assert!(!plan.contains("Seq Scan"), "{query}\n{plan}");
        assert!(indexes.iter().all(|index| plan.contains(index)), "{query}\n{plan}");
    }
    for query in [&*of_token, TOKENS_OF_USER] {
        let plan = database.plan(query);
        assert!(!plan.contains("on past issued") && plan.contains("Subplans Removed"), "{query}\n{plan}");
    }
    // The end of a token is looked for where the token expires, and nowhere else.
    let plan = database.plan(&of_token);
    let (_, revoked) = plan.split_once(" revoked_1").unwrap();
    assert!(revoked.contains("never executed"), "{plan}");
}

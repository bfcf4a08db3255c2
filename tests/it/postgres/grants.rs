//! People's grants in the copy: each change of one, what is dead with it, and the way back.

use std::fs;
use std::sync::{Arc, mpsc};

use ring::rand::SystemRandom;
use serde_json::json;
use tessera::client::id::ClientId;
use tessera::clock::Clock;
use tessera::journal::{self, Entry, Options, RealDisk};
use tessera::oauth::audience::Audience;
use tessera::oauth::authentication_context::AuthenticationContext;
use tessera::oauth::scope::Scope;
use tessera::oauth::subject::Subject;
use tessera::token::code::{Code, CodeKind};
use tessera::token::grant::{ClientTerms, GrantTerms};
use tessera::token::grant_id::GrantId;
use tessera::token::person::{PendingCode, PersonTerms, Standing};
use tessera::token::person_event::{KIND_CODE_STORED, SCHEMA, encode_code};

use super::cluster::Database;
use super::oracle::{Oracle, id_of};
use super::rebuild::rebuild;
use super::scene::{Scene, await_caught_up, metric, run};
use super::secrets::{content_of, holds_a_piece};
use crate::http::{Answer, Credentials, Request};
use crate::process::program::{Home, Program, revoke_request};

/// What a client got for a code.
pub(super) struct Granted {
    pub(super) access: String,
    pub(super) refresh: String,
    pub(super) code: String,
}

/// Registers a client that people grant something.
#[track_caller]
pub(super) fn register_web(oracle: &mut Oracle, program: &Program) -> Credentials {
    let document = json!({
        "client_id": "web", "scope": "read write poison", "redirect_uris": ["https://web.example/cb"],
        "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
    });
    oracle.register(program, &document)
}

/// Appends codes of these subjects for the client `web` to the journal of a server that has stopped.
pub(super) fn append_codes<const N: usize>(home: &Home, granted: [(&str, &str); N], generation: u64) -> [String; N] {
    let disk = Arc::new(RealDisk::new(home.data_dir()).unwrap());
    let options = Options { journal_bytes_max: 256 << 20, ..Options::new(home.journal_keys(), 1, 512) };
    let mut opened = journal::open(disk, options, Arc::new(Clock::system()), &mut |_| {}).unwrap();
    let (sender, durable) = mpsc::channel();
    let codes = granted.map(|(subject, scope)| {
        let (code, entry) = stored_code(subject, scope, generation);
        let sender = sender.clone();
        opened.lanes[0].append(entry, Some(Box::new(move || sender.send(()).unwrap())));
        durable.recv().unwrap();
        code
    });
    drop(opened.lanes);
    opened.journal.close().unwrap();
    codes
}

fn stored_code(subject: &str, scope: &str, client_generation: u64) -> (String, Entry) {
    let random = SystemRandom::new();
    let grant_id = GrantId::random(&random).unwrap();
    let code = Code::random(CodeKind::Authorization, grant_id, &random).unwrap();
    let subject = Subject::parse(subject).unwrap();
    let standing = Standing::default();
    let context = AuthenticationContext::new(["pwd"], Some("urn:example:sure"));
    let auth_time = 1_790_000_000;
    let person = PersonTerms { grant_id, subject, subject_generation: 0, auth_time, context, standing };
    let client = ClientTerms {
        id: ClientId::parse("web").unwrap(),
        generation: client_generation,
        in_force: Arc::default(),
        scope: Scope::parse(scope).unwrap(),
        audience: Audience::parse(["https://api.example"]).unwrap(),
        claims: None,
    };
    let pending = PendingCode {
        digest: code.reference().digest,
        terms: GrantTerms::from(client).granted_by(person),
        redirect_uri: None,
        code_challenge: None,
        nonce: None,
        expires_at: Clock::system().now().as_seconds_u32() + 3600,
    };
    let payload = encode_code(grant_id, &pending).unwrap();
    let routing_id = grant_id.routing_id().0;
    (code.reveal().to_owned(), Entry { kind: KIND_CODE_STORED, schema: SCHEMA, routing_id, payload })
}

/// The generation of the client `web`.
pub(super) fn web_generation(database: &Database) -> u64 {
    let generation = database.number("SELECT generation FROM tessera.client_records WHERE client_id = 'web'");
    u64::try_from(generation).unwrap()
}

/// A server with codes that wait, and the client that they are for.
#[track_caller]
fn scene_with_codes<const N: usize>(granted: [(&str, &str); N]) -> (Scene, Credentials, [String; N]) {
    let Scene { program, home, mut oracle, database } = Scene::shared();
    let web = register_web(&mut oracle, &program);
    await_caught_up(&program, &database);
    program.stop();
    let codes = append_codes(&home, granted, web_generation(&database));
    let program = home.start(&["--database-url", &database.address.to_string()]);
    (Scene { program, home, oracle, database }, web, codes)
}

fn ask(program: &Program, web: &Credentials, form: &[(&str, &str)]) -> Answer {
    program.ask(&Request::post("/oauth2/token").basic(web).form(form))
}

fn redeem_request(program: &Program, web: &Credentials, code: &str) -> Answer {
    ask(program, web, &[("grant_type", "authorization_code"), ("code", code)])
}

fn refresh_request(program: &Program, web: &Credentials, refresh: &str) -> Answer {
    ask(program, web, &[("grant_type", "refresh_token"), ("refresh_token", refresh)])
}

#[track_caller]
fn granted(oracle: &mut Oracle, answer: &Answer, code: &str) -> Granted {
    assert_eq!(answer.status, 200, "{answer:?}");
    let granted =
        Granted { access: answer.text("access_token"), refresh: answer.text("refresh_token"), code: code.to_owned() };
    oracle.live.insert(granted.access.clone(), "web".to_owned());
    granted
}

#[track_caller]
pub(super) fn redeem(oracle: &mut Oracle, program: &Program, web: &Credentials, code: &str) -> Granted {
    granted(oracle, &redeem_request(program, web, code), code)
}

#[track_caller]
pub(super) fn refresh(oracle: &mut Oracle, program: &Program, web: &Credentials, before: &Granted) -> Granted {
    granted(oracle, &refresh_request(program, web, &before.refresh), &before.code)
}

/// Ends a grant by its refresh token; these were its access tokens.
#[track_caller]
pub(super) fn end(oracle: &mut Oracle, program: &Program, web: &Credentials, refresh: &str, tokens: &[&str]) {
    assert_eq!(program.ask(&revoke_request(web, refresh)).status, 200);
    bury(oracle, tokens);
}

fn bury(oracle: &mut Oracle, tokens: &[&str]) {
    for token in tokens {
        oracle.live.remove(*token);
        oracle.dead.insert((*token).to_owned());
    }
}

#[track_caller]
fn revoke_all_of(oracle: &mut Oracle, program: &Program, subject: &str, tokens: &[&str]) {
    oracle.administer(program, Request::post(&format!("/admin/v1/users/{subject}/revoke")), 204);
    bury(oracle, tokens);
}

/// What the row of a grant says of its refresh tokens, by the code that it was made of.
fn chain(database: &Database, granted: &Granted) -> Vec<Vec<String>> {
    database.rows(&format!(
        "SELECT refresh_generation, refresh_token = tessera.token_id('{}'), previous_refresh_token IS NULL,
           refresh_expires_at > refresh_idle_until, live_until > now() + interval '7 days', lsn >= first_lsn
         FROM tessera.grants WHERE code = tessera.token_id('{}')",
        granted.refresh, granted.code
    ))
}

fn live_grants_of(database: &Database, subject: &str) -> i64 {
    database.number(&format!("SELECT count(*) FROM tessera.grants_by_user WHERE subject = '{subject}' AND is_live"))
}

#[test]
fn each_change_of_a_persons_grant_is_there_and_what_ends_it_ends_its_tokens() {
    let ada = ("ada", "read write");
    let (mut scene, web, codes) = scene_with_codes([ada, ada, ("bob", "read"), ada]);
    let Scene { program, oracle, database, .. } = &mut scene;
    let first = redeem(oracle, program, &web, &codes[0]);
    oracle.check(program, database);
    assert_eq!(chain(database, &first), [["1", "t", "t", "t", "t", "t"]]);
    assert_eq!(
        database.rows(
            "SELECT subject, client_id, scope, audience, is_live FROM tessera.grants_by_user WHERE subject = 'ada'"
        ),
        [["ada", "web", "read write", "{https://api.example}", "t"]],
        "codes that wait are not there"
    );

    let second = refresh(oracle, program, &web, &first);
    let form = [("grant_type", "refresh_token"), ("refresh_token", &*second.refresh), ("scope", "read")];
    let narrowed = granted(oracle, &ask(program, &web, &form), &codes[0]);
    oracle.check(program, database);
    assert_eq!(chain(database, &narrowed), [["3", "t", "f", "t", "t", "t"]]);
    let scopes = |view: &str| {
        let of = |token: &String| {
            database.value(&format!("SELECT scope FROM tessera.{view} WHERE token = '{}'", id_of(token)))
        };
        [&first.access, &second.access, &narrowed.access].map(of)
    };
    for view in ["live_tokens", "token_history"] {
        assert_eq!(scopes(view), ["read write", "read write", "read"], "{view}");
    }
    let grants = "SELECT count(DISTINCT grant_id) FROM tessera.live_tokens WHERE subject = 'ada'";
    assert_eq!(database.number(grants), 1);

    // One token alone.
    oracle.revoke(program, &web, &first.access);
    oracle.check(program, database);
    assert_eq!(live_grants_of(database, "ada"), 1);

    let other = redeem(oracle, program, &web, &codes[1]);
    let twice = redeem(oracle, program, &web, &codes[3]);
    assert_eq!(redeem_request(program, &web, &codes[3]).status, 400);
    bury(oracle, &[&twice.access]);
    end(oracle, program, &web, &narrowed.refresh, &[&second.access, &narrowed.access]);
    oracle.check(program, database);
    assert_eq!(live_grants_of(database, "ada"), 1, "the other one");
    let ended = format!(
        "SELECT revoked_at = (SELECT ended_at FROM tessera.grants WHERE code = tessera.token_id('{}'))
         FROM tessera.token_history WHERE token = '{}'",
        codes[0],
        id_of(&second.access)
    );
    assert_eq!(database.value(&ended), "t");

    let bobs = redeem(oracle, program, &web, &codes[2]);
    oracle.check(program, database);
    revoke_all_of(oracle, program, "bob", &[&bobs.access]);
    oracle.check(program, database);
    assert_eq!((live_grants_of(database, "ada"), live_grants_of(database, "bob")), (1, 0));
    oracle.delete(program, &web);
    oracle.check(program, database);
    assert_eq!(live_grants_of(database, "ada"), 0);
    assert!(oracle.dead.contains(&other.access));
}

#[test]
fn a_rebuild_brings_back_what_people_granted_and_nothing_that_they_took_back() {
    let ada = ("ada", "read write");
    let (mut scene, web, codes) = scene_with_codes([ada, ada, ada, ("bob", "read"), ada]);
    let url = scene.url();
    let Scene { program, oracle, .. } = &mut scene;
    let first = redeem(oracle, program, &web, &codes[0]);
    let form = [("grant_type", "refresh_token"), ("refresh_token", &*first.refresh), ("scope", "read")];
    let mut kept = granted(oracle, &ask(program, &web, &form), &codes[0]);
    let narrowed = kept.access.clone();
    let ended = redeem(oracle, program, &web, &codes[1]);
    end(oracle, program, &web, &ended.refresh, &[&ended.access]);
    let stolen = redeem(oracle, program, &web, &codes[2]);
    let bobs = redeem(oracle, program, &web, &codes[3]);
    revoke_all_of(oracle, program, "bob", &[&bobs.access]);
    for shards in ["1", "3"] {
        scene.check();
        scene.program.end();
        let Scene { home, .. } = &scene;
        fs::remove_dir_all(home.data_dir()).unwrap();
        let (told, _) = run(home, &rebuild(&url, &home.data_dir()), 0);
        assert!(told.contains(" grants of theirs"), "{told}");
        run(home, &["journal", "verify"], 0);
        scene.program = home.start(&["--database-url", &url, "--shards", shards]);
        scene.check();
        let Scene { program, oracle, .. } = &mut scene;
        for dead in [&ended.refresh, &bobs.refresh] {
            assert_eq!(refresh_request(program, &web, dead).error(), (400, "invalid_grant".to_owned()));
        }
        // A code that was there is not: whether it was redeemed since nobody knows.
        for code in [&codes[4], &codes[1], &codes[3]] {
            assert_eq!(redeem_request(program, &web, code).error(), (400, "invalid_grant".to_owned()));
        }
        kept = refresh(oracle, program, &web, &kept);
        let introspected = Request::post("/oauth2/introspect").basic(&crate::process::program::admin());
        let introspected = program.ask(&introspected.form(&[("token", &narrowed)])).json();
        assert_eq!((&introspected["scope"], &introspected["sub"]), (&json!("read"), &json!("ada")));
    }
    // Who presents a code again is found out after a rebuild too.
    let Scene { program, oracle, .. } = &mut scene;
    assert_eq!(redeem_request(program, &web, &codes[2]).status, 400);
    bury(oracle, &[&stolen.access]);
    assert_eq!(refresh_request(program, &web, &first.refresh).status, 400, "it was used");
    let tokens: Vec<_> = oracle.live.keys().filter(|token| !program.is_active(token)).cloned().collect();
    assert!(tokens.contains(&kept.access));
    bury(oracle, &tokens.iter().map(String::as_str).collect::<Vec<_>>());
    scene.check();
}

#[test]
fn a_persons_grant_that_the_database_refuses_is_put_aside_with_its_token() {
    let (mut scene, web, codes) = scene_with_codes([("ada", "read"), ("ada", "poison"), ("ada", "write")]);
    let Scene { program, oracle, database, .. } = &mut scene;
    await_caught_up(program, database);
    database.rows("ALTER TABLE tessera.grants ADD CONSTRAINT antidote CHECK (scope <> 'poison')");
    redeem(oracle, program, &web, &codes[0]);
    let poisoned = redeem(oracle, program, &web, &codes[1]);
    let lsn = metric(program, "tessera_journal_durable_lsn").to_string();
    redeem(oracle, program, &web, &codes[2]);
    oracle.live.remove(&poisoned.access);
    oracle.check(program, database);
    assert_eq!(database.rows("SELECT lsn, sqlstate FROM tessera.dead_letters"), [[&*lsn, "23514"]]);
    assert!(program.is_active(&poisoned.access), "the server knows nothing of this");
    database.rows("ALTER TABLE tessera.grants DROP CONSTRAINT antidote");
    // Each record says all of it.
    oracle.live.insert(poisoned.access.clone(), "web".to_owned());
    let next = refresh(oracle, program, &web, &poisoned);
    oracle.live.remove(&poisoned.access);
    oracle.check(program, database);
    assert_eq!(chain(database, &next), [["2", "t", "f", "t", "t", "t"]]);
}

#[test]
fn no_row_holds_a_piece_of_a_code_or_a_refresh_token() {
    let (mut scene, web, codes) = scene_with_codes([("ada", "read"), ("ada", "read")]);
    let Scene { program, oracle, database, .. } = &mut scene;
    database.rows("ALTER TABLE tessera.grants ADD CONSTRAINT overdone CHECK (refresh_generation < 2)");
    let first = redeem(oracle, program, &web, &codes[0]);
    let second = refresh(oracle, program, &web, &first);
    await_caught_up(program, database);
    let content = content_of(database);
    assert!(
        content.contains(&id_of(&first.refresh)) && database.number("SELECT count(*) FROM tessera.dead_letters") == 1
    );
    for secret in [&first.access, &first.refresh, &second.access, &second.refresh, &codes[0], &codes[1]] {
        // The grant's id is a part of them and no secret, in other letters than in a row.
        assert!(!holds_a_piece(&content, &secret["tsr_at_".len()..]));
    }
}

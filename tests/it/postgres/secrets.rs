//! Nothing secret in the database, and nothing of the database in a log.

use super::cluster::{Address, Database, until};
use super::proxy::{Mode, Proxy};
use super::scene::{Scene, await_state, run};
use crate::http::{Credentials, Request};
use crate::process::program::{Home, admin};

/// So much of a secret must be nowhere.
const PIECE_BYTES: usize = 12;

pub(super) fn holds_a_piece(content: &str, secret: &str) -> bool {
    secret.as_bytes().windows(PIECE_BYTES).any(|piece| content.contains(std::str::from_utf8(piece).unwrap()))
}

/// All rows of all tables and views.
pub(super) fn content_of(database: &Database) -> String {
    let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'tessera'";
    let rows = |table: &String| database.rows(&format!("SELECT t::text FROM tessera.{table} t")).concat().join("\n");
    database.rows(tables).concat().iter().map(rows).collect()
}

#[test]
fn no_row_holds_a_piece_of_a_token_or_a_secret() {
    let mut scene = Scene::shared();
    let Scene { program, oracle, database, .. } = &mut scene;
    let client = oracle.register_app(program, "app");
    let tokens: Vec<_> = (0..10).map(|_| oracle.issue(program, &client)).collect();
    oracle.revoke(program, &client, &tokens[0]);
    oracle.check(program, database);
    let content = content_of(database);
    assert!(content.contains("operator") && content.len() > 5000, "this is all of it");
    let tokens = tokens.iter().map(|token| &token["tsr_at_".len()..]);
    for secret in tokens.chain([&*client.secret, &admin().secret]) {
        assert!(!holds_a_piece(&content, secret));
    }
}

const PASSWORD: &str = "the-password-of-the-database";

/// With a password, where nobody answers.
fn unreachable() -> (Proxy, String) {
    let proxy = Proxy::to("127.0.0.1:1");
    proxy.set(Mode::Cut);
    let address = Address {
        user: format!("tessera:{PASSWORD}"),
        host: proxy.host.clone(),
        database: "tokens".to_owned(),
        parameters: String::new(),
    };
    let url = address.to_string();
    (proxy, url)
}

#[test]
fn no_line_of_the_log_holds_the_password_of_a_database_that_cannot_be_reached() {
    let (proxy, url) = unreachable();
    let home = Home::new();
    let mut command = home.serve(&["--log-filter", "trace"]);
    let mut program = crate::process::program::Program::spawn(command.env("TESSERA_DATABASE_URL", &url));
    program.wait_until_ready();
    let Credentials { secret, .. } = program.register("app");
    let token = program.issue(&admin());
    await_state(&program, "unreachable");
    let before = proxy.accepted();
    until("it has tried and tried again", || proxy.accepted() >= before + 2);
    let shown = ["/readyz", "/metrics"].map(|path| program.ask(&Request::get(path)).body).concat();
    let ended = program.stop();
    assert!(ended.stderr.contains(r#""level":"TRACE""#) && ended.stderr.contains("database"), "{}", ended.stderr);
    for secret in [PASSWORD, &secret, &token["tsr_at_".len()..], &admin().secret] {
        for said in [&ended.stderr, &ended.stdout, &shown] {
            assert!(!holds_a_piece(said, secret));
        }
    }
}

#[test]
fn no_command_shows_the_password() {
    let (_proxy, url) = unreachable();
    let home = Home::new();
    let said = [
        run(&home, &["check", "--database-url", &url], 0),
        run(&home, &["database", "migrate", "--database-url", &url], 1),
        run(&home, &["check", "--database-url", &format!("mysql://me:{PASSWORD}@nowhere/x")], 78),
        run(&home, &["serve", "--database-url", &format!("nonsense {PASSWORD}")], 78),
    ];
    for (stdout, stderr) in &said {
        assert!(!holds_a_piece(stdout, PASSWORD) && !holds_a_piece(stderr, PASSWORD), "{stdout}{stderr}");
    }
    assert!(said[0].0.contains("database_url"), "{}", said[0].0);
}

//! Many clients at once, against a model of what each may see.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tessera::config::value::Durability;

use crate::harness::{TestServer, admin};
use crate::http::{Connection, Credentials, Request};

const TASKS: u64 = 64;
const STEPS: u64 = 60;

/// A token that all tasks share, with what has been observed of it. Each fact stays once it is one.
struct Token {
    text: String,
    owner: usize,
    /// A revocation may have reached the server.
    is_revocation_sent: AtomicBool,
    /// Somebody was told that it is revoked, or saw that it is not active.
    is_known_dead: AtomicBool,
}

/// A random walk that a seed repeats.
struct Walk(u64);

impl Walk {
    fn below(&mut self, bound: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }
}

/// What the tasks share.
struct World {
    owners: Vec<Credentials>,
    tokens: Mutex<Vec<&'static Token>>,
}

impl World {
    fn any_token(&self, walk: &mut Walk) -> Option<&'static Token> {
        let tokens = self.tokens.lock().unwrap();
        // The newest are the ones that others are at, too.
        let recent = &tokens[tokens.len().saturating_sub(24)..];
        (!recent.is_empty()).then(|| recent[walk.below(recent.len())])
    }

    fn issue(&self, connection: &mut Connection, walk: &mut Walk) {
        let owner = walk.below(self.owners.len());
        let request = Request::post("/oauth2/token").basic(&self.owners[owner]);
        let answer = connection.ask(&request.form(&[("grant_type", "client_credentials")]));
        assert_eq!(answer.status, 200, "{answer:?}");
        let text = answer.text("access_token");
        let (is_revocation_sent, is_known_dead) = Default::default();
        let token = Token { text, owner, is_revocation_sent, is_known_dead };
        // A test's tokens are few, and a token that lives as long as the process can be shared without counting.
        self.tokens.lock().unwrap().push(Box::leak(Box::new(token)));
    }

    fn revoke(&self, token: &Token, connection: &mut Connection) {
        token.is_revocation_sent.store(true, Ordering::SeqCst);
        let request = Request::post("/oauth2/revoke").basic(&self.owners[token.owner]);
        let answer = connection.ask(&request.form(&[("token", &token.text)]));
        assert_eq!(answer.status, 200, "{answer:?}");
        token.is_known_dead.store(true, Ordering::SeqCst);
    }

    fn revoke_as_a_stranger(&self, token: &Token, connection: &mut Connection) {
        let was_dead = token.is_known_dead.load(Ordering::SeqCst);
        let stranger = &self.owners[(token.owner + 1) % self.owners.len()];
        let answer = connection.ask(&Request::post("/oauth2/revoke").basic(stranger).form(&[("token", &token.text)]));
        match answer.status {
            // Only of a token that is dead is a stranger told that it is as good as revoked.
            200 => {
                assert!(token.is_revocation_sent.load(Ordering::SeqCst), "a stranger's revocation was accepted");
                token.is_known_dead.store(true, Ordering::SeqCst);
            }
            status => {
                assert_eq!(status, 400, "{answer:?}");
                assert!(!was_dead, "a dead token has no owner");
            }
        }
    }

    fn introspect(token: &Token, connection: &mut Connection) {
        let was_dead = token.is_known_dead.load(Ordering::SeqCst);
        let request = Request::post("/oauth2/introspect").basic(&admin()).form(&[("token", &token.text)]);
        let is_active = connection.ask(&request).json()["active"].as_bool().unwrap();
        if is_active {
            assert!(!was_dead, "a token that was dead is active again");
        } else {
            assert!(token.is_revocation_sent.load(Ordering::SeqCst), "an acknowledged token is gone");
            token.is_known_dead.store(true, Ordering::SeqCst);
        }
    }

    fn walk(&self, server: &TestServer, seed: u64) {
        let mut connection = server.connect();
        let mut walk = Walk(seed);
        for _ in 0..STEPS {
            let action = walk.below(100);
            match self.any_token(&mut walk) {
                Some(token) if action < 60 => Self::introspect(token, &mut connection),
                Some(token) if action < 75 => self.revoke(token, &mut connection),
                Some(token) if action < 80 => self.revoke_as_a_stranger(token, &mut connection),
                _ => self.issue(&mut connection, &mut walk),
            }
        }
    }

    /// Every token is now as the model says, whoever asks.
    fn assert_settled(&self, server: &TestServer) -> (usize, usize) {
        let mut connection = server.connect();
        let (mut live, mut dead) = (0, 0);
        for token in self.tokens.lock().unwrap().iter() {
            let request = Request::post("/oauth2/introspect").basic(&admin()).form(&[("token", &token.text)]);
            let is_active = connection.ask(&request).json()["active"].as_bool().unwrap();
            assert_eq!(is_active, !token.is_revocation_sent.load(Ordering::SeqCst));
            if is_active { live += 1 } else { dead += 1 }
        }
        (live, dead)
    }
}

#[test]
fn sixty_four_tasks_see_no_acknowledged_token_missing_and_no_revoked_one_come_back() {
    let server = TestServer::start_with(|config| {
        config.storage.durability = Durability::Sync;
        config.http.workers = 2;
    });
    let owners = (0..4).map(|number| server.register_app(&format!("owner-{number}"))).collect();
    let world = World { owners, tokens: Mutex::default() };
    thread::scope(|scope| {
        for task in 1..=TASKS {
            let (world, server) = (&world, &server);
            scope.spawn(move || world.walk(server, task.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        }
    });
    let (live, dead) = world.assert_settled(&server);
    assert!(live > 100 && dead > 100, "{live} live and {dead} dead: the walk went everywhere");
    let server = server.restart();
    assert_eq!(world.assert_settled(&server), (live, dead), "after a restart");
}

#[test]
fn of_parallel_creations_under_one_name_one_succeeds() {
    let server = TestServer::start_durable();
    let create = |_| {
        let request = Request::post("/admin/v1/clients").json(&serde_json::json!({ "client_id": "one" }));
        let answer = server.ask_socket(&request);
        (answer.status == 201).then(|| answer.text("client_secret"))
    };
    let secrets: Vec<String> = thread::scope(|scope| {
        let tasks: Vec<_> = (0..16).map(|task| scope.spawn(move || create(task))).collect();
        tasks.into_iter().filter_map(|task| task.join().unwrap()).collect()
    });
    assert_eq!(secrets.len(), 1);
    server.issue(&Credentials::new("one", &secrets[0]));
}

//! What a server was asked for, and what the database has to hold of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tessera::token::access_token::TokenReference;
use tessera::token::digest::TokenDigest;

use super::cluster::Database;
use super::scene::await_caught_up;
use crate::http::{Answer, Connection, Credentials, Request};
use crate::process::program::{Program, admin, issue_request, revoke_request};

/// What a server has acknowledged.
#[derive(Default)]
pub(super) struct Oracle {
    /// Live tokens, with whose they are.
    pub(super) live: BTreeMap<String, String>,
    pub(super) dead: BTreeSet<String>,
    /// Revoked without an answer: what the server says of them holds.
    doubtful: BTreeSet<String>,
    /// The most tokens that were issued without an answer.
    unanswered: usize,
    pub(super) clients: BTreeMap<String, Credentials>,
}

impl Oracle {
    #[track_caller]
    pub(super) fn issue(&mut self, program: &Program, client: &Credentials) -> String {
        self.note_issued(client, &program.ask(&issue_request(client)))
    }

    #[track_caller]
    pub(super) fn issue_scope(&mut self, program: &Program, client: &Credentials, scope: &str) -> String {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        self.note_issued(client, &program.ask(&Request::post("/oauth2/token").basic(client).form(&form)))
    }

    #[track_caller]
    fn note_issued(&mut self, client: &Credentials, answer: &Answer) -> String {
        assert_eq!(answer.status, 200, "{answer:?}");
        let token = answer.text("access_token");
        self.live.insert(token.clone(), client.id.clone());
        token
    }

    #[track_caller]
    pub(super) fn revoke(&mut self, program: &Program, client: &Credentials, token: &str) {
        assert_eq!(program.ask(&revoke_request(client, token)).status, 200);
        self.live.remove(token);
        self.dead.insert(token.to_owned());
    }

    /// Asks the admin API, with a token of its own.
    #[track_caller]
    pub(super) fn administer(&mut self, program: &Program, request: Request, status: u16) -> Answer {
        let bearer = self.issue(program, &admin());
        let answer = program.ask(&request.bearer(&bearer));
        assert_eq!(answer.status, status, "{answer:?}");
        answer
    }

    #[track_caller]
    pub(super) fn register(&mut self, program: &Program, document: &Value) -> Credentials {
        let answer = self.administer(program, Request::post("/admin/v1/clients").json(document), 201);
        let client = Credentials { id: answer.text("client_id"), secret: answer.text("client_secret") };
        self.clients.insert(client.id.clone(), client.clone());
        client
    }

    /// Registers a client that may have the scopes `read` and `write`.
    #[track_caller]
    pub(super) fn register_app(&mut self, program: &Program, client_id: &str) -> Credentials {
        self.register(program, &json!({ "client_id": client_id, "scope": "read write" }))
    }

    #[track_caller]
    pub(super) fn delete(&mut self, program: &Program, client: &Credentials) {
        let path = format!("/admin/v1/clients/{}", client.id);
        self.administer(program, Request::new("DELETE", &path), 204);
        self.clients.remove(&client.id);
        let (dead, live) = std::mem::take(&mut self.live).into_iter().partition(|(_, owner)| *owner == client.id);
        self.live = live;
        self.dead.extend(BTreeMap::into_keys(dead));
    }

    /// Registers a client, and lets many connections issue and revoke its tokens while `meanwhile` runs.
    pub(super) fn load<R>(&mut self, program: &Program, meanwhile: impl FnOnce(&Load<'_>) -> R) -> R {
        let client = self.register_app(program, &format!("load-{}", self.clients.len()));
        self.load_of(program, &client, meanwhile)
    }

    /// As [`Oracle::load`], for that client.
    pub(super) fn load_of<R>(
        &mut self,
        program: &Program,
        client: &Credentials,
        meanwhile: impl FnOnce(&Load<'_>) -> R,
    ) -> R {
        let connections: Vec<_> = (0..CONNECTIONS).map(|_| program.connect()).collect();
        let (acknowledged, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (result, told) = thread::scope(|scope| {
            let workers = connections.into_iter().map(|connection| {
                let (client, acknowledged, is_over) = (client.clone(), &acknowledged, &is_over);
                let mut worker = Worker { connection, client, steps: 0, live: Vec::new(), told: Self::default() };
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) && worker.step().is_some() {
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    worker.into_told()
                })
            });
            let workers: Vec<_> = workers.collect();
            let end = End(&is_over);
            let result = meanwhile(&Load { acknowledged: &acknowledged, workers: &workers });
            drop(end);
            (result, workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<_>>())
        });
        for told in told {
            self.live.extend(told.live);
            self.dead.extend(told.dead);
            self.doubtful.extend(told.doubtful);
            self.unanswered += told.unanswered;
        }
        result
    }

    /// Checks that the database holds all of it, once, and that it and the server agree about each token.
    #[track_caller]
    pub(super) fn check(&self, program: &Program, database: &Database) {
        await_caught_up(program, database);
        let twice = "SELECT token, kind, count(*) FROM tessera.token_events GROUP BY token, kind HAVING count(*) > 1";
        assert_eq!(database.rows(twice), Vec::<Vec<String>>::new(), "this stands there more than once");

        let Fold { tokens, clients } = fold(database);
        let seen = |view: &str| database.rows(view).concat().into_iter().collect::<BTreeSet<_>>();
        assert_eq!(seen("SELECT token FROM tessera.live_tokens"), tokens, "the view says what the rows do");
        assert_eq!(seen("SELECT client_id FROM tessera.clients"), clients, "the view says what the rows do");
        let registered = self.clients.keys().cloned().chain([admin().id]);
        assert_eq!(clients, registered.collect(), "clients");

        let lost: Vec<_> = self.live.keys().filter(|token| !tokens.contains(&id_of(token))).collect();
        assert_eq!(lost, Vec::<&String>::new(), "these of {} are live and not in the database", self.live.len());
        let back: Vec<_> = self.dead.iter().filter(|token| tokens.contains(&id_of(token))).collect();
        assert_eq!(back, Vec::<&String>::new(), "these of {} are dead, and live in the database", self.dead.len());
        let known: Vec<String> = self.live.keys().chain(&self.dead).chain(&self.doubtful).cloned().collect();
        for (token, is_active) in known.iter().zip(program.are_active(&known)) {
            assert_eq!(tokens.contains(&id_of(token)), is_active, "the server and the database disagree on {token}");
        }
        let known: BTreeSet<String> = known.iter().map(|token| id_of(token)).collect();
        let unknown = tokens.difference(&known).count();
        assert!(unknown <= self.unanswered, "{unknown} tokens are unknown, {} unanswered", self.unanswered);
    }
}

/// What the rows of the database come to.
pub(super) struct Fold {
    /// The ids of the live tokens.
    pub(super) tokens: BTreeSet<String>,
    pub(super) clients: BTreeSet<String>,
}

/// Takes the rows one by one, as the server takes the records; what the views say is not asked.
pub(super) fn fold(database: &Database) -> Fold {
    let pairs = |rows: Vec<Vec<String>>| rows.into_iter().map(|row| (row[0].clone(), row[1..].to_vec()));
    let clients = database.rows("SELECT client_id, generation FROM tessera.client_records WHERE deleted_at IS NULL");
    let clients: BTreeMap<_, _> = pairs(clients).collect();
    let subjects = pairs(database.rows("SELECT subject, generation FROM tessera.subject_generations"));
    let subjects: BTreeMap<_, _> = subjects.collect();
    let grants = database.rows(
        "SELECT id, client_id, client_generation, subject, coalesce(subject_generation::text, ''), ended_at IS NULL
         FROM tessera.grants",
    );
    let grants: BTreeMap<_, _> = pairs(grants).collect();
    let is_live = |grant: &String| {
        let [client_id, generation, subject, subject_generation, goes_on] = &grants[grant][..] else {
            panic!("{grant}")
        };
        // A client that acts for itself has no such generation.
        let in_force = subjects.get(subject).map_or("0", |generation| &generation[0]);
        let is_standing = subject_generation.is_empty() || subject_generation == in_force;
        goes_on == "t" && is_standing && clients.get(client_id).is_some_and(|own| own[..] == [generation.clone()])
    };
    let events = database.rows("SELECT token, kind, grant_id FROM tessera.token_events WHERE expires_at > now()");
    let (issued, revoked): (Vec<_>, Vec<_>) = events.into_iter().partition(|event| event[1] == "1");
    let revoked: BTreeSet<_> = revoked.into_iter().map(|event| event[0].clone()).collect();
    let tokens = issued.iter().filter(|event| is_live(&event[2])).map(|event| event[0].clone());
    let tokens = tokens.filter(|token| !revoked.contains(token)).collect();
    Fold { tokens, clients: clients.into_keys().collect() }
}

/// Under which id the database knows a token.
pub(super) fn id_of(token: &str) -> String {
    let digest = TokenReference::of(token).map_or_else(|| TokenDigest::of(token), |access| access.digest);
    let mut id = String::new();
    for (index, byte) in digest.as_bytes().iter().enumerate() {
        let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
        write!(id, "{dash}{byte:02x}").unwrap();
    }
    id
}

/// A load that goes on.
pub(super) struct Load<'a> {
    acknowledged: &'a AtomicUsize,
    workers: &'a [thread::ScopedJoinHandle<'a, Oracle>],
}

impl Load<'_> {
    /// Waits until so many more requests have been answered.
    #[track_caller]
    pub(super) fn goes_on(&self, requests: usize) {
        let end = self.acknowledged.load(Ordering::Relaxed) + requests;
        while self.acknowledged.load(Ordering::Relaxed) < end {
            let is_broken = self.workers.iter().any(thread::ScopedJoinHandle::is_finished);
            assert!(!is_broken, "the server answers everybody");
            thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Ends a load, also when a test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

const CONNECTIONS: usize = 8;

struct Worker {
    connection: Connection,
    client: Credentials,
    steps: usize,
    live: Vec<String>,
    told: Oracle,
}

impl Worker {
    /// One request; `None` when the server has gone. Of three tokens one is revoked, every other time a new one.
    fn step(&mut self) -> Option<()> {
        self.steps += 1;
        let old = self.live.len() / 2;
        let revoked = match self.steps % 8 {
            4 => self.live.pop(),
            0 => Some(self.live.swap_remove(old)),
            _ => None,
        };
        match revoked {
            Some(token) => self.revoke(token),
            None => self.issue(),
        }
    }

    fn issue(&mut self) -> Option<()> {
        self.connection.send(&issue_request(&self.client).to_bytes());
        let Some(answer) = self.connection.answer() else {
            self.told.unanswered += 1;
            return None;
        };
        assert_eq!(answer.status, 200, "{answer:?}");
        self.live.push(answer.text("access_token"));
        Some(())
    }

    fn revoke(&mut self, token: String) -> Option<()> {
        self.connection.send(&revoke_request(&self.client, &token).to_bytes());
        let Some(answer) = self.connection.answer() else {
            self.told.doubtful.insert(token);
            return None;
        };
        assert_eq!(answer.status, 200, "{answer:?}");
        self.told.dead.insert(token);
        Some(())
    }

    fn into_told(mut self) -> Oracle {
        self.told.live.extend(self.live.into_iter().map(|token| (token, self.client.id.clone())));
        self.told
    }
}

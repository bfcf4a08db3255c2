//! Many connections that issue and revoke, and note what they were told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::program::{Program, admin, introspect_request, issue_request, revoke_request};
use crate::http::{Answer, Connection, Credentials, Request};

const CONNECTIONS: u64 = 32;

/// What a server has acknowledged.
#[derive(Default)]
pub(super) struct Ledger {
    active: Vec<String>,
    /// Tokens that were said to be revoked, or seen to be.
    revoked: Vec<String>,
    clients: Vec<Credentials>,
    /// What the names of its clients begin with.
    prefix: &'static str,
}

impl Ledger {
    /// A ledger whose clients have other names than those of other ledgers.
    pub(super) fn of(prefix: &'static str) -> Self {
        Self { prefix, ..Self::default() }
    }

    /// Registers a client, and lets it and the admin issue and revoke tokens until `end` ends the server: after so many
    /// acknowledgements.
    pub(super) fn load(&mut self, program: Program, acknowledgements: usize, seed: u64, end: impl FnOnce(Program)) {
        let client = program.register(&format!("{}app-{}", self.prefix, self.clients.len()));
        let mut connections: Vec<_> = (0..CONNECTIONS).map(|_| [program.connect(), program.connect()]).collect();
        let acknowledged = AtomicUsize::new(0);
        let told = thread::scope(|scope| {
            let workers = connections.drain(..).zip(0..).map(|([connection, observer], number)| {
                let client = if number % 2 == 0 { client.clone() } else { admin() };
                let walk = Walk::new(seed << 8 | number);
                let mut worker =
                    Worker { connection, observer, client, walk, acknowledged: &acknowledged, told: Self::default() };
                scope.spawn(move || {
                    while worker.step().is_some() {}
                    worker.told
                })
            });
            let workers: Vec<_> = workers.collect();
            while acknowledged.load(Ordering::Relaxed) < acknowledgements {
                assert!(!workers.iter().any(thread::ScopedJoinHandle::is_finished), "the server answers everybody");
                thread::sleep(Duration::from_micros(200));
            }
            end(program);
            workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
        });
        for Self { active, revoked, .. } in told {
            self.active.extend(active);
            self.revoked.extend(revoked);
        }
        self.clients.push(client);
    }

    /// Checks that the server knows all of it.
    #[track_caller]
    pub(super) fn check(&self, program: &Program) {
        let lost = program.are_active(&self.active).iter().filter(|is_active| !**is_active).count();
        assert_eq!(lost, 0, "acknowledged tokens of {} are not active", self.active.len());
        let back = program.are_active(&self.revoked).iter().filter(|is_active| **is_active).count();
        assert_eq!(back, 0, "revoked tokens of {} are active", self.revoked.len());
        for client in &self.clients {
            program.issue(client);
        }
    }

    pub(super) fn counts(&self) -> (usize, usize, usize) {
        (self.active.len(), self.revoked.len(), self.clients.len())
    }
}

struct Worker<'a> {
    connection: Connection,
    /// Looks at what the other connection has asked for.
    observer: Connection,
    client: Credentials,
    walk: Walk,
    acknowledged: &'a AtomicUsize,
    told: Ledger,
}

impl Worker<'_> {
    /// One request; `None` when the server has gone.
    fn step(&mut self) -> Option<()> {
        if self.told.active.is_empty() || self.walk.below(2) == 0 {
            let answer = ask(&mut self.connection, &issue_request(&self.client))?;
            self.told.active.push(answer.text("access_token"));
        } else {
            let index = self.walk.below(self.told.active.len());
            let token = self.told.active.swap_remove(index);
            self.revoke(token)?;
        }
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        Some(())
    }

    /// From here on, until it is acknowledged, the token may be active or not. Once somebody has seen that it is not, it
    /// stays so.
    fn revoke(&mut self, token: String) -> Option<()> {
        self.connection.send(&revoke_request(&self.client, &token).to_bytes());
        let observed = ask(&mut self.observer, &introspect_request(&token));
        let is_seen = observed.is_some_and(|answer| answer.json()["active"] == false);
        let is_told = self.connection.answer().map(|answer| assert_eq!(answer.status, 200, "{answer:?}"));
        if is_seen || is_told.is_some() {
            self.told.revoked.push(token);
        }
        is_told
    }
}

fn ask(connection: &mut Connection, request: &Request) -> Option<Answer> {
    connection.send(&request.to_bytes());
    let answer = connection.answer()?;
    assert_eq!(answer.status, 200, "{answer:?}");
    Some(answer)
}

/// A random walk that a seed repeats.
pub(super) struct Walk(u64);

impl Walk {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }
}

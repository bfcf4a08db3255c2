//! Nobody is answered before the whole journal is read: a revocation may be in its last record.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use cluster::own_address;
use ring::rand::SystemRandom;
use tessera::client::id::ClientId;
use tessera::clock::Clock;
use tessera::journal::{self, Entry, Options, RealDisk};
use tessera::oauth::audience::Audience;
use tessera::oauth::scope::Scope;
use tessera::token::access_token::{AccessToken, TokenReference};
use tessera::token::event::{KIND_ISSUED, KIND_REVOKED, SCHEMA_ISSUED, SCHEMA_REVOKED, encode_issued, encode_revoked};
use tessera::token::grant::ClientTerms;

use super::program::{Home, admin, introspect_request};
use super::strace::{FIRST_SEGMENT, Fault, SECOND_SEGMENT};
use crate::http::{Answer, Connection, Request};

/// Records between the tokens and their revocations.
const FILLERS: usize = 50_000;

/// Appends to the journal that a server has left: many tokens, and in the end the revocations of these.
fn append(home: &Home, revoked: &[String]) {
    let (disk, clock) = (Arc::new(RealDisk::new(home.data_dir()).unwrap()), Arc::new(Clock::system()));
    let now = clock.now().as_seconds_u32();
    let mut opened = journal::open(
        disk,
        Options { journal_bytes_max: 256 << 20, ..Options::new(home.journal_keys(), 1, 8192) },
        clock,
        &mut |_| {},
    )
    .unwrap();
    let terms = ClientTerms {
        id: ClientId::parse("filler").unwrap(),
        generation: 0,
        in_force: Arc::default(),
        scope: Scope::parse("read").unwrap(),
        audience: Audience::empty(),
        claims: None,
    };
    let random = SystemRandom::new();
    let fillers = (0..FILLERS).map(|_| {
        let TokenReference { routing_id, digest } = AccessToken::random(&random).unwrap().reference();
        (KIND_ISSUED, SCHEMA_ISSUED, routing_id, encode_issued(digest, now, now + 3600, &terms).unwrap())
    });
    let revocations = revoked.iter().map(|token| {
        let TokenReference { routing_id, digest } = TokenReference::of(token).unwrap();
        (KIND_REVOKED, SCHEMA_REVOKED, routing_id, encode_revoked(digest, now + 3600).unwrap())
    });
    for (kind, schema, routing_id, payload) in fillers.chain(revocations) {
        opened.lanes[0].append(Entry { kind, schema, routing_id: routing_id.0, payload }, None);
    }
    drop(opened.lanes);
    opened.journal.close().unwrap();
}

/// Before a test gives up, after two minutes.
const ATTEMPTS_MAX: usize = 12_000;

/// Waits until somebody listens there.
fn connect_when_bound(address: SocketAddr) -> Connection {
    for _ in 0..ATTEMPTS_MAX {
        if TcpStream::connect(address).is_ok() {
            return Connection::to(address);
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("nobody listens at {address}")
}

fn is_not_ready(answer: &Answer) -> bool {
    if answer.status != 503 {
        return false;
    }
    assert_eq!(answer.field("retry-after"), Some("1"));
    assert_eq!(answer.error(), (503, "temporarily_unavailable".to_owned()));
    true
}

#[test]
fn while_the_journal_is_read_every_answer_is_503_or_right() {
    let home = Home::new();
    let program = home.start(&[]);
    let [live, revoked] = [(); 2].map(|()| (0..4).map(|_| program.issue(&admin())).collect::<Vec<_>>());
    program.stop();
    append(&home, &revoked);

    let address = own_address();
    let is_ready = AtomicBool::new(false);
    // Everybody has been told once that it is not ready, and then the journal may be read.
    let refused = AtomicUsize::new(0);
    let ask_until_ready = &|token: &str, is_active: bool| {
        let mut connection = connect_when_bound(address);
        assert!(is_not_ready(&connection.ask(&introspect_request(token))));
        refused.fetch_add(1, Ordering::Relaxed);
        loop {
            // What is asked for after the server has said that it is ready ends the loop.
            let is_last = is_ready.load(Ordering::Relaxed);
            let answer = connection.ask(&introspect_request(token));
            if is_not_ready(&answer) {
                assert!(!is_last, "it said that it is ready");
                continue;
            }
            assert_eq!((answer.status, &answer.json()["active"]), (200, &is_active.into()));
            if is_last {
                return;
            }
        }
    };
    thread::scope(|scope| {
        let askers = live.iter().map(|token| (token, true)).chain(revoked.iter().map(|token| (token, false)));
        let askers = askers.map(|(token, is_active)| scope.spawn(move || ask_until_ready(token, is_active)));
        let askers: Vec<_> = askers.collect();
        // Every read of the journal hangs until strace ends.
        let hanging = Fault::on(&[FIRST_SEGMENT, SECOND_SEGMENT], "pread64:delay_enter=600000000:when=1+");
        let mut program = hanging.spawn_on(&home, address, &[]);
        let mut connection = connect_when_bound(address);
        assert_eq!(connection.ask(&Request::get("/livez")).status, 200);
        assert!(is_not_ready(&connection.ask(&Request::get("/readyz"))));
        while refused.load(Ordering::Relaxed) < askers.len() {
            assert!(
                !askers.iter().any(thread::ScopedJoinHandle::is_finished),
                "everybody is told that it is not ready"
            );
            thread::sleep(Duration::from_millis(1));
        }
        program.end_strace();
        program.wait_until_ready();
        is_ready.store(true, Ordering::Relaxed);
        assert_eq!(program.ask(&Request::get("/readyz")).status, 200);
        // The program ends with this block.
        askers.into_iter().for_each(|asker| asker.join().unwrap());
    });
}

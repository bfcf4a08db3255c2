//! A disk that fills up under a running server: nothing is lost, revocation goes on, and room is found again by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ring::rand::SystemRandom;
use serde_json::json;
use tessera::client::id::ClientId;
use tessera::clock::Clock;
use tessera::journal::{self, Entry, Options, RealDisk};
use tessera::oauth::audience::Audience;
use tessera::oauth::scope::Scope;
use tessera::token::access_token::AccessToken;
use tessera::token::event::{KIND_ISSUED, SCHEMA_ISSUED, encode_issued};
use tessera::token::grant::ClientTerms;

use super::program::{Home, Program, admin, issue_request, revoke_request};
use crate::http::{Answer, Credentials, Request};

/// Room for the active segment, the reserve and a spare, and no more.
const DISK_BYTES: u64 = 200 << 20;
/// Leaves less than a segment of it.
const BALLAST_BYTES: u64 = 66 << 20;
/// Leaves little more than the last quarter of a segment, before which issue stops.
const FILL_BYTES: usize = 44 << 20;

/// A file system of its own. Dropping it unmounts it.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where nothing can be mounted.
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let size = format!("size={DISK_BYTES},mode=700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("somebody-else's-file")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Appends tokens to the journal that a server has left, with terms as long as they can be.
fn fill(home: &Home) {
    let (disk, clock) = (Arc::new(RealDisk::new(home.data_dir()).unwrap()), Arc::new(Clock::system()));
    let options = Options { journal_bytes_max: 256 << 20, ..Options::new(home.journal_keys(), 1, 64) };
    let now = clock.now().as_seconds_u32();
    let mut opened = journal::open(disk, options, clock, &mut |_| {}).unwrap();
    let terms = ClientTerms {
        id: ClientId::parse("filler").unwrap(),
        generation: 0,
        in_force: Arc::default(),
        scope: Scope::parse(&"s".repeat(4096)).unwrap(),
        audience: Audience::parse(audience().iter().map(String::as_str)).unwrap(),
        claims: None,
    };
    let random = SystemRandom::new();
    let mut bytes = 0;
    while bytes < FILL_BYTES {
        let token = AccessToken::random(&random).unwrap().reference();
        let payload = encode_issued(token.digest, now - 10, now - 5, &terms).unwrap();
        bytes += payload.len();
        let entry = Entry { kind: KIND_ISSUED, schema: SCHEMA_ISSUED, routing_id: token.routing_id.0, payload };
        opened.lanes[0].append(entry, None);
    }
    drop(opened.lanes);
    opened.journal.close().unwrap();
}

/// As many members as there may be, as long as they may be.
fn audience() -> Vec<String> {
    (0..32).map(|number| format!("{number:0512}")).collect()
}

#[track_caller]
fn check_refused(answer: &Answer) {
    assert_eq!((answer.status, answer.text("error").as_str()), (503, "temporarily_unavailable"), "{answer:?}");
    assert!(answer.field("retry-after").is_some());
    assert!(answer.text("error_description").contains("near its disk budget"), "{answer:?}");
}

fn ask_admin(program: &Program, bearer: &str, request: Request) -> Answer {
    program.ask(&request.bearer(bearer))
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that cannot run says so")]
fn a_full_disk_stops_issue_and_not_revocation_until_there_is_room_again() {
    let home = Home::new();
    let Some(disk) = SmallDisk::mount(&home.data_dir()) else {
        eprintln!("SKIPPED: this machine does not let the test mount a file system, so a full disk is not tested");
        return;
    };
    let program = home.start(&[]);
    let bearer = program.issue(&admin());
    let metadata = json!({ "client_id": "wordy", "scope": "s".repeat(4096), "audience": audience() });
    let created = ask_admin(&program, &bearer, Request::post("/admin/v1/clients").json(&metadata));
    assert_eq!(created.status, 201, "{created:?}");
    let wordy = Credentials { id: created.text("client_id"), secret: created.text("client_secret") };
    let tokens = [program.issue(&wordy), program.issue(&wordy)];
    program.stop();
    fill(&home);
    // As if the disk had been full when the last spare was used up.
    let _ = fs::remove_file(home.data_dir().join("spare.tmp"));
    fs::write(disk.ballast(), vec![1; usize::try_from(BALLAST_BYTES).unwrap()]).unwrap();

    let mut program = Program::spawn(&mut home.serve(&[]));
    program.wait_for("the disk is full: the journal is opened on a segment of its reserve");
    program.wait_until_ready();
    assert!(program.is_active(&tokens[0]));
    let mut issued = 0;
    let refused = loop {
        let answer = program.ask(&issue_request(&wordy));
        if answer.status != 200 {
            break answer;
        }
        issued += 1;
        assert!(issued < 1000, "the level does not rise");
    };
    check_refused(&refused);
    program.wait_for("the journal has hardly any room, and no token is issued; its disk is full: free space on");
    check_refused(&ask_admin(&program, &bearer, Request::post("/admin/v1/clients").json(&json!({}))));
    assert_eq!(program.ask(&revoke_request(&wordy, &tokens[0])).status, 200);
    assert!(!program.is_active(&tokens[0]) && program.is_active(&tokens[1]));

    fs::remove_file(disk.ballast()).unwrap();
    program.wait_for("the journal has more room again");
    let later = program.issue(&wordy);
    program.stop();
    let program = home.start(&[]);
    assert!(!program.is_active(&tokens[0]) && program.is_active(&tokens[1]) && program.is_active(&later));
    program.stop();
}

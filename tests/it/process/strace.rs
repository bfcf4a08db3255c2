//! Disks that fail, lie, fill up and stall: the program under `strace`, which answers system calls in the kernel's place.
//!
//! A fault names the files that it strikes and the number of the call, which strace counts for each thread by itself. strace
//! runs beside the program and not above it (`-D`), so process id, signals and exit status are the program's own.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use rustix::process::Signal;

use super::load::Ledger;
use super::program::{Ended, Home, Program, admin, introspect_request, issue_request, revoke_request};
use crate::http::{Answer, Connection};

/// The segments of the first two starts.
pub(super) const FIRST_SEGMENT: &str = "wal-00000000000000000001-00000001.seg";
pub(super) const SECOND_SEGMENT: &str = "wal-00000000000000000001-00000002.seg";
const SPARE: &str = "spare.tmp";
/// The master key, beside the data directory.
const KEY: &str = "tessera-data.key";
/// The data directory itself, as a file of a fault.
const DIRECTORY: &str = "";

/// What the disk does wrong: a call, its fault and when, in the words of `strace -e inject=`.
pub(super) struct Fault {
    inject: &'static str,
    /// In the data directory, but for the [`KEY`]. Empty: all files are struck.
    files: &'static [&'static str],
}

impl Fault {
    const fn everywhere(inject: &'static str) -> Self {
        Self { inject, files: &[] }
    }

    pub(super) const fn on(files: &'static [&'static str], inject: &'static str) -> Self {
        Self { inject, files }
    }

    /// A server with this fault, that is ready.
    fn start(&self, home: &Home, arguments: &[&str]) -> Program {
        let mut program = self.spawn(home, arguments);
        program.wait_until_ready();
        program
    }

    fn spawn(&self, home: &Home, arguments: &[&str]) -> Program {
        self.spawn_on(home, SocketAddr::from(([127, 0, 0, 1], 0)), arguments)
    }

    /// A server with this fault at that address.
    pub(super) fn spawn_on(&self, home: &Home, address: SocketAddr, arguments: &[&str]) -> Program {
        require_strace();
        let serve = home.serve_on(address, &["--data-dir", home.data_dir().to_str().unwrap()]);
        let mut command = Command::new("strace");
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).current_dir(home.path());
        command.envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let (calls, _) = self.inject.split_once(':').unwrap();
        command.args(["-D", "-f", "-qq", "-e", &format!("trace={calls}"), "-e", &format!("inject={}", self.inject)]);
        command.arg("-o").arg(strace_log(home));
        for file in self.files {
            let path = if *file == KEY { home.key_file() } else { home.data_dir().join(file) };
            command.arg("-P").arg(path.components().as_path());
        }
        command.arg(serve.get_program()).args(serve.get_args()).args(arguments);
        Program::spawn(&mut command)
    }
}

fn strace_log(home: &Home) -> PathBuf {
    home.path().join("strace.log")
}

/// The calls that strace saw, a line each.
fn calls(home: &Home) -> Vec<String> {
    fs::read_to_string(strace_log(home)).unwrap().lines().map(str::to_owned).collect()
}

/// Fails with what to do when these tests cannot run here: they are never skipped in silence.
fn require_strace() {
    let tried = Command::new("strace").args(["-D", "-qq", "-o", "/dev/null", "true"]).output();
    match tried {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("strace is missing: install the package strace, as tests/run does")
        }
        tried => {
            let tried = tried.unwrap();
            let said = String::from_utf8_lossy(&tried.stderr);
            assert!(
                tried.status.success(),
                "strace may not trace here: allow ptrace (CAP_SYS_PTRACE in a container): {said}"
            );
        }
    }
}

fn is_struck(call: &str) -> bool {
    call.ends_with("(INJECTED)") || call.ends_with("(DELAYED)")
}

/// How many calls were made and not struck.
fn good_calls(home: &Home) -> usize {
    let answers = |call: &String| call.rsplit_once(" = ").is_some_and(|(_, answer)| !answer.starts_with('-'));
    calls(home).iter().filter(|call| answers(call)).count()
}

/// Issues tokens one after another until the server has gone.
#[track_caller]
fn issue_until_gone(program: &Program) -> Vec<String> {
    let (mut connection, mut tokens) = (program.connect(), Vec::new());
    while connection.send(&issue_request(&admin()).to_bytes()) {
        let Some(answer) = connection.answer() else { break };
        assert_eq!(answer.status, 200, "{answer:?}");
        tokens.push(answer.text("access_token"));
        assert!(tokens.len() < ISSUES_MAX, "the fault passed unnoticed");
    }
    tokens
}

/// More than any fault lets pass.
const ISSUES_MAX: usize = 60;

#[track_caller]
fn assert_aborted(ended: &Ended, says: &str) {
    assert_eq!(ended.status.signal(), Some(Signal::ABORT.as_raw()), "{}", ended.stderr);
    for words in ["the journal failed and the process stops", says] {
        assert!(ended.stderr.contains(words), "{words:?} is not in:\n{}", ended.stderr);
    }
}

/// A start without a fault knows all of the tokens, and goes on.
#[track_caller]
fn assert_restarts(home: &Home, tokens: &[String]) {
    let program = home.start(&[]);
    assert!(program.are_active(tokens).iter().all(|is_active| *is_active), "an acknowledged token is gone");
    let token = program.issue(&admin());
    assert!(program.is_active(&token));
    program.stop();
}

/// The log fails while a server issues: the process has to end, with nothing acknowledged that it had not synced.
#[track_caller]
fn check_aborts(fault: &Fault, says: &str) {
    let home = Home::new();
    let program = fault.start(&home, &[]);
    let tokens = issue_until_gone(&program);
    assert_aborted(&program.wait(), says);
    // The start has stored a client. Each call has one answer to let go, for nobody asks beside us.
    let good_calls = good_calls(&home);
    assert!(tokens.len() < good_calls, "{} acknowledged by {good_calls} calls, one at the start", tokens.len());
    assert_restarts(&home, &tokens);
}

#[test]
fn a_sync_that_fails_once_ends_the_process_before_anything_unsynced_is_acknowledged() {
    for inject in ["fdatasync:error=EIO:when=2", "fdatasync:error=EIO:when=3", "fdatasync:error=EIO:when=20"] {
        check_aborts(&Fault::on(&[FIRST_SEGMENT], inject), &format!("cannot sync {FIRST_SEGMENT}"));
    }
}

#[test]
fn a_write_that_fails_once_ends_the_process_before_anything_unwritten_is_acknowledged() {
    for inject in ["pwrite64:error=EIO:when=2", "pwrite64:error=ENOSPC:when=3", "pwrite64:error=EDQUOT:when=20"] {
        check_aborts(&Fault::on(&[FIRST_SEGMENT], inject), &format!("cannot write {FIRST_SEGMENT}"));
    }
}

/// Who is interrupted in a sync does not know what is on disk; an interrupted write has written nothing.
#[test]
fn an_interrupted_sync_ends_the_process_and_an_interrupted_write_does_not() {
    check_aborts(&Fault::on(&[FIRST_SEGMENT], "fdatasync:error=EINTR:when=3"), "cannot sync");
    let home = Home::new();
    let program = Fault::on(&[FIRST_SEGMENT], "pwrite64:error=EINTR:when=2+2").start(&home, &[]);
    let tokens: Vec<_> = (0..5).map(|_| program.issue(&admin())).collect();
    program.stop();
    assert!(calls(&home).iter().any(|call| is_struck(call)), "nothing was interrupted");
    assert_restarts(&home, &tokens);
}

#[test]
fn a_sync_that_fails_under_load_loses_nothing_acknowledged() {
    let (home, mut ledger) = (Home::new(), Ledger::default());
    let program = Fault::on(&[FIRST_SEGMENT], "fdatasync:error=EIO:when=60").start(&home, &[]);
    // Every sync before the 60th has let go at least one answer.
    ledger.load(program, 30, 1, |program| assert_aborted(&program.wait(), "cannot sync"));
    ledger.check(&home.start(&[]));
}

/// Starts on `home` with each of the faults: none may become ready, and all have to say why.
#[track_caller]
fn check_starts(home: &Home, faults: &[(Fault, &str)]) {
    for (fault, says) in faults {
        let ended = fault.spawn(home, &[]).wait();
        let calls = calls(home);
        assert!(calls.iter().any(|call| is_struck(call)), "{} struck nothing: {calls:?}", fault.inject);
        assert_eq!(ended.status.code(), Some(1), "{}: {ended:?}", fault.inject);
        let is_said = ended.stderr.lines().any(|line| line.contains("does not start") && line.contains(says));
        assert!(is_said, "{says:?} is not in:\n{}", ended.stderr);
        assert!(!ended.stderr.contains(r#""message":"ready""#), "{}", ended.stderr);
    }
}

/// What every start does.
const START_FAULTS: [(Fault, &str); 8] = [
    (Fault::on(&["recovery.tmp"], "pwrite64:error=EIO:when=1"), "cannot write recovery.tmp"),
    (Fault::on(&["recovery.tmp"], "pwrite64:error=ENOSPC:when=9"), "cannot write recovery.tmp"),
    (Fault::on(&["recovery.tmp"], "fdatasync:error=EIO"), "cannot sync recovery.tmp"),
    (Fault::on(&["recovery.tmp"], "rename:error=EIO"), "cannot rename recovery.tmp"),
    (Fault::on(&[DIRECTORY], "fsync:error=EIO:when=1"), "cannot sync the directory"),
    (Fault::on(&[DIRECTORY], "fsync:error=EIO:when=2"), "cannot sync the directory"),
    (Fault::on(&["HEAD"], "pwrite64:error=ENOSPC:when=1"), "cannot write HEAD"),
    (Fault::on(&["HEAD"], "fdatasync:error=EIO:when=1"), "cannot sync HEAD"),
];

/// What only the first start does, and a full disk that a later start has its reserve for.
const FIRST_START_FAULTS: [(Fault, &str); 4] = [
    (Fault::on(&["recovery.tmp"], "fallocate:error=ENOSPC"), "cannot allocate recovery.tmp"),
    (Fault::on(&[KEY], "write:error=ENOSPC"), "cannot write the master key to"),
    (Fault::on(&[KEY], "fsync:error=EIO"), "cannot write the master key to"),
    (Fault::on(&["HEAD"], "fdatasync:error=EIO:when=2"), "cannot sync HEAD"),
];

#[test]
fn a_first_start_that_fails_leaves_nothing_in_the_way_of_the_next() {
    for fault in FIRST_START_FAULTS.into_iter().chain(START_FAULTS) {
        let home = Home::new();
        check_starts(&home, &[fault]);
        assert_restarts(&home, &[]);
    }
}

#[test]
fn a_restart_that_fails_takes_nothing_acknowledged_along() {
    let home = Home::new();
    let program = home.start(&[]);
    let tokens: Vec<_> = (0..3).map(|_| program.issue(&admin())).collect();
    program.kill();
    check_starts(&home, &START_FAULTS);
    assert_restarts(&home, &tokens);
}

/// The first commit is that of the admin client, before the server is ready.
#[test]
fn a_commit_that_fails_during_the_start_ends_the_process() {
    let home = Home::new();
    let ended = Fault::on(&[FIRST_SEGMENT], "fdatasync:error=EIO:when=1").spawn(&home, &[]).wait();
    assert_aborted(&ended, "cannot sync");
    assert!(!ended.stderr.contains(r#""message":"ready""#), "{}", ended.stderr);
    assert_restarts(&home, &[]);
}

#[test]
fn a_disk_that_claims_to_have_synced_loses_nothing_to_kill_9() {
    let (home, mut ledger) = (Home::new(), Ledger::default());
    for round in 0..2 {
        let program = Fault::everywhere("fdatasync,fsync:retval=0").start(&home, &[]);
        ledger.check(&program);
        ledger.load(program, 100, round, Program::kill);
    }
    ledger.check(&home.start(&[]));
}

#[test]
fn a_full_disk_holds_up_the_spare_alone_until_there_is_room() {
    for inject in ["fallocate:error=ENOSPC:when=1", "pwrite64:error=EDQUOT:when=3"] {
        let home = Home::new();
        let mut program = Fault::on(&[SPARE], inject).start(&home, &[]);
        let tokens: Vec<_> = (0..3).map(|_| program.issue(&admin())).collect();
        // It tries again after a second.
        program.wait_for("the journal has more room again");
        let later = program.issue(&admin());
        let ended = program.stop();
        assert!(ended.stderr.contains("its disk is full: free space"), "{ended:?}");
        assert_restarts(&home, &[tokens, vec![later]].concat());
    }
}

#[test]
fn a_spare_that_fails_otherwise_ends_the_process() {
    for (inject, says) in [
        ("fallocate:error=EIO", "cannot allocate spare.tmp"),
        ("pwrite64:error=EIO:when=2", "cannot write spare.tmp"),
        ("fdatasync:error=EIO:when=3", "cannot sync spare.tmp"),
    ] {
        let home = Home::new();
        assert_aborted(&Fault::on(&[SPARE], inject).spawn(&home, &[]).wait(), says);
        assert_restarts(&home, &[]);
    }
}

/// Every sync from the first commit after the start on hangs until strace ends.
fn start_with_hanging_syncs(home: &Home, arguments: &[&str]) -> Program {
    Fault::on(&[SECOND_SEGMENT], "fdatasync:delay_enter=600000000:when=1+").start(home, arguments)
}

/// Sends a request that waits for a sync, and asks for tokens meanwhile.
fn issue_behind_a_hanging_sync(program: &Program, known: &str) -> Connection {
    let mut waiting = program.connect();
    waiting.send(&issue_request(&admin()).to_bytes());
    for _ in 0..20 {
        assert!(program.is_active(known));
        assert_eq!(program.ask(&introspect_request("unknown")).json()["active"], false);
    }
    waiting
}

/// A directory with a token.
fn home_with_token() -> (Home, String) {
    let home = Home::new();
    let program = home.start(&[]);
    let token = program.issue(&admin());
    program.stop();
    (home, token)
}

#[test]
fn while_a_sync_hangs_introspection_is_answered_and_an_issue_waits() {
    let (home, known) = home_with_token();
    let program = start_with_hanging_syncs(&home, &[]);
    let mut waiting = issue_behind_a_hanging_sync(&program, &known);
    program.end_strace();
    let answer = waiting.answer().unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    program.stop();
    assert_restarts(&home, &[known, answer.text("access_token")]);
}

/// An answer that had come too early would still be in the connection's buffer.
#[test]
fn an_issue_whose_sync_hangs_is_never_answered_when_the_process_is_killed() {
    let (home, known) = home_with_token();
    let program = start_with_hanging_syncs(&home, &[]);
    let mut waiting = issue_behind_a_hanging_sync(&program, &known);
    program.kill();
    assert_eq!(waiting.answer(), None);
    assert_restarts(&home, &[known]);
}

#[test]
fn a_disk_of_ten_milliseconds_a_sync_is_slow_and_loses_nothing() {
    let (home, mut ledger) = (Home::new(), Ledger::default());
    let program = Fault::on(&[FIRST_SEGMENT], "fdatasync:delay_enter=10000").start(&home, &[]);
    ledger.load(program, 200, 1, |program| drop(program.stop()));
    assert!(calls(&home).iter().any(|call| is_struck(call)), "no sync was slow");
    ledger.check(&home.start(&[]));
}

/// Issues until there is no room, on several connections, and answers the tokens. Class `relaxed` lets one connection leave
/// many records on the lane; when the window has passed before the lane is full, this waits for ever.
fn issue_until_busy(program: &Program) -> Vec<String> {
    let requests = issue_request(&admin()).to_bytes().repeat(PIPELINED);
    let connections: Vec<_> = (0..8).map(|_| program.connect()).collect();
    let until_busy = |mut connection: Connection| {
        let mut tokens = Vec::new();
        loop {
            connection.send(&requests);
            let answers: Vec<Answer> = (0..PIPELINED).map(|_| connection.answer().unwrap()).collect();
            let (issued, busy): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
            tokens.extend(issued.iter().map(|answer| answer.text("access_token")));
            busy.iter().for_each(assert_busy);
            if !busy.is_empty() {
                return tokens;
            }
        }
    };
    thread::scope(|scope| {
        let issuers: Vec<_> =
            connections.into_iter().map(|connection| scope.spawn(move || until_busy(connection))).collect();
        issuers.into_iter().flat_map(|issuer| issuer.join().unwrap()).collect()
    })
}

const PIPELINED: usize = 100;

#[track_caller]
fn assert_busy(answer: &Answer) {
    assert_eq!(answer.error(), (503, "temporarily_unavailable".to_owned()));
    assert_eq!(answer.field("retry-after"), Some("1"));
}

#[test]
fn a_full_lane_refuses_changes_with_503_and_loses_nothing() {
    let (home, known) = home_with_token();
    let relaxed = ["--shards", "1", "--durability", "relaxed", "--relaxed-window-ms", "10000"];
    let program = start_with_hanging_syncs(&home, &relaxed);
    let tokens = issue_until_busy(&program);
    // What one block has taken, and the lane behind it.
    assert!((8192..=8192 + 4096).contains(&tokens.len()), "{}", tokens.len());
    assert!(program.peak_bytes() < 256 << 20, "{}", program.peak_bytes());

    assert_busy(&program.ask(&issue_request(&admin())));
    assert_busy(&program.ask(&revoke_request(&admin(), &known)));
    assert!(program.is_active(&known), "what was refused has changed nothing");
    assert!(program.are_active(&tokens).iter().all(|is_active| *is_active));

    program.end_strace();
    // A revocation waits for its sync, and so for all that is before it on the lane.
    let mut revoked = program.ask(&revoke_request(&admin(), &known));
    while revoked.status != 200 {
        assert_busy(&revoked);
        revoked = program.ask(&revoke_request(&admin(), &known));
    }
    program.kill();
    assert_restarts(&home, &tokens);
}

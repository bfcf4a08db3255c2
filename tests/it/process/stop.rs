//! SIGTERM and SIGINT: requests that have begun end, and what was acknowledged is there afterwards.

use rustix::process::Signal;

use super::load::Ledger;
use super::program::{Home, Program, admin, introspect_request, issue_request};
use crate::http::Request;

/// That every answer which begins also ends is checked by the connections of the load.
#[track_caller]
fn check_stop_under_load(signal: Signal) {
    let (home, mut ledger) = (Home::new(), Ledger::default());
    for round in 0..3 {
        let program = home.start(&[]);
        ledger.check(&program);
        ledger.load(program, 300, round, |program| {
            program.signal(signal);
            let ended = program.wait();
            assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
            assert!(ended.stderr.contains(r#""message":"stopped""#), "{}", ended.stderr);
            assert!(!ended.stderr.contains("panic"), "{}", ended.stderr);
        });
    }
    ledger.check(&home.start(&[]));
}

#[test]
fn sigterm_under_load_completes_every_answer_and_exits_with_0() {
    check_stop_under_load(Signal::TERM);
}

#[test]
fn sigint_under_load_completes_every_answer_and_exits_with_0() {
    check_stop_under_load(Signal::INT);
}

#[test]
fn a_request_whose_body_is_on_its_way_is_answered() {
    let home = Home::new();
    let mut program = home.start(&["--workers", "1"]);
    let mut connection = program.connect();
    let request = issue_request(&admin()).to_bytes();
    let (first_half, second_half) = request.split_at(request.len() - 5);
    // One write: when the first request is answered, the server has read the second as far as it goes.
    connection.send(&[request.as_slice(), first_half].concat());
    assert_eq!(connection.answer().unwrap().status, 200);
    program.signal(Signal::TERM);
    program.wait_for("stopping");
    connection.send(second_half);
    let answer = connection.answer().expect("an answer to the second request");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(program.wait().status.code(), Some(0));
    assert!(home.start(&[]).is_active(&answer.text("access_token")));
}

#[test]
fn an_idle_connection_does_not_hold_the_process() {
    let home = Home::new();
    let program = home.start(&[]);
    let (mut idle, silent) = (program.connect(), program.connect());
    assert_eq!(idle.ask(&introspect_request("unknown")).status, 200);
    program.stop();
    assert_eq!(idle.answer(), None, "the server closes it");
    drop(silent);
}

#[test]
fn a_signal_during_the_start_ends_the_process() {
    let home = Home::new();
    let mut program = Program::spawn(&mut home.serve(&[]));
    program.wait_for("made a master key");
    program.signal(Signal::TERM);
    let ended = program.wait();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let program = home.start(&[]);
    assert_eq!(program.ask(&Request::get("/readyz")).status, 200);
}

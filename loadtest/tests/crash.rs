//! `loadtest crash` against the server of this workspace, which `cargo test --workspace` builds beside it.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::process::{Command, Output};

fn crash(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest")).arg("crash").args(arguments).output().unwrap()
}

#[test]
fn a_server_that_keeps_its_word_passes() {
    let ended = crash(&["--kills", "3"]);
    let said = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    assert!(said.contains("everything that was acknowledged is there"), "{said}");
}

#[test]
fn a_server_that_forgets_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let (data, report) = (folder.path().join("data"), folder.path().join("report.json"));
    let paths = ["--data-dir", data.to_str().unwrap(), "--report", report.to_str().unwrap()];
    let ended = crash(&[&["--kills", "3", "--server-arg=--durability=memory"], &paths[..]].concat());
    let said = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(1), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    assert!(said.contains("I1: ") && said.contains("again: --seed "), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert!(report["lost"].as_u64().unwrap() > 0 && report["kills"] == 1, "{report}");
}

#[test]
fn postgresql_holds_what_the_server_holds_whatever_happens_to_both() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let ended = crash(&["--database", "--kills", "3", "--report", report.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    let database = &report["database"];
    assert_eq!(database["tokens_compared"], report["tokens_issued"], "{report}");
    assert!(database["clients_compared"].as_u64().unwrap() > 0 && !database["catch_up"].is_null(), "{report}");
}

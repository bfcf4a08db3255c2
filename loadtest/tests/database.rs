//! `loadtest database` against the server of this workspace. How long callers wait says nothing while other tests run.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_token_that_was_issued_during_an_outage_is_in_the_tables_once() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let short = ["--outage-seconds", "2", "--seconds", "1", "--issue-rate", "100", "--attempts", "1"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    let ended = command.arg("database").args(short).arg("--report").arg(&report).output().unwrap();
    let said = [ended.stdout, ended.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    let report: Value = serde_json::from_slice(&std::fs::read(report).expect(&said)).unwrap();
    let contents = &report["contents"];
    assert_eq!(contents["events"], contents["acknowledged"], "{said}");
    assert_eq!((&contents["unknown"], &contents["dead_letters"]), (&Value::from(0), &Value::from(0)), "{said}");
    assert!(!report["catch_up"]["caught_up_after"].is_null(), "{said}");
    for phase in ["without", "with", "outage", "catching_up"] {
        assert_eq!(report[phase]["introspection"]["errors"], 0, "{phase}: {said}");
    }
}

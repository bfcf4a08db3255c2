//! `loadtest abuse` against the server of this workspace. How long callers wait says nothing while other tests run.

use std::collections::BTreeMap;
use std::process::Command;

use serde::Deserialize;

#[derive(Deserialize)]
struct Report {
    phases: Vec<Phase>,
}

#[derive(Deserialize)]
struct Phase {
    abuse: String,
    answered: u64,
    errors: u64,
    deeds: BTreeMap<String, u64>,
}

#[test]
fn oversize_requests_are_refused_while_callers_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    // A machine that does other work too takes longer to come to all of them.
    for seconds in [1, 5, 30] {
        let report = folder.path().join(seconds.to_string());
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
        command.args(["abuse", "--only", "oversize", "--rate", "200", "--attempts", "1"]);
        let ended = command.args(["--seconds", &seconds.to_string(), "--report"]).arg(&report).output().unwrap();
        let said = [ended.stdout, ended.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
        let Report { phases } = serde_json::from_slice(&std::fs::read(report).expect(&said)).unwrap();
        let phase = phases.first().expect(&said);
        assert_eq!((&*phase.abuse, phase.answered, phase.errors), ("oversize", 200 * seconds, 0), "{said}");
        let is_done = |refused: &str| phase.deeds.get(refused).is_some_and(|times| *times > 0);
        if REFUSED.iter().all(|refused| is_done(refused)) {
            return;
        }
    }
    panic!("some were never refused");
}

const REFUSED: [&str; 3] =
    ["10,000 fields answered 431", "100,000 parameters answered 413", "chunks without end answered 413"];

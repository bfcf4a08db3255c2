//! Snapshots, backups and what a start makes of them.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::load::Ledger;
use super::program::{Home, Program};

fn tessera(home: &Home, arguments: &[&str]) -> Output {
    home.command(arguments).output().unwrap()
}

/// Runs a command that is to succeed, and answers what it prints.
#[track_caller]
fn run(home: &Home, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = tessera(home, arguments);
    assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

#[track_caller]
fn take_snapshot(home: &Home) -> Value {
    serde_json::from_str(&run(home, &["snapshot"])).unwrap()
}

/// Starts a server, and answers also what it says that it read.
#[track_caller]
fn start(home: &Home, arguments: &[&str]) -> (Program, Value) {
    let mut program = Program::spawn(&mut home.serve(arguments));
    let read = program.wait_for("snapshot and journal are read");
    program.wait_until_ready();
    (program, read)
}

fn snapshots_in(data_dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(data_dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("snap")).collect();
    names.sort();
    names
}

#[test]
fn a_start_goes_on_from_a_snapshot_with_any_number_of_shards() {
    let (home, mut ledger) = (Home::new(), Ledger::default());
    let mut known = 0;
    for (round, shards) in ["1", "3", "2", "4"].into_iter().enumerate() {
        let (program, read) = start(&home, &["--shards", shards]);
        ledger.check(&program);
        assert_eq!(read["snapshot_items"].is_u64(), round > 0, "{read}");
        let (active, revoked, _) = ledger.counts();
        known = (active + revoked) as u64;
        // Taken while tokens are issued and revoked.
        ledger.load(program, 600, round as u64, |program| {
            assert!(take_snapshot(&home)["items"].as_u64().unwrap() > 100);
            take_snapshot(&home);
            program.kill();
        });
    }
    assert_eq!(snapshots_in(&home.data_dir()).len(), 2, "two are kept");
    let (program, read) = start(&home, &[]);
    ledger.check(&program);
    assert!(known > 0 && read["snapshot_items"].as_u64().unwrap() > known, "{read}: of {known} that were there before");
    program.stop();
    run(&home, &["journal", "verify"]);
}

#[test]
fn a_damaged_snapshot_is_told_kept_aside_and_done_without() {
    let (home, mut ledger) = (Home::new(), Ledger::default());
    ledger.load(home.start(&[]), 100, 1, |program| {
        take_snapshot(&home);
        take_snapshot(&home);
        program.kill();
    });
    let newest = home.data_dir().join(snapshots_in(&home.data_dir()).pop().unwrap());
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    let verified = run(&home, &["journal", "verify"]);
    assert!(verified.contains("snapshot corrupt") && verified.ends_with("whole\n"), "{verified}");
    let mut program = Program::spawn(&mut home.serve(&[]));
    assert!(program.wait_for("goes on with what is older")["error"].as_str().unwrap().starts_with("snapshot corrupt"));
    program.wait_until_ready();
    ledger.check(&program);
    assert!(newest.with_extension("snap.corrupt").exists());
}

#[test]
fn a_backup_of_a_running_server_becomes_one_that_knows_all_that_was_acknowledged_before() {
    let (home, mut ledger) = (Home::new(), Ledger::default());
    ledger.load(home.start(&[]), 300, 1, Program::kill);
    let backup = home.path().join("backup");
    let backup_text = backup.to_str().unwrap();
    // While tokens come and go that the backup may have or not.
    Ledger::of("other-").load(home.start(&[]), 300, 2, |program| {
        run(&home, &["backup", backup_text]);
        program.kill();
    });
    let Output { status, stderr, .. } = tessera(&home, &["restore", backup_text]);
    assert_eq!(status.code(), Some(65), "the directory has a journal");
    assert!(String::from_utf8(stderr).unwrap().contains("restore into an empty directory"));

    std::fs::rename(home.data_dir(), home.path().join("lost")).unwrap();
    assert!(run(&home, &["restore", "--check", backup_text]).contains(": whole; "));
    run(&home, &["restore", backup_text]);
    let (program, read) = start(&home, &["--shards", "3"]);
    assert_eq!(read["records"], 0, "{read}");
    ledger.check(&program);
    ledger.load(program, 100, 3, Program::kill);
    ledger.check(&home.start(&[]));

    let mut bytes = std::fs::read(&backup).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&backup, bytes).unwrap();
    assert_eq!(tessera(&home, &["restore", "--check", backup_text]).status.code(), Some(65));
    assert_eq!(tessera(&home, &["restore", "nothing"]).status.code(), Some(66));
    std::fs::remove_file(home.key_file()).unwrap();
    assert_eq!(tessera(&home, &["restore", "--check", backup_text]).status.code(), Some(78));
}

#[test]
fn a_backup_takes_nobodys_place_and_leaves_nothing_when_it_fails() {
    let home = Home::new();
    let program = home.start(&[]);
    let taken = home.path().join("taken");
    std::fs::write(&taken, "mine").unwrap();
    assert_eq!(tessera(&home, &["backup", "taken"]).status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), "mine");
    program.stop();
    let Output { status, stderr, .. } = tessera(&home, &["backup", "fresh"]);
    assert_eq!(status.code(), Some(1));
    assert!(String::from_utf8(stderr).unwrap().starts_with("no server answers at "));
    let left = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with("fresh")));
}

#[test]
fn with_durability_memory_there_is_nothing_to_take() {
    let home = Home::new();
    let _program = home.start(&["--durability", "memory"]);
    let Output { status, stderr, .. } = tessera(&home, &["snapshot"]);
    assert_eq!(status.code(), Some(1));
    assert!(String::from_utf8(stderr).unwrap().starts_with("durability is memory"));
}

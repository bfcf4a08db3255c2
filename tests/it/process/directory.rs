//! Who may use a data directory: one process, with the key that it was made with.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::program::{Home, Program, admin};

/// Every file of the working directory and what is below it, with its mode and the hash of its content, but for the spare
/// segment and the reserve: they hold nothing.
fn files(home: &Home) -> BTreeMap<String, (u32, blake3::Hash)> {
    let mut files = BTreeMap::new();
    let mut directories = vec![home.path().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                continue;
            }
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_dir() {
                directories.push(path.clone());
            }
            let content = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            files.insert(path.display().to_string(), (metadata.permissions().mode(), blake3::hash(&content)));
        }
    }
    files
}

/// A directory that a server was stopped on, with a token that it has issued.
fn left_behind() -> (Home, String) {
    let home = Home::new();
    let program = home.start(&[]);
    let token = program.issue(&admin());
    program.stop();
    (home, token)
}

/// Starts the command; it has to refuse with that code and say all of `words` in one line, and to change nothing.
#[track_caller]
fn check_refused(home: &Home, command: &mut Command, exit_code: i32, words: &[&str]) {
    let before = files(home);
    let ended = Program::spawn(command).wait();
    assert_eq!(ended.status.code(), Some(exit_code), "{ended:?}");
    let says = |line: &str| words.iter().all(|word| line.contains(word));
    assert!(ended.stderr.lines().any(says), "{words:?} are not in one line of:\n{}", ended.stderr);
    let after = files(home);
    let changed: Vec<_> =
        before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name)).collect();
    assert!(changed.is_empty(), "{changed:?} changed");
}

#[test]
fn a_second_process_is_refused_and_the_first_goes_on() {
    let home = Home::new();
    let first = home.start(&[]);
    let token = first.issue(&admin());
    let ended = Program::spawn(&mut home.serve(&[])).wait();
    assert_eq!(ended.status.code(), Some(75), "{ended:?}");
    assert!(ended.stderr.contains("another process holds the journal in this data directory: stop it"), "{ended:?}");
    assert!(!ended.stderr.contains(r#""message":"ready""#), "{ended:?}");

    assert!(first.is_active(&token));
    let later = first.issue(&admin());
    let created = Program::spawn(&mut home.command(&["client", "create", "--client-id", "after"])).wait();
    assert_eq!(created.status.code(), Some(0), "{created:?}");
    let listed = Program::spawn(&mut home.command(&["client", "list"])).wait();
    assert!(listed.stdout.contains(r#""after""#), "{listed:?}");
    first.stop();

    let third = home.start(&[]);
    assert!(third.is_active(&token) && third.is_active(&later));
}

#[test]
fn another_master_key_is_refused() {
    let (home, token) = left_behind();
    let mut command = home.serve(&[]);
    command.env("TESSERA_MASTER_KEY", "ab".repeat(32));
    check_refused(&home, &mut command, 65, &["the master key does not fit this data directory", "start with the"]);
    assert!(home.start(&[]).is_active(&token));
}

#[test]
fn a_master_key_that_is_gone_is_not_made_anew() {
    let (home, token) = left_behind();
    let aside = home.path().join("aside");
    fs::rename(home.key_file(), &aside).unwrap();
    let words = ["the master key is missing", "tessera-data.key is not there", "TESSERA_MASTER_KEY"];
    check_refused(&home, &mut home.serve(&[]), 1, &words);
    fs::rename(&aside, home.key_file()).unwrap();
    assert!(home.start(&[]).is_active(&token));
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let (home, token) = left_behind();
    for mode in [0o644, 0o640, 0o604] {
        fs::set_permissions(home.key_file(), fs::Permissions::from_mode(mode)).unwrap();
        check_refused(&home, &mut home.serve(&[]), 1, &["tessera-data.key can be read by others", "chmod 600"]);
    }
    fs::set_permissions(home.key_file(), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(home.start(&[]).is_active(&token));
}

#[test]
fn a_key_file_that_holds_something_else_is_refused() {
    let (home, token) = left_behind();
    let key = fs::read_to_string(home.key_file()).unwrap();
    for text in ["", &key[..key.len() - 2], &format!("{key}{key}"), "not a key"] {
        fs::write(home.key_file(), text).unwrap();
        check_refused(&home, &mut home.serve(&[]), 1, &["tessera-data.key must hold a master key", "64 hexadecimal"]);
    }
    fs::write(home.key_file(), key).unwrap();
    assert!(home.start(&[]).is_active(&token));
}

/// What was acknowledged and is gone must not be passed over.
#[test]
fn a_segment_that_is_gone_or_damaged_is_refused() {
    let (home, token) = left_behind();
    let mut paths = fs::read_dir(home.data_dir()).unwrap().map(|entry| entry.unwrap().path());
    let segment = paths.find(|path| path.extension().is_some_and(|extension| extension == "seg")).unwrap();
    let content = fs::read(&segment).unwrap();

    fs::remove_file(&segment).unwrap();
    check_refused(&home, &mut home.serve(&[]), 65, &["journal incomplete", "put the file back"]);

    let mut damaged = content.clone();
    damaged[2 * 4096 + 100] ^= 1;
    fs::write(&segment, damaged).unwrap();
    check_refused(&home, &mut home.serve(&[]), 65, &["journal corrupt", "had been acknowledged", "restore it"]);

    fs::write(&segment, content).unwrap();
    assert!(home.start(&[]).is_active(&token));
}

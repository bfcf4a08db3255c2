//! What the program says of its settings, and of those that it cannot have.

use std::fs;

use super::program::{Ended, Home, Program};

const MASTER_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Runs the program to its end with these arguments, environment and configuration file.
fn run(home: &Home, arguments: &[&str], environment: &[(&str, &str)], file: &str) -> Ended {
    fs::write(home.path().join("tessera.toml"), file).unwrap();
    Program::spawn(home.command(arguments).envs(environment.iter().copied())).wait()
}

/// One line of the complaint has to name the setting, what was read and from where, and what is allowed.
#[track_caller]
fn check_refused(arguments: &[&str], environment: &[(&str, &str)], file: &str, words: &[&str]) {
    for command in ["serve", "check"] {
        let home = Home::new();
        let arguments = [&[command], arguments].concat();
        let ended = run(&home, &arguments, environment, file);
        assert_eq!(ended.status.code(), Some(78), "{ended:?}");
        let says = |line: &str| words.iter().all(|word| line.contains(word));
        assert!(ended.stderr.lines().any(says), "{words:?} are not in one line of:\n{}", ended.stderr);
        assert_eq!(ended.stdout, "");
        assert!(!home.data_dir().exists() && !home.key_file().exists(), "something was made");
    }
}

#[test]
fn a_setting_out_of_bounds_is_refused_by_name_with_what_was_read_and_what_is_allowed() {
    check_refused(&["--shards", "0"], &[], "", &["shards:", "0", "--shards", "from 1 to 1024"]);
    check_refused(&["--listen", "nowhere"], &[], "", &["listen:", "nowhere", "--listen", "an IP address and a port"]);
    let variable = [("TESSERA_DURABILITY", "maybe")];
    check_refused(&[], &variable, "", &["durability:", "maybe", "TESSERA_DURABILITY", "sync, relaxed or memory"]);
    let file = "relaxed_window_ms = 0\n";
    check_refused(&[], &[], file, &["relaxed_window_ms:", "0", "tessera.toml", "from 1 to 10000"]);
    check_refused(&[], &[], "listn = \"127.0.0.1:1\"\n", &["listn", "no such setting", "did you mean listen?"]);
    check_refused(&[], &[("TESSERA_SHARD", "1")], "", &["TESSERA_SHARD", "no such setting"]);
}

#[test]
fn every_mistake_is_told_at_once() {
    let home = Home::new();
    let ended = run(&home, &["--workers", "many"], &[("TESSERA_SHARDS", "-1")], "log_format = 7\n");
    assert_eq!(ended.status.code(), Some(78));
    for name in ["workers:", "shards:", "log_format:"] {
        assert!(ended.stderr.contains(name), "{name} is not in:\n{}", ended.stderr);
    }
}

#[test]
fn a_secret_that_cannot_be_read_is_not_shown() {
    let home = Home::new();
    let environment = [("TESSERA_MASTER_KEY", "my-precious-key"), ("TESSERA_BOOTSTRAP_CLIENT", "nocolonbutsecret")];
    let ended = run(&home, &[], &environment, "");
    assert_eq!(ended.status.code(), Some(78));
    assert!(ended.stderr.contains("master_key:") && ended.stderr.contains("bootstrap_client:"), "{ended:?}");
    let said = ended.stdout + &ended.stderr;
    assert!(!said.contains("precious") && !said.contains("nocolon"), "{said}");
}

#[test]
fn check_tells_where_each_setting_comes_from_and_no_secret() {
    let home = Home::new();
    let environment = [
        ("TESSERA_MASTER_KEY", MASTER_KEY),
        ("TESSERA_BOOTSTRAP_CLIENT", "operator:the-secret-of-it"),
        ("TESSERA_WORKERS", "5"),
    ];
    let file = "shards = 3\nworkers = 7\nlisten = \"127.0.0.1:1\"\n";
    let ended = run(&home, &["check", "--listen", "127.0.0.1:2"], &environment, file);
    assert_eq!((ended.status.code(), &*ended.stderr), (Some(0), ""));
    for expected in [
        ["listen", "127.0.0.1:2", "--listen"],
        ["workers", "5", "TESSERA_WORKERS"],
        ["shards", "3", "./tessera.toml"],
        ["durability", "sync", "default"],
    ] {
        let is_there = |line: &str| line.split_whitespace().eq(expected);
        assert!(ended.stdout.lines().any(is_there), "{expected:?} is not in:\n{}", ended.stdout);
    }
    for (secret, source) in [("master_key ", "TESSERA_MASTER_KEY"), ("bootstrap_client ", "TESSERA_BOOTSTRAP_CLIENT")] {
        let line = ended.stdout.lines().find(|line| line.starts_with(secret)).unwrap();
        assert!(line.contains("set, not shown") && line.ends_with(source), "{line}");
    }
    assert!(!ended.stdout.contains("the-secret") && !ended.stdout.contains(&MASTER_KEY[..12]), "{}", ended.stdout);
    assert!(!home.data_dir().exists() && !home.key_file().exists(), "check makes nothing");
}

//! No arguments, an empty directory.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::program::{Home, Program};
use crate::http::Credentials;

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

/// Starts the program without a setting but the port, and waits until it has made its first client.
fn first_start(home: &Home) -> Program {
    let mut program = Program::spawn(&mut home.command(&["--listen", "127.0.0.1:0"]));
    program.wait_until_ready();
    program.wait_for("made a first admin client");
    program
}

fn credentials(welcome: &str) -> Credentials {
    let value = |name| welcome.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap().trim();
    Credentials::new(value("client_id"), value("client_secret"))
}

#[test]
fn a_first_start_makes_what_it_needs_for_this_user_alone_and_says_nothing_secret() {
    let home = Home::new();
    let program = first_start(&home);
    let file = home.data_dir().join("first-admin");
    assert_eq!([&home.data_dir(), &home.key_file(), &file].map(|path| mode(path)), [0o700, 0o600, 0o600]);
    let names = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names.len(), 2, "{names:?}");
    for entry in fs::read_dir(home.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }

    let Credentials { id, secret } = credentials(&fs::read_to_string(&file).unwrap());
    let key = fs::read_to_string(home.key_file()).unwrap();
    let ended = program.stop();
    assert_eq!(ended.stdout, "");
    assert!(!ended.stderr.contains(&secret) && !ended.stderr.contains(key.trim()), "{}", ended.stderr);
    assert!(ended.stderr.contains("first-admin") && !id.is_empty(), "it says where the credentials are");
}

#[test]
fn the_three_curl_lines_work_as_pasted() {
    let home = Home::new();
    let program = first_start(&home);
    let welcome = fs::read_to_string(home.data_dir().join("first-admin")).unwrap();
    let lines: Vec<_> =
        welcome.lines().filter(|line| line.starts_with("TOKEN=") || line.starts_with("curl ")).collect();
    assert_eq!(lines.len(), 3, "{welcome}");
    // A line for each answer, for they end with none.
    let script = format!("{}\n{}\necho\n{}\n", lines[0], lines[1], lines[2]);
    let pasted = Command::new("bash").args(["-eu", "-o", "pipefail", "-c", &script]).output();
    let pasted = pasted.expect("this test needs bash and curl");
    let answers = String::from_utf8(pasted.stdout).unwrap();
    assert!(pasted.status.success(), "{answers}");
    let answers: Vec<Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&answers[0]["active"], &answers[0]["scope"]), (&true.into(), &"tessera.admin".into()), "{answers:?}");
    assert_eq!(answers[1]["client_name"], "my first", "{answers:?}");
    let member = |name: &str| answers[1][name].as_str().unwrap();
    let first = Credentials::new(member("client_id"), member("client_secret"));
    program.issue(&first);
}

#[test]
fn a_second_start_makes_no_second_admin() {
    let home = Home::new();
    let program = first_start(&home);
    let file = home.data_dir().join("first-admin");
    let welcome = fs::read_to_string(&file).unwrap();
    let admin = credentials(&welcome);
    let key = fs::read(home.key_file()).unwrap();
    program.stop();

    let mut program = Program::spawn(&mut home.command(&["--listen", "127.0.0.1:0"]));
    program.wait_until_ready();
    program.issue(&admin);
    let ended = program.stop();
    assert!(!ended.stderr.contains("first admin"), "{}", ended.stderr);
    assert_eq!((fs::read_to_string(&file).unwrap(), fs::read(home.key_file()).unwrap()), (welcome, key));
}

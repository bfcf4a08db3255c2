//! As many connections as the system allows.

use std::fs;
use std::process::Command;

use super::program::{Home, Program};

#[test]
fn the_limit_of_open_files_is_raised_to_the_most_that_is_allowed() {
    let home = Home::new();
    let mut command = Command::new("bash");
    command.env_clear().current_dir(home.path());
    command.args([
        "-c",
        r#"ulimit -Sn 256; ulimit -Hn 2048; exec "$0" --listen 127.0.0.1:0"#,
        env!("CARGO_BIN_EXE_tessera"),
    ]);
    let mut program = Program::spawn(&mut command);
    program.wait_until_ready();
    let limits = fs::read_to_string(format!("/proc/{}/limits", program.pid())).unwrap();
    let open_files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    assert_eq!(open_files.split_whitespace().take(2).collect::<Vec<_>>(), ["2048", "2048"]);
}

//! `loadtest flows` against the server of this workspace: all flows beside each other, and against a server that lies.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are tests too")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use serde_json::Value;

/// How often requests of a name were answered rightly and not.
fn counts(report: &Value, name: &str) -> (u64, u64) {
    let requests = report["raw_metrics"]["requests"].as_object().expect("a report of goose's");
    let request = requests.values().find(|request| request["path"] == name);
    request.map_or((0, 0), |request| {
        let count = |outcome: &str| request[outcome].as_u64().unwrap();
        (count("success_count"), count("fail_count"))
    })
}

/// What is asked for in the course of the flows.
const REQUESTS: [&str; 11] = [
    "register",
    "use",
    "use deleted",
    "mix active",
    "mix revoked",
    "storm watch",
    "storm revoked",
    "consent",
    "use an ended grant",
    "refresh again",
    "use after a theft",
];

#[test]
fn every_flow_is_answered_rightly_beside_the_others() {
    let folder = tempfile::tempdir().unwrap();
    // A machine that does other work too takes longer to come to all of them.
    for seconds in ["3", "15", "60"] {
        let report = folder.path().join(format!("{seconds}.json"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
        command.args(["flows", "--users", "10", "--seconds", seconds, "--report"]).arg(&report);
        let ended = command.output().unwrap();
        let said = [ended.stdout, ended.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
        assert_eq!(ended.status.code(), Some(0), "{said}");
        let report: Value = serde_json::from_slice(&std::fs::read(report).expect(&said)).unwrap();
        let counts = REQUESTS.map(|name| (name, counts(&report, name)));
        assert!(counts.iter().all(|(_, (_, wrong))| *wrong == 0), "{counts:?}\n{said}");
        if counts.iter().all(|(_, (right, _))| *right > 0) {
            return;
        }
    }
    panic!("some were never asked for");
}

/// A server to which every token is active, for ever.
fn answer_like_a_liar(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut line, mut path, mut length) = (String::new(), String::new(), 0);
        while reader.read_line(&mut line)? > 0 && line != "\r\n" {
            if path.is_empty() {
                path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            } else if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        if path.is_empty() {
            return Ok(());
        }
        reader.read_exact(&mut vec![0; length])?;
        let (status, body) = match &*path {
            "/oauth2/token" => (200, r#"{"access_token":"t","token_type":"Bearer","expires_in":86400}"#),
            "/oauth2/introspect" => (200, r#"{"active":true,"client_id":"app","token_type":"Bearer"}"#),
            "/oauth2/revoke" => (200, "{}"),
            "/admin/v1/clients" => (201, r#"{"client_id":"app","client_secret":"secret"}"#),
            "/admin/v1/clients/app" => (204, ""),
            _ => (404, ""),
        };
        let answer = format!("HTTP/1.1 {status} \r\ncontent-length: {}\r\n\r\n{body}", body.len());
        reader.get_mut().write_all(answer.as_bytes())?;
    }
}

#[test]
fn a_server_that_lies_is_found_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(|| answer_like_a_liar(stream));
        }
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    let flow = ["flows", "--flow", "introspect-mix", "--users", "1", "--seconds", "1"];
    let ended = command.args(flow).args(["--target", &target, "--admin", "operator:secret"]).output().unwrap();
    let said = [ended.stdout, ended.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("active, and must not be") && said.contains("\nFAIL  "), "{said}");
}

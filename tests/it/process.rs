//! The server as a process: how it starts and ends, and what is there after `kill -9`.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Connection, Credentials, Request};

const SECRET: &str = "canary-bootstrap-secret-0123456789";

/// A running `tessera serve`. Dropping it kills it.
struct Process {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Process {
    /// Starts a server in `home` and waits until it is ready. Meanwhile it must answer 503 or nothing, and whatever it says
    /// of `live`, a token that is active, must be true.
    fn start(home: &Path, arguments: &[&str], live: Option<&str>) -> Self {
        let mut process = Self::spawn(home, arguments);
        for _ in 0..TRIES {
            if process.is_ready(live) {
                return process;
            }
            assert!(process.child.try_wait().unwrap().is_none(), "{}", process.log());
            thread::sleep(Duration::from_millis(2));
        }
        panic!("not ready: {}", process.log());
    }

    fn spawn(home: &Path, arguments: &[&str]) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = home.join(format!("log-{}", address.port()));
        let child = tessera(home)
            .args(["serve", "--listen", &address.to_string()])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, address, log }
    }

    fn is_ready(&self, live: Option<&str>) -> bool {
        if TcpStream::connect(self.address).is_err() {
            return false;
        }
        let request = match live {
            Some(token) => Request::post("/oauth2/introspect").basic(&admin()).form(&[("token", token)]),
            None => Request::get("/readyz"),
        };
        let answer = self.connect().ask(&request);
        if answer.status == 503 {
            assert!(answer.field("retry-after").is_some(), "{answer:?}");
            return false;
        }
        assert!(answer.status == 200 && live.is_none_or(|_| answer.json()["active"] == true), "{answer:?}");
        true
    }

    fn connect(&self) -> Connection {
        Connection::to(self.address)
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn end(mut self, ending: Ending) -> ExitStatus {
        match ending {
            Ending::Kill => self.child.kill().unwrap(),
            Ending::Signal(signal) => kill_process(Pid::from_child(&self.child), signal).unwrap(),
        }
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Clone, Copy)]
enum Ending {
    Kill,
    Signal(Signal),
}

/// Looks for readiness before a test gives up, 2 ms apart.
const TRIES: usize = 10_000;

fn tessera(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tessera"));
    command.current_dir(home).env_clear().env("PATH", "/usr/bin:/bin");
    command.env("TESSERA_BOOTSTRAP_CLIENT", format!("admin:{SECRET}"));
    command
}

fn admin() -> Credentials {
    Credentials::new("admin", SECRET)
}

fn create_client(process: &Process) -> Credentials {
    let mut connection = process.connect();
    let token = issue(&mut connection, &admin()).unwrap();
    let document = json!({"client_name": "load", "scope": "read"});
    let created = connection.ask(&Request::post("/admin/v1/clients").bearer(&token).json(&document));
    assert_eq!(created.status, 201, "{created:?}");
    Credentials::new(&created.text("client_id"), &created.text("client_secret"))
}

/// A new token, or nothing where the server was ended before it had answered.
fn issue(connection: &mut Connection, client: &Credentials) -> Option<String> {
    let request = Request::post("/oauth2/token").basic(client).form(&[("grant_type", "client_credentials")]);
    let answer = connection.send(&request.to_bytes()).then(|| connection.answer())??;
    assert_eq!(answer.status, 200, "{answer:?}");
    Some(answer.text("access_token"))
}

/// Whether the server said that the token is revoked; `None` where it was ended before.
fn revoke(connection: &mut Connection, client: &Credentials, token: &str) -> Option<()> {
    let request = Request::post("/oauth2/revoke").basic(client).form(&[("token", token)]);
    let answer = connection.send(&request.to_bytes()).then(|| connection.answer())??;
    assert_eq!(answer.status, 200, "{answer:?}");
    Some(())
}

/// What the server has acknowledged. What it was asked last and did not answer is in neither list.
#[derive(Default)]
struct Acknowledged {
    live: Vec<String>,
    revoked: Vec<String>,
}

impl Acknowledged {
    fn add(&mut self, other: Self) {
        self.live.extend(other.live);
        self.revoked.extend(other.revoked);
    }

    fn check(&self, process: &Process) {
        for (tokens, is_active) in [(&self.live, true), (&self.revoked, false)] {
            for tokens in tokens.chunks(1000) {
                let batch =
                    Request::post("/oauth2/introspect/batch").basic(&admin()).json(&json!({ "tokens": tokens }));
                let answer = process.connect().ask(&batch).json();
                let results = answer["results"].as_array().unwrap();
                let wrong = results.iter().filter(|result| result["active"] != Value::Bool(is_active)).count();
                assert_eq!((results.len(), wrong), (tokens.len(), 0), "active should be {is_active}");
            }
        }
    }
}

/// Issues and revokes on 32 connections, and ends the server once it has acknowledged `changes` changes.
fn end_under_load(
    process: Process,
    client: &Credentials,
    changes: usize,
    ending: Ending,
) -> (Acknowledged, ExitStatus) {
    let (count, is_over, address) = (AtomicUsize::new(0), AtomicBool::new(false), process.address);
    thread::scope(|scope| {
        let loads: Vec<_> = (0..32)
            .map(|_| scope.spawn(|| issue_and_revoke(Connection::to(address), client, &count, &is_over)))
            .collect();
        while count.load(Ordering::Relaxed) < changes {
            thread::yield_now();
        }
        let status = process.end(ending);
        is_over.store(true, Ordering::Relaxed);
        let mut acknowledged = Acknowledged::default();
        loads.into_iter().for_each(|load| acknowledged.add(load.join().unwrap()));
        (acknowledged, status)
    })
}

fn issue_and_revoke(
    mut connection: Connection,
    client: &Credentials,
    count: &AtomicUsize,
    is_over: &AtomicBool,
) -> Acknowledged {
    let mut acknowledged = Acknowledged::default();
    while !is_over.load(Ordering::Relaxed) {
        let Some(token) = issue(&mut connection, client) else { break };
        acknowledged.live.push(token);
        if acknowledged.live.len() % 3 == 0 {
            // Whether it is revoked is not known until the server says so.
            let token = acknowledged.live.swap_remove(0);
            if revoke(&mut connection, client, &token).is_none() {
                break;
            }
            acknowledged.revoked.push(token);
        }
        count.fetch_add(1, Ordering::Relaxed);
    }
    acknowledged
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let home = TempDir::new().unwrap();
    let mut process = Process::start(home.path(), &[], None);
    let client = create_client(&process);
    let mut acknowledged = Acknowledged::default();
    for round in 0..20_usize {
        let (more, _) = end_under_load(process, &client, 200 + round * 61 % 400, Ending::Kill);
        assert!(!more.live.is_empty() && !more.revoked.is_empty());
        acknowledged.add(more);
        // Records carry the routing id, not the shard: the number of shards may change.
        let shards = (round % 4 + 1).to_string();
        process = Process::start(home.path(), &["--shards", &shards], acknowledged.live.first().map(String::as_str));
        acknowledged.check(&process);
    }
}

#[test]
fn a_signal_ends_what_has_begun_and_then_the_process() {
    let home = TempDir::new().unwrap();
    let mut process = Process::start(home.path(), &[], None);
    let client = create_client(&process);
    let mut acknowledged = Acknowledged::default();
    for signal in [Signal::TERM, Signal::INT] {
        let (more, status) = end_under_load(process, &client, 100, Ending::Signal(signal));
        assert_eq!(status.code(), Some(0));
        acknowledged.add(more);
        process = Process::start(home.path(), &[], None);
        acknowledged.check(&process);
    }
}

#[test]
fn a_second_process_on_the_directory_refuses_and_the_first_goes_on() {
    for durability in ["sync", "memory"] {
        let home = TempDir::new().unwrap();
        let first = Process::start(home.path(), &["--durability", durability], None);
        let mut second = Process::spawn(home.path(), &["--durability", durability]);
        assert_eq!(second.child.wait().unwrap().code(), Some(75), "{}", second.log());
        assert!(second.log().contains("another process holds"), "{}", second.log());
        let token = issue(&mut first.connect(), &admin()).unwrap();
        let listed = tessera(home.path()).args(["client", "list"]).output().unwrap();
        assert!(listed.status.success(), "{listed:?}");
        assert!(revoke(&mut first.connect(), &admin(), &token).is_some());
    }
}

fn refused(home: &Path, arguments: &[&str], code: i32) -> String {
    let mut process = Process::spawn(home, arguments);
    assert_eq!(process.child.wait().unwrap().code(), Some(code), "{}", process.log());
    process.log()
}

#[test]
fn the_wrong_key_or_none_or_one_that_others_can_read_is_refused() {
    let home = TempDir::new().unwrap();
    let key = home.path().join("tessera-data.key");
    let token = issue(&mut Process::start(home.path(), &[], None).connect(), &admin()).unwrap();
    let text = fs::read_to_string(&key).unwrap();

    fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(refused(home.path(), &[], 1).contains("chmod 600"));
    fs::remove_file(&key).unwrap();
    assert!(refused(home.path(), &[], 1).contains("the master key is missing"));
    let write_key = |text: &str| {
        fs::write(&key, text).unwrap();
        fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    };
    write_key(&"0f".repeat(32));
    assert!(refused(home.path(), &[], 65).contains("does not fit this data directory"));
    write_key("too short");
    assert!(refused(home.path(), &[], 1).contains("must hold a master key"));
    write_key(&text);
    Process::start(home.path(), &[], Some(&token));
}

#[test]
fn a_first_start_makes_all_it_needs_and_shows_three_lines_that_work() {
    let home = TempDir::new().unwrap();
    let mut command = tessera(home.path());
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let log = home.path().join("log");
    command.env_remove("TESSERA_BOOTSTRAP_CLIENT").arg("--listen").arg(address.to_string());
    command.stdout(File::create(home.path().join("out")).unwrap()).stderr(File::create(&log).unwrap());
    let process = Process { child: command.spawn().unwrap(), address, log };
    let first_admin = home.path().join("tessera-data/first-admin");
    for _ in 0..TRIES {
        if process.log().contains("first admin client") {
            break;
        }
        thread::sleep(Duration::from_millis(2));
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&home.path().join("tessera-data")), 0o700);
    assert_eq!(mode(&home.path().join("tessera-data.key")), 0o600);
    assert_eq!(mode(&first_admin), 0o600);

    let shown = fs::read_to_string(&first_admin).unwrap();
    let lines: Vec<&str> = shown.lines().filter(|line| line.contains("curl")).collect();
    assert_eq!(lines.len(), 3, "{shown}");
    let pasted = Command::new("bash").arg("-c").arg(lines.join("\necho\n")).output().unwrap();
    let answers = String::from_utf8(pasted.stdout).unwrap();
    assert!(answers.contains(r#""active":true"#) && answers.contains(r#""client_name":"my first""#), "{answers}");
    let secret = shown.lines().find_map(|line| line.trim().strip_prefix("client_secret  ")).unwrap();
    assert!(!process.log().contains(secret));
    assert_eq!(fs::read_to_string(home.path().join("out")).unwrap(), "");
}

fn run(home: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    tessera(home).args(arguments).envs(environment.iter().copied()).output().unwrap()
}

#[test]
fn a_setting_that_is_wrong_is_refused_by_name_with_what_is_allowed() {
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("tessera.toml"), "shard = 2\n").unwrap();
    for command in ["serve", "check"] {
        let output = run(home.path(), &[command, "--durability", "often"], &[("TESSERA_WORKERS", "0")]);
        assert_eq!(output.status.code(), Some(78));
        let errors = String::from_utf8(output.stderr).unwrap();
        for expected in ["durability", "often", "sync", "workers", "TESSERA_WORKERS", "1 to 1024", "shard", "shards"] {
            assert!(errors.contains(expected), "{expected} in {errors}");
        }
        assert!(!home.path().join("tessera-data").exists(), "nothing is made");
    }
}

#[test]
fn check_shows_every_setting_with_its_source_and_no_secret() {
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("tessera.toml"), "workers = 3\n").unwrap();
    let output = run(home.path(), &["check", "--shards", "5"], &[("TESSERA_DURABILITY", "relaxed")]);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !shown.contains(SECRET), "{shown}");
    for (key, value, source) in
        [("workers", "3", "tessera.toml"), ("shards", "5", "--shards"), ("durability", "relaxed", "TESSERA_DURABILITY")]
    {
        let line = shown.lines().find(|line| line.starts_with(key)).unwrap();
        assert!(line.contains(value) && line.contains(source), "{line}");
    }
}

#[test]
fn no_secret_and_no_piece_of_a_token_is_at_rest_or_in_the_log() {
    let home = TempDir::new().unwrap();
    let process = Process::start(home.path(), &["--log-filter", "trace"], None);
    let client = create_client(&process);
    let mut connection = process.connect();
    let tokens: Vec<String> = (0..50).map(|_| issue(&mut connection, &client).unwrap()).collect();
    for token in &tokens[..10] {
        revoke(&mut connection, &client, token).unwrap();
    }
    let mut garbage = tokens[20].clone();
    garbage.replace_range(20..21, if &garbage[20..21] == "A" { "B" } else { "A" });
    revoke(&mut connection, &client, &garbage).unwrap();
    let log = process.log();
    drop((connection, process));

    let mut hidden: Vec<&str> = tokens.iter().map(|token| &token["tsr_at_".len()..][..12]).collect();
    // Half a secret too is a secret.
    hidden.extend([&client.secret[..20], &client.secret[20..], SECRET]);
    let mut places = vec![("the log".to_owned(), log.into_bytes())];
    for entry in fs::read_dir(home.path().join("tessera-data")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            places.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    assert!(places.len() >= 3, "the log, a segment and HEAD at least");
    for (place, bytes) in &places {
        for secret in &hidden {
            assert!(memchr::memmem::find(bytes, secret.as_bytes()).is_none(), "a secret is in {place}");
        }
    }
}

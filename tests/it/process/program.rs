//! A process of the program, in a directory of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tessera::config::secret::MasterKey;
use tessera::journal::JournalKeys;
use tessera::signing::derivation::DerivedKeys;

use crate::browser::Site;
use crate::http::{Answer, Connection, Credentials, Request};

/// How long a process may be silent before a test gives up. No test passes by waiting.
const PATIENCE: Duration = Duration::from_secs(120);

/// The working directory of a process. The data directory is in it, under its default name.
pub(crate) struct Home {
    directory: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path().join("tessera-data")
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.path().join("tessera-data.key")
    }

    /// The keys of the journal that a server has left.
    pub(crate) fn journal_keys(&self) -> JournalKeys {
        let key = MasterKey::parse(fs::read_to_string(self.key_file()).unwrap().trim()).unwrap();
        JournalKeys::from(&DerivedKeys::of(key.as_bytes()))
    }

    /// The program with these arguments, and with nothing of the environment of the tests.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tessera"));
        command.env_clear().current_dir(self.path()).args(arguments);
        command
    }

    /// A server on a free port, with the client [`admin`], that is ready.
    pub(crate) fn start(&self, arguments: &[&str]) -> Program {
        let mut program = Program::spawn(&mut self.serve(arguments));
        program.wait_until_ready();
        program
    }

    /// The command of [`Home::start`].
    pub(crate) fn serve(&self, arguments: &[&str]) -> Command {
        self.serve_on(SocketAddr::from(([127, 0, 0, 1], 0)), arguments)
    }

    pub(crate) fn serve_on(&self, address: SocketAddr, arguments: &[&str]) -> Command {
        let Credentials { id, secret } = admin();
        let mut command = self.command(&["--listen", &address.to_string()]);
        command.args(arguments).env("TESSERA_BOOTSTRAP_CLIENT", format!("{id}:{secret}"));
        // What is set aside for revocations is one segment then.
        command.env("TESSERA_JOURNAL_BYTES_MAX", "256MiB");
        // Those of RSA take long.
        command.env("TESSERA_KEY_ALGORITHMS", "none");
        command
    }
}

/// The admin client of [`Home::start`]. It may introspect any token.
pub(crate) fn admin() -> Credentials {
    Credentials::new("operator", "the-operator's-own-secret")
}

/// A running process; dropping it kills it.
pub(crate) struct Program {
    child: Child,
    /// Known once it is ready.
    address: Option<SocketAddr>,
    /// Lines of its log. Closed when the process has ended.
    lines: Receiver<String>,
    /// The lines that were taken so far.
    log: String,
    readers: Vec<JoinHandle<String>>,
}

/// What a process leaves when it ends.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Program {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let pipes = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        let (sender, lines) = channel();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let readers = vec![thread::spawn(move || read(stdout)), thread::spawn(move || read_lines(stderr, &sender))];
        Self { child, address: None, lines, log: String::new(), readers }
    }

    #[track_caller]
    pub(crate) fn wait_until_ready(&mut self) {
        let line = self.wait_for("ready");
        self.address = Some(line["address"].as_str().unwrap().parse().unwrap());
    }

    /// The next line of the log with this message.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, message: &str) -> Value {
        loop {
            let Some(line) = self.next_line() else { panic!("no line {message:?} in the log:\n{}", self.log) };
            let fields: Value = serde_json::from_str(&line).unwrap_or_default();
            if fields["message"].as_str().is_some_and(|own| own.starts_with(message)) {
                return fields;
            }
        }
    }

    fn next_line(&mut self) -> Option<String> {
        let line = self.lines.recv_timeout(PATIENCE).ok()?;
        self.log.push_str(&line);
        Some(line)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("it is ready")
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::to(self.address())
    }

    #[track_caller]
    pub(crate) fn ask(&self, request: &Request) -> Answer {
        self.connect().ask(&request.clone().field("Connection", "close"))
    }

    /// An access token of the client.
    #[track_caller]
    pub(crate) fn issue(&self, client: &Credentials) -> String {
        let answer = self.ask(&issue_request(client));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text("access_token")
    }

    #[track_caller]
    pub(crate) fn is_active(&self, token: &str) -> bool {
        self.are_active(&[token.to_owned()]) == [true]
    }

    /// Whether each of the tokens is active.
    #[track_caller]
    pub(crate) fn are_active(&self, tokens: &[String]) -> Vec<bool> {
        let mut connection = self.connect();
        let mut active = Vec::new();
        for tokens in tokens.chunks(1000) {
            let request = Request::post("/oauth2/introspect/batch").basic(&admin());
            let answer = connection.ask(&request.json(&serde_json::json!({ "tokens": tokens })));
            assert_eq!(answer.status, 200, "{answer:?}");
            let answers = answer.json()["results"].as_array().unwrap().clone();
            active.extend(answers.iter().map(|result| result["active"].as_bool().unwrap()));
        }
        assert_eq!(active.len(), tokens.len());
        active
    }

    /// Registers a client of that name, through the admin API.
    #[track_caller]
    pub(crate) fn register(&self, client_id: &str) -> Credentials {
        let request = Request::post("/admin/v1/clients").bearer(&self.issue(&admin()));
        let answer = self.ask(&request.json(&serde_json::json!({ "client_id": client_id, "scope": "read write" })));
        assert_eq!(answer.status, 201, "{answer:?}");
        Credentials { id: answer.text("client_id"), secret: answer.text("client_secret") }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// A line of what the kernel says of the process.
    pub(crate) fn status(&self, name: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    }

    /// The most memory that the process has had.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.status("VmHWM:").trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Ends the strace that traces it, if one does, and so lets go of the calls that it holds back.
    pub(crate) fn end_strace(&self) {
        if let Some(tracer) = Pid::from_raw(self.status("TracerPid:").parse().unwrap()) {
            // It may have ended already.
            let _ = kill_process(tracer, Signal::KILL);
        }
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    /// The same, for one that has its place in a scene. It has let go of its data directory then.
    pub(crate) fn end(&mut self) {
        // It may have ended already, and been waited for.
        if self.child.kill().is_ok() && matches!(self.child.try_wait(), Ok(None)) {
            // strace would hide its end for as long as it holds back a call.
            self.end_strace();
        }
        let _ = self.child.wait();
    }

    /// Ends it as an operator does.
    #[track_caller]
    pub(crate) fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        let ended = self.wait();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        ended
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        while self.next_line().is_some() {}
        // It has closed its log, or been silent for too long; to end the second is to fail the test.
        let is_silent = self.lines.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty);
        assert!(!is_silent, "the process goes on:\n{}", self.log);
        let status = self.child.wait().unwrap();
        let mut outputs = self.readers.drain(..).map(|reader| reader.join().unwrap());
        let (stdout, stderr) = (outputs.next().unwrap(), outputs.next().unwrap());
        Ended { status, stdout, stderr }
    }
}

impl Site for Program {
    fn issuer(&self) -> String {
        format!("http://{}", self.address())
    }

    #[track_caller]
    fn ask(&self, request: &Request) -> Answer {
        Self::ask(self, request)
    }

    #[track_caller]
    fn ask_as_admin(&self, request: &Request) -> Answer {
        Self::ask(self, &request.clone().bearer(&self.issue(&admin())))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}

pub(crate) fn issue_request(client: &Credentials) -> Request {
    Request::post("/oauth2/token").basic(client).form(&[("grant_type", "client_credentials")])
}

pub(crate) fn revoke_request(client: &Credentials, token: &str) -> Request {
    Request::post("/oauth2/revoke").basic(client).form(&[("token", token)])
}

pub(crate) fn introspect_request(token: &str) -> Request {
    Request::post("/oauth2/introspect").basic(&admin()).form(&[("token", token)])
}

fn read(mut from: impl Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    text
}

fn read_lines(from: impl Read, lines: &Sender<String>) -> String {
    let mut from = BufReader::new(from);
    let mut text = String::new();
    loop {
        let start = text.len();
        if from.read_line(&mut text).unwrap() == 0 {
            return text;
        }
        // The test may have seen enough.
        let _ = lines.send(text[start..].to_owned());
    }
}

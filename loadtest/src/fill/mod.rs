//! `loadtest fill`: makes clients, issues tokens to them, revokes and checks tokens of a file, fast: many requests are
//! under way on each connection. This is for putting a server into a state, not for measuring one.

pub(crate) mod pipeline;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::client::Credentials;
use crate::fill::pipeline::{PipelineError, Plan, Report, Work};

/// What is to be filled, and with what.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    issue: Issue,
}

#[derive(Subcommand)]
enum Command {
    /// Revoke every token of a file.
    Revoke(OfFile),
    /// Introspect every token of a file and count the active ones.
    Check(OfFile),
}

#[derive(Args)]
struct Issue {
    #[command(flatten)]
    server: ServerOptions,
    /// A client that may ask for the scope `tessera.admin`, as id:secret.
    #[arg(long)]
    admin: Option<Credentials>,
    /// How many clients to make.
    #[arg(long, default_value_t = 1000)]
    clients: usize,
    /// Lifetime of the tokens.
    #[arg(long, default_value_t = 86_400)]
    lifetime_seconds: u32,
    /// How many tokens to issue.
    #[arg(long)]
    tokens: Option<usize>,
    /// How many of them to write down, evenly spread over the run; all by default.
    #[arg(long)]
    sample: Option<usize>,
    /// Where to write them, one a line.
    #[arg(long, value_name = "FILE")]
    tokens_out: Option<PathBuf>,
    /// Where to write the clients, one id:secret a line.
    #[arg(long, value_name = "FILE")]
    clients_out: Option<PathBuf>,
}

#[derive(Args)]
struct OfFile {
    #[command(flatten)]
    server: ServerOptions,
    /// The client that asks, as id:secret.
    #[arg(long)]
    client: Credentials,
    /// Tokens, one a line.
    #[arg(long, value_name = "FILE")]
    tokens_in: PathBuf,
}

#[derive(Args)]
struct ServerOptions {
    /// The server.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    target: SocketAddr,
    /// Connections at once. With durability `sync` this many times the depth share a group commit.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Requests in flight on one connection.
    #[arg(long, default_value_t = 16)]
    depth: usize,
    /// Gives up after this long.
    #[arg(long, default_value_t = 3600)]
    timeout_seconds: u64,
}

/// Why a server could not be filled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FillError {
    #[error("the server cannot be filled: {0}")]
    Pipeline(#[from] PipelineError),
    #[error("{path}: {reason}")]
    File { path: PathBuf, reason: io::Error },
    #[error("not done after {seconds} s: raise --timeout-seconds")]
    Late { seconds: u64 },
    #[error("say how many: loadtest fill --tokens N --admin ID:SECRET")]
    NothingToDo,
}

/// Does it, and prints as JSON how many, in how many seconds.
pub(crate) async fn run(options: &Options) -> Result<bool, FillError> {
    let work = async {
        match &options.command {
            None => options.issue.run().await,
            Some(Command::Revoke(of_file)) => of_file.revoke().await,
            Some(Command::Check(of_file)) => of_file.check().await,
        }
    };
    let server = match &options.command {
        None => &options.issue.server,
        Some(Command::Revoke(of_file) | Command::Check(of_file)) => &of_file.server,
    };
    let seconds = server.timeout_seconds;
    let summary = timeout(Duration::from_secs(seconds), work).await.unwrap_or(Err(FillError::Late { seconds }))?;
    println!("{}", serde_json::to_string(&summary).unwrap_or_default());
    Ok(true)
}

impl ServerOptions {
    fn plan(&self) -> Plan {
        Plan { server: self.target, connections: self.connections.max(1), depth: self.depth.max(1) }
    }
}

impl Issue {
    async fn run(&self) -> Result<Summary, FillError> {
        let (Some(admin), Some(tokens)) = (&self.admin, self.tokens) else { return Err(FillError::NothingToDo) };
        let plan = self.server.plan();
        let admin_token = admin_token(&plan, admin).await?;
        let kind = ClientKind { lifetime_seconds: self.lifetime_seconds, introspection: "own" };
        let clients = register(&plan, &admin_token, kind, self.clients).await?;
        if let Some(path) = &self.clients_out {
            let lines: String = clients.iter().map(|client| format!("{}:{}\n", client.id, client.secret)).collect();
            fs::write(path, lines).map_err(|reason| FillError::File { path: path.clone(), reason })?;
        }
        let mut sample = match &self.tokens_out {
            Some(path) => Some(Sample::create(path, self.sample.unwrap_or(tokens), tokens)?),
            None => None,
        };
        let take = |token: &str| sample.as_mut().map_or(Ok(()), |sample| sample.take(token));
        let report = issue(&plan, &clients, tokens, take).await?;
        if let Some(sample) = &mut sample {
            sample.out.flush().map_err(PipelineError::Output)?;
        }
        Ok(Summary::new(tokens, &report))
    }
}

impl OfFile {
    async fn revoke(&self) -> Result<Summary, FillError> {
        let (plan, tokens) = (self.server.plan(), self.tokens()?);
        let report = revoke(&plan, &self.client, tokens.lines().collect()).await?;
        Ok(Summary::new(tokens.lines().count(), &report))
    }

    async fn check(&self) -> Result<Summary, FillError> {
        let (plan, tokens) = (self.server.plan(), self.tokens()?);
        let requests = TokenRequests::new("/oauth2/introspect", &self.client, tokens.lines().collect());
        let count = requests.tokens.len();
        let mut check = Check { requests, active: 0 };
        let report = pipeline::run(&mut check, count, &plan).await?;
        Ok(Summary { active: Some(check.active), ..Summary::new(count, &report) })
    }

    fn tokens(&self) -> Result<String, FillError> {
        let path = &self.tokens_in;
        fs::read_to_string(path).map_err(|reason| FillError::File { path: path.clone(), reason })
    }
}

/// What a command has done.
#[derive(Serialize)]
struct Summary {
    count: usize,
    seconds: f64,
    per_second: f64,
    /// Answers of 503.
    busy: u64,
    reconnects: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<usize>,
}

impl Summary {
    fn new(count: usize, report: &Report) -> Self {
        let Report { elapsed, busy, reconnects } = *report;
        let seconds = elapsed.as_secs_f64();
        Self { count, seconds, per_second: count as f64 / seconds, busy, reconnects, active: None }
    }
}

/// What clients are made like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientKind {
    pub(crate) lifetime_seconds: u32,
    /// Whose tokens they may introspect: `own` or `any`.
    pub(crate) introspection: &'static str,
}

/// A token of scope `tessera.admin`.
pub(crate) async fn admin_token(plan: &Plan, admin: &Credentials) -> Result<String, PipelineError> {
    let mut token = String::new();
    let requests = vec![token_request(admin, "tessera.admin")];
    let take = |text: &str| {
        token.push_str(text);
        Ok(())
    };
    let mut issuance = Issuance { requests, take };
    pipeline::run(&mut issuance, 1, plan).await?;
    Ok(token)
}

/// Makes clients through the admin API.
pub(crate) async fn register(
    plan: &Plan,
    admin_token: &str,
    kind: ClientKind,
    count: usize,
) -> Result<Vec<Credentials>, PipelineError> {
    let head = request_head("/admin/v1/clients", &format!("Bearer {admin_token}"), "application/json");
    let mut registration = Registration { head, kind, clients: Vec::new() };
    pipeline::run(&mut registration, count, plan).await?;
    Ok(registration.clients)
}

/// Issues tokens to clients in turn.
pub(crate) async fn issue(
    plan: &Plan,
    clients: &[Credentials],
    tokens: usize,
    take: impl FnMut(&str) -> io::Result<()>,
) -> Result<Report, PipelineError> {
    let requests = clients.iter().map(|client| token_request(client, "read")).collect();
    pipeline::run(&mut Issuance { requests, take }, tokens, plan).await
}

/// Revokes tokens of a client.
pub(crate) async fn revoke(plan: &Plan, client: &Credentials, tokens: Vec<&str>) -> Result<Report, PipelineError> {
    let count = tokens.len();
    pipeline::run(&mut Revocation(TokenRequests::new("/oauth2/revoke", client, tokens)), count, plan).await
}

/// Makes clients through the admin API.
struct Registration {
    head: String,
    kind: ClientKind,
    clients: Vec<Credentials>,
}

#[derive(Serialize)]
struct Metadata {
    client_name: String,
    grant_types: [&'static str; 1],
    scope: &'static str,
    introspection: &'static str,
    access_token_lifetime_seconds: u32,
}

#[derive(Deserialize)]
struct Registered {
    client_id: String,
    client_secret: String,
}

impl Work for Registration {
    fn write_request(&self, number: usize, out: &mut Vec<u8>) {
        let metadata = Metadata {
            client_name: format!("fill-{number}"),
            grant_types: ["client_credentials"],
            scope: "read write",
            introspection: self.kind.introspection,
            access_token_lifetime_seconds: self.kind.lifetime_seconds,
        };
        write_request(&self.head, &serde_json::to_string(&metadata).unwrap_or_default(), out);
    }

    fn take_answer(&mut self, number: usize, status: u16, body: &[u8]) -> Result<(), PipelineError> {
        let registered: Option<Registered> = (status == 201).then(|| serde_json::from_slice(body).ok()).flatten();
        let registered = registered.ok_or_else(|| PipelineError::refused(number, status, body))?;
        self.clients.push(Credentials::new(registered.client_id, registered.client_secret));
        Ok(())
    }
}

/// Issues tokens to clients in turn.
struct Issuance<T> {
    /// One request for each client.
    requests: Vec<Vec<u8>>,
    take: T,
}

#[derive(Deserialize)]
struct TokenAnswer<'a> {
    access_token: &'a str,
}

impl<T: FnMut(&str) -> io::Result<()>> Work for Issuance<T> {
    fn write_request(&self, number: usize, out: &mut Vec<u8>) {
        let request = number.checked_rem(self.requests.len()).and_then(|index| self.requests.get(index));
        out.extend_from_slice(request.map(Vec::as_slice).unwrap_or_default());
    }

    fn take_answer(&mut self, number: usize, status: u16, body: &[u8]) -> Result<(), PipelineError> {
        match serde_json::from_slice::<TokenAnswer<'_>>(body) {
            Ok(answer) if status == 200 => (self.take)(answer.access_token).map_err(PipelineError::Output),
            _ => Err(PipelineError::refused(number, status, body)),
        }
    }
}

/// Writes some of all tokens down.
struct Sample {
    seen: usize,
    tokens: usize,
    wanted: usize,
    out: BufWriter<File>,
}

impl Sample {
    fn create(path: &Path, wanted: usize, tokens: usize) -> Result<Self, FillError> {
        let file = File::create(path).map_err(|reason| FillError::File { path: path.to_owned(), reason })?;
        Ok(Self { seen: 0, tokens, wanted: wanted.min(tokens), out: BufWriter::new(file) })
    }

    fn take(&mut self, token: &str) -> io::Result<()> {
        let wanted_after = |seen: usize| seen * self.wanted / self.tokens.max(1);
        if wanted_after(self.seen + 1) > wanted_after(self.seen) {
            writeln!(self.out, "{token}")?;
        }
        self.seen += 1;
        Ok(())
    }
}

/// Requests that carry a token each.
struct TokenRequests<'a> {
    head: String,
    tokens: Vec<&'a str>,
}

impl<'a> TokenRequests<'a> {
    fn new(path: &str, client: &Credentials, tokens: Vec<&'a str>) -> Self {
        Self { head: request_head(path, client.authorization(), FORM), tokens }
    }

    fn write_request(&self, number: usize, out: &mut Vec<u8>) {
        if let Some(token) = self.tokens.get(number) {
            write_request(&self.head, &format!("token={token}"), out);
        }
    }
}

struct Revocation<'a>(TokenRequests<'a>);

impl Work for Revocation<'_> {
    fn write_request(&self, number: usize, out: &mut Vec<u8>) {
        self.0.write_request(number, out);
    }

    fn take_answer(&mut self, number: usize, status: u16, body: &[u8]) -> Result<(), PipelineError> {
        if status == 200 { Ok(()) } else { Err(PipelineError::refused(number, status, body)) }
    }
}

struct Check<'a> {
    requests: TokenRequests<'a>,
    active: usize,
}

#[derive(Deserialize)]
struct IntrospectionAnswer {
    active: bool,
}

impl Work for Check<'_> {
    fn write_request(&self, number: usize, out: &mut Vec<u8>) {
        self.requests.write_request(number, out);
    }

    fn take_answer(&mut self, number: usize, status: u16, body: &[u8]) -> Result<(), PipelineError> {
        match serde_json::from_slice::<IntrospectionAnswer>(body) {
            Ok(answer) if status == 200 => {
                self.active += usize::from(answer.active);
                Ok(())
            }
            _ => Err(PipelineError::refused(number, status, body)),
        }
    }
}

/// A whole request for a token.
pub(crate) fn token_request(client: &Credentials, scope: &str) -> Vec<u8> {
    let mut request = Vec::new();
    let body = format!("grant_type=client_credentials&scope={scope}");
    write_request(&request_head("/oauth2/token", client.authorization(), FORM), &body, &mut request);
    request
}

/// All of a head but the length and the empty line.
pub(crate) fn request_head(path: &str, authorization: &str, content_type: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: tessera\r\nAuthorization: {authorization}\r\nContent-Type: {content_type}\r\n"
    )
}

/// Appends a request with that head.
pub(crate) fn write_request(head: &str, body: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
}

/// The media type of forms.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

impl FromStr for Credentials {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (id, secret) = text.split_once(':').ok_or("not of the form id:secret")?;
        Ok(Self::new(id, secret))
    }
}

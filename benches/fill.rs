//! Fills a running server: makes clients through the admin API, issues tokens to them, revokes or checks tokens of a
//! file. Prints one JSON object a command: how many, in how many seconds, at what rate.
#![expect(clippy::print_stdout, reason = "the report is what this program is for")]

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use clap::{Args, Parser, Subcommand};
use form_urlencoded::byte_serialize;
use serde::Deserialize;
use serde_json::json;

use crate::pipeline::{PipelineError, Plan, Report, Work};

#[path = "fill/pipeline.rs"]
mod pipeline;

/// Fills a running server with clients and tokens.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The server, host:port.
    #[arg(long, global = true, default_value = "127.0.0.1:8080")]
    server: String,
    /// Connections at once. With durability `sync` this many changes share a group commit.
    #[arg(long, global = true, default_value_t = 64)]
    connections: usize,
    /// Requests in flight on one connection.
    #[arg(long, global = true, default_value_t = 16)]
    depth: usize,
    /// Gives up after this long.
    #[arg(long, global = true, default_value_t = 3600)]
    timeout_seconds: u64,
}

#[derive(Subcommand)]
enum Command {
    /// Makes clients and issues tokens to them in turn.
    Issue(Issue),
    /// Revokes every token of a file.
    Revoke(OfFile),
    /// Introspects every token of a file and counts the active ones.
    Check(OfFile),
}

#[derive(Args)]
struct Issue {
    /// A client that may ask for the scope `tessera.admin`, as id:secret.
    #[arg(long)]
    admin: Client,
    /// How many clients to make.
    #[arg(long, default_value_t = 1000)]
    clients: usize,
    /// Lifetime of the tokens.
    #[arg(long, default_value_t = 86_400)]
    lifetime_seconds: u64,
    /// How many tokens to issue.
    #[arg(long)]
    tokens: usize,
    /// How many of them to write down, evenly spread over the run; all by default.
    #[arg(long)]
    sample: Option<usize>,
    /// Where to write them, one a line.
    #[arg(long)]
    tokens_out: PathBuf,
    /// Where to write the clients, one id:secret a line.
    #[arg(long)]
    clients_out: Option<PathBuf>,
}

#[derive(Args)]
struct OfFile {
    /// The client that asks, as id:secret.
    #[arg(long)]
    client: Client,
    /// Tokens, one a line.
    #[arg(long)]
    tokens_in: PathBuf,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { command, server, connections, depth, timeout_seconds } = Arguments::parse();
    let plan = Plan { server, connections: connections.max(1), depth: depth.max(1) };
    let report = async {
        match command {
            Command::Issue(issue) => fill(&issue, &plan).await,
            Command::Revoke(of_file) => revoke(&of_file, &plan).await,
            Command::Check(of_file) => check(&of_file, &plan).await,
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let limit = Duration::from_secs(timeout_seconds);
    println!("{}", runtime.block_on(async { tokio::time::timeout(limit, report).await })??);
    Ok(())
}

async fn fill(issue: &Issue, plan: &Plan) -> Result<serde_json::Value, Box<dyn Error>> {
    let admin_token = admin_token(&issue.admin, plan).await?;
    let mut registration = Registration::new(plan, &admin_token, issue.lifetime_seconds);
    pipeline::run(&mut registration, issue.clients, plan).await?;
    if let Some(path) = &issue.clients_out {
        let lines: String =
            registration.clients.iter().map(|client| format!("{}:{}\n", client.id, client.secret)).collect();
        fs::write(path, lines)?;
    }

    let requests = registration.clients.iter().map(|client| token_request(plan, client, "read")).collect();
    let sample = issue.sample.unwrap_or(issue.tokens).min(issue.tokens);
    let out = BufWriter::new(File::create(&issue.tokens_out)?);
    let mut issuance = Issuance { requests, issued: 0, tokens: issue.tokens, sample, out };
    let report = pipeline::run(&mut issuance, issue.tokens, plan).await?;
    issuance.out.flush()?;
    Ok(summary(issue.tokens, &report))
}

/// A token of scope `tessera.admin`.
async fn admin_token(admin: &Client, plan: &Plan) -> Result<String, Box<dyn Error>> {
    let requests = vec![token_request(plan, admin, "tessera.admin")];
    let mut issuance = Issuance { requests, issued: 0, tokens: 1, sample: 1, out: Vec::new() };
    pipeline::run(&mut issuance, 1, plan).await?;
    Ok(String::from_utf8(issuance.out)?.trim_end().to_owned())
}

async fn revoke(of_file: &OfFile, plan: &Plan) -> Result<serde_json::Value, Box<dyn Error>> {
    let mut revocation = Revocation(TokenRequests::new(plan, "/oauth2/revoke", of_file)?);
    let count = revocation.0.tokens.len();
    let report = pipeline::run(&mut revocation, count, plan).await?;
    Ok(summary(count, &report))
}

async fn check(of_file: &OfFile, plan: &Plan) -> Result<serde_json::Value, Box<dyn Error>> {
    let requests = TokenRequests::new(plan, "/oauth2/introspect", of_file)?;
    let count = requests.tokens.len();
    let mut check = Check { requests, active: 0 };
    let report = pipeline::run(&mut check, count, plan).await?;
    let mut summary = summary(count, &report);
    if let Some(fields) = summary.as_object_mut() {
        fields.insert("active".to_owned(), json!(check.active));
    }
    Ok(summary)
}

fn summary(count: usize, report: &Report) -> serde_json::Value {
    let seconds = report.elapsed.as_secs_f64();
    json!({
        "count": count,
        "seconds": seconds,
        "per_second": count as f64 / seconds,
        "busy": report.busy,
        "reconnects": report.reconnects,
    })
}

/// A client's credentials.
#[derive(Clone, Deserialize)]
struct Client {
    #[serde(rename = "client_id")]
    id: String,
    #[serde(rename = "client_secret")]
    secret: String,
}

impl Client {
    /// The value of `Authorization` (RFC 6749 §2.3.1).
    fn authorization(&self) -> String {
        let encode = |part: &str| byte_serialize(part.as_bytes()).collect::<String>();
        format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", encode(&self.id), encode(&self.secret))))
    }
}

impl FromStr for Client {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (id, secret) = text.split_once(':').ok_or("not of the form id:secret")?;
        Ok(Self { id: id.to_owned(), secret: secret.to_owned() })
    }
}

/// Makes clients through the admin API.
struct Registration {
    head: String,
    lifetime_seconds: u64,
    clients: Vec<Client>,
}

impl Registration {
    fn new(plan: &Plan, admin_token: &str, lifetime_seconds: u64) -> Self {
        let head = request_head(plan, "/admin/v1/clients", &format!("Bearer {admin_token}"), "application/json");
        Self { head, lifetime_seconds, clients: Vec::new() }
    }
}

impl Work for Registration {
    fn write_request(&self, number: usize, out: &mut Vec<u8>) {
        let metadata = json!({
            "client_name": format!("fill-{number}"),
            "grant_types": ["client_credentials"],
            "scope": "read write",
            "access_token_lifetime_seconds": self.lifetime_seconds,
        });
        write_request(&self.head, &metadata.to_string(), out);
    }

    fn take_answer(&mut self, number: usize, status: u16, body: &[u8]) -> Result<(), PipelineError> {
        let client = (status == 201).then(|| serde_json::from_slice(body).ok()).flatten();
        self.clients.push(client.ok_or_else(|| PipelineError::refused(number, status, body))?);
        Ok(())
    }
}

/// Issues tokens to clients in turn and writes a sample of them down.
struct Issuance<W> {
    /// One request for each client.
    requests: Vec<Vec<u8>>,
    issued: usize,
    tokens: usize,
    sample: usize,
    out: W,
}

#[derive(Deserialize)]
struct TokenAnswer<'a> {
    access_token: &'a str,
}

impl<W: Write> Issuance<W> {
    fn take_token(&mut self, token: &str) -> io::Result<()> {
        let wanted_after = |issued: usize| issued * self.sample / self.tokens;
        if wanted_after(self.issued + 1) > wanted_after(self.issued) {
            writeln!(self.out, "{token}")?;
        }
        self.issued += 1;
        Ok(())
    }
}

impl<W: Write> Work for Issuance<W> {
    fn write_request(&self, number: usize, out: &mut Vec<u8>) {
        let request = number.checked_rem(self.requests.len()).and_then(|index| self.requests.get(index));
        out.extend_from_slice(request.map(Vec::as_slice).unwrap_or_default());
    }

    fn take_answer(&mut self, number: usize, status: u16, body: &[u8]) -> Result<(), PipelineError> {
        match serde_json::from_slice::<TokenAnswer<'_>>(body) {
            Ok(answer) if status == 200 => self.take_token(answer.access_token).map_err(PipelineError::Output),
            _ => Err(PipelineError::refused(number, status, body)),
        }
    }
}

/// Requests that carry a token of a file each.
struct TokenRequests {
    head: String,
    tokens: Vec<String>,
}

impl TokenRequests {
    fn new(plan: &Plan, path: &str, of_file: &OfFile) -> io::Result<Self> {
        let head = request_head(plan, path, &of_file.client.authorization(), FORM);
        Ok(Self { head, tokens: lines(&of_file.tokens_in)? })
    }

    fn write_request(&self, number: usize, out: &mut Vec<u8>) {
        if let Some(token) = self.tokens.get(number) {
            write_request(&self.head, &format!("token={token}"), out);
        }
    }
}

struct Revocation(TokenRequests);

impl Work for Revocation {
    fn write_request(&self, number: usize, out: &mut Vec<u8>) {
        self.0.write_request(number, out);
    }

    fn take_answer(&mut self, number: usize, status: u16, body: &[u8]) -> Result<(), PipelineError> {
        if status == 200 { Ok(()) } else { Err(PipelineError::refused(number, status, body)) }
    }
}

struct Check {
    requests: TokenRequests,
    active: usize,
}

#[derive(Deserialize)]
struct IntrospectionAnswer {
    active: bool,
}

impl Work for Check {
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

fn token_request(plan: &Plan, client: &Client, scope: &str) -> Vec<u8> {
    let head = request_head(plan, "/oauth2/token", &client.authorization(), FORM);
    let mut request = Vec::new();
    write_request(&head, &format!("grant_type=client_credentials&scope={scope}"), &mut request);
    request
}

/// All of a head but the length and the empty line.
fn request_head(plan: &Plan, path: &str, authorization: &str, content_type: &str) -> String {
    let host = &plan.server;
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\nContent-Type: {content_type}\r\n"
    )
}

fn write_request(head: &str, body: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
}

fn lines(path: &Path) -> io::Result<Vec<String>> {
    Ok(fs::read_to_string(path)?.lines().map(str::to_owned).collect())
}

const FORM: &str = "application/x-www-form-urlencoded";

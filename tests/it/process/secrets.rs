//! Nothing secret at rest: no file of the data directory and no line of the log holds any part of a secret.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tessera::client::secret::SecretDigest;
use tessera::token::access_token::TokenReference;

use super::program::{Home, Program, admin, introspect_request};
use crate::http::{Credentials, Request};

/// So much of a secret must be nowhere.
const PIECE_BYTES: usize = 12;

/// Pieces of secrets, as text and as what the text stands for.
pub(super) struct Canaries {
    pieces: HashSet<[u8; PIECE_BYTES]>,
    /// Whether a piece begins with these two bytes: most of what is searched ends its comparison here.
    begins: Vec<bool>,
}

impl Canaries {
    pub(super) fn none() -> Self {
        Self { pieces: HashSet::new(), begins: vec![false; 1 << 16] }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        for piece in bytes.array_windows::<PIECE_BYTES>() {
            self.pieces.insert(*piece);
            self.begins[usize::from(u16::from_le_bytes([piece[0], piece[1]]))] = true;
        }
    }

    fn holds(&self, piece: &[u8; PIECE_BYTES]) -> bool {
        self.begins[usize::from(u16::from_le_bytes([piece[0], piece[1]]))] && self.pieces.contains(piece)
    }

    pub(super) fn add_token(&mut self, token: &str) {
        let body = token.strip_prefix("tsr_at_").unwrap();
        self.add(body.as_bytes());
        let bytes = URL_SAFE_NO_PAD.decode(&body[..54]).unwrap();
        // The journal's records hold the 8 bytes before, the routing id.
        self.add(&bytes[8..]);
    }

    pub(super) fn add_client(&mut self, client: &Credentials) {
        self.add(client.secret.as_bytes());
        self.add(client.basic().strip_prefix("Basic ").unwrap().as_bytes());
        self.add(&URL_SAFE_NO_PAD.decode(&client.secret).unwrap_or_default());
    }

    /// A piece that is in `content`, with what is around it.
    fn find(&self, content: &[u8]) -> Option<String> {
        // Most of a segment is zeros.
        let zeros = content.rchunks(4096).take_while(|page| **page == [0; 4096]).count();
        let end = content.len() - zeros * 4096;
        let found = content[..end].array_windows().position(|piece| self.holds(piece))?;
        Some(content[found.saturating_sub(60)..end.min(found + 60)].escape_ascii().to_string())
    }

    #[track_caller]
    pub(super) fn check(&self, what: &str, content: &[u8]) {
        assert_eq!(self.find(content), None, "{what} holds a piece of a secret");
    }
}

/// The content of every file of the data directory.
fn data(home: &Home) -> Vec<(String, Vec<u8>)> {
    let paths = fs::read_dir(home.data_dir()).unwrap().map(|entry| entry.unwrap().path());
    // A server that runs may give a file another name meanwhile.
    let content = |path: PathBuf| match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        content => Some((path.display().to_string(), content.unwrap())),
    };
    paths.filter(|path| path.is_file()).filter_map(content).collect()
}

/// Asks for all that has a secret in it, rightly and wrongly.
fn use_secrets(home: &Home, program: &Program, canaries: &mut Canaries, round: usize) -> String {
    let (by_api, by_command) = (program.register(&format!("api-{round}")), format!("command-{round}"));
    let created = Program::spawn(&mut home.command(&["client", "create", "--client-id", &by_command])).wait();
    let created: serde_json::Value = serde_json::from_str(&created.stdout).unwrap();
    let by_command = Credentials::new(&by_command, created["client_secret"].as_str().unwrap());
    let bearer = program.issue(&admin());
    let rotate = Request::post(&format!("/admin/v1/clients/{}/secret", by_api.id)).bearer(&bearer);
    let rotated = Credentials::new(&by_api.id, &program.ask(&rotate).text("client_secret"));
    let wrong = Credentials::new(&by_api.id, "a-wrong-secret-that-is-somebody's-right-one");
    let unread = format!("{round}-a-secret-in-a-place-where-nobody-looks");
    let tokens: Vec<_> = (0..5).flat_map(|_| [&rotated, &by_command]).map(|client| program.issue(client)).collect();
    for client in [&by_api, &by_command, &rotated, &wrong, &Credentials::new("any", &unread)] {
        canaries.add_client(client);
    }
    canaries.add_token(&bearer);
    tokens.iter().for_each(|token| canaries.add_token(token));

    let mut statuses = Vec::new();
    let form = |path: &str, client: &Credentials, fields: &[(&str, &str)]| {
        program.ask(&Request::post(path).basic(client).form(fields)).status
    };
    statuses.push(form("/oauth2/token", &by_api, &[("grant_type", "client_credentials")]));
    statuses.push(form("/oauth2/token", &wrong, &[("grant_type", "client_credentials")]));
    statuses.push(form("/oauth2/token", &rotated, &[("grant_type", &unread), ("scope", &unread)]));
    statuses.push(form("/oauth2/introspect", &wrong, &[("token", &tokens[0])]));
    statuses.push(form("/oauth2/revoke", &by_command, &[("token", &tokens[0])]));
    let in_body = [("client_id", &*rotated.id), ("client_secret", &rotated.secret), ("token", &tokens[0])];
    statuses.push(program.ask(&Request::post("/oauth2/revoke").form(&in_body)).status);
    let in_query = format!("/oauth2/introspect?token={}&client_secret={unread}", tokens[2]);
    statuses.push(program.ask(&Request::post(&in_query).basic(&rotated).form(&[("token", &tokens[2])])).status);
    statuses.push(program.ask(&Request::get(&format!("/admin/v1/clients/{unread}")).bearer(&tokens[2])).status);
    statuses.push(program.ask(&Request::get("/admin/v1/clients").bearer(&unread)).status);
    let not_json = Request::post("/admin/v1/clients").bearer(&bearer).json_text(&format!("{{\"{unread}\": "));
    statuses.push(program.ask(&not_json).status);
    assert_eq!(statuses, [401, 401, 400, 401, 400, 200, 400, 403, 401, 400]);
    assert_eq!(program.are_active(&tokens)[..3], [false, true, true]);
    let mut broken = program.connect();
    broken.send(format!("POST /{unread} HTTP/9.9\r\nAuthorization: {}\r\n\r\n", rotated.basic()).as_bytes());
    assert_eq!(program.ask(&introspect_request(&tokens[1])).json()["active"], true);
    tokens[1].clone()
}

#[test]
fn no_file_and_no_line_of_the_log_holds_a_piece_of_a_secret() {
    let (home, mut canaries) = (Home::new(), Canaries::none());
    let mut logs = Vec::new();
    let mut token = String::new();
    for round in 0..2 {
        let program = home.start(&["--log-filter", "trace"]);
        token = use_secrets(&home, &program, &mut canaries, round);
        for (name, content) in data(&home) {
            canaries.check(&name, &content);
        }
        let ended = program.stop();
        logs.extend([ended.stdout, ended.stderr]);
    }
    canaries.add_client(&admin());
    let key = fs::read_to_string(home.key_file()).unwrap();
    canaries.add(key.trim().as_bytes());
    canaries.add(SecretDigest::of(&admin().secret).as_bytes());
    let files = data(&home);
    for (name, content) in &files {
        canaries.check(name, content);
    }
    for log in &logs {
        canaries.check("the log", log.as_bytes());
    }

    // The search finds what is there.
    let mut control = Canaries::none();
    control.add(TokenReference::of(&token).unwrap().digest.as_bytes());
    assert!(files.iter().any(|(_, content)| control.find(content).is_some()), "the journal holds the token's digest");
    assert!(logs.iter().any(|log| log.contains(r#""level":"TRACE""#)), "the log is as long as it gets");
}

//! A small HTTP/1.1 client over a raw socket: it sees every byte, and sends what no honest client would.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::{Serializer, byte_serialize};
use serde_json::Value;

pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// What a client proves itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Credentials {
    pub(crate) fn new(id: &str, secret: &str) -> Self {
        Self { id: id.to_owned(), secret: secret.to_owned() }
    }

    /// The value of an `Authorization` header (RFC 6749 §2.3.1).
    pub(crate) fn basic(&self) -> String {
        let [id, secret] = [&self.id, &self.secret].map(|half| byte_serialize(half.as_bytes()).collect::<String>());
        format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
    }
}

/// A request that is being put together.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    head: String,
    body: Option<Vec<u8>>,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self { head: format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n"), body: None }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn post(target: &str) -> Self {
        Self::new("POST", target).with_body("")
    }

    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        write!(self.head, "{name}: {value}\r\n").unwrap();
        self
    }

    pub(crate) fn basic(self, client: &Credentials) -> Self {
        self.field("Authorization", &client.basic())
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.field("Authorization", &format!("Bearer {token}"))
    }

    /// A form with these parameters, encoded.
    pub(crate) fn form(self, parameters: &[(&str, &str)]) -> Self {
        let body = Serializer::new(String::new()).extend_pairs(parameters).finish();
        self.form_bytes(body)
    }

    /// A form as it stands.
    pub(crate) fn form_bytes(self, body: impl Into<Vec<u8>>) -> Self {
        self.field("Content-Type", FORM).with_body(body)
    }

    pub(crate) fn json(self, document: &Value) -> Self {
        self.json_text(&document.to_string())
    }

    pub(crate) fn json_text(self, document: &str) -> Self {
        self.field("Content-Type", "application/json").with_body(document)
    }

    pub(crate) fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone().into_bytes();
        if let Some(body) = &self.body {
            write!(bytes, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// An answer, without its `Date`: two answers are equal when their bytes are, but for the order of the header fields, which
/// actix-http draws at random.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// The value of a header field that is there once, or not at all.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values =
            self.fields.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| &**value);
        let (value, second) = (values.next(), values.next());
        assert_eq!(second, None, "{name} is repeated in {self:?}");
        value
    }

    /// All values of a header field.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| &**value).collect()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let is_json = |media_type: &str| media_type == "application/json" || media_type.ends_with("+json");
        assert!(self.field("content-type").is_some_and(is_json), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A member that is a string.
    #[track_caller]
    pub(crate) fn text(&self, member: &str) -> String {
        self.json()[member].as_str().unwrap_or_else(|| panic!("no string {member} in {self:?}")).to_owned()
    }

    /// The status and the `error` of an error response, whose form is checked (RFC 6749 §5.2).
    #[track_caller]
    pub(crate) fn error(&self) -> (u16, String) {
        assert!(self.status >= 400, "{self:?}");
        assert_eq!(self.field("cache-control"), Some("no-store"), "{self:?}");
        assert_eq!(self.status == 401, self.field("www-authenticate").is_some(), "{self:?}");
        let description = self.text("error_description");
        let is_readable = |byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5B | 0x5D..=0x7E);
        assert!(!description.is_empty() && description.bytes().all(is_readable), "{description:?}");
        (self.status, self.text("error"))
    }
}

trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// A connection that stays open until somebody closes it.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    received: Vec<u8>,
}

impl Connection {
    pub(crate) fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream: Box::new(stream), received: Vec::new() }
    }

    pub(crate) fn to_socket(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream: Box::new(stream), received: Vec::new() }
    }

    /// Sends bytes; answers whether the server took them.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        match self.stream.write_all(bytes) {
            Ok(()) => true,
            Err(error) if is_closed(error.kind()) => false,
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, request: &Request) -> Answer {
        self.send(&request.to_bytes());
        self.answer().expect("an answer")
    }

    /// The next answer; `None` when the server has closed the connection instead.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        self.read_answer(true)
    }

    /// The next answer, which answers a `HEAD` and so has no body.
    pub(crate) fn answer_without_body(&mut self) -> Option<Answer> {
        self.read_answer(false)
    }

    fn read_answer(&mut self, has_body: bool) -> Option<Answer> {
        let (mut answer, head_bytes) = loop {
            if let Some(parsed) = parse_head(&self.received) {
                break parsed;
            }
            if !self.receive() {
                assert_eq!(self.received.escape_ascii().to_string(), "", "the answer ends within its head");
                return None;
            }
        };
        assert_eq!(answer.field("transfer-encoding"), None);
        let length = answer.field("content-length").filter(|_| has_body);
        let end = head_bytes + length.map_or(0, |length| length.parse::<usize>().unwrap());
        while self.received.len() < end {
            assert!(self.receive(), "the answer ends within its body");
        }
        let bytes: Vec<u8> = self.received.drain(..end).collect();
        answer.body = String::from_utf8(bytes[head_bytes..].to_vec()).unwrap();
        Some(answer)
    }

    fn receive(&mut self) -> bool {
        let mut buffer = [0; 8192];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error) if is_closed(error.kind()) => false,
            Err(error) => panic!("the server neither answers nor closes: {error}"),
        }
    }
}

/// How long a server may be silent before a test gives up. No test passes by waiting.
const PATIENCE: Duration = Duration::from_secs(120);

fn is_closed(error: ErrorKind) -> bool {
    matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::NotConnected)
}

fn parse_head(received: &[u8]) -> Option<(Answer, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head_bytes) = response.parse(received).unwrap() else { return None };
    let fields = response.headers.iter().filter(|field| !field.name.eq_ignore_ascii_case("date"));
    let fields = fields.map(|field| (field.name.to_owned(), String::from_utf8(field.value.to_vec()).unwrap()));
    let mut fields: Vec<_> = fields.collect();
    fields.sort();
    Some((Answer { status: response.code.unwrap(), fields, body: String::new() }, head_bytes))
}

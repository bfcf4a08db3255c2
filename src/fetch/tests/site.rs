//! A site of a client's, over TLS, that behaves as told.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::fetch::allow::AllowList;
use crate::fetch::client::{FetchLimits, Fetcher, Roots};
use crate::fetch::resolve::{Resolve, Resolving};

/// Two authorities, and a certificate of the first for the names of the tests.
const CERTIFICATES: &str = r#"
    for name in authority other; do
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
            -subj "/CN=$name" -keyout $name.key -out $name.crt
    done
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=client -keyout client.key -out client.csr
    printf "subjectAltName=DNS:keys.client.example,DNS:b.client.example,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n" > extensions
    openssl x509 -req -days 2 -in client.csr -CA authority.crt -CAkey authority.key -CAcreateserial \
        -extfile extensions -out client.crt
"#;

static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| {
    let directory = TempDir::new().unwrap();
    let made = Command::new("sh").args(["-ec", CERTIFICATES]).current_dir(directory.path()).output().unwrap();
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
    directory
});

fn file(name: &str) -> PathBuf {
    DIRECTORY.path().join(name)
}

pub(crate) fn roots(name: &str) -> Roots {
    Roots::read(&file(name)).unwrap()
}

/// What a site does once it has read the head of a request.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    Answer(Vec<u8>),
    /// Answers when the test lets it.
    WhenReleased(Vec<u8>),
    /// This, and then one byte after the other, without an end.
    Drip(Vec<u8>),
    /// This, and then as much as is taken.
    Flood(Vec<u8>),
}

/// A running site. What it is, tests may change.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    behaviour: Mutex<Behaviour>,
    heads: Mutex<Vec<String>>,
    connections: AtomicUsize,
    /// How many requests wait for their answers, and how many have at most.
    waiting: watch::Sender<usize>,
    waiting_most: AtomicUsize,
    released: Semaphore,
    ended: watch::Sender<usize>,
}

impl Site {
    /// A site at a port that was free.
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), behaviour, true).await
    }

    pub(crate) async fn start_plain(behaviour: Behaviour) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), behaviour, false).await
    }

    pub(crate) async fn start_at(address: SocketAddr, behaviour: Behaviour, is_secure: bool) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let state = Arc::new(State {
            behaviour: Mutex::new(behaviour),
            heads: Mutex::default(),
            connections: AtomicUsize::new(0),
            waiting: watch::Sender::new(0),
            waiting_most: AtomicUsize::new(0),
            released: Semaphore::new(0),
            ended: watch::Sender::new(0),
        });
        let site = Self { address: listener.local_addr().unwrap(), state: Arc::clone(&state) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                state.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(Arc::clone(&state), stream, is_secure));
            }
        });
        site
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock().unwrap() = behaviour;
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// The heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.state.heads.lock().unwrap().clone()
    }

    pub(crate) async fn until_waiting(&self, count: usize) {
        self.state.waiting.subscribe().wait_for(|waiting| *waiting >= count).await.unwrap();
    }

    pub(crate) fn waiting_most(&self) -> usize {
        self.state.waiting_most.load(Ordering::Relaxed)
    }

    /// Lets all answer that wait, and all that come.
    pub(crate) fn release(&self) {
        self.state.released.add_permits(1000);
    }

    /// Waits until so many connections are over.
    pub(crate) async fn until_ended(&self, count: usize) {
        self.state.ended.subscribe().wait_for(|ended| *ended >= count).await.unwrap();
    }
}

async fn serve(state: Arc<State>, stream: TcpStream, is_secure: bool) {
    if is_secure {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let certificate = CertificateDer::from_pem_file(file("client.crt")).unwrap();
        let key = PrivateKeyDer::from_pem_file(file("client.key")).unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        if let Ok(stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await {
            answer(&state, stream).await;
        }
    } else {
        answer(&state, stream).await;
    }
    state.ended.send_modify(|ended| *ended += 1);
}

async fn answer(state: &State, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    state.heads.lock().unwrap().push(String::from_utf8(head).unwrap());
    let behaviour = state.behaviour.lock().unwrap().clone();
    match behaviour {
        Behaviour::Answer(answer) => drop(stream.write_all(&answer).await),
        Behaviour::WhenReleased(answer) => {
            state.waiting.send_modify(|waiting| *waiting += 1);
            state.waiting_most.fetch_max(*state.waiting.borrow(), Ordering::Relaxed);
            state.released.acquire().await.unwrap().forget();
            state.waiting.send_modify(|waiting| *waiting -= 1);
            drop(stream.write_all(&answer).await);
        }
        Behaviour::Drip(start) => {
            let _ = stream.write_all(&start).await;
            while stream.write_all(b" ").await.is_ok() && stream.flush().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        Behaviour::Flood(start) => {
            let _ = stream.write_all(&start).await;
            while stream.write_all(&[b' '; 16 * 1024]).await.is_ok() {}
        }
    }
    let _ = stream.shutdown().await;
}

/// An answer with these fields, each with its line's end, and this body.
pub(crate) fn http(status: u16, fields: &str, body: &str) -> Behaviour {
    Behaviour::Answer(
        format!("HTTP/1.1 {status} X\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes(),
    )
}

/// A resolver that answers one list after the other, the last again and again.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Answers {
    pub(crate) fn new(answers: &[&[&str]]) -> Arc<Self> {
        let addresses = |texts: &&[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self { answers: Mutex::new(answers.iter().map(addresses).collect()), asked: AtomicUsize::new(0) })
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Resolve for Answers {
    fn resolve<'a>(&'a self, _: &'a str) -> Resolving<'a> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Box::pin(std::future::ready(Ok(answer.unwrap_or_default())))
    }
}

/// Limits that no honest site of the tests reaches.
pub(crate) const LIMITS: FetchLimits = FetchLimits {
    connect: Duration::from_secs(60),
    whole: Duration::from_secs(60),
    body_bytes: 64 * 1024,
    at_once: 16,
    at_once_of_host: 2,
};

pub(crate) fn fetcher(allow: &str, limits: FetchLimits, resolver: Arc<Answers>) -> Fetcher {
    let allow: AllowList = allow.parse().unwrap();
    Fetcher::new(allow, limits, resolver, roots("authority.crt"))
}

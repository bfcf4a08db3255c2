//! What may happen to a connection, between a server and its database.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// What is done with the bytes of all connections, from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Pass,
    /// Every piece, of this many bytes at most, is held back for so long, in either direction.
    Slow(Duration, usize),
    /// Every byte is taken and none is passed on. A connection that has been through this stays so: it is half open.
    Swallow,
    /// Connections are reset, new ones at once.
    Cut,
}

/// What is done once, to the connection that it happens to first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trap {
    /// Resets it in place of passing a COMMIT.
    BeforeCommit,
    /// Passes a COMMIT and resets it in place of passing the answer, once that is there.
    LoseCommitReply,
    /// Resets it after so many more bytes to the database.
    AfterBytes(usize),
}

pub(super) struct Proxy {
    /// Where it listens.
    pub(super) host: String,
    mode: watch::Sender<Mode>,
    shared: Arc<Shared>,
    /// Dropped to end it.
    running: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    trap: Mutex<Option<Trap>>,
    accepted: AtomicUsize,
}

impl Proxy {
    /// In front of the server at that host and port.
    pub(super) fn to(host: &str) -> Self {
        let upstream = host.parse().unwrap();
        let (mode, modes) = watch::channel(Mode::Pass);
        let (running, ended) = oneshot::channel();
        let shared = Arc::new(Shared::default());
        let (own, (sender, address)) = (Arc::clone(&shared), std::sync::mpsc::channel());
        let thread = thread::spawn(move || {
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = accept(listener, upstream, modes, own) => (),
                    _ = ended => (),
                }
            });
        });
        let host = address.recv().unwrap().to_string();
        Self { host, mode, shared, running: Some(running), thread: Some(thread) }
    }

    pub(super) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    pub(super) fn lay(&self, trap: Trap) {
        *self.shared.trap.lock().unwrap() = Some(trap);
    }

    /// Whether the trap that was laid has sprung.
    pub(super) fn has_sprung(&self) -> bool {
        self.shared.trap.lock().unwrap().is_none()
    }

    /// How many connections were asked for.
    pub(super) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.running.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, modes: watch::Receiver<Mode>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        if *modes.borrow() == Mode::Cut {
            let _ = client.set_zero_linger();
            continue;
        }
        let (modes, shared) = (modes.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            // Where nobody listens, the client's connection ends too.
            if let Ok(database) = TcpStream::connect(upstream).await {
                let mut connection = Connection { client, database, modes, shared, last: Vec::new() };
                connection.run().await;
                let _ = connection.client.set_zero_linger();
                let _ = connection.database.set_zero_linger();
            }
        });
    }
}

struct Connection {
    client: TcpStream,
    database: TcpStream,
    modes: watch::Receiver<Mode>,
    shared: Arc<Shared>,
    /// The end of what the client has sent before: a COMMIT may come in pieces.
    last: Vec<u8>,
}

impl Connection {
    /// Passes on until one end closes or something happens to it.
    async fn run(&mut self) {
        let (mut asked, mut answered) = (vec![0; PIECE_BYTES_MAX], vec![0; PIECE_BYTES_MAX]);
        loop {
            let mode = *self.modes.borrow_and_update();
            let limit = if let Mode::Slow(_, bytes_max) = mode { bytes_max } else { PIECE_BYTES_MAX };
            match mode {
                Mode::Swallow => return self.swallow().await,
                Mode::Cut => return,
                Mode::Pass | Mode::Slow(..) => (),
            }
            tokio::select! {
                read = self.client.read(&mut asked[..limit]) => {
                    let Ok(count @ 1..) = read else { return };
                    hold_back(mode).await;
                    if self.pass_to_database(&asked[..count]).await.is_none() {
                        return;
                    }
                }
                read = self.database.read(&mut answered[..limit]) => {
                    let Ok(count @ 1..) = read else { return };
                    hold_back(mode).await;
                    if self.client.write_all(&answered[..count]).await.is_err() {
                        return;
                    }
                }
                changed = self.modes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// `None` when the connection ends.
    async fn pass_to_database(&mut self, bytes: &[u8]) -> Option<()> {
        let is_commit = self.ends_with_commit(bytes);
        let sprung = {
            let mut trap = self.shared.trap.lock().unwrap();
            match *trap {
                Some(Trap::BeforeCommit | Trap::LoseCommitReply) if is_commit => trap.take(),
                Some(Trap::AfterBytes(left)) if left <= bytes.len() => trap.take(),
                Some(Trap::AfterBytes(left)) => {
                    *trap = Some(Trap::AfterBytes(left - bytes.len()));
                    None
                }
                _ => None,
            }
        };
        match sprung {
            Some(Trap::BeforeCommit) => None,
            Some(Trap::AfterBytes(left)) => {
                let _ = self.database.write_all(&bytes[..left]).await;
                None
            }
            Some(Trap::LoseCommitReply) => {
                self.database.write_all(bytes).await.ok()?;
                // It has committed by the time that it answers.
                let _ = self.database.read(&mut [0; 64]).await;
                None
            }
            None => self.database.write_all(bytes).await.ok(),
        }
    }

    fn ends_with_commit(&mut self, bytes: &[u8]) -> bool {
        self.last.extend_from_slice(bytes);
        let is_commit = self.last.windows(COMMIT.len()).any(|window| window == COMMIT);
        let kept = if is_commit { 0 } else { self.last.len().min(COMMIT.len() - 1) };
        self.last.drain(..self.last.len() - kept);
        is_commit
    }

    async fn swallow(&mut self) {
        let mut bytes = vec![0; PIECE_BYTES_MAX];
        // What the database sends stays where it is.
        while let Ok(1..) = self.client.read(&mut bytes).await {}
    }
}

async fn hold_back(mode: Mode) {
    if let Mode::Slow(delay, _) = mode {
        tokio::time::sleep(delay).await;
    }
}

const COMMIT: &[u8] = b"COMMIT";
const PIECE_BYTES_MAX: usize = 64 << 10;

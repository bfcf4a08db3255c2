//! The listeners.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::HttpService;
use actix_http::error::DispatchError;
use actix_http::h1::H1Service;
use actix_server::{GracefulShutdownSignal, Server, ServerBuilder, ServerHandle};
use actix_service::{Service as _, ServiceFactory, ServiceFactoryExt as _, fn_factory, fn_service};
use actix_web::body::BoxBody;
use actix_web::rt::net::{ActixStream, TcpStream, UnixStream};
use actix_web::web::Data;

use crate::endpoint::Surface;
use crate::endpoint::fast_path::{End, FastPath, Limits};
use crate::endpoint::front::{FrontFactory, front};
use crate::endpoint::rewound::Rewound;
use crate::endpoint::service::{Gate, Worker};
use crate::endpoint::stream::Paced;
use crate::telemetry::http::HttpMetrics;

/// How long the head of a request may take to arrive; then 408.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may take to close.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a connection may be idle.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long requests that have begun may take to end when the server stops, in seconds.
const DRAIN_SECONDS: u64 = 20;
/// Connections of one worker; more wait in the backlog.
const CONNECTIONS_MAX: usize = 25_000;

/// A listener with its workers, to be awaited.
pub struct Listening {
    server: Server,
    /// Where it listens; empty for a Unix socket.
    pub addresses: Vec<SocketAddr>,
}

impl Listening {
    /// Listens on an address.
    ///
    /// # Errors
    ///
    /// What the system says when the address cannot be bound.
    pub fn on_address(
        address: SocketAddr,
        workers: usize,
        surface: Surface,
        gate: &Arc<Gate>,
        metrics: &Arc<HttpMetrics>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let addresses = vec![listener.local_addr()?];
        let builder = builder(workers);
        let stopping = builder.graceful_shutdown_signal();
        let (gate, metrics) = (Arc::clone(gate), Arc::clone(metrics));
        let builder = builder.listen("http", listener, move || {
            let worker = Data::new(Worker { gate: Arc::clone(&gate), metrics: metrics.worker() });
            connections(&stopping, surface, worker)
        })?;
        Ok(Self { server: builder.run(), addresses })
    }

    /// Listens on a Unix socket, in place of what is there. The directory keeps others out.
    ///
    /// # Errors
    ///
    /// What the system says when the socket cannot be bound.
    pub fn on_socket(path: &Path, gate: &Arc<Gate>, metrics: &Arc<HttpMetrics>) -> io::Result<Self> {
        let builder = builder(1);
        let stopping = builder.graceful_shutdown_signal();
        let (gate, metrics) = (Arc::clone(gate), Arc::clone(metrics));
        let builder = builder.bind_uds("admin", path, move || {
            let worker = Data::new(Worker { gate: Arc::clone(&gate), metrics: metrics.worker() });
            let answer_timeout = gate.answer_timeout;
            let connection =
                fn_service(move |stream: UnixStream| async move { Ok((Paced::new(stream, answer_timeout), None)) });
            connection.and_then(protocol(&stopping, Surface::Socket, worker))
        })?;
        Ok(Self { server: builder.run(), addresses: Vec::new() })
    }

    /// Stops it from elsewhere.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        self.server.handle()
    }

    /// Serves until it is stopped.
    ///
    /// # Errors
    ///
    /// What the system says when the listener fails.
    pub async fn serve(self) -> io::Result<()> {
        self.server.await
    }
}

fn builder(workers: usize) -> ServerBuilder {
    Server::build()
        .workers(workers)
        .max_concurrent_connections(CONNECTIONS_MAX)
        .shutdown_timeout(DRAIN_SECONDS)
        .disable_signals()
}

/// Serves connections on the fast path where the surface has one, until they leave it.
fn connections(
    stopping: &GracefulShutdownSignal,
    surface: Surface,
    worker: Data<Worker>,
) -> impl ServiceFactory<TcpStream, Config = (), InitError = (), Response = (), Error = DispatchError> + use<> {
    let stopping = stopping.clone();
    let protocol = Rc::new(protocol(&stopping, surface, Data::clone(&worker)));
    fn_factory(move || {
        let (worker, stopping, protocol) = (Data::clone(&worker), stopping.clone(), Rc::clone(&protocol));
        async move {
            let protocol = Rc::new(protocol.new_service(()).await?);
            let answer_timeout = worker.gate.answer_timeout;
            let fast_path = surface.has_oauth().then(|| Rc::new(FastPath::new(worker, FAST_PATH_LIMITS)));
            if let Some(fast_path) = &fast_path {
                fast_path.watch(async move { stopping.notified().await });
            }
            Ok(fn_service(move |stream: TcpStream| {
                let (fast_path, protocol) = (fast_path.clone(), Rc::clone(&protocol));
                async move {
                    let peer = stream.peer_addr().ok();
                    let stream = Paced::new(stream, answer_timeout);
                    let (stream, read) = match fast_path {
                        None => (stream, Vec::new()),
                        Some(fast_path) => match fast_path.serve(stream).await? {
                            End::Closed => return Ok(()),
                            End::Other { stream, read } => (stream, read),
                        },
                    };
                    // In a box, so that connections that stay on the fast path do not carry its state.
                    Box::pin(protocol.call((Rewound::new(read, stream), peer))).await
                }
            }))
        }
    })
}

const FAST_PATH_LIMITS: Limits = Limits { head: HEAD_TIMEOUT, idle: KEEP_ALIVE };

fn protocol<T: ActixStream + 'static>(
    stopping: &GracefulShutdownSignal,
    surface: Surface,
    worker: Data<Worker>,
) -> H1Service<T, impl FrontFactory + use<T>, BoxBody> {
    let stopping = stopping.clone();
    HttpService::build()
        // Idle connections are closed when the server stops, instead of being waited for.
        .graceful_shutdown_signal(move || {
            let stopping = stopping.clone();
            async move { stopping.notified().await }
        })
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        .h1(front(surface, worker))
}

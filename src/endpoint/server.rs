//! The listeners.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::web::Data;
use actix_web::{App, HttpServer};

use crate::endpoint::service::{Gate, Worker};
use crate::endpoint::{Surface, configure};
use crate::telemetry::http::HttpMetrics;

/// How long the head of a request may take to arrive; then 408.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
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
        let (gate, metrics) = (Arc::clone(gate), Arc::clone(metrics));
        let server = HttpServer::new(move || {
            let worker = Worker { gate: Arc::clone(&gate), metrics: metrics.worker() };
            App::new().app_data(Data::new(worker)).configure(|app| configure(surface, app))
        });
        let server = server
            .workers(workers)
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(HEAD_TIMEOUT)
            .max_connections(CONNECTIONS_MAX)
            .shutdown_timeout(DRAIN_SECONDS)
            .disable_signals()
            .bind(address)?;
        let addresses = server.addrs();
        Ok(Self { server: server.run(), addresses })
    }

    /// Listens on a Unix socket, in place of what is there. The directory keeps others out.
    ///
    /// # Errors
    ///
    /// What the system says when the socket cannot be bound.
    pub fn on_socket(path: &Path, gate: &Arc<Gate>, metrics: &Arc<HttpMetrics>) -> io::Result<Self> {
        let (gate, metrics) = (Arc::clone(gate), Arc::clone(metrics));
        let server = HttpServer::new(move || {
            let worker = Worker { gate: Arc::clone(&gate), metrics: metrics.worker() };
            App::new().app_data(Data::new(worker)).configure(|app| configure(Surface::Socket, app))
        });
        let server = server
            .workers(1)
            .client_request_timeout(HEAD_TIMEOUT)
            .shutdown_timeout(DRAIN_SECONDS)
            .disable_signals()
            .bind_uds(path)?;
        Ok(Self { server: server.run(), addresses: Vec::new() })
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

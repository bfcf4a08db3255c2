//! The steps of a request, one at a time: see `crate::benching`.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Data;
use futures_util::FutureExt as _;

use crate::client::registry::ClientRegistry;
use crate::clock::Clock;
use crate::endpoint::client_authentication::{self, CREDENTIALS_BYTES_MAX};
use crate::endpoint::fast_path::{FastPath, Limits};
use crate::endpoint::form::Form;
use crate::endpoint::introspect_batch::BatchRequest;
use crate::endpoint::loaded::Fields;
use crate::endpoint::posted::Parsed;
use crate::endpoint::service::{Gate, Service, Worker};
use crate::telemetry::http::HttpMetrics;

/// Reads a form, and answers the length of its `token`.
#[must_use]
pub fn parse_form(body: &[u8]) -> Option<usize> {
    Form::parse(body).ok()?.find("token").map(str::len)
}

/// Reads an `Authorization: Basic` header, and answers the lengths of both halves.
#[must_use]
pub fn read_basic(field: &[u8]) -> Option<(usize, usize)> {
    let mut buffer = [0; CREDENTIALS_BYTES_MAX];
    let (id, secret) = client_authentication::read_basic(field, &mut buffer).ok()?;
    Some((id.len(), secret.len()))
}

/// The length of the name of the client that a request proves itself to be, by its `Authorization` header or by its form.
#[must_use]
pub fn authenticate(registry: &ClientRegistry, authorization: Option<&[u8]>, form: Option<&[u8]>) -> Option<usize> {
    let form = form.map(Form::parse).transpose().ok()?;
    let fields = Fields { authorization, ..Fields::default() };
    let clients = registry.read();
    let client = client_authentication::authenticate(&clients, &fields, form.as_ref()).ok()?;
    Some(client.id.as_str().len())
}

/// Reads the body of a batch, and answers how many tokens are in it.
#[must_use]
pub fn parse_batch(body: &[u8]) -> Option<usize> {
    BatchRequest::parse(body).ok().map(|batch| batch.tokens().len())
}

/// A server that is ready, without connections: what its workers share.
pub struct Ready {
    gate: Arc<Gate>,
    metrics: HttpMetrics,
}

impl Ready {
    /// For a service, at a time that is `clock`'s.
    #[must_use]
    pub fn new(service: Service, clock: Arc<Clock>) -> Self {
        let gate = Gate::new(clock, Arc::default(), Duration::MAX, Duration::MAX);
        gate.open(service);
        Self { gate: Arc::new(gate), metrics: HttpMetrics::default() }
    }

    /// One more worker.
    #[must_use]
    pub fn worker(&self) -> Requests {
        let worker = Worker { gate: Arc::clone(&self.gate), metrics: self.metrics.worker() };
        let limits = Limits { head: Duration::MAX, idle: Duration::MAX };
        Requests { path: FastPath::new(Data::new(worker), limits), answers: Vec::with_capacity(1 << 20) }
    }
}

/// A worker of a server that is ready.
pub struct Requests {
    path: FastPath,
    answers: Vec<u8>,
}

impl Requests {
    /// All that a worker does between reading the bytes of a request and writing those of its answer. `None` if they are no
    /// whole request of the fast path, or its answer waits for something.
    #[must_use]
    pub fn answer(&mut self, request: &[u8]) -> Option<&[u8]> {
        self.answers.clear();
        let Parsed::Whole(request) = Parsed::of(request) else { return None };
        self.path.answer(&request, &mut self.answers).now_or_never()?;
        Some(&self.answers)
    }
}

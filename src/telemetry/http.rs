//! What the HTTP workers count.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::telemetry::cell::{Counter, Histogram};

/// Something that is served, as metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /oauth2/token`
    Token,
    /// `POST /oauth2/introspect`
    Introspect,
    /// `POST /oauth2/introspect/batch`
    IntrospectBatch,
    /// `POST /oauth2/revoke`
    Revoke,
    /// `GET|POST /oauth2/authorize`
    Authorize,
    /// `GET|POST /oauth2/userinfo`
    Userinfo,
    /// `POST /oauth2/consent`
    Consent,
    /// `POST /oauth2/par`
    Par,
    /// `POST /oauth2/device_authorization`
    DeviceAuthorization,
    /// `POST /oauth2/register`
    Register,
    /// `GET|POST /oauth2/logout`
    EndSession,
    /// `GET|POST /login`
    Login,
    /// `GET|POST /logout`
    Logout,
    /// `/account`
    Account,
    /// `GET|POST /device`
    Device,
    /// `GET /assets`
    Asset,
    /// `GET /.well-known/oauth-authorization-server`
    Metadata,
    /// `GET /oauth2/jwks`
    Jwks,
    /// `GET /livez`
    Livez,
    /// `GET /readyz`
    Readyz,
    /// `GET /metrics`
    Metrics,
    /// `/admin/v1/clients`
    AdminClients,
    /// `/admin/v1/logins`
    AdminLogins,
    /// `/admin/v1/users`
    AdminUsers,
    /// `/admin/v1/grants`
    AdminGrants,
    /// `/admin/v1/keys`
    AdminKeys,
    /// `/admin/v1/initial-access-tokens`
    AdminRegistration,
    /// `POST /admin/v1/snapshots`
    AdminSnapshots,
    /// `POST /admin/v1/backup`
    AdminBackup,
    /// Anything else.
    Other,
}

impl Endpoint {
    /// Every endpoint, in the order of its cells.
    pub const ALL: [Self; 30] = [
        Self::Token,
        Self::Introspect,
        Self::IntrospectBatch,
        Self::Revoke,
        Self::Authorize,
        Self::Userinfo,
        Self::Consent,
        Self::Par,
        Self::DeviceAuthorization,
        Self::Register,
        Self::EndSession,
        Self::Login,
        Self::Logout,
        Self::Account,
        Self::Device,
        Self::Asset,
        Self::Metadata,
        Self::Jwks,
        Self::Livez,
        Self::Readyz,
        Self::Metrics,
        Self::AdminClients,
        Self::AdminLogins,
        Self::AdminUsers,
        Self::AdminGrants,
        Self::AdminKeys,
        Self::AdminRegistration,
        Self::AdminSnapshots,
        Self::AdminBackup,
        Self::Other,
    ];

    /// The value of the label `endpoint`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Introspect => "introspect",
            Self::IntrospectBatch => "introspect_batch",
            Self::Revoke => "revoke",
            Self::Authorize => "authorize",
            Self::Userinfo => "userinfo",
            Self::Consent => "consent",
            Self::Par => "par",
            Self::DeviceAuthorization => "device_authorization",
            Self::Register => "register",
            Self::EndSession => "end_session",
            Self::Login => "login",
            Self::Logout => "logout",
            Self::Account => "account",
            Self::Device => "device",
            Self::Asset => "asset",
            Self::Metadata => "metadata",
            Self::Jwks => "jwks",
            Self::Livez => "livez",
            Self::Readyz => "readyz",
            Self::Metrics => "metrics",
            Self::AdminClients => "admin_clients",
            Self::AdminLogins => "admin_logins",
            Self::AdminUsers => "admin_users",
            Self::AdminGrants => "admin_grants",
            Self::AdminKeys => "admin_keys",
            Self::AdminRegistration => "admin_registration",
            Self::AdminSnapshots => "admin_snapshots",
            Self::AdminBackup => "admin_backup",
            Self::Other => "other",
        }
    }
}

/// The statuses that are counted one by one; any other counts under the last.
pub const STATUSES: [u16; 19] =
    [200, 201, 204, 303, 304, 400, 401, 403, 404, 405, 408, 409, 413, 414, 415, 429, 431, 503, 500];

/// What one worker counts of one endpoint. Only the worker's own thread writes it.
#[derive(Debug, Default)]
pub struct EndpointCells {
    /// Requests by status, in the order of [`STATUSES`].
    pub by_status: [Counter; STATUSES.len()],
    /// From the request's head read to the response made, in nanoseconds.
    pub duration: Histogram,
}

/// What one worker counts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerMetrics {
    endpoints: [EndpointCells; Endpoint::ALL.len()],
}

impl WorkerMetrics {
    /// Counts one request.
    pub fn record(&self, endpoint: Endpoint, status: u16, duration: Duration) {
        let Some(cells) = self.endpoints.get(endpoint as usize) else { return };
        let place = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len() - 1);
        if let Some(count) = cells.by_status.get(place) {
            count.increment();
        }
        cells.duration.observe_duration(duration);
    }

    /// The cells of an endpoint.
    #[must_use]
    pub fn cells(&self, endpoint: Endpoint) -> Option<&EndpointCells> {
        self.endpoints.get(endpoint as usize)
    }
}

/// The cells of all workers. Each worker gets its own, so that no two cores write one line of memory.
#[derive(Debug, Default)]
pub struct HttpMetrics {
    workers: Mutex<Vec<Arc<WorkerMetrics>>>,
}

impl HttpMetrics {
    /// The cells of one more worker.
    #[must_use]
    pub fn worker(&self) -> Arc<WorkerMetrics> {
        let worker = Arc::new(WorkerMetrics::default());
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&worker));
        worker
    }

    /// The cells of every worker so far.
    #[must_use]
    pub fn workers(&self) -> Vec<Arc<WorkerMetrics>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

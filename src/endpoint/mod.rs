//! HTTP: one file per endpoint. The only room that knows actix-web.
//!
//! A worker reads the request whole, authenticates its caller, and reads a shard's view or asks an actor. What goes wrong
//! comes back as a `Rejection`, which `reject.rs` alone turns into a status.
//!
//! ```text
//!             usual: POST to an endpoint that carries the load
//! connection ─▶ fast_path ─▶ posted ─▶ loaded ─▶ introspect, introspect_batch, token, revoke
//!                  │ anything else, with the connection           ▲
//!                  └──▶ actix-http ─▶ front ──────────────────────┘
//!                                       └──▶ actix-web's router ─▶ admin, health, metadata, metrics, snapshot
//! ```

mod admin;
#[cfg(feature = "bench")]
pub(crate) mod benching;
mod client_authentication;
mod fast_path;
mod form;
mod front;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod health;
mod introspect;
mod introspect_batch;
mod loaded;
mod metadata;
mod metrics;
mod posted;
mod reject;
mod request;
mod revoke;
mod rewound;
pub mod server;
pub mod service;
mod snapshot;
mod stream;
mod token;
mod turns;

use actix_web::web::{self, ServiceConfig};

pub(crate) use crate::endpoint::admin::ADMIN_SCOPE;
use crate::endpoint::reject::Rejection;
use crate::endpoint::request::serve;
use crate::telemetry::http::Endpoint;

/// Which endpoints an address serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// All of them; the admin API wants a bearer token.
    Everything,
    /// Those of OAuth, and the probes.
    OAuth,
    /// The admin API with a bearer token, the metrics and the probes.
    Admin,
    /// The admin API without a token: who can open the Unix socket may use it.
    Socket,
}

impl Surface {
    fn has_oauth(self) -> bool {
        matches!(self, Self::Everything | Self::OAuth)
    }
}

/// The endpoints that go through actix-web's router. Those that carry the load stand in `loaded.rs`, before it.
fn configure(surface: Surface, app: &mut ServiceConfig) {
    if surface.has_oauth() {
        app.service(only_get(metadata::PATH, web::get().to(metadata::metadata)))
            .service(only_get(metadata::PATH_WITH_ISSUER, web::get().to(metadata::metadata)));
    }
    if surface != Surface::OAuth {
        admin::configure(surface, app);
        app.service(only_get("/metrics", web::get().to(metrics::metrics)));
    }
    app.service(only_get("/livez", web::get().to(health::livez)))
        .service(only_get("/readyz", web::get().to(health::readyz)))
        .default_service(web::to(not_found));
}

fn only_get(path: &'static str, route: actix_web::Route) -> actix_web::Resource {
    web::resource(path).route(route).default_service(web::to(get_allowed))
}

fn only_post(path: &'static str, route: actix_web::Route) -> actix_web::Resource {
    web::resource(path).route(route).default_service(web::to(post_allowed))
}

macro_rules! rejecting {
    ($($name:ident => $rejection:expr;)*) => {$(
        async fn $name(
            request: actix_web::HttpRequest,
            payload: web::Payload,
            worker: web::Data<service::Worker>,
        ) -> actix_web::HttpResponse {
            serve(&worker, Endpoint::Other, request.head(), payload.into_inner(), request::FORM_BYTES_MAX, async |_| Err($rejection)).await
        }
    )*};
}

rejecting! {
    not_found => Rejection::NotFound;
    post_allowed => Rejection::MethodNotAllowed("POST");
    get_allowed => Rejection::MethodNotAllowed("GET");
    post_or_get_allowed => Rejection::MethodNotAllowed("POST, GET");
    get_put_or_delete_allowed => Rejection::MethodNotAllowed("GET, PUT, DELETE");
}

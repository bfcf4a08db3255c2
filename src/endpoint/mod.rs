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

mod access;
mod account;
mod admin;
mod admin_grants;
mod admin_keys;
mod admin_registration;
mod admin_users;
mod asset;
mod authorize;
#[cfg(feature = "bench")]
pub(crate) mod benching;
mod client_address;
mod client_authentication;
mod consent;
mod cors;
mod device;
mod device_authorization;
mod end_session;
mod fast_path;
mod form;
mod front;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub mod guesses;
mod health;
mod introspect;
mod introspect_batch;
mod jwks;
mod loaded;
mod login;
mod logins;
mod logout;
mod metadata;
mod metrics;
mod mint;
pub mod operator_login;
pub mod page;
mod par;
mod posted;
pub mod register;
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
mod userinfo;
mod visit;

use actix_web::guard;
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
        app.service(for_everybody(metadata::PATH, web::get().to(metadata::metadata)))
            .service(for_everybody(metadata::PATH_WITH_ISSUER, web::get().to(metadata::metadata)))
            .service(for_everybody(metadata::OPENID_PATH, web::get().to(metadata::metadata)))
            .service(for_everybody(metadata::OPENID_PATH_WITH_ISSUER, web::get().to(metadata::metadata)))
            .service(for_everybody(jwks::PATH, web::get().to(jwks::jwks)))
            .service(authorization_endpoint())
            .service(userinfo_endpoint())
            .service(only_post("/oauth2/consent", web::post().to(consent::consent)))
            .service(only_post(register::PATH, web::post().to(register::register)))
            .service(only_post("/oauth2/par", web::post().to(par::push)))
            .service(only_post("/oauth2/device_authorization", web::post().to(device_authorization::authorize)));
    }
    if surface.has_oauth() {
        configure_pages(app);
    }
    if surface != Surface::OAuth {
        admin::configure(surface, app);
        app.service(only_get("/metrics", web::get().to(metrics::metrics)));
    }
    app.service(only_get("/livez", web::get().to(health::livez)))
        .service(only_get("/readyz", web::get().to(health::readyz)))
        .default_service(web::to(not_found));
}

/// What people see.
fn configure_pages(app: &mut ServiceConfig) {
    let form = |path: &'static str, get: actix_web::Route, post: actix_web::Route| {
        web::resource(path).route(get).route(post).default_service(web::to(post_or_get_allowed))
    };
    app.service(form(login::PATH, web::get().to(login::get), web::post().to(login::post)))
        .service(form(logout::PATH, web::get().to(logout::get), web::post().to(logout::post)))
        .service(form(
            end_session::PATH,
            web::get().to(end_session::end_session),
            web::post().to(end_session::end_session),
        ))
        .service(form(device::PATH, web::get().to(device::get), web::post().to(device::post)))
        .service(only_get(device::DONE_PATH, web::get().to(device::done)))
        .service(only_get(account::PATH, web::get().to(account::get)))
        .service(only_post(account::END_SESSION_PATH, web::post().to(account::end_session)))
        .service(only_post(account::END_ALL_PATH, web::post().to(account::end_all)))
        .service(only_post(account::REVOKE_PATH, web::post().to(account::revoke)))
        .service(only_get(asset::PATH, web::get().to(asset::get)));
}

fn authorization_endpoint() -> actix_web::Resource {
    web::resource(authorize::PATH)
        .route(web::get().to(authorize::authorize))
        .route(web::post().to(authorize::authorize))
        .default_service(web::to(post_or_get_allowed))
}

fn userinfo_endpoint() -> actix_web::Resource {
    let preflight = web::route().guard(guard::fn_guard(|context| cors::is_preflight(context.head())));
    web::resource(userinfo::PATH)
        .route(web::get().to(userinfo::userinfo))
        .route(web::post().to(userinfo::userinfo))
        .route(preflight.to(userinfo::preflight))
        .default_service(web::to(post_or_get_allowed))
}

fn only_get(path: &'static str, route: actix_web::Route) -> actix_web::Resource {
    web::resource(path).route(route).default_service(web::to(get_allowed))
}

/// A document that any page may read too.
fn for_everybody(path: &'static str, route: actix_web::Route) -> actix_web::Resource {
    let preflight = web::route().guard(guard::fn_guard(|context| cors::is_preflight(context.head())));
    only_get(path, route).route(preflight.to(get_allowed_for_pages))
}

async fn get_allowed_for_pages(
    request: actix_web::HttpRequest,
    payload: web::Payload,
    worker: web::Data<service::Worker>,
) -> actix_web::HttpResponse {
    serve(&worker, Endpoint::Metadata, request.head(), payload.into_inner(), 0, async |_| Ok(cors::allow_get())).await
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
    get_or_delete_allowed => Rejection::MethodNotAllowed("GET, DELETE");
    delete_allowed => Rejection::MethodNotAllowed("DELETE");
    get_patch_or_delete_allowed => Rejection::MethodNotAllowed("GET, PATCH, DELETE");
    get_put_or_delete_allowed => Rejection::MethodNotAllowed("GET, PUT, DELETE");
}

//! What a request meets first: the endpoints that carry the load, answered without actix-web's router, extractors and boxed
//! futures; everything else goes on to them.

use std::rc::Rc;

use actix_http::{Request, Response};
use actix_service::{IntoServiceFactory as _, map_config};
use actix_web::body::BoxBody;
use actix_web::dev::{AppConfig, Payload, RequestHead, Service, ServiceFactory, fn_factory, fn_service};
use actix_web::http::Method;
use actix_web::web::Data;
use actix_web::{App, Error, HttpResponse};

use crate::endpoint::cors::{allow_post, is_preflight};
use crate::endpoint::loaded::Loaded;
use crate::endpoint::reject::Rejection;
use crate::endpoint::request::{Arrived, FORM_BYTES_MAX, serve};
use crate::endpoint::service::Worker;
use crate::endpoint::{Surface, configure};
use crate::telemetry::http::Endpoint;

/// What makes the service of a worker.
pub(super) trait FrontFactory:
    ServiceFactory<
        Request,
        Config = (),
        Response = Response<BoxBody>,
        Error = Error,
        InitError = (),
        Service: Service<Request, Future: 'static>,
        Future: 'static,
    >
{
}

impl<F> FrontFactory for F where
    F: ServiceFactory<
            Request,
            Config = (),
            Response = Response<BoxBody>,
            Error = Error,
            InitError = (),
            Service: Service<Request, Future: 'static>,
            Future: 'static,
        >
{
}

/// The service of one worker.
pub(super) fn front(surface: Surface, worker: Data<Worker>) -> impl FrontFactory {
    let app = App::new().app_data(Data::clone(&worker)).configure(|app| configure(surface, app)).into_factory();
    let app = Rc::new(map_config(app, |()| AppConfig::default()));
    fn_factory(move || {
        let (worker, app) = (Data::clone(&worker), Rc::clone(&app));
        async move {
            let app = Rc::new(app.new_service(()).await?);
            Ok(fn_service(move |mut request: Request| {
                let (worker, app) = (Data::clone(&worker), Rc::clone(&app));
                async move {
                    match Loaded::at(request.path()).filter(|_| surface.has_oauth()) {
                        Some(loaded) => {
                            let payload = request.take_payload();
                            Ok(answer(loaded, &worker, request.head(), payload).await.into())
                        }
                        None => Box::pin(app.call(request))
                            .await
                            .map(|answered| Response::from(HttpResponse::from(answered))),
                    }
                }
            }))
        }
    })
}

async fn answer(loaded: Loaded, worker: &Worker, head: &RequestHead, payload: Payload) -> HttpResponse {
    if loaded.is_for_pages() && is_preflight(head) {
        return serve(worker, loaded.endpoint(), head, payload, 0, async |_| Ok(allow_post(head))).await;
    }
    if head.method != Method::POST {
        return serve(worker, Endpoint::Other, head, payload, FORM_BYTES_MAX, refuse_method).await;
    }
    let body_bytes_max = loaded.body_bytes_max();
    serve(worker, loaded.endpoint(), head, payload, body_bytes_max, async |request| loaded.respond(request).await).await
}

async fn refuse_method(_: Arrived<'_>) -> Result<HttpResponse, Rejection> {
    Err(Rejection::MethodNotAllowed("POST"))
}

//! The floor: a bare actix-web server that answers every request with one canned JSON body. Tessera's cost per request
//! is compared to it. It has the server's allocator and nothing else of the server's.

use std::io;

use actix_web::{App, HttpResponse, HttpServer, web};
use clap::Args;

use crate::serve::Listen;

/// What it answers, and where.
#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    listen: Listen,
    /// Bytes in the body of an answer; at least 10.
    #[arg(long, default_value_t = 200)]
    body_bytes: usize,
}

/// Serves until a signal ends it.
pub(super) fn serve(options: &Options) -> io::Result<()> {
    let body = web::Bytes::from(canned_body(options.body_bytes));
    let server = HttpServer::new(move || {
        let body = body.clone();
        // Takes the request's body: actix-web closes a connection whose request was not read to its end.
        App::new().default_service(web::to(move |_request: web::Bytes| {
            let answer = HttpResponse::Ok().content_type("application/json").body(body.clone());
            async move { answer }
        }))
    });
    let Listen { listen, workers } = options.listen;
    let server = server.workers(workers).shutdown_timeout(1).bind(listen)?;
    actix_web::rt::System::new().block_on(server.run())
}

/// A JSON object of exactly `bytes` bytes: `{"pad":"…"}`.
fn canned_body(bytes: usize) -> String {
    const CLOSE: &str = r#""}"#;
    let pad = "x".repeat(bytes.saturating_sub(OPEN.len() + CLOSE.len()));
    format!("{OPEN}{pad}{CLOSE}")
}

const OPEN: &str = r#"{"pad":""#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canned_body_is_json_of_the_length_that_was_asked_for() {
        for bytes in [10, 16, 200] {
            let body = canned_body(bytes);
            assert_eq!(body.len(), bytes);
            assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok(), "{body}");
        }
    }
}

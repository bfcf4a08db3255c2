//! The floor: a bare actix-web server that answers every request with one canned JSON body. Tessera's cost per request
//! is compared to it. It has the server's allocator and nothing else of the server's.

use std::io;

use actix_web::{App, HttpResponse, HttpServer, web};
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Answers every request with the same JSON body.
#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8079")]
    listen: String,
    /// HTTP worker threads.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Bytes in the body of an answer; at least 10.
    #[arg(long, default_value_t = 200)]
    body_bytes: usize,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let body = web::Bytes::from(canned_body(arguments.body_bytes));
    let server = HttpServer::new(move || {
        let body = body.clone();
        // Takes the request's body: actix-web closes a connection whose request was not read to its end.
        App::new().default_service(web::to(move |_request: web::Bytes| {
            let answer = HttpResponse::Ok().content_type("application/json").body(body.clone());
            async move { answer }
        }))
    });
    actix_web::rt::System::new()
        .block_on(server.workers(arguments.workers).shutdown_timeout(1).bind(arguments.listen)?.run())
}

/// A JSON object of exactly `bytes` bytes: `{"pad":"…"}`.
fn canned_body(bytes: usize) -> String {
    const OPEN: &str = r#"{"pad":""#;
    const CLOSE: &str = r#""}"#;
    let pad = "x".repeat(bytes.saturating_sub(OPEN.len() + CLOSE.len()));
    format!("{OPEN}{pad}{CLOSE}")
}

//! `loadtest serve`: what Tessera is compared with, as servers of their own process.

mod floor;
pub(crate) mod rival;

use std::io;
use std::net::SocketAddr;

use clap::{Args, Subcommand};

/// Which server.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    server: Server,
}

#[derive(Subcommand, Debug)]
enum Server {
    /// A bare actix-web server that answers every request with one canned JSON body.
    Floor(floor::Options),
    /// A handler that keeps the digests of tokens in Redis.
    Rival(rival::Options),
}

/// Where a server listens, and with how many threads.
#[derive(Args, Debug)]
struct Listen {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8079")]
    listen: SocketAddr,
    /// HTTP worker threads.
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

/// Serves until a signal ends it.
pub(crate) fn run(options: Options) -> io::Result<()> {
    match options.server {
        Server::Floor(options) => floor::serve(&options),
        Server::Rival(options) => rival::serve(options),
    }
}

//! A server under load.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::Instant;

use crate::callers::{Prepared, Rate, introspect_until, issue_until, prepare};
use crate::client::{Connection, Credentials};
use crate::database::DatabaseError;
use crate::database::report::{Phase, Seen};
use crate::projection::Projection;
use crate::server::{Installation, Server};

/// What is asked of the server in every phase.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Load {
    pub(super) introspection: Rate,
    pub(super) issue: Rate,
    /// Tokens a second that the server can issue without a database. `None` where nobody has looked.
    pub(super) peak: Option<u32>,
}

/// A server, and what was issued there.
pub(super) struct Site {
    pub(super) installation: Installation,
    pub(super) server: Server,
    prepared: Prepared,
    /// Tokens that it has acknowledged.
    pub(super) issued: u64,
    /// Requests for a token that were not answered rightly: some may have been issued nevertheless.
    pub(super) unknown: u64,
}

impl Site {
    /// Starts a server and registers who calls there.
    pub(super) async fn open(installation: Installation) -> Result<Self, DatabaseError> {
        let mut server = installation.start(&[])?;
        server.ready().await?;
        let prepared = prepare(&installation).await?;
        let issued = prepared.issued;
        Ok(Self { installation, server, prepared, issued, unknown: 0 })
    }

    /// How many tokens a second it issues when each of so many connections asks for the next as soon as it has one.
    pub(super) async fn peak(&mut self, connections: u32, time: Duration) -> u32 {
        let end = Instant::now() + time;
        let (address, client) = (self.installation.address, &self.prepared.client);
        let issued = join_all((0..connections).map(|_| issue_as_fast_as_can_be(address, client, end))).await;
        let issued = issued.into_iter().sum::<u64>();
        self.issued += issued;
        u32::try_from(issued / time.as_secs().max(1)).unwrap_or(u32::MAX)
    }

    /// Loads it until some work is done: what callers saw, and what became of the work.
    pub(super) async fn load_while<T>(&mut self, load: Load, work: impl Future<Output = T>) -> (Phase, T) {
        let (address, Prepared { client, tokens, .. }) = (self.installation.address, &self.prepared);
        let (began, end) = (Instant::now(), Cell::new(None));
        let (introspections, issues, (done, lasted)) = tokio::join!(
            introspect_until(address, &self.installation.admin, tokens, load.introspection, &end),
            issue_until(address, client, load.issue, &end),
            async {
                let done = work.await;
                end.set(Some(Instant::now()));
                (done, began.elapsed())
            }
        );
        self.issued += issues.answered();
        self.unknown += issues.errors;
        (Phase::new(Seen::of(&introspections), Seen::of(&issues), lasted), done)
    }
}

/// How far the database of the server there is.
pub(super) async fn projection(address: SocketAddr) -> Result<Projection, DatabaseError> {
    let mut connection = Connection::open(address).await?;
    Projection::ask(&mut connection).await?.ok_or(DatabaseError::NoDatabase)
}

async fn issue_as_fast_as_can_be(address: SocketAddr, client: &Credentials, end: Instant) -> u64 {
    let mut issued = 0;
    let Ok(mut connection) = Connection::open(address).await else { return issued };
    while Instant::now() < end {
        match connection.ask(client.issue()).await {
            Ok(answer) if answer.access_token().is_some() => issued += 1,
            _ => break,
        }
    }
    issued
}

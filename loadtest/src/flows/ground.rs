//! What every flow stands on: a server, who administers it, and clients that all users share.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use hyper::StatusCode;
use serde::Serialize;
use tokio::time::Instant;

use crate::client::{Bearer, Connection, Credentials, NoAnswer};
use crate::people::{Account, PeopleRegistration};

/// What every flow stands on.
pub(super) struct Ground {
    pub(super) address: SocketAddr,
    /// May use the admin API.
    pub(super) operator: Credentials,
    /// May introspect every token.
    pub(super) gateway: Credentials,
    /// May introspect its own tokens alone, and has none.
    pub(super) neighbour: Credentials,
    /// Its tokens live longer than a run.
    pub(super) app: Credentials,
    /// Its tokens expire at once.
    pub(super) brief: Credentials,
    /// People let it act for them without being asked.
    pub(super) portal: Credentials,
    /// People are asked about it.
    pub(super) guest: Credentials,
    /// Of people that nobody has taken the part of yet.
    accounts: Mutex<Vec<Account>>,
    /// When users may begin.
    pub(super) begun: Instant,
}

/// A client to be registered under an id that the server makes (RFC 7591 §2, with our own additions).
#[derive(Serialize)]
pub(super) struct Registration {
    pub(super) client_name: &'static str,
    pub(super) scope: &'static str,
    pub(super) introspection: &'static str,
    pub(super) access_token_lifetime_seconds: u32,
}

impl Registration {
    /// That may introspect its own tokens.
    pub(super) const fn own(client_name: &'static str, access_token_lifetime_seconds: u32) -> Self {
        Self { client_name, scope: "read write", introspection: "own", access_token_lifetime_seconds }
    }
}

/// Why there is no ground.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GroundError {
    #[error("the server did not answer while clients were registered or deleted: {0}")]
    NoAnswer(#[from] NoAnswer),
    #[error("the admin is not issued a token (status {0}): see to its id and its secret")]
    NotLoggedIn(StatusCode),
    #[error("a client was not registered or deleted (status {0}): the admin needs the scope tessera.admin")]
    Refused(StatusCode),
}

const DAY_SECONDS: u32 = 24 * 3600;

impl Ground {
    /// Registers the clients that all users share, and makes accounts for so many people.
    pub(super) async fn prepare(address: SocketAddr, operator: &Credentials, people: u16) -> Result<Self, GroundError> {
        let mut desk = Desk::open(address, operator).await?;
        let gateway = Registration { introspection: "any", ..Registration::own("flows: gateway", DAY_SECONDS) };
        let gateway = desk.register(&gateway).await?;
        let neighbour = desk.register(&Registration::own("flows: neighbour", DAY_SECONDS)).await?;
        let app = desk.register(&Registration::own("flows: app", DAY_SECONDS)).await?;
        let brief = desk.register(&Registration::own("flows: brief", 1)).await?;
        let portal = desk.register(&PeopleRegistration::new("flows: portal", DAY_SECONDS)).await?;
        let guest = PeopleRegistration::new("flows: guest", DAY_SECONDS).asking();
        let guest = desk.register(&guest).await?;
        let accounts = Mutex::new(desk.make_accounts(people).await?);
        let (operator, begun) = (operator.clone(), Instant::now());
        Ok(Self { address, operator, gateway, neighbour, app, brief, portal, guest, accounts, begun })
    }

    /// An account for somebody who comes. `None` if there are no more.
    pub(super) fn next_account(&self) -> Option<Account> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Deletes them, and so revokes all tokens that are left.
    pub(super) async fn clear(&self) -> Result<(), GroundError> {
        let mut desk = Desk::open(self.address, &self.operator).await?;
        for client in [&self.gateway, &self.neighbour, &self.app, &self.brief, &self.portal, &self.guest] {
            desk.delete(client).await?;
        }
        Ok(())
    }
}

/// The admin API, for who is logged in.
struct Desk {
    connection: Connection,
    bearer: Bearer,
}

impl Desk {
    async fn open(address: SocketAddr, operator: &Credentials) -> Result<Self, GroundError> {
        let mut connection = Connection::open(address).await?;
        let answer = connection.ask(operator.issue()).await?;
        let token = answer.access_token().ok_or(GroundError::NotLoggedIn(answer.status))?;
        Ok(Self { connection, bearer: Bearer::new(&token) })
    }

    async fn register(&mut self, client: &impl Serialize) -> Result<Credentials, GroundError> {
        let answer = self.connection.ask(self.bearer.register(client)).await?;
        answer.credentials().ok_or(GroundError::Refused(answer.status))
    }

    async fn make_accounts(&mut self, count: u16) -> Result<Vec<Account>, GroundError> {
        let mut random = fastrand::Rng::new();
        let run = random.u64(..);
        let mut accounts = Vec::new();
        for number in 0..count {
            let account = Account::new(format!("flows-{run:016x}-{number}"), &mut random);
            let answer = self.connection.ask(self.bearer.create_user(&account)).await?;
            if answer.status != StatusCode::CREATED {
                return Err(GroundError::Refused(answer.status));
            }
            accounts.push(account);
        }
        Ok(accounts)
    }

    async fn delete(&mut self, client: &Credentials) -> Result<(), GroundError> {
        let answer = self.connection.ask(self.bearer.delete(&client.id)).await?;
        if answer.status == StatusCode::NO_CONTENT { Ok(()) } else { Err(GroundError::Refused(answer.status)) }
    }
}

//! People who let a client act for them: grants to be refreshed.

use std::net::SocketAddr;

use futures_util::future::try_join_all;
use hyper::StatusCode;

use crate::client::{Answer, Bearer, Connection, Credentials, NoAnswer};
use crate::engine::scenario::REFRESH_TOKEN_BYTES;
use crate::people::{Account, Browser, PeopleRegistration, code, log_in};

/// Where people are, and who makes their accounts.
pub(super) struct Crowd {
    pub(super) server: SocketAddr,
    pub(super) bearer: Bearer,
}

/// Why there are no grants.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CrowdError {
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error("{what} was answered with {status}")]
    Refused { what: &'static str, status: StatusCode },
    #[error("a refresh token is not as long as it should be")]
    Length,
}

impl Crowd {
    /// Opens so many grants, of the client that is there already or of a new one: it, and their refresh tokens.
    pub(super) async fn grant(
        &self,
        known: Option<Credentials>,
        count: usize,
    ) -> Result<(Option<Credentials>, Vec<Box<[u8]>>), CrowdError> {
        if count == 0 {
            return Ok((known, Vec::new()));
        }
        let mut connection = Connection::open(self.server).await?;
        let client = match known {
            Some(client) => client,
            None => {
                let registration = PeopleRegistration::new("loadtest: people", LIFETIME_SECONDS);
                let answer = connection.ask(self.bearer.register(&registration)).await?;
                answer.credentials().ok_or_else(|| refused("a registration", &answer))?
            }
        };
        let account = Account::new(format!("loadtest-{:016x}", fastrand::u64(..)), &mut fastrand::Rng::new());
        let answer = connection.ask(self.bearer.create_user(&account)).await?;
        if answer.status != StatusCode::CREATED {
            return Err(refused("a new account", &answer));
        }
        let mut browser = Browser::default();
        let answer = log_in(&mut connection, &mut browser, &account).await?;
        if !browser.has_session() {
            return Err(refused("a login", &answer));
        }
        let share = |number: usize| count * (number + 1) / CONNECTIONS - count * number / CONNECTIONS;
        let each = (0..CONNECTIONS).map(|number| self.grants_of(&browser, &client, share(number)));
        let leaves = try_join_all(each).await?.concat();
        Ok((Some(client), leaves))
    }

    async fn grants_of(
        &self,
        browser: &Browser,
        client: &Credentials,
        count: usize,
    ) -> Result<Vec<Box<[u8]>>, CrowdError> {
        let mut connection = Connection::open(self.server).await?;
        let mut leaves = Vec::with_capacity(count);
        for _ in 0..count {
            let answer = connection.ask(browser.authorize(&client.id)).await?;
            let code = code(&answer).ok_or_else(|| refused("an authorization request", &answer))?;
            let answer = connection.ask(client.redeem(&code)).await?;
            let granted = answer.granted().ok_or_else(|| refused("a code", &answer))?;
            if granted.refresh_token.len() != REFRESH_TOKEN_BYTES {
                return Err(CrowdError::Length);
            }
            leaves.push(granted.refresh_token.into_bytes().into());
        }
        Ok(leaves)
    }
}

fn refused(what: &'static str, answer: &Answer) -> CrowdError {
    CrowdError::Refused { what, status: answer.status }
}

/// Connections over which grants are opened.
const CONNECTIONS: usize = 100;
const LIFETIME_SECONDS: u32 = 86_400;

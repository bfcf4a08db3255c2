//! Where the tokens come from that are asked about: each subject has its own way.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redis::RedisError;
use redis::aio::MultiplexedConnection;

use crate::client::Credentials;
use crate::engine::requests::Tokens;
use crate::fill::pipeline::{PipelineError, Plan};
use crate::fill::{self, ClientKind};
use crate::measured::Durability;
use crate::serve::rival;

/// Makes tokens for one subject.
pub(super) enum Issuer {
    /// They are issued over HTTP.
    Tessera { plan: Plan, admin_token: String },
    /// Their digests are put into Redis.
    Rival(MultiplexedConnection),
    /// Nobody looks at them.
    Floor,
}

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IssueError {
    #[error("tokens cannot be issued: {0}")]
    Pipeline(#[from] PipelineError),
    #[error("tokens cannot be put into Redis: {0}")]
    Redis(#[from] RedisError),
    #[error("a token is not as long as the others")]
    Length,
}

impl Issuer {
    pub(super) async fn of_tessera(
        server: SocketAddr,
        admin: &Credentials,
        durability: Durability,
    ) -> Result<Self, IssueError> {
        let connections = if durability == Durability::Memory { MEMORY_CONNECTIONS } else { CONNECTIONS };
        let plan = Plan { server, connections, depth: DEPTH };
        let admin_token = fill::admin_token(&plan, admin).await?;
        Ok(Self::Tessera { plan, admin_token })
    }

    pub(super) async fn of_rival(url: String) -> Result<Self, IssueError> {
        let client = redis::Client::open(url)?;
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(REDIS_LIMIT));
        Ok(Self::Rival(client.get_multiplexed_async_connection_with_config(&config).await?))
    }

    /// Makes clients whose tokens live so long. Only Tessera has any; the others are sent requests as long as Tessera's.
    pub(super) async fn clients(&self, kind: ClientKind, count: usize) -> Result<Vec<Credentials>, IssueError> {
        match self {
            Self::Tessera { plan, admin_token } => Ok(fill::register(plan, admin_token, kind, count).await?),
            Self::Rival(_) | Self::Floor => Ok((0..count).map(|_| made_up_client()).collect()),
        }
    }

    /// Makes tokens of those clients in turn.
    pub(super) async fn issue(&mut self, clients: &[Credentials], count: usize) -> Result<Arc<Tokens>, IssueError> {
        let mut tokens = Tokens::default();
        match self {
            Self::Tessera { plan, .. } => {
                let take = |token: &str| match tokens.push(token) {
                    true => Ok(()),
                    false => Err(io::Error::other(IssueError::Length)),
                };
                fill::issue(plan, clients, count, take).await?;
            }
            Self::Rival(redis) => {
                // What is there only to be asked for need not be synced: with other writers on the disk that took a minute.
                let (name, syncs): (String, String) =
                    redis::cmd("CONFIG").arg("GET").arg("appendfsync").query_async(redis).await?;
                set(redis, &name, "no").await?;
                for begin in (0..count).step_by(PIPELINE) {
                    put(redis, PIPELINE.min(count - begin), &mut tokens).await?;
                }
                set(redis, &name, &syncs).await?;
            }
            Self::Floor => (0..count).try_for_each(|_| tokens.push(&tessera_token()).then_some(())).unwrap_or_default(),
        }
        Ok(Arc::new(tokens))
    }

    /// Makes tokens of Tessera's clients in turn, and adds every `kept`th to those that are known.
    pub(super) async fn issue_more(
        &mut self,
        clients: &[Credentials],
        (count, kept): (usize, usize),
        known: &mut Tokens,
    ) -> Result<(), IssueError> {
        let Self::Tessera { plan, .. } = self else { return Ok(()) };
        let mut number = 0;
        let take = |token: &str| {
            number += 1;
            if number % kept.max(1) == 0 && !known.push(token) {
                return Err(io::Error::other(IssueError::Length));
            }
            Ok(())
        };
        fill::issue(plan, clients, count, take).await?;
        Ok(())
    }

    /// Makes tokens and lets them expire.
    pub(super) async fn expired(&mut self, count: usize) -> Result<Arc<Tokens>, IssueError> {
        if let Self::Rival(_) = self {
            // Redis forgets what has expired: it is unknown.
            return Ok(self.unknown(count));
        }
        let clients = self.clients(ClientKind { lifetime_seconds: 1, introspection: "own" }, 1).await?;
        let tokens = self.issue(&clients, count).await?;
        tokio::time::sleep(EXPIRY).await;
        Ok(tokens)
    }

    /// Makes tokens and revokes them.
    pub(super) async fn revoked(&mut self, owner: &Credentials, count: usize) -> Result<Arc<Tokens>, IssueError> {
        if let Self::Rival(_) = self {
            // What is revoked is deleted there: it is unknown.
            return Ok(self.unknown(count));
        }
        let tokens = self.issue(std::slice::from_ref(owner), count).await?;
        if let Self::Tessera { plan, .. } = self {
            fill::revoke(plan, owner, tokens.iter().collect()).await?;
        }
        Ok(tokens)
    }

    /// Tokens as they would be issued, which nobody has issued.
    pub(super) fn unknown(&self, count: usize) -> Arc<Tokens> {
        let mut tokens = Tokens::default();
        for _ in 0..count {
            let token = if let Self::Rival(_) = self { rival_token() } else { tessera_token() };
            tokens.push(&token);
        }
        Arc::new(tokens)
    }
}

/// Connections that tokens are issued over; fewer where none waits for the disk.
const CONNECTIONS: usize = 256;
const MEMORY_CONNECTIONS: usize = 32;
/// Requests under way on each.
const DEPTH: usize = 16;
/// Tokens that Redis is given at once.
const PIPELINE: usize = 5000;
const REDIS_LIMIT: Duration = Duration::from_secs(60);
/// What lives for a second has expired after so long for sure.
const EXPIRY: Duration = Duration::from_secs(2);

/// Changes a setting of Redis.
async fn set(redis: &mut MultiplexedConnection, name: &str, value: &str) -> Result<(), RedisError> {
    redis::cmd("CONFIG").arg("SET").arg(name).arg(value).query_async(redis).await
}

async fn put(redis: &mut MultiplexedConnection, count: usize, tokens: &mut Tokens) -> Result<(), IssueError> {
    let mut pipeline = redis::pipe();
    let value = rival::introspection("read", UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs()));
    for _ in 0..count {
        let token = rival_token();
        pipeline.set_ex(rival::key(&token), &value, rival::LIFETIME_SECONDS).ignore();
        tokens.push(&token);
    }
    Ok(pipeline.query_async(redis).await?)
}

/// As the rival makes them.
fn rival_token() -> String {
    let mut secret = [0; 32];
    fastrand::fill(&mut secret);
    URL_SAFE_NO_PAD.encode(secret)
}

/// As Tessera makes them, with the right checksum.
fn tessera_token() -> String {
    let mut secret = [0; 40];
    fastrand::fill(&mut secret);
    let mut token = "tsr_at_".to_owned();
    URL_SAFE_NO_PAD.encode_string(secret, &mut token);
    let checksum = crc32c::crc32c(token.as_bytes());
    URL_SAFE_NO_PAD.encode_string(checksum.to_le_bytes(), &mut token);
    token
}

/// As long as a client that Tessera has registered.
fn made_up_client() -> Credentials {
    let text = |length: usize| std::iter::repeat_with(fastrand::alphanumeric).take(length).collect::<String>();
    Credentials::new(text(CLIENT_ID_BYTES), text(CLIENT_SECRET_BYTES))
}

const CLIENT_ID_BYTES: usize = 32;
const CLIENT_SECRET_BYTES: usize = 43;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_tokens_have_the_shape_of_real_ones() {
        assert_eq!(tessera_token().len(), 67);
        assert_eq!(rival_token().len(), 43);
        let unknown = Issuer::Floor.unknown(1000);
        assert_eq!((unknown.len(), unknown.token_bytes()), (1000, 67));
    }
}

//! A temporary PostgreSQL cluster, waited for as it comes up and goes down.

use std::io;
use std::str::FromStr as _;
use std::time::Duration;

use ::cluster::Cluster as Server;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::time::{Instant, sleep, timeout};

use crate::server::last_words;

/// A PostgreSQL server. Dropping it ends it and removes its files.
pub(crate) struct Cluster {
    server: Server,
}

/// Why there is no database, or none any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error(transparent)]
    Server(#[from] ::cluster::ClusterError),
    #[error("PostgreSQL was not up after {} s; the end of its log:\n{last_words}", START_LIMIT.as_secs())]
    NotStarted { last_words: String },
    #[error("PostgreSQL went on for {} s after SIGINT; the end of its log:\n{last_words}", STOP_LIMIT.as_secs())]
    NotStopped { last_words: String },
    #[error("PostgreSQL did not answer: {0}")]
    Query(#[from] sqlx::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// After a kill it reads its own log first.
const START_LIMIT: Duration = Duration::from_secs(60);
/// It writes a checkpoint first.
const STOP_LIMIT: Duration = Duration::from_secs(60);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks at whether it is up, or down.
const PAUSE: Duration = Duration::from_millis(20);

impl Cluster {
    /// Makes one and starts it. Settings are `name=value`; all others have their defaults.
    pub(crate) async fn create(settings: &[&str]) -> Result<Self, ClusterError> {
        let cluster = Self { server: Server::create(settings)? };
        cluster.start().await?;
        Ok(cluster)
    }

    /// Where it is, for a superuser.
    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// A connection of this process.
    pub(crate) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let options = PgConnectOptions::from_str(&self.url())?;
        let connected = timeout(CONNECT_LIMIT, PgConnection::connect_with(&options)).await;
        connected.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
    }

    /// Brings it up, whatever it was, and waits until it answers. May be dropped and called again.
    pub(crate) async fn start(&self) -> Result<(), ClusterError> {
        let began = Instant::now();
        while began.elapsed() < START_LIMIT {
            self.server.launch()?;
            if let Ok(connection) = self.connect().await {
                connection.close().await?;
                return Ok(());
            }
            sleep(PAUSE).await;
        }
        Err(ClusterError::NotStarted { last_words: last_words(&self.server.log())? })
    }

    /// Ends it as an operator does who does not wait for sessions to end.
    pub(crate) async fn stop(&self) -> Result<(), ClusterError> {
        self.server.interrupt();
        let began = Instant::now();
        while self.server.is_running()? {
            if began.elapsed() > STOP_LIMIT {
                return Err(ClusterError::NotStopped { last_words: last_words(&self.server.log())? });
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Ends all of its processes at once, as `kill -9` does.
    pub(crate) fn kill(&self) -> Result<(), ClusterError> {
        Ok(self.server.kill()?)
    }

    /// Stops all of its processes in their tracks: connections stay open, and nobody answers.
    pub(crate) fn pause(&self) {
        self.server.pause();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cluster_is_up_again_after_each_outage_and_leaves_nothing_behind() {
        let cluster = Cluster::create(&["fsync=off"]).await.unwrap();
        let (data_dir, log) = (cluster.server.data_dir().to_owned(), cluster.server.log());
        cluster.kill().unwrap();
        assert!(cluster.connect().await.is_err());
        cluster.start().await.unwrap();
        cluster.stop().await.unwrap();
        assert!(cluster.connect().await.is_err());
        cluster.start().await.unwrap();
        cluster.pause();
        cluster.start().await.unwrap();
        let mut connection = cluster.connect().await.unwrap();
        let one: i32 = sqlx::query_scalar("SELECT 1").fetch_one(&mut connection).await.unwrap();
        let postmaster = std::fs::read_to_string(data_dir.join("postmaster.pid")).unwrap();
        let process = std::path::Path::new("/proc").join(postmaster.lines().next().unwrap());
        assert!(one == 1 && process.exists());
        drop(cluster);
        assert!(!process.exists() && !data_dir.exists() && !log.exists());
    }
}

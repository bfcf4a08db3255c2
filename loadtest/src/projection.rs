//! How far the database is, as the server says.

use serde::Deserialize;

use crate::client::{Answer, Connection, NoAnswer, get};

/// How far the database was when the server was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Projection {
    /// `connected`, or why it is not written.
    pub(crate) state: String,
    /// Durable records that it lacks.
    pub(crate) lag_records: u64,
    /// For how long already.
    pub(crate) lag_seconds: u64,
    /// The last record that is there.
    pub(crate) applied_lsn: u64,
    /// The last record of the journal.
    pub(crate) durable_lsn: u64,
}

impl Projection {
    /// Asks. `None` where the server is not ready, or has no database.
    pub(crate) async fn ask(connection: &mut Connection) -> Result<Option<Self>, NoAnswer> {
        let ready = connection.ask(get("/readyz")).await?;
        let metrics = connection.ask(get("/metrics")).await?;
        Ok(Self::read(&ready, &metrics))
    }

    fn read(ready: &Answer, metrics: &Answer) -> Option<Self> {
        let ReadyDocument { database } = serde_json::from_slice(&ready.body).ok()?;
        let DatabaseMembers { state, lag_records, lag_seconds } = database?;
        let metrics = str::from_utf8(&metrics.body).ok()?;
        Some(Self {
            state,
            lag_records,
            lag_seconds,
            applied_lsn: metric(metrics, "tessera_projection_applied_lsn")?,
            durable_lsn: metric(metrics, "tessera_journal_durable_lsn")?,
        })
    }

    /// Whether the server writes it now.
    pub(crate) fn is_connected(&self) -> bool {
        self.state == "connected"
    }

    /// Whether it has everything.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.is_connected() && self.lag_records == 0 && self.applied_lsn == self.durable_lsn
    }
}

/// What `/readyz` answers.
#[derive(Deserialize)]
struct ReadyDocument {
    database: Option<DatabaseMembers>,
}

#[derive(Deserialize)]
struct DatabaseMembers {
    state: String,
    lag_records: u64,
    lag_seconds: u64,
}

/// The value of a metric without labels in the text that Prometheus reads: a whole number, though it may be written `1.0`.
fn metric(text: &str, name: &str) -> Option<u64> {
    let values = text.lines().filter_map(|line| line.strip_prefix(name));
    let mut values = values.filter_map(|rest| rest.strip_prefix("{}").unwrap_or(rest).strip_prefix(' '));
    let value = values.next()?.trim();
    value.strip_suffix(".0").unwrap_or(value).parse().ok()
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    const METRICS: &str = "# TYPE tessera_projection_applied_lsn gauge
tessera_projection_applied_lsn 7
tessera_projection_applied_lsn_of_another 1
tessera_journal_durable_lsn{} 9.0
";

    fn read(ready: &'static str, metrics: &'static str) -> Option<Projection> {
        let answer =
            |body: &'static str| Answer { status: StatusCode::OK, headers: Default::default(), body: body.into() };
        Projection::read(&answer(ready), &answer(metrics))
    }

    #[test]
    fn what_the_server_says_is_read() {
        let ready = r#"{"status":"ready","database":{"state":"connected","lag_records":2,"lag_bytes":80,"lag_seconds":1,"dead_letters":0}}"#;
        let read_of = read(ready, METRICS).unwrap();
        assert_eq!((read_of.applied_lsn, read_of.durable_lsn, read_of.lag_records, read_of.lag_seconds), (7, 9, 2, 1));
        assert!(read_of.is_connected() && !read_of.is_caught_up());
        assert!(Projection { lag_records: 0, applied_lsn: 9, ..read_of }.is_caught_up());
        assert_eq!(read(ready, "tessera_journal_durable_lsn 9\n"), None);
        assert_eq!(read(r#"{"status":"ready"}"#, METRICS), None);
        assert_eq!(read(r#"{"status":"starting","percent":3}"#, METRICS), None);
    }
}

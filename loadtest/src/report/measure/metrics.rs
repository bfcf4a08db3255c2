//! What the server says of itself.

use std::net::SocketAddr;

use crate::client::{Connection, get};
use crate::report::measure::PhaseError;

/// All metrics at one moment.
pub(super) struct Metrics(String);

impl Metrics {
    pub(super) async fn scrape(server: SocketAddr) -> Result<Self, PhaseError> {
        let answer = Connection::open(server).await?.ask(get("/metrics")).await?;
        match answer.status.as_u16() {
            200 => Ok(Self(String::from_utf8_lossy(&answer.body).into_owned())),
            status => Err(PhaseError::Refused { what: "a request for its metrics", status }),
        }
    }

    /// The sum of all metrics of that name, whatever their labels.
    pub(super) fn sum(&self, name: &str) -> Result<f64, PhaseError> {
        let mut values = self.0.lines().filter_map(|line| value(line.strip_prefix(name)?)).peekable();
        values.peek().ok_or_else(|| PhaseError::Lacks(format!("the server's metric {name}")))?;
        Ok(values.sum())
    }

    /// The same, of what is counted.
    pub(super) fn count(&self, name: &str) -> Result<u64, PhaseError> {
        let sum = self.sum(name)?;
        format!("{sum:.0}").parse().map_err(|_| PhaseError::Lacks(format!("a count in the server's metric {name}")))
    }
}

/// Tokens that a server holds, dead ones that are not forgotten yet included.
pub(super) const TOKENS: &str = "tessera_shard_tokens";
pub(super) const TOKENS_EXPIRED: &str = "tessera_shard_tokens_expired_total";
pub(super) const JOURNAL_RECORDS: &str = "tessera_journal_records_total";
pub(super) const JOURNAL_WRITTEN: &str = "tessera_journal_written_bytes_total";
pub(super) const JOURNAL_TAIL: &str = "tessera_journal_tail_bytes";

/// The value after a name: perhaps labels, and then the number.
fn value(rest: &str) -> Option<f64> {
    let number = match rest.strip_prefix('{') {
        Some(labels) => labels.split_once('}')?.1,
        None => rest,
    };
    number.strip_prefix(' ')?.trim().parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_all_labels_are_summed_and_longer_names_are_others() {
        let metrics = Metrics("a{shard=\"0\"} 3\na{shard=\"1\"} 4\na_total{} 9\nb 2.0\n".to_owned());
        let sums = ["a", "a_total", "b"].map(|name| metrics.count(name).unwrap());
        assert_eq!(sums, [7, 9, 2]);
        assert!(metrics.sum("c").is_err());
    }
}

//! Instructions, allocations and bytes, as `benches/instructions.rs` and `benches/allocations.rs` print them: an object a line.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::measured::Figures;

/// What was counted, by the name of the operation, or of what is kept.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) instructions: Figures,
    pub(super) allocations: Figures,
    pub(super) bytes: Figures,
}

/// Why a file holds no counts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidCounts {
    #[error("there is no count in it: is it what `benches/counts` has made?")]
    Empty,
    #[error("line {line} is no count: {reason}")]
    Line { line: usize, reason: serde_json::Error },
    #[error("line {line} counts no instructions")]
    NoInstructions { line: usize },
}

/// What either bench prints.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Allocations { operation: String, blocks: f64 },
    Bytes { kept: String, bytes: f64 },
    Instructions { id: String, profiles: Vec<Profile> },
}

#[derive(Deserialize)]
struct Profile {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    total: Total,
}

#[derive(Deserialize)]
struct Total {
    metrics: BTreeMap<String, Metric>,
}

#[derive(Deserialize)]
struct Metric {
    values: Values,
}

/// Of this run, and of the one before if there was one.
#[derive(Deserialize)]
struct Values {
    new: f64,
}

impl Counts {
    /// Takes in what a bench printed. Lines that are no JSON objects are words for people.
    pub(super) fn read(&mut self, text: &str) -> Result<(), InvalidCounts> {
        let mut read = 0;
        for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| text.starts_with('{')) {
            match serde_json::from_str(text).map_err(|reason| InvalidCounts::Line { line, reason })? {
                Line::Allocations { operation, blocks } => _ = self.allocations.insert(operation, blocks),
                Line::Bytes { kept, bytes } => _ = self.bytes.insert(kept, bytes),
                Line::Instructions { id, profiles } => {
                    let instructions = profiles.iter().find_map(|profile| profile.data.total.metrics.get("Ir"));
                    let instructions = instructions.ok_or(InvalidCounts::NoInstructions { line })?.values.new;
                    self.instructions.insert(id, instructions);
                }
            }
            read += 1;
        }
        if read == 0 { Err(InvalidCounts::Empty) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_of_counts_are_read() {
        let mut counts = Counts::default();
        let instructions = r#"{"id":"parse","version":"7","profiles":[{"tool":"Callgrind","data":{"total":{"metrics":{"Ir":{"values":{"new":17,"old":18}}}}}}]}"#;
        let allocations = r#"{"operation":"parse","blocks":2,"bytes":64}"#;
        let bytes = r#"{"kept":"token","bytes":64.5}"#;
        counts.read(&format!("running\n{instructions}\n{allocations}\n{bytes}\n")).unwrap();
        assert_eq!((counts.instructions["parse"], counts.allocations["parse"]), (17.0, 2.0));
        assert_eq!((counts.allocations.len(), counts.bytes["token"]), (1, 64.5));
    }

    #[test]
    fn what_holds_no_counts_is_refused() {
        let refused = |text: &str| Counts::default().read(text).unwrap_err().to_string();
        assert!(refused("").contains("no count"));
        assert!(refused("{}").starts_with("line 1 is no count"));
        assert!(refused("\n{\"id\":\"a\",\"profiles\":[]}").starts_with("line 2 counts no instructions"));
    }
}

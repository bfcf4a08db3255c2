//! Heap allocations of the hot paths, one JSON object a line: how many blocks one operation asks for, and how many bytes. Then
//! the bytes that one of what a server keeps takes, likewise.
//!
//! Only what the operation's own thread allocates counts. The allocator is the system's, which asks for the same blocks; what
//! it rounds them up to does not count.

#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

use allocation_counter::measure;
use serde_json::json;

use crate::operations::{OPERATIONS, prepare};

#[path = "fixtures/clients.rs"]
mod clients;
#[path = "fixtures/digests.rs"]
mod digests;
#[path = "fixtures/jwts.rs"]
mod jwts;
#[path = "fixtures/kept.rs"]
mod kept;
#[path = "fixtures/operations.rs"]
mod operations;
#[path = "fixtures/people.rs"]
mod people;
#[path = "fixtures/random.rs"]
mod random;
#[path = "fixtures/registry.rs"]
mod registry;
#[path = "fixtures/served.rs"]
mod served;
#[path = "fixtures/shards.rs"]
mod shards;
#[path = "fixtures/texts.rs"]
mod texts;

fn main() {
    for (name, _) in OPERATIONS {
        let mut operation = prepare(name);
        let counted = measure(&mut operation);
        println!("{}", json!({ "operation": name, "blocks": counted.count_total, "bytes": counted.bytes_total }));
    }
    for (name, bytes) in kept::kept() {
        println!("{}", json!({ "kept": name, "bytes": bytes }));
    }
}

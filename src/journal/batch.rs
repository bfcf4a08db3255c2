//! What one group commit gathers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::journal::frame::{BLOCK_RECORDS_MAX, BlockBuffer, record_bytes};
use crate::journal::lane::{Item, LaneEnd, Reply};

/// What has been taken off the lanes and is not yet durable.
pub(crate) struct Batch {
    pub(crate) block: BlockBuffer,
    block_payload_bytes_max: usize,
    replies: Vec<Reply>,
    /// Records and waiting replies.
    pub(crate) items: usize,
}

impl Batch {
    pub(crate) fn new(block_payload_bytes_max: usize) -> Self {
        Self { block: BlockBuffer::new(), block_payload_bytes_max, replies: Vec::new(), items: 0 }
    }

    /// Takes from all lanes by turns until they are empty or the block is full.
    pub(crate) fn gather(&mut self, lanes: &mut [LaneEnd]) {
        // Another lane begins each time, so that a full block never leaves out the same one.
        if !lanes.is_empty() {
            lanes.rotate_left(1);
        }
        loop {
            let items_before = self.items;
            for lane in &mut *lanes {
                if self.gather_turn(lane).is_none() {
                    return;
                }
            }
            if self.items == items_before {
                return;
            }
        }
    }

    /// `None` when the block is full.
    fn gather_turn(&mut self, lane: &mut LaneEnd) -> Option<()> {
        for _ in 0..ITEMS_PER_TURN {
            let Some(item) = lane.take() else { break };
            if let Item::Append(entry, _) = &item
                && self.block.payload_bytes() + record_bytes(entry.payload.len()) > self.block_payload_bytes_max
            {
                lane.hold_back(item);
                return None;
            }
            self.add(lane, item);
            if self.items == BLOCK_RECORDS_MAX {
                return None;
            }
        }
        Some(())
    }

    fn add(&mut self, lane: &mut LaneEnd, item: Item) {
        self.items += 1;
        match item {
            Item::Append(entry, reply) => {
                self.block.push(&entry);
                lane.count_record(entry.payload.len());
                self.replies.extend(reply);
            }
            Item::Barrier(reply) => self.replies.push(reply),
        }
    }

    /// Runs the replies in the order in which they were taken off, and empties the batch.
    pub(crate) fn finish(&mut self) {
        for reply in self.replies.drain(..) {
            if catch_unwind(AssertUnwindSafe(reply)).is_err() {
                tracing::error!("a reply panicked: its client was not answered, though its change is durable");
            }
        }
        self.block.clear();
        self.items = 0;
    }
}

const ITEMS_PER_TURN: usize = 64;

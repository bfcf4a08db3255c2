//! What an actor does, by type of message.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use crate::telemetry::cell::{Counter, Histogram};

/// The types of messages of one actor.
pub trait MessageKind: Copy {
    /// Their names in metrics, by index.
    const NAMES: &'static [&'static str];

    /// Its place in [`Self::NAMES`].
    fn index(self) -> usize;
}

/// Counts and durations of the messages of one actor. The actor's thread alone records.
pub struct MessageMetrics<K> {
    by_kind: Vec<MessageCells>,
    kind: PhantomData<fn(K)>,
}

/// What is counted of one type of message.
#[derive(Debug, Default)]
pub struct MessageCells {
    /// Messages that were refused.
    pub errors: Counter,
    /// How long each was handled, in nanoseconds. Its count is the count of messages.
    pub duration: Histogram,
}

impl<K: MessageKind> Default for MessageMetrics<K> {
    fn default() -> Self {
        Self { by_kind: K::NAMES.iter().map(|_| MessageCells::default()).collect(), kind: PhantomData }
    }
}

impl<K: MessageKind> MessageMetrics<K> {
    /// Records one handled message.
    pub fn record(&self, kind: K, duration: Duration, is_ok: bool) {
        let Some(cells) = self.by_kind.get(kind.index()) else { return };
        cells.duration.observe_duration(duration);
        if !is_ok {
            cells.errors.increment();
        }
    }

    /// The cells by name.
    pub fn cells(&self) -> impl Iterator<Item = (&'static str, &MessageCells)> {
        K::NAMES.iter().copied().zip(&self.by_kind)
    }
}

impl<K> fmt::Debug for MessageMetrics<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MessageMetrics").field("by_kind", &self.by_kind).finish()
    }
}

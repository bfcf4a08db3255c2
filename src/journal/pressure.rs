//! How near the journal is to the end of its disk space.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crossbeam_utils::CachePadded;

/// How near the journal is to the end of its budget, or of its disk. Each level refuses what those before it refuse;
/// reading is never affected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// There is room.
    #[default]
    Normal,
    /// About 70 % of the budget is used: the operator is told, and nothing is refused.
    Warned,
    /// About 85 % is used, or no further segment fits the disk: nothing long-lived is begun.
    NoLongLived,
    /// About 95 % is used, or the disk is full and the active segment nearly so: only what takes access away goes on.
    RevocationsOnly,
    /// What is left may be needed by what is on its way: nothing is appended.
    Full,
}

impl Pressure {
    /// 0 for [`Pressure::Normal`] to 4 for [`Pressure::Full`], as in metrics.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    fn of_number(number: u8) -> Self {
        let levels = [Self::Normal, Self::Warned, Self::NoLongLived, Self::RevocationsOnly];
        levels.get(usize::from(number)).copied().unwrap_or(Self::Full)
    }
}

impl fmt::Display for Pressure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Normal => "normal",
            Self::Warned => "warned",
            Self::NoLongLived => "no long-lived grants",
            Self::RevocationsOnly => "revocations only",
            Self::Full => "full",
        })
    }
}

/// The level that is in force. Cheap to clone; anyone may read it.
#[derive(Clone, Debug, Default)]
pub(crate) struct PressureCell {
    number: Arc<CachePadded<AtomicU8>>,
}

impl PressureCell {
    /// The level now: one Relaxed load.
    pub(crate) fn value(&self) -> Pressure {
        Pressure::of_number(self.number.load(Ordering::Relaxed))
    }

    pub(crate) fn set(&self, level: Pressure) {
        self.number.store(level.number(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_read_as_it_was_set() {
        let cell = PressureCell::default();
        assert_eq!(cell.value(), Pressure::Normal);
        for number in 0..=4 {
            let level = Pressure::of_number(number);
            cell.set(level);
            assert_eq!((cell.value(), level.number()), (level, number));
        }
    }
}

//! What clients may do by the grants of people: held once for all who grant the same.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::token::grant::ClientTerms;

/// The terms of clients by which there are grants, and how many grants of each.
#[derive(Default)]
pub(super) struct SharedTerms(HashMap<Arc<ClientTerms>, u64>);

impl SharedTerms {
    /// These terms in the copy that all grants of them share, which are one more.
    pub(super) fn hold(&mut self, terms: Arc<ClientTerms>) -> Arc<ClientTerms> {
        match self.0.entry(terms) {
            Entry::Occupied(mut held) => {
                *held.get_mut() += 1;
                Arc::clone(held.key())
            }
            Entry::Vacant(place) => {
                let shared = Arc::clone(place.key());
                place.insert(1);
                shared
            }
        }
    }

    /// One grant of these terms is no more; without grants they go.
    pub(super) fn release(&mut self, terms: &Arc<ClientTerms>) {
        let Some(grants) = self.0.get_mut(terms) else { return };
        *grants -= 1;
        if *grants == 0 {
            self.0.remove(terms);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

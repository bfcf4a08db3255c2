//! The key that makes the journal's MACs.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::ZeroizeOnDrop;

/// The MAC key with its id. Both come from the master key; the id stands in every segment, the key nowhere.
#[derive(ZeroizeOnDrop)]
pub struct JournalKeys {
    /// Key of the BLAKE3 MACs.
    pub mac: [u8; 32],
    /// Tells this key from others.
    pub key_id: u64,
}

impl JournalKeys {
    pub(crate) fn mac_of(&self, bytes: &[u8]) -> Mac {
        Mac::of(&blake3::keyed_hash(&self.mac, bytes))
    }

    /// As [`JournalKeys::verifies`] for bytes that lie in several places.
    pub(crate) fn verifies_parts(&self, parts: &[&[u8]], mac: Mac) -> bool {
        let mut hasher = blake3::Hasher::new_keyed(&self.mac);
        for part in parts {
            hasher.update(part);
        }
        Mac::of(&hasher.finalize()).0.ct_eq(&mac.0).into()
    }

    pub(crate) fn verifies(&self, bytes: &[u8], mac: Mac) -> bool {
        self.mac_of(bytes).0.ct_eq(&mac.0).into()
    }
}

impl fmt::Debug for JournalKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JournalKeys(..)")
    }
}

/// The first 16 bytes of a keyed BLAKE3 hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mac(pub(crate) [u8; MAC_BYTES]);

impl Mac {
    fn of(hash: &blake3::Hash) -> Self {
        let mut mac = [0; MAC_BYTES];
        for (to, from) in mac.iter_mut().zip(hash.as_bytes()) {
            *to = *from;
        }
        Self(mac)
    }
}

pub(crate) const MAC_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use crate::journal::sim::{keys, options};

    #[test]
    fn a_debug_print_shows_no_key() {
        assert_eq!(format!("{:?}", keys()), "JournalKeys(..)");
        assert!(!format!("{:?}", options(1)).contains("90"));
    }
}

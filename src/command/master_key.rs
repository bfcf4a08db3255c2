//! The keys of a directory that no server holds.

use std::path::PathBuf;

use crate::config::StorageConfig;
use crate::config::key_file::KeyFileError;
use crate::journal::JournalKeys;
use crate::signing::derivation::DerivedKeys;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file of the master key cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// There is no master key.
    #[error(
        "the master key is missing: {} is not there, and neither is TESSERA_MASTER_KEY; {consequence}", key_file.display()
    )]
    Missing {
        /// Where it would be.
        key_file: PathBuf,
        /// What cannot be done without it.
        consequence: &'static str,
    },
}

impl MasterKeyError {
    /// What the process exits with, as in `sysexits.h`: 78, or 1 where the file cannot be read.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::KeyFile(KeyFileError::Io { .. }) => 1,
            Self::KeyFile(_) | Self::Missing { .. } => 78,
        }
    }
}

/// The journal's keys, of the master key that there is.
pub(super) fn read_journal_keys(
    storage: &StorageConfig,
    consequence: &'static str,
) -> Result<JournalKeys, MasterKeyError> {
    let missing = || MasterKeyError::Missing { key_file: storage.master_key_file.clone(), consequence };
    let master_key = storage.read_master_key()?.ok_or_else(missing)?;
    Ok(JournalKeys::from(&DerivedKeys::of(master_key.as_bytes())))
}

impl From<&DerivedKeys> for JournalKeys {
    fn from(keys: &DerivedKeys) -> Self {
        Self { mac: keys.journal_mac, key_id: keys.journal_key_id }
    }
}

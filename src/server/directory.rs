//! The data directory and the secrets beside it.

use std::io;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::config::StorageConfig;
use crate::config::key_file::KeyFileError;
use crate::config::secret::MasterKey;
use crate::config::value::Durability;
use crate::journal::disk::create_private_file;

/// Why the directory or the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The file system said no.
    #[error("cannot {action} {}: {reason}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the file system answered.
        reason: io::Error,
    },
    /// The key file cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// There is data, but no key that could read it.
    #[error(
        "the master key is missing: {} is not there, and neither is TESSERA_MASTER_KEY, but {} holds a journal; \
         without the key that it was made with it cannot be read", key_file.display(), data_dir.display()
    )]
    KeyMissing {
        /// Where the key was looked for.
        key_file: PathBuf,
        /// The directory with the journal.
        data_dir: PathBuf,
    },
    /// The system has no randomness to give.
    #[error("the system has no randomness to make a master key of")]
    NoRandomness,
}

/// The master key: from the environment, from its file, or, in an empty data directory, a new one that is put into its file.
/// With durability `memory` nothing is kept that a later start could read, so a key is made for this start alone.
pub(super) fn master_key(storage: &StorageConfig) -> Result<MasterKey, DirectoryError> {
    match storage.read_master_key()? {
        Some(key) => Ok(key),
        None => make_key(storage),
    }
}

fn make_key(storage: &StorageConfig) -> Result<MasterKey, DirectoryError> {
    let mut bytes = Zeroizing::new([0_u8; MasterKey::BYTES]);
    SystemRandom::new().fill(bytes.as_mut()).map_err(|_| DirectoryError::NoRandomness)?;
    if storage.durability != Durability::Memory {
        let (key_file, data_dir) = (&storage.master_key_file, &storage.data_dir);
        if holds_a_journal(data_dir) {
            return Err(DirectoryError::KeyMissing { key_file: key_file.clone(), data_dir: data_dir.clone() });
        }
        let hexadecimal: Zeroizing<String> = Zeroizing::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        create_private_file(key_file, &format!("{}\n", *hexadecimal)).map_err(|reason| DirectoryError::Io {
            action: "write the master key to",
            path: key_file.clone(),
            reason,
        })?;
        tracing::info!(file = %key_file.display(), "made a master key; without it the data directory cannot be read: back it up");
    }
    Ok(MasterKey::from_bytes(*bytes))
}

fn holds_a_journal(data_dir: &Path) -> bool {
    let names = std::fs::read_dir(data_dir).into_iter().flatten().flatten();
    names.into_iter().any(|entry| entry.file_name().to_string_lossy().ends_with(".seg"))
}

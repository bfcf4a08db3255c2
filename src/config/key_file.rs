//! Reads the master key that there is; whoever may make one does so elsewhere.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::StorageConfig;
use crate::config::secret::MasterKey;

/// Why the file with the master key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system said no.
    #[error("cannot read {}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system answered.
        reason: io::Error,
    },
    /// The file holds something else.
    #[error("{} must hold a master key: 64 hexadecimal digits, or 32 bytes in base64", .0.display())]
    NotAKey(PathBuf),
    /// Others may read the key.
    #[error("{} can be read by others: chmod 600 it", .0.display())]
    Exposed(PathBuf),
}

impl StorageConfig {
    /// The master key from the environment, else from its file; `None` where that is not there.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`] when the file is there and is not to be used.
    pub fn read_master_key(&self) -> Result<Option<MasterKey>, KeyFileError> {
        if let Some(key) = &self.master_key {
            return Ok(Some(MasterKey::from_bytes(*key.as_bytes())));
        }
        let path = &self.master_key_file;
        match std::fs::read_to_string(path).map(Zeroizing::new) {
            Ok(text) => {
                refuse_exposed(path)?;
                MasterKey::parse(text.trim()).map(Some).ok_or_else(|| KeyFileError::NotAKey(path.clone()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(reason) => Err(KeyFileError::Io { path: path.clone(), reason }),
        }
    }
}

fn refuse_exposed(path: &Path) -> Result<(), KeyFileError> {
    let metadata = std::fs::metadata(path).map_err(|reason| KeyFileError::Io { path: path.to_owned(), reason })?;
    if metadata.permissions().mode() & 0o077 == 0 { Ok(()) } else { Err(KeyFileError::Exposed(path.to_owned())) }
}

//! The operator's templates: read once, when the server starts.

use std::io;
use std::path::{Path, PathBuf};

use crate::endpoint::page::theme::{Theme, ThemeFile};

/// The largest file of a theme, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Why the operator's templates cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ThemeError {
    /// The directory or a file in it.
    #[error("templates_dir: cannot read {}: {reason}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// A file of more than 4 MiB.
    #[error("templates_dir: {} is larger than 4 MiB", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
}

/// The files of the directory, or nothing where none is set. Directories inside it and files whose names begin with a dot are
/// passed over.
pub(super) fn read_theme(directory: Option<&Path>) -> Result<Theme, ThemeError> {
    let Some(directory) = directory else { return Ok(Theme::default()) };
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |reason| ThemeError::Io { path, reason }
    };
    let mut theme = Theme::default();
    for entry in std::fs::read_dir(directory).map_err(unreadable(directory))? {
        let path = entry.map_err(unreadable(directory))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let metadata = std::fs::metadata(&path).map_err(unreadable(&path))?;
        if name.starts_with('.') || !metadata.is_file() {
            continue;
        }
        if metadata.len() > FILE_BYTES_MAX {
            return Err(ThemeError::TooLarge { path });
        }
        let content = std::fs::read(&path).map_err(unreadable(&path))?;
        theme.files.push(ThemeFile { name, path: path.display().to_string(), content });
    }
    theme.files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(theme)
}

//! `tessera snapshot` and `tessera backup`: the state of the running server into files.

use std::path::Path;

use http_body_util::BodyExt as _;
use hyper::Method;

use crate::command::socket::{CommandError, SOCKET_NAME, request, send};
use crate::config::cli::BackupCommand;
use crate::journal::disk::PendingFile;

/// Lets the server take a snapshot now. Answers what is to be printed.
///
/// # Errors
///
/// [`CommandError`]; the snapshots from before stay in force.
pub async fn take(data_dir: &Path) -> Result<String, CommandError> {
    let answer = send(&data_dir.join(SOCKET_NAME), Method::POST, "/admin/v1/snapshots", None).await?;
    Ok(serde_json::to_string_pretty(&answer)?)
}

/// Writes a backup of the running server into a file of its own, which has its name only once it is whole. Answers what is
/// to be printed.
///
/// # Errors
///
/// [`CommandError`]; no file of that name is left then.
pub async fn back_up(command: &BackupCommand, data_dir: &Path) -> Result<String, CommandError> {
    let path = &command.file;
    let failed = |reason| CommandError::File { path: path.clone(), reason };
    let mut file = PendingFile::create(path).map_err(failed)?;
    let mut body = request(&data_dir.join(SOCKET_NAME), Method::POST, "/admin/v1/backup", None).await?.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame?.into_data() {
            file.write(&piece).map_err(failed)?;
            bytes += piece.len();
        }
    }
    file.finish().map_err(failed)?;
    Ok(format!("{} ({bytes} bytes); restore it with: tessera restore {}", path.display(), path.display()))
}

//! The search for secrets where none may be: every file of the data directory, and the log.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aho_corasick::{AhoCorasick, BuildError};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use memchr::memmem;

use crate::crash::oracle::Oracle;
use crate::crash::violation::Violation;
use crate::server::Installation;

/// What access tokens, refresh tokens and codes begin with. Nothing else may have it either.
const PREFIXES: [&str; 4] = ["tsr_at_", "tsr_rt_", "tsr_ac_", "tsr_dc_"];
/// All prefixes have so many bytes.
const PREFIX_BYTES: usize = 7;
/// How many tokens and how many clients give pieces to search for. The prefix finds all tokens besides.
const SAMPLE: usize = 1000;
/// A piece of so many characters betrays the secret that it is of.
const PIECE_CHARACTERS: usize = 16;

/// Searches for the prefix of all tokens, and for pieces of some tokens and secrets: as text, and as the bytes that the text
/// stands for.
pub(super) fn search(
    installation: &Installation,
    oracle: &Oracle,
    random: &mut fastrand::Rng,
) -> io::Result<Vec<Violation>> {
    let mut pieces = pieces_of(&installation.admin.secret);
    for token in oracle.sample_tokens(SAMPLE, random) {
        pieces.extend(pieces_of(without_prefix(oracle.text(token))));
    }
    for client in oracle.sample_clients(SAMPLE, random) {
        pieces.extend(pieces_of(&oracle.credentials(client).secret));
    }
    for grant in oracle.all_grants().into_iter().take(SAMPLE) {
        pieces.extend(oracle.secrets_of(grant).flat_map(|secret| pieces_of(without_prefix(secret))));
    }
    for device in oracle.all_devices().into_iter().take(SAMPLE) {
        pieces.extend(pieces_of(without_prefix(oracle.device_code(device))));
        // As it is shown, and its letters alone.
        let user_code = oracle.user_code(device);
        pieces.extend([user_code.to_owned(), user_code.replace('-', "")].map(String::into_bytes));
    }
    pieces.extend(oracle.accounts().iter().flat_map(|account| pieces_of(&account.password)));
    pieces.extend(oracle.sessions().iter().flat_map(|browser| pieces_of(browser.session())));
    search_files(&files(installation)?, &pieces)
}

fn search_files(files: &[PathBuf], pieces: &[Vec<u8>]) -> io::Result<Vec<Violation>> {
    let pieces = AhoCorasick::new(pieces).map_err(|error: BuildError| io::Error::other(error))?;
    let mut found = Vec::new();
    for file in files {
        let content = fs::read(file)?;
        let piece = pieces.find(&content).map(|piece| piece.start());
        let offset = PREFIXES.iter().find_map(|prefix| memmem::find(&content, prefix.as_bytes())).or(piece);
        found.extend(offset.map(|offset| Violation::Secret { file: file.display().to_string(), offset }));
    }
    Ok(found)
}

fn without_prefix(token: &str) -> &str {
    token.get(PREFIX_BYTES..).unwrap_or_default()
}

/// The middle of a secret, as text and decoded.
fn pieces_of(secret: &str) -> Vec<Vec<u8>> {
    // A multiple of four, where the characters of a byte begin.
    let start = secret.len() / 8 * 4;
    let Some(piece) = secret.get(start..start + PIECE_CHARACTERS) else { return Vec::new() };
    [Some(piece.as_bytes().to_owned()), URL_SAFE_NO_PAD.decode(piece).ok()].into_iter().flatten().collect()
}

fn files(installation: &Installation) -> io::Result<Vec<PathBuf>> {
    // A server that did not start has left neither.
    let mut files: Vec<_> = Some(installation.log()).filter(|log| log.is_file()).into_iter().collect();
    let mut folders: Vec<_> =
        Some(installation.data_dir.clone()).filter(|folder| folder.is_dir()).into_iter().collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if is_folder(&path)? {
                folders.push(path);
            } else if path.is_file() {
                files.push(path);
            }
        }
    }
    Ok(files)
}

fn is_folder(path: &Path) -> io::Result<bool> {
    Ok(path.symlink_metadata()?.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "Wm9ja2VyLVNlY3JldC1mb3ItdGhlLXRlc3QtYWxvbmU";

    #[track_caller]
    fn check(content: &[u8], expected: Option<usize>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, content).unwrap();
        let found = search_files(std::slice::from_ref(&file), &pieces_of(SECRET)).unwrap();
        let secret = |offset| Violation::Secret { file: file.display().to_string(), offset };
        assert_eq!(found, expected.map(secret).into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_token_a_piece_of_a_secret_and_its_bytes_are_found() {
        check(b"nothing of note", None);
        check(b"the token tsr_at_0123", Some(10));
        check(b"the token tsr_rt_0123", Some(10));
        check(b"the token tsr_dc_0123", Some(10));
        check(format!("the secret {}", &SECRET[16..40]).as_bytes(), Some(15));
        let bytes = URL_SAFE_NO_PAD.decode(SECRET).unwrap();
        check(&bytes, Some(15));
    }
}

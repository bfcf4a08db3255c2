//! The rooms, what each may import, and which outside crates it owns: DESIGN §2, checked against the source.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each room with the rooms that it may import. Anybody may import `telemetry`.
const ROOMS: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("oauth", &[]),
    ("telemetry", &[]),
    ("fetch", &["clock", "oauth", "signing"]),
    ("config", &["fetch"]),
    ("command", &["clock", "config", "journal", "client", "user", "token", "signing", "postgres"]),
    ("journal", &["clock"]),
    ("password", &["clock", "journal"]),
    ("client", &["clock", "oauth", "journal", "password", "signing"]),
    ("user", &["clock", "oauth", "client", "journal", "password"]),
    ("token", &["clock", "oauth", "client", "user", "signing"]),
    ("signing", &["clock", "oauth", "journal"]),
    ("postgres", &["clock", "oauth", "password", "client", "user", "token", "signing", "journal"]),
    ("grant", &["clock", "oauth", "client", "user", "token", "signing"]),
    ("shard", &["clock", "oauth", "client", "user", "token", "signing", "grant", "journal"]),
    ("endpoint", &["clock", "oauth", "client", "user", "token", "signing", "grant", "shard", "password", "fetch"]),
];

/// The composition root, the command line, the properties of parsers and the steps for benches: they may import any room.
const ROOTS: &[&str] = &["server", "main", "fuzzing", "benching"];

/// Rooms that do not even import `telemetry`.
const SELF_CONTAINED: &[&str] = &["clock", "oauth", "config"];

/// Who may name a path that begins so: rooms, or single files.
const OWNERS: &[(&str, &[&str])] = &[
    ("actix_web", &["endpoint", "server"]),
    ("actix_rt", &["server", "main"]),
    ("actix_http", &["endpoint"]),
    ("use actix_server", &["endpoint/server.rs"]),
    ("actix_service", &["endpoint"]),
    ("actix", &["shard", "client", "user", "signing", "server", "endpoint/service.rs"]),
    ("hyper", &["command", "config/value.rs", "fetch"]),
    ("hyper_util", &["command", "fetch"]),
    ("rustls", &["fetch"]),
    ("tokio_rustls", &["fetch"]),
    ("rustls_native_certs", &["fetch"]),
    ("clap", &["config"]),
    ("toml", &["config"]),
    ("rkyv", &["client", "user", "signing", "token", "shard", "journal", "fuzzing"]),
    ("prometheus_client", &["telemetry", "server/metrics.rs"]),
    ("tracing_subscriber", &["telemetry", "config/setting.rs"]),
    ("std::env", &["config"]),
    ("SystemTime", &["clock"]),
    ("Instant", &["clock"]),
    ("OffsetDateTime", &["clock", "postgres/partitions.rs"]),
    ("tokio::net", &["command", "fetch"]),
    ("tokio::net::UnixStream", &["command"]),
    ("std::os::unix::net", &[]),
    ("TcpListener", &["endpoint/server.rs"]),
    ("TcpStream", &["endpoint/server.rs", "fetch/client.rs"]),
    ("TcpStream::connect", &["fetch/client.rs"]),
    ("std::process::Command", &[]),
    ("tokio::fs", &[]),
    ("rustix::fs", &["journal/disk.rs"]),
    // Whoever may change a data directory; the others have `ReadOnlyDisk`.
    ("RealDisk", &["journal", "server", "command/rebuild.rs", "command/restore.rs"]),
    // So that the paths below are always written out.
    ("use std::{", &[]),
    ("use tokio::{", &[]),
    ("use std::fs", &["journal/disk.rs"]),
    ("OpenOptions", &["journal/disk.rs"]),
    ("DirBuilder", &["journal/disk.rs"]),
    ("File::create", &["journal/disk.rs"]),
    ("std::fs::write", &["journal/disk.rs"]),
    ("std::fs::rename", &["journal/disk.rs"]),
    ("std::fs::copy", &["journal/disk.rs"]),
    ("std::fs::create_dir", &["journal/disk.rs"]),
    ("std::fs::create_dir_all", &["journal/disk.rs"]),
    ("std::fs::remove_file", &["journal/disk.rs"]),
    ("std::fs::remove_dir_all", &["journal/disk.rs"]),
    ("std::fs::set_permissions", &["journal/disk.rs"]),
    ("do_send", &[]),
    ("sqlx", &["postgres"]),
    ("argon2", &["password"]),
    ("bcrypt", &["password"]),
    ("phc", &["password"]),
    ("jsonwebtoken", &["signing"]),
    ("unicode_normalization", &["client/name.rs"]),
    ("unicode_properties", &["client/name.rs"]),
    ("unicode_script", &["client/name.rs"]),
    ("unicode_security", &["client/name.rs"]),
    // `ring` has a module of that name.
    ("rsa::RsaPrivateKey", &["signing/private_key.rs"]),
];

/// A file of `src/`: its path from there, its room, and its code without comments and without unit tests, which end a file.
struct Source {
    path: String,
    room: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("tests") || path.ends_with("tests.rs") {
                // Unit tests that have outgrown the end of their file.
            } else if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                let room = path.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
                found.push(Source { path, room, code: code_of(&text) });
            }
        }
    }
    assert!(found.len() > 50, "src/ is where it was");
    found
}

fn code_of(text: &str) -> String {
    let (text, _) = text.split_once("#[cfg(test)]\nmod tests").unwrap_or((text, ""));
    let lines = text.lines().map(|line| match line.find("//") {
        // Two slashes in a URL begin no comment.
        Some(at) if !line[..at].ends_with(':') => &line[..at],
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What follows each `prefix` that stands by itself: the rest of the path's next name.
fn names_after<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(prefix).filter_map(move |(start, _)| {
        let before = code[..start].chars().next_back();
        let rest = &code[start + prefix.len()..];
        let end = rest.find(|character| !is_name(character)).unwrap_or(rest.len());
        (!before.is_some_and(is_name)).then_some(&rest[..end])
    })
}

/// Whether the code names a path that begins so, as a path and not as a part of another name.
fn names(code: &str, path: &str) -> bool {
    names_after(code, path).any(str::is_empty)
}

#[test]
fn a_room_imports_only_what_its_row_allows() {
    let rows: BTreeMap<_, _> = ROOMS.iter().copied().collect();
    let mut broken = BTreeSet::new();
    for source in sources().iter().filter(|source| source.room != "lib" && !ROOTS.contains(&&*source.room)) {
        let Some(allowed) = rows.get(&*source.room) else { panic!("{} is in no room of the table", source.path) };
        for imported in names_after(&source.code, "crate::") {
            let is_telemetry = imported == "telemetry" && !SELF_CONTAINED.contains(&&*source.room);
            if imported != source.room && !is_telemetry && !allowed.contains(&imported) {
                broken.insert(format!("{} imports {imported}", source.path));
            }
        }
    }
    assert_eq!(broken, BTreeSet::new());
}

#[test]
fn an_import_names_its_room() {
    // Otherwise the check above would not see it.
    let hidden = ["crate::{", "crate::*", "crate as ", "super::super::super"];
    for source in sources() {
        for form in hidden {
            assert!(!source.code.contains(form), "{} has {form}", source.path);
        }
        let is_root_of_room = source.path.ends_with("/mod.rs") || !source.path.contains('/');
        let climbs = if is_root_of_room { "super::" } else { "super::super" };
        let from_a_module_inside = source.code.contains("\nmod ") && source.code.contains("{\n    use super::");
        let is_a_path = names_after(&source.code, climbs).any(|name| rooms().contains(name));
        assert!(!is_a_path || from_a_module_inside, "{} reaches another room by {climbs}", source.path);
    }
}

#[test]
fn an_outside_crate_is_used_by_its_owners_alone() {
    let mut broken = BTreeSet::new();
    for source in sources() {
        for (path, owners) in OWNERS {
            let owns = owners.iter().any(|owner| *owner == source.room || *owner == source.path);
            if !owns && names(&source.code, path) {
                broken.insert(format!("{} uses {path}", source.path));
            }
        }
    }
    assert_eq!(broken, BTreeSet::new());
}

#[test]
fn endpoint_names_nothing_of_actix_but_the_address_of_an_actor() {
    for source in sources().iter().filter(|source| source.room == "endpoint") {
        for name in names_after(&source.code, "actix::") {
            assert_eq!(name, "Addr", "{}", source.path);
        }
    }
}

fn rooms() -> BTreeSet<String> {
    ROOMS
        .iter()
        .map(|(room, _)| (*room).to_owned())
        .chain(["server", "fuzzing", "benching"].map(str::to_owned))
        .collect()
}

#[test]
fn lib_names_every_room_and_every_room_is_there() {
    let sources = sources();
    let lib = sources.iter().find(|source| source.path == "lib.rs").unwrap();
    let named: BTreeSet<_> = names_after(&lib.code, "pub mod ").map(str::to_owned).collect();
    let there: BTreeSet<_> =
        sources.iter().map(|source| source.room.clone()).filter(|room| room != "lib" && room != "main").collect();
    assert_eq!(named, rooms(), "lib.rs");
    assert_eq!(there, rooms(), "src/");
}

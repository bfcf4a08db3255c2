//! `tessera journal verify|stat|dump`: what an operator learns of a directory that no server holds, without changing it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, mpsc};
use std::time::SystemTime;

use rkyv::util::AlignedVec;
use serde_json::{Value, json};
use tessera::client::id::ClientId;
use tessera::client::secret::SecretDigest;
use tessera::clock::{Clock, ManualTime, UnixTime};
use tessera::journal::{self, Entry, JournalKeys, Lane, Options, RealDisk};
use tessera::oauth::audience::Audience;
use tessera::oauth::scope::Scope;
use tessera::signing::derivation::DerivedKeys;
use tessera::token::access_token::TokenReference;
use tessera::token::digest::TokenDigest;
use tessera::token::event::{KIND_ISSUED, KIND_REVOKED, SCHEMA_ISSUED, SCHEMA_REVOKED, encode_issued, encode_revoked};
use tessera::token::grant::ClientTerms;

use super::program::{Ended, Home, Program, admin, issue_request, revoke_request};
use super::secrets::Canaries;
use crate::http::{Credentials, Request};

const PAGE_BYTES: usize = 4096;
const COMMANDS: [&str; 3] = ["verify", "stat", "dump"];

/// Runs `tessera journal` with these arguments to its end.
fn journal(home: &Home, arguments: &[&str]) -> Ended {
    Program::spawn(&mut home.command(&[&["journal"], arguments].concat())).wait()
}

/// What a command prints when all is well.
#[track_caller]
fn printed(home: &Home, arguments: &[&str]) -> String {
    let ended = journal(home, arguments);
    assert_eq!((ended.status.code(), &*ended.stderr), (Some(0), ""), "{arguments:?}: {ended:?}");
    ended.stdout
}

#[track_caller]
fn document(home: &Home, arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(home, arguments)).unwrap()
}

/// The records that `dump` prints.
#[track_caller]
fn dumped(home: &Home, arguments: &[&str]) -> Vec<Value> {
    let text = printed(home, &[&["dump"], arguments].concat());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Everything below the working directory: mode, time of the last change, content.
fn files(home: &Home) -> BTreeMap<String, (u32, SystemTime, blake3::Hash)> {
    let mut files = BTreeMap::new();
    let mut directories = vec![home.path().to_owned()];
    while let Some(directory) = directories.pop() {
        for path in [directory.clone()].into_iter().chain(paths(&directory)) {
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_dir() && path != directory {
                directories.push(path.clone());
            }
            let content = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            let (mode, changed) = (metadata.permissions().mode(), metadata.modified().unwrap());
            files.insert(path.display().to_string(), (mode, changed, blake3::hash(&content)));
        }
    }
    files
}

fn paths(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn segments(home: &Home) -> Vec<String> {
    let names = paths(&home.data_dir()).into_iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    names.filter(|name| name.ends_with(".seg")).collect()
}

/// Every command has to end so, to say all of `words` in one line, and to change nothing.
#[track_caller]
fn check_refused(home: &Home, environment: &[(&str, &str)], exit_code: i32, words: &[&str]) {
    let before = files(home);
    for command in COMMANDS {
        let ended = Program::spawn(home.command(&["journal", command]).envs(environment.iter().copied())).wait();
        assert_eq!(ended.status.code(), Some(exit_code), "{command}: {ended:?}");
        let says = |line: &str| words.iter().all(|word| line.contains(word));
        assert!(ended.stderr.lines().any(says), "{words:?} are not in one line of:\n{}", ended.stderr);
        assert!(!ended.stdout.contains("whole\n"), "{ended:?}");
    }
    assert!(files(home) == before, "a file was changed");
}

/// One record that a test appends.
struct Appended {
    kind: u16,
    schema: u16,
    payload: AlignedVec,
}

fn issued(number: u32) -> Appended {
    let terms = ClientTerms {
        id: ClientId::parse("app").unwrap(),
        generation: 2,
        in_force: Arc::default(),
        scope: Scope::parse("read write").unwrap(),
        audience: Audience::parse(["https://api.example"]).unwrap(),
        claims: None,
    };
    let digest = TokenDigest::of(&number.to_string());
    let payload = encode_issued(digest, number, 1_800_000_000 + number, &terms).unwrap();
    Appended { kind: KIND_ISSUED, schema: SCHEMA_ISSUED, payload }
}

/// Appends to the journal as a server does, but in small segments, and with a block for each record.
fn append(home: &Home, records: impl IntoIterator<Item = Appended>) {
    let (sender, durable) = mpsc::channel();
    append_with(home, records, &mut |lane, entry| {
        let sender = sender.clone();
        lane.append(entry, Some(Box::new(move || sender.send(()).unwrap())));
        durable.recv().unwrap();
    });
}

/// Makes a key where there is none.
fn append_with(home: &Home, records: impl IntoIterator<Item = Appended>, append_one: &mut dyn FnMut(&mut Lane, Entry)) {
    if !home.key_file().exists() {
        fs::write(home.key_file(), "ab".repeat(32)).unwrap();
        fs::set_permissions(home.key_file(), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let keys = JournalKeys::from(&DerivedKeys::of(&[0xab; 32]));
    let disk = Arc::new(RealDisk::new(home.data_dir()).unwrap());
    let options = Options { segment_bytes: 64 << 10, journal_bytes_max: 2 << 20, ..Options::new(keys, 1, 512) };
    // Where time stands still no block is added that marks what is durable, however slow the machine is.
    let clock = Clock::on(Box::new(ManualTime::new(UnixTime::from_seconds(1_700_000_000))));
    let mut opened = journal::open(disk, options, Arc::new(clock), &mut |_| {}).unwrap();
    for Appended { kind, schema, payload } in records {
        append_one(&mut opened.lanes[0], Entry { kind, schema, routing_id: 7, payload });
    }
    drop(opened.lanes);
    opened.journal.close().unwrap();
}

/// Forty records in three segments: 1 to 15, 16 to 30, 31 to 40, each in a page of its own.
fn three_segments() -> Home {
    let home = Home::new();
    append(&home, (1..=40).map(issued));
    assert_eq!(segments(&home).len(), 3);
    home
}

fn copy_of(original: &Home) -> Home {
    let home = Home::new();
    fs::copy(original.key_file(), home.key_file()).unwrap();
    fs::create_dir(home.data_dir()).unwrap();
    for path in paths(&original.data_dir()) {
        fs::copy(&path, home.data_dir().join(path.file_name().unwrap())).unwrap();
    }
    home
}

/// Changes a file of the data directory.
fn change(home: &Home, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = home.data_dir().join(name);
    let mut content = fs::read(&path).unwrap();
    change(&mut content);
    fs::write(&path, content).unwrap();
}

fn remove(home: &Home, name: &str) {
    fs::remove_file(home.data_dir().join(name)).unwrap();
}

#[test]
fn a_directory_is_whole_after_a_clean_stop_and_after_kill_9() {
    let home = Home::new();
    for round in 1..=2 {
        let program = home.start(&[]);
        program.issue(&admin());
        if round == 1 {
            program.stop();
        } else {
            program.kill();
        }
        let text = printed(&home, &["verify"]);
        assert!(text.ends_with("\nwhole\n") && text.contains(&format!("1, epochs {round} to {round}")), "{text}");
        let summary = document(&home, &["verify", "--format", "json"]);
        assert_eq!((&summary["whole"], &summary["torn_tail"]), (&json!(true), &Value::Null), "{summary}");
        assert_eq!((&summary["first_lsn"], &summary["last_lsn"]), (&json!(1), &json!(1 + round)), "{summary}");
        let high_water = summary["high_water_ms"].as_u64().unwrap();
        assert!(text.contains(summary["high_water_rfc3339"].as_str().unwrap()) && high_water > 1_700_000_000_000);
    }
}

/// Damages a copy of [`three_segments`], whose names it is given.
type Damage = fn(&Home, &[String]);

#[test]
fn each_damage_has_its_exit_code_and_names_its_place() {
    let cases: [(Damage, &str); 9] = [
        (
            |home, names| change(home, &names[1], |bytes| bytes[3 * PAGE_BYTES + 90] ^= 1),
            "-00000001.seg at byte 12288: the payload's checksum is wrong; records 18 to 18",
        ),
        (
            |home, names| change(home, &names[2], |bytes| bytes[PAGE_BYTES + 40] ^= 1),
            "at byte 4096: the header's checksum is wrong; records 31 to",
        ),
        (
            |home, names| change(home, &names[0], |bytes| bytes[70] ^= 1),
            "-00000001.seg at byte 0: the header's checksum is wrong; records 1 to 1",
        ),
        (
            |home, _| change(home, "HEAD", |bytes| [50, PAGE_BYTES + 50].iter().for_each(|at| bytes[*at] ^= 1)),
            "journal corrupt: HEAD at byte",
        ),
        (|home, _| remove(home, "HEAD"), "HEAD is missing"),
        (|home, names| remove(home, &names[0]), "the oldest segment is missing and records 1 to 15"),
        (
            |home, names| remove(home, &names[1]),
            "-00000001.seg at byte 65536: the file ends too early; records 16 to 30",
        ),
        (|home, names| remove(home, &names[2]), "the newest segment is missing"),
        (
            |home, names| {
                let foreign = three_segments();
                fs::copy(foreign.data_dir().join(&names[1]), home.data_dir().join(&names[1])).unwrap();
            },
            "-00000001.seg belongs to another journal",
        ),
    ];
    let whole = three_segments();
    for (damage, place) in cases {
        let home = copy_of(&whole);
        damage(&home, &segments(&home));
        check_refused(&home, &[], 65, &[place]);
        let verified = journal(&home, &["verify", "--format", "json"]);
        let verdict: Value = serde_json::from_str(&verified.stdout).unwrap();
        assert_eq!((verified.status.code(), &verdict["whole"]), (Some(65), &json!(false)));
        assert!(verdict["error"].as_str().unwrap().contains(place), "{verdict}");
    }
}

#[test]
fn what_precedes_a_damage_is_dumped() {
    let home = three_segments();
    change(&home, &segments(&home)[1], |bytes| bytes[3 * PAGE_BYTES + 90] ^= 1);
    let ended = journal(&home, &["dump"]);
    assert_eq!((ended.status.code(), ended.stdout.lines().count()), (Some(65), 17));
}

#[test]
fn a_key_that_is_not_the_right_one_is_told_from_one_that_is_none() {
    let home = three_segments();
    let other = "cd".repeat(32);
    check_refused(&home, &[("TESSERA_MASTER_KEY", &other)], 65, &["the master key does not fit this data directory"]);
    let right = "ab".repeat(32);
    fs::set_permissions(home.key_file(), fs::Permissions::from_mode(0o644)).unwrap();
    check_refused(&home, &[], 78, &["tessera-data.key can be read by others", "chmod 600"]);
    fs::write(home.key_file(), "no key").unwrap();
    fs::set_permissions(home.key_file(), fs::Permissions::from_mode(0o600)).unwrap();
    check_refused(&home, &[], 78, &["tessera-data.key must hold a master key"]);
    fs::remove_file(home.key_file()).unwrap();
    check_refused(&home, &[], 78, &["the master key is missing", "TESSERA_MASTER_KEY"]);
    fs::create_dir(home.key_file()).unwrap();
    check_refused(&home, &[], 1, &["cannot read", "tessera-data.key"]);
    let verified = Program::spawn(home.command(&["journal", "verify"]).env("TESSERA_MASTER_KEY", right)).wait();
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
}

#[test]
fn where_there_is_no_journal_none_is_made_and_no_key_either() {
    let home = Home::new();
    check_refused(&home, &[], 66, &["there is no journal in ./tessera-data", "--data-dir"]);
    fs::write(home.data_dir(), "a file").unwrap();
    check_refused(&home, &[], 66, &["there is no journal in"]);
    fs::remove_file(home.data_dir()).unwrap();
    fs::create_dir(home.data_dir()).unwrap();
    check_refused(&home, &[], 66, &["there is no journal in"]);
    let key = ("TESSERA_MASTER_KEY", &*"ab".repeat(32));
    check_refused(&home, &[key], 66, &["there is no journal in ./tessera-data"]);
    check_refused(&home, &[("TESSERA_SHARDS", "0")], 78, &["shards:", "TESSERA_SHARDS"]);
    assert!(files(&home).len() == 2, "{:?}", files(&home));
}

#[test]
fn a_file_that_cannot_be_read_is_no_damage() {
    let home = three_segments();
    let segment = home.data_dir().join(&segments(&home)[1]);
    fs::remove_file(&segment).unwrap();
    fs::create_dir(&segment).unwrap();
    check_refused(&home, &[], 1, &["cannot read wal-", "directory"]);
}

#[test]
fn a_server_that_holds_the_directory_is_left_alone() {
    let home = Home::new();
    let program = home.start(&[]);
    let token = program.issue(&admin());
    for command in COMMANDS {
        let ended = journal(&home, &[command]);
        assert_eq!((ended.status.code(), &*ended.stdout), (Some(75), ""), "{ended:?}");
        assert!(ended.stderr.contains("stop it, or run this on a copy or a backup"), "{ended:?}");
    }
    assert!(program.is_active(&token));
    program.stop();
    printed(&home, &["verify"]);
    assert!(home.start(&[]).is_active(&token));
}

/// A copy or a backup need not hold the file of the lock, and gets none.
#[test]
fn a_copy_is_read_where_it_lies() {
    let home = three_segments();
    remove(&home, "LOCK");
    let before = files(&home);
    for command in COMMANDS {
        printed(&home, &[command]);
    }
    assert!(files(&home) == before);
}

#[test]
fn a_torn_tail_and_unfinished_files_are_told_and_left_as_they_are() {
    let home = three_segments();
    let last = segments(&home)[2].clone();
    let page = 11 * PAGE_BYTES;
    change(&home, &last, |bytes| bytes[page..page + 600].fill(b'x'));
    change(&home, "HEAD", |bytes| bytes[PAGE_BYTES + 50] ^= 1);
    for name in ["spare.tmp", "recovery.tmp"] {
        fs::write(home.data_dir().join(name), "unfinished").unwrap();
    }
    let before = files(&home);
    let text = printed(&home, &["verify"]);
    let kept_as = last.replace(".seg", ".torn");
    let told = format!(
        "torn tail     {last} at byte {page}: 4096 bytes, where record 41 was due: the magic number is wrong; never \
         acknowledged; the next start cuts it off and keeps it as {kept_as}\nwhole\n"
    );
    assert!(text.ends_with(&told), "{text}");
    assert!(text.contains("HEAD slot     at byte 4096: the header's checksum is wrong; the other stands in"), "{text}");
    let torn = document(&home, &["stat", "--format", "json"])["torn_tail"].clone();
    assert_eq!((&torn["segment"], &torn["offset"], &torn["bytes"]), (&json!(last), &json!(page), &json!(4096)));
    assert_eq!(dumped(&home, &[]).len(), 40);
    assert!(files(&home) == before, "a file was changed");

    home.start(&[]).stop();
    assert!(home.data_dir().join(kept_as).exists(), "the next start does as was told");
    assert!(printed(&home, &["verify"]).contains("torn tail     none\n"));
}

#[test]
fn a_record_that_no_room_can_read_is_found_by_verify_and_shown_by_number_and_length() {
    for (kind, schema) in [(KIND_ISSUED, 9), (KIND_ISSUED, SCHEMA_ISSUED), (999, 1)] {
        let home = three_segments();
        let mut payload = AlignedVec::new();
        payload.extend_from_slice(b"of another version");
        append(&home, [Appended { kind, schema, payload }, issued(42)]);
        let last = &segments(&home)[2];
        let ended = journal(&home, &["verify"]);
        assert_eq!((ended.status.code(), &*ended.stdout), (Some(65), ""), "{ended:?}");
        let place = format!("{last} at byte {}, record 41: ", 11 * PAGE_BYTES);
        assert!(ended.stderr.starts_with(&place) && ended.stderr.contains(&format!("kind {kind}")), "{ended:?}");
        let expected = json!({ "lsn": 41, "kind": kind, "schema": schema, "payload_bytes": 18 });
        assert_eq!(dumped(&home, &["--from", "41", "--to", "41"]), [expected]);
        let kinds = document(&home, &["stat", "--format", "json"])["kinds"].clone();
        assert!(kinds.as_array().unwrap().iter().any(|row| row["number"] == kind), "{kinds}");
    }
}

#[test]
fn dump_prints_the_records_that_are_asked_for() {
    let home = three_segments();
    append(
        &home,
        [Appended {
            kind: KIND_REVOKED,
            schema: SCHEMA_REVOKED,
            payload: encode_revoked(TokenDigest::of("1"), 9).unwrap(),
        }],
    );
    let lsns = |arguments: &[&str]| -> Vec<u64> {
        dumped(&home, arguments).iter().map(|line| line["lsn"].as_u64().unwrap()).collect()
    };
    assert_eq!(lsns(&[]), (1..=41).collect::<Vec<_>>());
    assert_eq!(lsns(&["--from", "14", "--to", "17"]), [14, 15, 16, 17]);
    assert_eq!(lsns(&["--from", "40"]), [40, 41]);
    assert_eq!(lsns(&["--to", "2"]), [1, 2]);
    assert_eq!(lsns(&["--from", "9", "--to", "8"]), [0; 0]);
    assert_eq!(lsns(&["--kind", "token_revoked"]), [41]);
    assert_eq!(lsns(&["--kind", "17"]), [41]);
    assert_eq!(lsns(&["--kind", "client_stored"]), [0; 0]);
    let line = printed(&home, &["dump", "--kind", "token_revoked", "--format", "text"]);
    assert_eq!(line, "41 token_revoked schema=2 digest=\"6b86b273ff34fce19d6b804eff5a3f57\" expires_at=9\n");
    let ended = journal(&home, &["dump", "--kind", "token"]);
    assert_eq!((ended.status.code(), &*ended.stdout), (Some(2), ""), "{ended:?}");
    assert!(
        ended.stderr.contains(
            "client_stored, client_deleted, client_imported, client_registered, initial_access_stored, \
             initial_access_revoked, token_issued, token_revoked"
        ),
        "{ended:?}"
    );
}

#[test]
fn a_reader_that_goes_away_ends_dump_quietly() {
    let home = three_segments();
    // In lines of some 300 bytes, more than a pipe holds.
    append_with(&home, (0..400).map(issued), &mut |lane, entry| {
        lane.append(entry, None);
    });
    let mut command = home.command(&["journal", "dump"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::with_capacity(1, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with(r#"{"lsn":1,"#), "{line}");
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), &*said), (Some(0), ""));
}

/// What was done over HTTP, for the journal to show.
struct Done {
    client: Credentials,
    tokens: Vec<String>,
    canaries: Canaries,
}

/// Registers a client, lets it get five tokens and revoke two, and deletes another client.
fn use_server(home: &Home) -> Done {
    let program = home.start(&[]);
    let client = program.register("app");
    let deleted = program.register("gone");
    let bearer = program.issue(&admin());
    let answer = program.ask(&Request::new("DELETE", "/admin/v1/clients/gone").bearer(&bearer));
    assert_eq!(answer.status, 204);
    let scope = issue_request(&client).form(&[("grant_type", "client_credentials"), ("scope", "read")]);
    let tokens: Vec<_> = (0..5).map(|_| program.ask(&scope).text("access_token")).collect();
    for token in &tokens[..2] {
        assert_eq!(program.ask(&revoke_request(&client, token)).status, 200);
    }
    program.stop();
    let mut canaries = Canaries::none();
    [&client, &deleted, &admin()].iter().for_each(|client| canaries.add_client(client));
    tokens.iter().chain([&bearer]).for_each(|token| canaries.add_token(token));
    Done { client, tokens, canaries }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn dump_shows_what_was_done_and_nothing_secret() {
    let home = Home::new();
    let Done { client, tokens, canaries } = use_server(&home);
    let lines = dumped(&home, &[]);
    let of = |kind: &str, client_id: &str| -> Vec<&Value> {
        let is_it = |line: &&Value| line["kind"] == kind && (client_id.is_empty() || line["client_id"] == client_id);
        lines.iter().filter(is_it).collect()
    };
    let issued = of("token_issued", "app");
    assert!(
        issued
            .iter()
            .map(|line| line["digest"].as_str().unwrap().to_owned())
            .eq(tokens.iter().map(|token| { hexadecimal(TokenReference::of(token).unwrap().digest.as_bytes()) }))
    );
    for line in &issued {
        assert_eq!((&line["scope"], &line["audience"], &line["schema"]), (&json!("read"), &json!([]), &json!(1)));
        let [issued_at, expires_at] = ["issued_at", "expires_at"].map(|member| line[member].as_u64().unwrap());
        assert_eq!(expires_at - issued_at, 3600);
        let shown = UnixTime::from_seconds(expires_at).to_string();
        assert_eq!(line["expires_at_rfc3339"], json!(shown));
    }
    let revoked: Vec<_> = of("token_revoked", "").iter().map(|line| line["digest"].clone()).collect();
    assert_eq!(revoked, [issued[0]["digest"].clone(), issued[1]["digest"].clone()]);
    let [stored] = of("client_stored", "app")[..] else { panic!("{lines:?}") };
    assert_eq!((&stored["has_secret"], &stored["metadata"]["scope"]), (&json!(true), &json!("read write")));
    assert_eq!(of("client_stored", "operator")[0]["has_secret"], json!(false), "its secret is the configuration's");
    let [deleted] = of("client_deleted", "")[..] else { panic!("{lines:?}") };
    assert_eq!((&deleted["client_id"], deleted["generation"].as_u64()), (&json!("gone"), Some(2)));

    let digest = hexadecimal(SecretDigest::of(&client.secret).as_bytes());
    for format in ["text", "json"] {
        let text = printed(&home, &["dump", "--format", format]);
        canaries.check("the dump", text.as_bytes());
        assert!(!text.contains(&digest[..16]), "the digest of a secret is in the dump");
        for token in &tokens {
            let routing_id = TokenReference::of(token).unwrap().routing_id.0;
            let forms =
                [routing_id.to_string(), format!("{routing_id:016x}"), format!("{:016x}", routing_id.swap_bytes())];
            assert!(!forms.iter().any(|form| text.contains(form)), "a routing id is in the dump");
            assert!(!text.contains(&token[7..15]), "the begin of a token is in the dump");
        }
        assert!(
            text.contains(&hexadecimal(TokenReference::of(&tokens[0]).unwrap().digest.as_bytes())),
            "the search finds what is there"
        );
    }
}

#[test]
fn stat_counts_what_was_done() {
    let home = Home::new();
    use_server(&home);
    let stat = document(&home, &["stat", "--format", "json"]);
    // The admin has got a token for each client that was registered, and one to delete.
    let expected = [("client_stored", 3), ("client_deleted", 1), ("token_issued", 5 + 3), ("token_revoked", 2)];
    let rows = stat["kinds"].as_array().unwrap();
    assert!(
        rows.iter().map(|row| (row["kind"].as_str().unwrap(), row["records"].as_i64().unwrap())).eq(expected),
        "{stat}"
    );
    assert_eq!((&stat["totals"]["records"], &stat["last_lsn"]), (&json!(14), &json!(14)));
    assert_eq!((&stat["totals"]["blocks"], &stat["block_records_max"]), (&json!(14), &json!(1)), "one after the other");
    let [segment] = &stat["segments"].as_array().unwrap()[..] else { panic!("{stat}") };
    assert_eq!((&segment["first_lsn"], &segment["last_lsn"], &segment["epoch"]), (&json!(1), &json!(14), &json!(1)));
    assert_eq!(segment["length_bytes"], json!(64 << 20));
    let pages = 1 + 14 + segment["marks"].as_u64().unwrap();
    assert_eq!(segment["bytes"], json!(pages * PAGE_BYTES as u64));
    assert_eq!((&stat["head"]["durable_lsn"], &stat["head"]["retained_from"]), (&json!(14), &json!(1)));

    let text = printed(&home, &["stat"]);
    for words in [&["token_issued", "8"][..], &["client_deleted", "1"], &[segment["name"].as_str().unwrap(), "14"]] {
        let has = |line: &str| words.iter().all(|word| line.split_whitespace().any(|own| own == *word));
        assert!(text.lines().any(has), "{words:?} is not in:\n{text}");
    }
}

#[test]
fn an_empty_journal_is_whole() {
    let home = Home::new();
    append(&home, []);
    assert!(printed(&home, &["verify"]).contains("records       none\n"));
    assert_eq!(dumped(&home, &[]).len(), 0);
    let stat = document(&home, &["stat", "--format", "json"]);
    assert_eq!(
        (&stat["totals"]["records"], &stat["last_lsn"], &stat["block_records_mean"]),
        (&json!(0), &Value::Null, &json!(0.0))
    );
}

/// Where nobody reads what is wrong, it is wrong all the same.
#[test]
fn a_damage_is_told_also_to_a_reader_that_has_gone_away() {
    let home = three_segments();
    change(&home, &segments(&home)[1], |bytes| bytes[3 * PAGE_BYTES + 90] ^= 1);
    for arguments in [&["journal", "verify", "--format", "json"][..], &["journal", "dump"]] {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let status = home.command(arguments).stdout(writer).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(65), "{arguments:?}");
    }
}

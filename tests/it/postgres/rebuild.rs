//! `tessera rebuild`: a data directory that was lost, from the database.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::cluster::Database;
use super::scene::{Scene, await_caught_up, await_state, check_refused, run};
use crate::http::{Credentials, Request};
use crate::process::program::{admin, issue_request};

/// The arguments of the command.
pub(super) fn rebuild<'a>(url: &'a str, data_dir: &'a Path) -> [&'a str; 6] {
    ["rebuild", "--from-database", "--database-url", url, "--data-dir", data_dir.to_str().unwrap()]
}

#[test]
fn a_server_that_lost_its_directory_is_rebuilt_with_all_that_the_database_has() {
    let mut scene = Scene::shared();
    let url = scene.url();
    let Scene { program, oracle, .. } = &mut scene;
    let [kept, doomed] = ["kept", "doomed"].map(|name| oracle.register_app(program, name));
    for client in [&kept, &doomed] {
        let tokens: Vec<_> = (0..20).map(|_| oracle.issue(program, client)).collect();
        tokens[..8].iter().for_each(|token| oracle.revoke(program, client, token));
    }
    let rotated = oracle.administer(program, Request::post("/admin/v1/clients/kept/secret"), 200);
    let rotated = Credentials::new("kept", &rotated.text("client_secret"));
    let anew = oracle.register_app(program, "anew");
    oracle.issue(program, &anew);
    oracle.delete(program, &anew);
    oracle.delete(program, &doomed);
    let anew = oracle.register_app(program, "anew");
    oracle.issue(program, &anew);
    scene.load(|load, _, _| load.goes_on(500));
    for shards in ["1", "3"] {
        scene.check();
        scene.program.end();
        let Scene { home, .. } = &scene;
        fs::remove_dir_all(home.data_dir()).unwrap();
        let (told, _) = run(home, &rebuild(&url, &home.data_dir()), 0);
        assert!(told.contains("start the server"), "{told}");
        run(home, &rebuild(&url, &home.data_dir()), 65);
        run(home, &["journal", "verify"], 0);

        let program = home.start(&["--database-url", &url, "--shards", shards]);
        for client in [&kept, &doomed] {
            assert_eq!(program.ask(&issue_request(client)).status, 401, "{}", client.id);
        }
        for client in [&rotated, &anew, &admin()] {
            scene.oracle.issue(&program, client);
        }
        scene.program = program;
        scene.check();
        scene.load(|load, _, _| load.goes_on(200));
    }
    scene.check();
}

#[test]
fn a_rebuild_is_refused_with_another_key_into_a_full_directory_and_from_nothing() {
    let mut scene = Scene::shared();
    scene.load(|load, _, _| load.goes_on(20));
    scene.check();
    let (url, Scene { program, home, database, .. }) = (scene.url(), scene);
    program.stop();
    let (_, said) = run(&home, &rebuild(&url, &home.data_dir()), 65);
    assert!(said.contains("empty"), "{said}");

    let new = home.path().join("new");
    let other_key = home.path().join("other.key");
    let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&other_key).unwrap();
    std::io::Write::write_all(&mut file, "ab".repeat(32).as_bytes()).unwrap();
    let rebuild_with = |key: &Path, url: &str, exit_code: i32| {
        let arguments = [&rebuild(url, &new)[..], &["--master-key-file", key.to_str().unwrap()]].concat();
        let (_, said) = run(&home, &arguments, exit_code);
        assert!(exit_code == 0 || segments(&new).is_empty(), "{:?}", segments(&new));
        said
    };
    assert!(rebuild_with(&other_key, &url, 65).contains("key"));
    rebuild_with(&home.path().join("missing.key"), &url, 78);
    let nothing = Database::shared().address.to_string();
    rebuild_with(&home.key_file(), &nothing, 1);
    let nothing = Database::shared();
    let empty = nothing.address.to_string();
    rebuild_with(&home.key_file(), &empty, 66);
    run(&home, &["database", "migrate", "--database-url", &empty], 0);
    rebuild_with(&home.key_file(), &empty, 66);
    rebuild_with(&home.key_file(), &url, 0);

    let (directory, key) = (new.to_str().unwrap(), home.key_file());
    let place = ["--data-dir", directory, "--master-key-file", key.to_str().unwrap(), "--database-url", &url];
    let program = home.start(&place);
    program.issue(&admin());
    await_caught_up(&program, &database);
    program.stop();
    // The directory that was thought lost is behind now, and must not be taken up again.
    check_refused(&home, &url);
}

/// Somebody took it for dead.
#[test]
fn a_server_whose_directory_was_rebuilt_elsewhere_writes_no_more() {
    let mut scene = Scene::shared();
    scene.load(|load, _, _| load.goes_on(50));
    scene.check();
    let (url, Scene { program: old, home, mut oracle, database }) = (scene.url(), scene);
    let (new, key) = (home.path().join("new"), home.key_file());
    let key = ["--master-key-file", key.to_str().unwrap()];
    run(&home, &[&rebuild(&url, &new)[..], &key].concat(), 0);
    let place = ["--data-dir", new.to_str().unwrap(), "--database-url", &url];
    let program = home.start(&[&place[..], &key].concat());
    oracle.load(&program, |load| load.goes_on(50));
    let token = old.issue(&admin());
    await_state(&old, "refused");
    assert!(old.is_active(&token) && !program.is_active(&token));
    oracle.check(&program, &database);
}

fn segments(data_dir: &Path) -> Vec<OsString> {
    let names = fs::read_dir(data_dir).into_iter().flatten().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".seg")).collect()
}

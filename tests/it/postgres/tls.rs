//! The connection to the database is as private as its URL says.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use super::cluster::{Address, Cluster, Database, Session, until};
use super::oracle::Oracle;
use super::proxy::Proxy;
use super::scene::database_of;
use crate::process::program::{Home, admin};

/// An authority, what it has signed for the address of the tests, and one that has signed nothing.
const CERTIFICATES: &str = r#"
    for name in authority other; do
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
            -subj "/CN=$name" -keyout $name.key -out $name.crt
    done
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=database -keyout server.key -out server.csr
    printf "subjectAltName=IP:$0\nbasicConstraints=CA:FALSE\n" > extensions
    openssl x509 -req -days 2 -in server.csr -CA authority.crt -CAkey authority.key -CAcreateserial \
        -extfile extensions -out server.crt
"#;

fn make_certificates(data_dir: &Path, ip: IpAddr) {
    let mut command = Command::new("sh");
    let made = command.args(["-ec", CERTIFICATES, &ip.to_string()]).current_dir(data_dir).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let owner = data_dir.metadata().unwrap();
    for file in ["server.key", "server.crt"] {
        let file = data_dir.join(file);
        chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    std::fs::write(data_dir.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust\n").unwrap();
}

/// A server with that URL has to write to the database.
#[track_caller]
fn check_accepted(database: &Database, address: &Address) {
    let (home, mut oracle) = (Home::new(), Oracle::default());
    let program = home.start(&["--database-url", &address.to_string()]);
    let client = oracle.register_app(&program, "app");
    oracle.issue(&program, &client);
    oracle.check(&program, database);
    let Address { database: name, .. } = address;
    let encrypted = format!(
        "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE datname = '{name}' AND application_name = 'tessera'"
    );
    assert_eq!(database.value(&encrypted), "t");
}

/// A server with that URL goes on without the database, and sends it nothing.
#[track_caller]
fn check_given_up(database: &Database, address: &Address) {
    let proxy = Proxy::to(&address.host);
    let home = Home::new();
    let program = home.start(&["--database-url", &address.of_host(&proxy.host).to_string()]);
    let token = program.issue(&admin());
    let before = proxy.accepted();
    until("it has tried and tried again", || proxy.accepted() >= before + 2);
    let state = database_of(&program);
    assert!(state["state"] != "connected" && state["lag_records"].as_u64().unwrap() > 0, "{state}");
    assert!(program.is_active(&token));
    assert_eq!(database.value("SELECT to_regclass('tessera.projection')"), "");
}

#[test]
fn the_connection_is_as_private_as_the_url_says() {
    if Command::new("openssl").arg("version").output().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        panic!("this test needs openssl: install the package openssl, as tests/run does");
    }
    let cluster = Cluster::create(&["fsync=off", "ssl=on", "ssl_cert_file=server.crt", "ssl_key_file=server.key"]);
    make_certificates(cluster.data_dir(), cluster.address().ip());
    cluster.start_again();
    let [authority, other] = ["authority", "other"].map(|name| cluster.data_dir().join(name).with_extension("crt"));
    let verify = |root: &Path| format!("sslmode=verify-full&sslrootcert={}", root.display());
    let require = cluster.address.with("sslmode=require");
    assert!(Session::open(&cluster.address.with("sslmode=disable")).is_err(), "nobody comes in without TLS");
    for accepted in ["sslmode=require", &verify(&authority)] {
        let database = Database::on(&require);
        check_accepted(&database, &database.address.with(accepted));
    }
    let database = Database::on(&require);
    for given_up in ["sslmode=disable", &verify(&other), "sslmode=verify-full"] {
        check_given_up(&database, &database.address.with(given_up));
    }
}

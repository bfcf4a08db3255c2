use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::site::{Answers, Behaviour, LIMITS, Site, fetcher, http, roots};
use crate::fetch::client::{FetchError, FetchLimits, Fetched, Fetcher};
use crate::oauth::fetch_uri::FetchUri;

fn uri(text: &str) -> FetchUri {
    FetchUri::parse(text).unwrap()
}

/// Where the site is for clients.
fn keys_of(site: &Site) -> FetchUri {
    uri(&format!("https://keys.client.example:{}/keys?v=1", site.address.port()))
}

/// A fetcher that may fetch from the site, and finds it.
fn fetcher_for(site: &Site, limits: FetchLimits) -> Fetcher {
    let allow = format!("keys.client.example:{}=127.0.0.1/32", site.address.port());
    fetcher(&allow, limits, Answers::new(&[&["127.0.0.1"]]))
}

#[track_caller]
fn check(what: &str, fetched: Result<Fetched, FetchError>, expected: &str) {
    match fetched {
        Err(error) => assert_eq!(error.name(), expected, "{what}: {error}"),
        Ok(fetched) => panic!("{what}: {fetched:?}"),
    }
}

#[tokio::test]
async fn a_document_is_fetched_with_a_request_that_asks_for_nothing_more() {
    let site = Site::start(http(200, "Cache-Control: public, max-age=120\r\n", "{}")).await;
    let fetched = fetcher_for(&site, LIMITS).fetch(&keys_of(&site)).await.unwrap();
    assert_eq!((&*fetched.body, fetched.max_age_seconds), (&b"{}"[..], Some(120)));
    let port = site.address.port();
    let expected = format!(
        "GET /keys?v=1 HTTP/1.1\r\nhost: keys.client.example:{port}\r\naccept: application/jwk-set+json, application/json\r\n\
         user-agent: tessera/{}\r\nconnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(site.heads(), [expected]);
}

#[tokio::test]
async fn a_loopback_address_is_fetched_from_without_tls_where_that_is_allowed() {
    let site = Site::start_plain(http(200, "Cache-Control: no-store\r\n", "[]")).await;
    let address = format!("http://{}", site.address);
    let fetch = async |allow: &str| fetcher(allow, LIMITS, Answers::new(&[])).fetch(&uri(&address)).await;
    assert_eq!(fetch(&address).await.unwrap().max_age_seconds, Some(0));
    check("as https", fetch(&format!("{}=127.0.0.0/8", site.address)).await, "not_allowed");
    assert_eq!(site.connections(), 1);
}

#[tokio::test]
async fn ss_1_nothing_is_fetched_that_is_not_allowed() {
    let answers = Answers::new(&[&["127.0.0.1"]]);
    let site = Site::start(http(200, "", "{}")).await;
    let port = site.address.port();
    for allow in ["none", "keys.client.example", "other.example", &format!("*.keys.client.example:{port}")] {
        let fetched = fetcher(allow, LIMITS, Arc::clone(&answers)).fetch(&keys_of(&site)).await;
        check(allow, fetched, "not_allowed");
    }
    assert_eq!((answers.asked(), site.connections()), (0, 0));
}

#[tokio::test]
async fn ss_1_a_name_with_an_address_inside_is_refused_before_anything_is_sent() {
    let site = Site::start(http(200, "", "{}")).await;
    let port = site.address.port();
    for inside in [
        &["127.0.0.1"][..],
        &["::1"],
        &["::ffff:127.0.0.1"],
        &["::127.0.0.1"],
        &["64:ff9b::127.0.0.1"],
        &["2002:7f00:1::"],
        &["169.254.169.254"],
        &["10.0.0.1"],
        &["172.16.0.1"],
        &["192.168.1.1"],
        &["100.64.0.1"],
        &["fc00::1"],
        &["fe80::1"],
        &["0.0.0.0"],
        &["::"],
        &["255.255.255.255"],
        &["224.0.0.1"],
        // One is enough, wherever it stands.
        &["8.8.8.8", "127.0.0.1"],
        &["2a00::1", "8.8.8.8", "::ffff:10.0.0.1"],
    ] {
        let fetcher = fetcher(&format!("keys.client.example:{port}"), LIMITS, Answers::new(&[inside]));
        check(&format!("{inside:?}"), fetcher.fetch(&keys_of(&site)).await, "address_refused");
    }
    let fetcher = fetcher(&format!("keys.client.example:{port}=127.0.0.0/8"), LIMITS, Answers::new(&[&["10.0.0.1"]]));
    check("in another network", fetcher.fetch(&keys_of(&site)).await, "address_refused");
    assert_eq!(site.connections(), 0);
}

#[tokio::test]
async fn ss_1_a_name_is_resolved_once_and_means_what_was_checked() {
    let site = Site::start(http(200, "", "{}")).await;
    let inside = SocketAddr::from(([127, 0, 0, 2], site.address.port()));
    let inside = Site::start_at(inside, http(200, "", "inside"), true).await;
    let answers = Answers::new(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let allow = format!("keys.client.example:{}=127.0.0.1/32", site.address.port());
    let fetcher = fetcher(&allow, LIMITS, Arc::clone(&answers));
    assert_eq!(&*fetcher.fetch(&keys_of(&site)).await.unwrap().body, b"{}");
    assert_eq!((answers.asked(), site.connections(), inside.connections()), (1, 1, 0));
    check("rebound", fetcher.fetch(&keys_of(&site)).await, "address_refused");
    assert_eq!((answers.asked(), site.connections(), inside.connections()), (2, 1, 0));
}

#[tokio::test]
async fn ss_1_the_certificate_is_of_that_name_and_of_an_authority_that_is_believed() {
    let site = Site::start(http(200, "", "{}")).await;
    let port = site.address.port();
    let allow =
        format!("keys.client.example:{port}=127.0.0.0/8,else.example:{port}=127.0.0.0/8,127.0.0.1:{port}=127.0.0.0/8");
    let to_site = fetcher(&allow, LIMITS, Answers::new(&[&["127.0.0.1"]]));
    assert!(to_site.fetch(&uri(&format!("https://127.0.0.1:{port}/"))).await.is_ok(), "of that address");
    check("another name", to_site.fetch(&uri(&format!("https://else.example:{port}/"))).await, "tls");
    let believing = |name| Fetcher::new(allow.parse().unwrap(), LIMITS, Answers::new(&[&["127.0.0.1"]]), roots(name));
    check("another authority", believing("other.crt").fetch(&keys_of(&site)).await, "tls");
    assert_eq!(site.heads().len(), 1);
    let plain = Site::start_plain(http(200, "", "{}")).await;
    let allow = format!("keys.client.example:{}=127.0.0.0/8", plain.address.port());
    let fetcher = fetcher(&allow, FetchLimits { connect: SHORT, ..LIMITS }, Answers::new(&[&["127.0.0.1"]]));
    check("no TLS", fetcher.fetch(&keys_of(&plain)).await, "tls");
}

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn ss_1_an_answer_that_is_no_plain_document_is_refused() {
    let inside = Site::start(http(200, "", "inside")).await;
    let site = Site::start(http(200, "", "{}")).await;
    let fetcher = fetcher_for(&site, LIMITS);
    let mut cases = vec![
        (http(200, "Content-Encoding: gzip\r\n", "x"), "encoded"),
        (http(200, "Content-Encoding: identity\r\n", "x"), "encoded"),
        (http(404, "", "{}"), "status"),
        (http(206, "", "{}"), "status"),
        (http(500, "", "{}"), "status"),
        (http(200, &format!("X: {}\r\n", "x".repeat(17 * 1024)), "{}"), "http"),
        (http(200, &"X: x\r\n".repeat(100), "{}"), "http"),
        (Behaviour::Answer(b"220 smtp.example ESMTP\r\n".to_vec()), "http"),
        (Behaviour::Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}".to_vec()), "http"),
        (Behaviour::Answer(Vec::new()), "http"),
        (Behaviour::Flood(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()), "too_long"),
        (Behaviour::Flood(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n".to_vec()), "too_long"),
        (Behaviour::Flood(b"HTTP/1.1 200 OK\r\nX: ".to_vec()), "http"),
        (http(200, "", &" ".repeat(64 * 1024 + 1)), "too_long"),
    ];
    let location = format!("Location: https://{}/\r\n", inside.address);
    cases.extend([301, 302, 303, 307, 308].map(|status| (http(status, &location, ""), "redirect")));
    for (number, (behaviour, expected)) in cases.into_iter().enumerate() {
        let shown = format!("{behaviour:.100?}");
        site.behave(behaviour);
        check(&shown, fetcher.fetch(&keys_of(&site)).await, expected);
        // Nobody goes on sending to us.
        site.until_ended(number + 1).await;
    }
    assert_eq!(inside.connections(), 0);
    site.behave(http(200, "", &" ".repeat(64 * 1024)));
    assert_eq!(fetcher.fetch(&keys_of(&site)).await.unwrap().body.len(), 64 * 1024, "the longest");
}

#[tokio::test]
async fn ss_1_a_byte_now_and_then_is_not_waited_for() {
    let site = Site::start(Behaviour::Drip(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n".to_vec())).await;
    let fetcher = fetcher_for(&site, FetchLimits { whole: SHORT, ..LIMITS });
    check("a body", fetcher.fetch(&keys_of(&site)).await, "overdue");
    site.behave(Behaviour::Drip(b"HTTP/1.1 200 OK\r\nX:".to_vec()));
    check("a head", fetcher.fetch(&keys_of(&site)).await, "overdue");
    site.until_ended(2).await;
    // Nobody else listens on this address, so a port of it that was free stays so.
    let silent = tokio::net::TcpListener::bind("127.0.0.3:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let allow = format!("keys.client.example:{port}=127.0.0.0/8");
    let limits = FetchLimits { connect: SHORT, ..LIMITS };
    let fetcher = super::site::fetcher(&allow, limits, Answers::new(&[&["127.0.0.3"]]));
    check("a handshake", fetcher.fetch(&uri(&format!("https://keys.client.example:{port}/"))).await, "tls");
    drop(silent);
    check("nobody", fetcher.fetch(&uri(&format!("https://keys.client.example:{port}/"))).await, "unconnected");
}

#[tokio::test]
async fn the_fetches_of_one_host_are_few_and_in_nobody_elses_way() {
    let slow = Site::start(Behaviour::WhenReleased(b"HTTP/1.1 200 OK\r\n\r\n{}".to_vec())).await;
    let quick = Site::start(http(200, "", "quick")).await;
    let allow =
        [&slow, &quick].map(|site| format!("keys.client.example:{}=127.0.0.0/8", site.address.port())).join(",");
    let fetcher = Arc::new(fetcher(&allow, FetchLimits { at_once: 3, ..LIMITS }, Answers::new(&[&["127.0.0.1"]])));
    let fetches: Vec<_> = (0..5)
        .map(|_| {
            let (fetcher, uri) = (Arc::clone(&fetcher), keys_of(&slow));
            tokio::spawn(async move { fetcher.fetch(&uri).await.unwrap() })
        })
        .collect();
    slow.until_waiting(2).await;
    assert_eq!(&*fetcher.fetch(&keys_of(&quick)).await.unwrap().body, b"quick");
    slow.release();
    for fetch in fetches {
        assert_eq!(&*fetch.await.unwrap().body, b"{}");
    }
    assert_eq!((slow.connections(), slow.waiting_most()), (5, 2));
}

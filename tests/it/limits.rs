//! What is too large, too many or malformed: refused, without a second answer and without growth.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::harness::{TestServer, admin};
use crate::http::{Answer, Connection, FORM, Request};
use crate::process::program::Home;

const FORM_BYTES_MAX: usize = 64 * 1024;
const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;
/// What a second request on a connection is told apart by.
const PROBE: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A form of exactly that length whose unknown parameters are padding.
fn form_of(bytes: usize) -> String {
    let mut form = "token=unknown".to_owned();
    while form.len() < bytes {
        let room = bytes - form.len();
        let name = format!("&p{}=", form.len());
        let padding = room.saturating_sub(name.len()).min(16_000);
        form.push_str(&name[..name.len().min(room)]);
        form.extend(std::iter::repeat_n('x', padding));
    }
    form
}

/// A chunked request whose chunks have these lengths; the last one is not sent unless `ends`.
fn chunked(target: &str, media_type: &str, chunks: &[usize], ends: bool) -> Vec<u8> {
    let head = Request::new("POST", target)
        .basic(&admin())
        .field("Content-Type", media_type)
        .field("Transfer-Encoding", "chunked");
    let mut bytes = head.to_bytes();
    for length in chunks {
        bytes.extend(format!("{length:x}\r\n").bytes());
        bytes.extend(std::iter::repeat_n(b'x', *length));
        bytes.extend(b"\r\n");
    }
    if ends {
        bytes.extend(b"0\r\n\r\n");
    }
    bytes
}

#[track_caller]
fn assert_refused_and_closed(connection: &mut Connection, status: u16) {
    let answer = connection.answer().expect("an answer");
    assert_eq!(answer.error(), (status, "invalid_request".to_owned()));
    connection.send(PROBE.as_bytes());
    assert_eq!(connection.answer(), None, "the connection is closed");
}

#[test]
fn a_body_that_is_announced_too_large_is_413_before_it_is_sent() {
    let server = TestServer::start();
    let mut connections = Vec::new();
    for (target, bytes_max) in [
        ("/oauth2/token", FORM_BYTES_MAX),
        ("/oauth2/introspect", FORM_BYTES_MAX),
        ("/oauth2/introspect/batch", BATCH_BYTES_MAX),
        ("/oauth2/revoke", FORM_BYTES_MAX),
        ("/admin/v1/clients", FORM_BYTES_MAX),
        ("/nowhere", FORM_BYTES_MAX),
    ] {
        for length in [(bytes_max + 1).to_string(), u64::MAX.to_string()] {
            let mut connection = server.connect();
            connection.send(&Request::new("POST", target).field("Content-Length", &length).to_bytes());
            connections.push(connection);
        }
    }
    // Each lingers for a second, so that its answer is not lost to what may still be on its way.
    connections.iter_mut().for_each(|connection| assert_refused_and_closed(connection, 413));
}

#[test]
fn a_body_that_grows_too_large_in_chunks_is_413() {
    let server = TestServer::start();
    let mut connections = Vec::new();
    for (target, bytes_max) in
        [("/oauth2/introspect", FORM_BYTES_MAX), ("/admin/v1/clients", FORM_BYTES_MAX), ("/nowhere", FORM_BYTES_MAX)]
    {
        for chunks in [vec![bytes_max + 1], vec![bytes_max, 1], vec![1024; bytes_max / 1024 + 1]] {
            let mut connection = server.connect();
            connection.send(&chunked(target, FORM, &chunks, false));
            connections.push(connection);
        }
    }
    connections.iter_mut().for_each(|connection| assert_refused_and_closed(connection, 413));
}

#[test]
fn a_body_that_does_not_arrive_in_time_is_408_and_the_end() {
    let server = TestServer::start_with(|config| config.http.body_timeout = Duration::from_millis(50));
    let request = Request::new("POST", "/oauth2/introspect").basic(&admin()).field("Content-Type", FORM);
    for (length, sent) in [("10", ""), ("10", "token=")] {
        let mut connection = server.connect();
        connection.send(&request.clone().field("Content-Length", length).to_bytes());
        connection.send(sent.as_bytes());
        assert_refused_and_closed(&mut connection, 408);
    }
}

#[test]
fn a_client_that_reads_no_answers_is_not_read_any_more_and_then_gone() {
    let server = TestServer::start_with(|config| config.http.answer_timeout = Duration::from_millis(50));
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(120))).unwrap();
    let requests = Request::get("/metrics").to_bytes().repeat(100);
    let error = loop {
        if let Err(error) = stream.write_all(&requests) {
            break error;
        }
    };
    assert!([ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error.kind()), "{error}");
}

/// A chunked body that is larger than any endpoint reads, and does not end.
fn endless(request: &Request) -> Vec<u8> {
    let request = request.clone().field("Transfer-Encoding", "chunked").field("Content-Type", FORM);
    let chunk = format!("{:x}\r\n{}\r\n", FORM_BYTES_MAX + 1, "x".repeat(FORM_BYTES_MAX + 1));
    [request.to_bytes(), chunk.into_bytes()].concat()
}

#[test]
fn a_connection_whose_chunked_body_was_refused_is_closed() {
    let server = TestServer::start();
    let mut connection = server.connect();
    connection.send(&endless(&Request::new("POST", "/oauth2/introspect")));
    assert_eq!(connection.answer().map(|answer| answer.status), Some(413));
    assert_eq!(connection.answer(), None);
}

#[test]
fn a_connection_whose_chunked_body_was_not_looked_at_is_closed() {
    let server = TestServer::start();
    let mut connection = server.connect();
    connection.send(&endless(&Request::get("/livez")));
    assert!(connection.answer().is_some());
    assert_eq!(connection.answer(), None);
}

#[test]
fn a_body_of_the_largest_size_is_read() {
    let server = TestServer::start();
    let mut connection = server.connect();
    let request = Request::post("/oauth2/introspect").basic(&admin()).form_bytes(form_of(FORM_BYTES_MAX));
    assert_eq!(connection.ask(&request).body, r#"{"active":false}"#);
    let too_large = Request::post("/oauth2/introspect").basic(&admin()).form_bytes(form_of(FORM_BYTES_MAX + 1));
    connection.send(&too_large.to_bytes());
    assert_eq!(connection.answer().map(|answer| answer.status), Some(413));

    let token = "x".repeat(BATCH_BYTES_MAX / 1000 - 4);
    let batch = json!({ "tokens": vec![token; 1000] });
    assert!((BATCH_BYTES_MAX - 2000..BATCH_BYTES_MAX).contains(&batch.to_string().len()));
    let request = Request::post("/oauth2/introspect/batch").basic(&admin()).json(&batch);
    assert_eq!(server.ask(&request).status, 200);
}

#[test]
fn a_chunked_body_is_read() {
    let server = TestServer::start();
    let mut connection = server.connect();
    for chunks in [&[1, 2, 3][..], &[FORM_BYTES_MAX / 2; 2]] {
        connection.send(&chunked("/oauth2/introspect", FORM, chunks, true));
        let answer = connection.answer().unwrap();
        assert_eq!(answer.error(), (400, "invalid_request".to_owned()), "it has no token");
    }
}

#[test]
fn a_body_where_none_belongs_is_413() {
    let server = TestServer::start();
    for target in ["/readyz", "/metrics", "/.well-known/oauth-authorization-server"] {
        let answer = server.ask(&Request::get(target).with_body("x"));
        assert_eq!(answer.error(), (413, "invalid_request".to_owned()), "{target}");
    }
}

#[test]
fn a_head_that_is_too_large_is_431() {
    let server = TestServer::start();
    let probe = Request::get("/readyz");
    let mut connection = server.connect();
    for request in [
        probe.clone().field("X-Long", &"x".repeat(16 * 1024)),
        (0..16).fold(probe.clone(), |request, number| request.field(&format!("X-{number}"), &"x".repeat(1024))),
        Request::get(&format!("/{}", "x".repeat(17 * 1024))),
    ] {
        let answer = connection.ask(&request);
        assert_eq!(answer.error(), (431, "invalid_request".to_owned()));
    }
    assert_eq!(connection.ask(&probe.field("X-Long", &"x".repeat(16_000))).status, 200);
}

#[test]
fn a_head_that_does_not_end_is_431_and_the_end() {
    let server = TestServer::start();
    let mut connection = server.connect();
    connection.send(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nX-Long: ");
    connection.send(&vec![b'x'; 256 * 1024]);
    // The server may close on bytes that it has not read, and the answer is lost then.
    assert!(matches!(connection.answer().map(|answer| answer.status), None | Some(431)));
    assert_eq!(connection.answer(), None);
}

#[test]
fn too_many_header_fields_are_431_and_the_end() {
    let server = TestServer::start();
    let with_fields = |count| (0..count).fold(Request::get("/readyz"), |request, _| request.field("X", "y"));
    assert_eq!(server.ask(&with_fields(64)).status, 200);
    let mut connection = server.connect();
    connection.send(&with_fields(200).to_bytes());
    assert_eq!(connection.answer().map(|answer| answer.status), Some(431));
    connection.send(PROBE.as_bytes());
    assert_eq!(connection.answer(), None);
}

#[test]
fn too_many_parameters_are_refused() {
    let server = TestServer::start();
    let with = |count: usize| {
        let more: String = (1..count).map(|number| format!("&p{number}=1")).collect();
        server.ask(&Request::post("/oauth2/introspect").basic(&admin()).form_bytes(format!("token=unknown{more}")))
    };
    assert_eq!(with(32).status, 200);
    assert_eq!(with(33).error(), (400, "invalid_request".to_owned()));
    assert_eq!(with(5_000).error(), (400, "invalid_request".to_owned()));
}

#[test]
fn a_parameter_that_is_too_long_is_refused() {
    let server = TestServer::start();
    let with = |length: usize| server.introspect(&admin(), &"x".repeat(length));
    assert_eq!(with(16 * 1024).body, r#"{"active":false}"#);
    assert_eq!(with(16 * 1024 + 1).error(), (400, "invalid_request".to_owned()));
}

#[test]
fn a_content_encoding_is_415() {
    let server = TestServer::start();
    for (endpoint, media_type, body) in [
        ("/oauth2/token", FORM, "grant_type=client_credentials"),
        ("/oauth2/introspect", FORM, "token=unknown"),
        ("/oauth2/introspect/batch", "application/json", r#"{"tokens":[]}"#),
        ("/oauth2/revoke", FORM, "token=unknown"),
    ] {
        let request = Request::post(endpoint).basic(&admin()).field("Content-Type", media_type).with_body(body);
        for coding in ["gzip", "br", "deflate", "x-unknown", "identity, gzip"] {
            let answer = server.ask(&request.clone().field("Content-Encoding", coding));
            assert_eq!(answer.error(), (415, "invalid_request".to_owned()), "{endpoint} {coding}");
        }
        assert_eq!(server.ask(&request.field("Content-Encoding", "identity")).status, 200, "{endpoint}");
    }
}

/// The answers that the server gives to these bytes, with a valid request behind them, until it closes the connection.
fn answers_to(server: &TestServer, bytes: &[u8]) -> Vec<Answer> {
    let mut connection = server.connect();
    connection.send(bytes);
    std::iter::from_fn(|| connection.answer()).collect()
}

#[test]
fn what_is_no_request_is_400_and_the_end() {
    let server = TestServer::start();
    for garbage in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"GET  /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n Host: localhost\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"{\"tokens\":[]}\r\n\r\n",
    ] {
        let answers = answers_to(&server, &[garbage, PROBE.as_bytes()].concat());
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [400], "{}", garbage.escape_ascii());
    }
}

#[test]
fn a_request_whose_length_is_in_doubt_gets_no_second_answer() {
    let server = TestServer::start();
    let head = format!("POST /oauth2/introspect HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\n");
    for (what, fields, body) in [
        ("CL.TE", "Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
        ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"),
        ("two lengths", "Content-Length: 0\r\nContent-Length: 5", "a=b&c"),
        ("one length twice", "Content-Length: 5\r\nContent-Length: 5", "a=b&c"),
        ("a list of lengths", "Content-Length: 5, 5", "a=b&c"),
        ("a sign", "Content-Length: +5", "a=b&c"),
        ("a negative length", "Content-Length: -5", "a=b&c"),
        ("hexadecimal", "Content-Length: 0x5", "a=b&c"),
        ("too many digits", "Content-Length: 99999999999999999999", "a=b&c"),
        ("TE.TE", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "0\r\n\r\n"),
        ("another coding", "Transfer-Encoding: gzip, chunked", "0\r\n\r\n"),
        ("an unknown coding", "Transfer-Encoding: xchunked", "0\r\n\r\n"),
        ("a coding with a tab", "Transfer-Encoding:\x0bchunked", "0\r\n\r\n"),
        ("a name with a space", "Transfer-Encoding : chunked", "0\r\n\r\n"),
        ("a chunk size with a sign", "Transfer-Encoding: chunked", "+0\r\n\r\n"),
        ("a chunk size with a prefix", "Transfer-Encoding: chunked", "0x0\r\n\r\n"),
        ("a huge chunk", "Transfer-Encoding: chunked", "10000000000000000\r\n\r\n"),
    ] {
        let answers = answers_to(&server, format!("{head}{fields}\r\n\r\n{body}{PROBE}").as_bytes());
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert!(statuses.is_empty() || statuses == [400], "{what}: {answers:?}");
    }
    let old = "POST /oauth2/introspect HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let answers = answers_to(&server, format!("{old}{PROBE}").as_bytes());
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [400], "HTTP/1.0 knows no chunks");
}

#[test]
fn a_path_is_what_it_says() {
    let server = TestServer::start();
    for target in [
        "//oauth2/token",
        "/oauth2/token/",
        "/oauth2//token",
        "/oauth2/token;x",
        "/oauth2%2Ftoken",
        "/oauth2/./token",
        "/OAUTH2/token",
        "/oauth2/token%00",
    ] {
        let request = Request::post(target).basic(&admin()).form(&[("grant_type", "client_credentials")]);
        assert_eq!(server.ask(&request).error(), (404, "not_found".to_owned()), "{target}");
    }
    let absolute =
        Request::post("http://localhost/oauth2/token").basic(&admin()).form(&[("grant_type", "client_credentials")]);
    assert_eq!(server.ask(&absolute).status, 200, "the absolute form is the same path (RFC 9112 §3.2.2)");
}

#[test]
fn a_connection_outlives_the_requests_that_are_refused() {
    let server = TestServer::start();
    let mut connection = server.connect();
    let form = |target: &str| Request::post(target).form(&[("token", "unknown")]);
    let introspect = || form("/oauth2/introspect").basic(&admin());
    for _ in 0..3 {
        for (request, status) in [
            (Request::post("/oauth2/introspect").basic(&admin()).form_bytes("token=%"), 400),
            (form("/oauth2/introspect?a=b").basic(&admin()), 400),
            (form("/oauth2/introspect"), 401),
            (form("/admin/v1/clients"), 401),
            (form("/nowhere"), 404),
            (form("/livez"), 405),
            (Request::new("DELETE", "/oauth2/token"), 405),
            (Request::post("/oauth2/introspect").basic(&admin()).json(&json!({})), 415),
            (introspect().field("X-Long", &"x".repeat(20_000)), 431),
            (Request::post("/oauth2/token").basic(&admin()).form(&[("grant_type", "x")]), 400),
        ] {
            assert_eq!(connection.ask(&request).error().0, status);
            assert_eq!(connection.ask(&introspect()).body, r#"{"active":false}"#, "after a {status}");
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let server = TestServer::start_durable();
    let app = server.register_app("app");
    let live = server.issue(&app);
    let introspect = |token: &str| Request::post("/oauth2/introspect").basic(&app).form(&[("token", token)]);
    let round = [
        (introspect(&live), 200),
        (Request::post("/oauth2/token").basic(&app).form(&[("grant_type", "client_credentials")]), 200),
        (Request::get("/nowhere"), 404),
        (introspect("unknown"), 200),
        (Request::post("/oauth2/introspect").form(&[("token", "a")]), 401),
        (Request::get("/readyz"), 200),
    ];
    let mut bytes = Vec::new();
    for _ in 0..5 {
        round.iter().for_each(|(request, _)| bytes.extend(request.to_bytes()));
    }
    bytes.extend(Request::post("/oauth2/revoke").basic(&app).form(&[("token", &live)]).to_bytes());
    bytes.extend(introspect(&live).to_bytes());
    let mut connection = server.connect();
    connection.send(&bytes);
    for turn in 0..5 {
        let answers: Vec<_> = round.iter().map(|_| connection.answer().unwrap()).collect();
        let expected: Vec<_> = round.iter().map(|(_, status)| *status).collect();
        assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), expected, "turn {turn}");
        assert_eq!((&answers[0].json()["active"], &*answers[3].body), (&json!(true), r#"{"active":false}"#));
        assert!(server.is_active(&app, &answers[1].text("access_token")));
    }
    assert_eq!(connection.answer().unwrap().body, "{}");
    assert_eq!(connection.answer().unwrap().body, r#"{"active":false}"#, "what follows a revocation sees it");
}

#[test]
fn oversize_requests_do_not_grow_the_memory() {
    // A process of its own: this one has the memory of other tests too.
    let home = Home::new();
    let program = home.start(&["--durability", "memory"]);
    let mut head = "POST /oauth2/introspect HTTP/1.1\r\nHost: localhost\r\n".to_owned();
    write!(head, "Content-Type: {FORM}\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let chunk = [b"10000\r\n".as_slice(), &vec![b'x'; 64 * 1024], b"\r\n"].concat();
    let before = program.peak_bytes();
    // 512 MiB in all, if the server kept what it is sent.
    let mut connections: Vec<_> = (0..64).map(|_| program.connect()).collect();
    connections.retain_mut(|connection| connection.send(head.as_bytes()));
    for _ in 0..128 {
        connections.retain_mut(|connection| connection.send(&chunk));
    }
    let grown = program.peak_bytes() - before;
    assert!(grown < 128 << 20, "{grown} bytes");
    assert_eq!(program.ask(&Request::get("/readyz")).status, 200);
}

#[test]
fn an_answer_is_the_same_whichever_way_the_request_takes_through_the_server() {
    let server = TestServer::start_durable();
    let app = server.register_app("app");
    let token = server.issue(&app);
    let form = |target: &str, parameters: &[(&str, &str)]| Request::post(target).basic(&app).form(parameters);
    for request in [
        form("/oauth2/introspect", &[("token", &token)]),
        form("/oauth2/introspect", &[("token", "unknown")]),
        form("/oauth2/introspect", &[]),
        Request::post("/oauth2/introspect").form(&[("token", &token)]),
        Request::post("/oauth2/introspect").basic(&app).json(&json!({})),
        Request::post("/oauth2/introspect/batch").basic(&app).json(&json!({ "tokens": [token, "unknown"] })),
        form("/oauth2/token", &[("grant_type", "password")]),
        form("/oauth2/revoke", &[("token", "unknown")]),
    ] {
        // Two members: what is usual names one.
        let other_way = request.clone().field("Connection", "keep-alive, keep-alive");
        assert_eq!(server.connect().ask(&request), server.connect().ask(&other_way));
    }
    let issue = form("/oauth2/token", &[("grant_type", "client_credentials")]);
    let other_way = issue.clone().field("Connection", "keep-alive, keep-alive");
    let without_token = |request| {
        let answer = server.connect().ask(request);
        let token = answer.text("access_token");
        (answer.status, answer.field("pragma").map(str::to_owned), answer.body.replace(&token, ""))
    };
    assert_eq!(without_token(&issue), without_token(&other_way));
}

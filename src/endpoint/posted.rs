//! A request to an endpoint that carries the load, read where it lies.
//!
//! Only what every caller of such an endpoint sends is read here: `POST`, HTTP/1.1, a path without a query, a body of a known
//! length, a connection that stays. Whatever is out of the ordinary, or in doubt, is left to actix-http, byte for byte; so
//! nothing is taken here that it would refuse.

use std::mem::MaybeUninit;

use httparse::{Header, Status};

use crate::endpoint::loaded::{Fields, Loaded};
use crate::endpoint::request::HEAD_BYTES_MAX;

/// What the first bytes of a buffer are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed<'a> {
    /// A request that is there to its end.
    Whole(Posted<'a>),
    /// The beginning of what may become one.
    Part(Missing),
    /// Something else.
    Other,
}

/// A request to an endpoint that carries the load.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Posted<'a> {
    pub(super) loaded: Loaded,
    pub(super) fields: Fields<'a>,
    pub(super) body: &'a [u8],
    /// How many bytes it takes in the buffer.
    pub(super) bytes: usize,
}

/// What has not arrived yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The end of the head.
    Head,
    /// So many bytes of the body.
    Body { loaded: Loaded, bytes: usize },
}

/// The most header fields of a request that is read here.
const FIELDS_MAX: usize = 32;
/// How all of them begin.
const BEGINNING: &[u8] = b"POST /oauth2/";

impl<'a> Parsed<'a> {
    /// Looks at what has arrived.
    pub(super) fn of(arrived: &'a [u8]) -> Self {
        let compared = arrived.len().min(BEGINNING.len());
        if arrived.get(..compared) != BEGINNING.get(..compared) {
            return Self::Other;
        }
        let mut fields = [const { MaybeUninit::<Header<'a>>::uninit() }; FIELDS_MAX];
        let mut head = httparse::Request::new(&mut []);
        match head.parse_with_uninit_headers(arrived, &mut fields) {
            Ok(Status::Complete(head_bytes)) if head_bytes <= HEAD_BYTES_MAX => {
                Self::with_body(&head, head_bytes, arrived).unwrap_or(Self::Other)
            }
            Ok(Status::Partial) if arrived.len() <= HEAD_BYTES_MAX => Self::Part(Missing::Head),
            _ => Self::Other,
        }
    }

    fn with_body(head: &httparse::Request<'_, 'a>, head_bytes: usize, arrived: &'a [u8]) -> Option<Self> {
        let loaded = head.path.and_then(Loaded::at)?;
        let is_usual = head.method == Some("POST") && head.version == Some(1);
        let (fields, body_bytes) = read_fields(head.headers).filter(|_| is_usual)?;
        if body_bytes > loaded.body_bytes_max() {
            return None;
        }
        let bytes = head_bytes + body_bytes;
        let Some(body) = arrived.get(head_bytes..bytes) else {
            return Some(Self::Part(Missing::Body { loaded, bytes: bytes - arrived.len() }));
        };
        Some(Self::Whole(Posted { loaded, fields, body, bytes }))
    }
}

/// The fields that endpoints look at, and the length of the body; nothing if any field calls for more than that.
fn read_fields<'a>(fields: &[Header<'a>]) -> Option<(Fields<'a>, usize)> {
    let mut read = Fields::default();
    let mut body_bytes = None;
    for Header { name, value } in fields {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        // By the length first: most fields are none of these.
        match name.len() {
            13 if is("authorization") => set_once(&mut read.authorization, value)?,
            12 if is("content-type") => set_once(&mut read.content_type, value)?,
            14 if is("content-length") => set_once(&mut body_bytes, parse_length(value)?)?,
            16 if is("content-encoding") => set_once(&mut read.content_encoding, value)?,
            10 if is("connection") && !value.eq_ignore_ascii_case(b"keep-alive") => return None,
            17 if is("transfer-encoding") => return None,
            6 if is("expect") => return None,
            // Who may read the answer is said in fields that are not written here.
            6 if is("origin") => return None,
            7 if is("upgrade") => return None,
            _ => {}
        }
    }
    Some((read, body_bytes.unwrap_or_default()))
}

fn set_once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// RFC 9110 §8.6: digits, and nothing else.
fn parse_length(value: &[u8]) -> Option<usize> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: &str = "POST /oauth2/introspect HTTP/1.1\r\nHost: as\r\nAuthorization: Basic YTpi\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\ntoken=a";

    #[track_caller]
    fn assert_other(request: &str) {
        assert_eq!(Parsed::of(request.as_bytes()), Parsed::Other, "{request}");
    }

    #[test]
    fn a_usual_request_is_read_where_it_lies() {
        let buffer = format!("{USUAL}POST");
        let fields =
            Fields { authorization: Some(b"Basic YTpi"), content_type: Some(b"text/plain"), ..Fields::default() };
        let posted = Posted { loaded: Loaded::Introspect, fields, body: b"token=a", bytes: USUAL.len() };
        assert_eq!(Parsed::of(buffer.as_bytes()), Parsed::Whole(posted));
    }

    #[test]
    fn every_beginning_of_a_request_is_a_part_of_it() {
        let head_bytes = USUAL.len() - 7;
        for length in 0..USUAL.len() {
            let missing = match length.checked_sub(head_bytes) {
                None => Missing::Head,
                Some(arrived) => Missing::Body { loaded: Loaded::Introspect, bytes: 7 - arrived },
            };
            assert_eq!(Parsed::of(&USUAL.as_bytes()[..length]), Parsed::Part(missing), "{length} bytes");
        }
    }

    #[test]
    fn what_is_out_of_the_ordinary_is_left_alone() {
        assert_other("GET /oauth2/introspect HTTP/1.1\r\n");
        assert_other("POST /admin/v1/clients HTTP/1.1\r\n");
        assert_other("PUT ");
        for (usual, other) in [
            ("/introspect", "/introspect?a=b"),
            ("/introspect", "/introspect/"),
            ("/introspect", "/par"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("Host: as", "Host as"),
            ("Host: as", "Connection: close"),
            ("Host: as", "Connection: keep-alive, Upgrade"),
            ("Host: as", "Transfer-Encoding: chunked"),
            ("Host: as", "transfer-encoding: identity"),
            ("Host: as", "Expect: 100-continue"),
            ("Host: as", "Origin: https://app.example"),
            ("Host: as", "origin: null"),
            ("Host: as", "Upgrade: h2c"),
            ("Host: as", "Content-Length: 7"),
            ("Host: as", "Authorization: Basic YTpi"),
            ("Host: as", "content-type: text/plain"),
            ("Length: 7", "Length: +7"),
            ("Length: 7", "Length: 7, 7"),
            ("Length: 7", "Length: 0x7"),
            ("Length: 7", "Length: -7"),
            ("Length: 7", "Length:"),
            ("Length: 7", "Length: 65537"),
            ("Length: 7", "Length: 99999999999999999999999"),
        ] {
            let request = USUAL.replacen(usual, other, 1);
            assert_ne!(request, USUAL);
            assert_other(&request);
        }
    }

    #[test]
    fn a_request_is_bounded() {
        let long = |length| USUAL.replacen("Host: as", &format!("X: {}", "x".repeat(length)), 1);
        assert!(matches!(Parsed::of(long(16_000).as_bytes()), Parsed::Whole(_)));
        assert_other(&long(HEAD_BYTES_MAX));
        assert_other(&long(HEAD_BYTES_MAX)[..HEAD_BYTES_MAX + 1]);
        assert_other(&USUAL.replacen("Host: as", &vec!["X: x"; FIELDS_MAX].join("\r\n"), 1));
        let batch = USUAL.replacen("introspect", "introspect/batch", 1).replacen("Length: 7", "Length: 65537", 1);
        let missing = Missing::Body { loaded: Loaded::IntrospectBatch, bytes: 65_530 };
        assert_eq!(Parsed::of(batch.as_bytes()), Parsed::Part(missing));
    }

    #[test]
    fn a_connection_that_says_what_is_so_anyway_is_usual() {
        let request = USUAL.replacen("Host: as", "connection: Keep-Alive", 1);
        assert!(matches!(Parsed::of(request.as_bytes()), Parsed::Whole(_)));
    }
}

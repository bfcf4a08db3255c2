//! Answers, as they come in pieces.
//!
//! Of an answer three things matter: where it ends, whether the connection goes on, and whether it is the right one, which
//! its status and the first bytes of its body tell. So no more than those is kept, also of an answer of many kilobytes.

/// What the answer to a request must be: 200, and a body that begins so.
pub(crate) type Expected = &'static [u8];

/// Reads one answer after the other from the bytes of a connection.
#[derive(Debug, Default)]
pub(crate) struct AnswerReader {
    /// The beginning, while it is not enough to judge.
    beginning: Vec<u8>,
    /// What is still to come of an answer that was judged.
    judged: Option<Judged>,
}

#[derive(Clone, Copy, Debug)]
struct Judged {
    answer: Answer,
    rest: usize,
}

/// A whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether it is what was expected.
    pub(crate) is_right: bool,
    /// Whether the server closes the connection after it.
    pub(crate) closes: bool,
}

/// Why a connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("the answer is not HTTP: {0}")]
    Head(#[from] httparse::Error),
    #[error("the answer does not say how long it is")]
    Length,
    #[error("there is more than the answer")]
    Excess,
}

impl AnswerReader {
    /// Takes the next bytes. The answer, if they end it.
    pub(crate) fn take(&mut self, bytes: &[u8], expected: Expected) -> Result<Option<Answer>, AnswerError> {
        match self.judged.take() {
            Some(judged) => self.go_on(judged, bytes.len()),
            None if self.beginning.is_empty() => match Judged::of(bytes, expected)? {
                Some((judged, there)) => self.go_on(judged, there),
                None => {
                    self.beginning.extend_from_slice(bytes);
                    Ok(None)
                }
            },
            None => {
                self.beginning.extend_from_slice(bytes);
                let Some((judged, there)) = Judged::of(&self.beginning, expected)? else { return Ok(None) };
                self.beginning.clear();
                self.go_on(judged, there)
            }
        }
    }

    /// Whether nothing of the next answer is there yet.
    pub(crate) const fn is_empty(&self) -> bool {
        self.beginning.is_empty() && self.judged.is_none()
    }

    fn go_on(&mut self, judged: Judged, there: usize) -> Result<Option<Answer>, AnswerError> {
        let rest = judged.rest.checked_sub(there).ok_or(AnswerError::Excess)?;
        if rest == 0 {
            return Ok(Some(judged.answer));
        }
        self.judged = Some(Judged { rest, ..judged });
        Ok(None)
    }
}

impl Judged {
    /// Judges an answer by its beginning, once there is enough of it: with how much of its body is there.
    fn of(bytes: &[u8], expected: Expected) -> Result<Option<(Self, usize)>, AnswerError> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(head) = response.parse(bytes)? else { return Ok(None) };
        let find = |name: &str| response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        let length = find("content-length").and_then(|header| str::from_utf8(header.value).ok()?.trim().parse().ok());
        let length: usize = length.ok_or(AnswerError::Length)?;
        let body = bytes.get(head..).unwrap_or_default();
        if body.len() < expected.len().min(length) {
            return Ok(None);
        }
        let closes = find("connection").is_some_and(|header| header.value.eq_ignore_ascii_case(b"close"));
        let status = response.code.unwrap_or_default();
        let is_right = status == 200 && body.starts_with(expected);
        Ok(Some((Self { answer: Answer { status, is_right, closes }, rest: length }, body.len())))
    }
}

const HEADERS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIVE: Expected = br#"{"active":true"#;
    const RIGHT: Answer = Answer { status: 200, is_right: true, closes: false };
    const WRONG: Answer = Answer { is_right: false, ..RIGHT };

    fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len()).into_bytes()
    }

    /// Feeds two answers in a row, each split at every pair of places.
    #[track_caller]
    fn check(bytes: &[u8], expected_bytes: Expected, expected: Answer) {
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut reader = AnswerReader::default();
                for _ in 0..2 {
                    let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                    let pieces: Vec<_> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
                    let taken: Vec<_> = pieces.iter().map(|piece| reader.take(piece, expected_bytes)).collect();
                    let (last, before) = taken.split_last().unwrap();
                    assert_eq!(*last, Ok(Some(expected)), "split at {first} and {second}");
                    assert!(before.iter().all(|taken| *taken == Ok(None)), "split at {first} and {second}");
                    assert!(reader.is_empty());
                }
            }
        }
    }

    #[test]
    fn an_answer_is_found_and_judged_wherever_it_is_split() {
        check(&answer("200 OK", "", r#"{"active":true,"scope":"read"}"#), ACTIVE, RIGHT);
        check(&answer("200 OK", "", r#"{"active":false}"#), ACTIVE, WRONG);
        check(&answer("503 Service Unavailable", "Retry-After: 1\r\n", ""), ACTIVE, Answer { status: 503, ..WRONG });
        check(&answer("401 Unauthorized", "", r#"{"active":true}"#), ACTIVE, Answer { status: 401, ..WRONG });
        check(&answer("200 OK", "", ""), b"", RIGHT);
        let closing = Answer { closes: true, ..RIGHT };
        check(&answer("200 OK", "connection: Close\r\n", r#"{"active":true}"#), ACTIVE, closing);
    }

    #[test]
    fn what_is_no_answer_ends_the_connection() {
        let take = |bytes: &[u8]| AnswerReader::default().take(bytes, ACTIVE);
        assert_eq!(take(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), Err(AnswerError::Length));
        assert!(matches!(take(b"SSH-2.0-OpenSSH\r\n"), Err(AnswerError::Head(_))));
        let mut two = answer("200 OK", "", r#"{"active":true}"#);
        two.extend_from_slice(b"HTTP");
        assert_eq!(take(&two), Err(AnswerError::Excess));
    }
}

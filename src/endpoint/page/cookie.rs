//! Cookies: which session a browser has, and which login form it was given.
//!
//! Both have the prefix `__Host-` (RFC 6265bis §4.1.3.2): a browser takes them only from this very host, over TLS, and no other
//! host of the domain can put one in their place. Over plain HTTP browsers take them from `localhost` and loopback addresses
//! alone.

use std::fmt;

use actix_web::http::header::{self, HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

/// Holds the token of a session.
pub const SESSION_COOKIE: &str = "__Host-tessera-session";
/// Holds what a login form is bound to, before there is a session.
pub const LOGIN_COOKIE: &str = "__Host-tessera-login";

/// Both hold 256 bits in base64url.
const VALUE_CHARACTERS: usize = 43;
const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Lax";

/// Our cookies of one request. A value that no server of ours has set counts as absent.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Cookies<'a> {
    /// The token of a session, which may be over or made up.
    pub session: Option<&'a str>,
    /// What a login form was bound to.
    pub login: Option<&'a str>,
}

/// One of our cookies came twice: a browser that follows the rules of `__Host-` never sends that, so somebody tries to put one in
/// the place of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cookie of this server was sent twice")]
pub struct RepeatedCookie;

impl<'a> Cookies<'a> {
    /// Reads the header fields of a request. Cookies of others on the same host are passed over, however they look.
    ///
    /// # Errors
    ///
    /// [`RepeatedCookie`], also when both have the same value.
    pub fn of(headers: &'a HeaderMap) -> Result<Self, RepeatedCookie> {
        let mut found = [None; 2];
        for field in headers.get_all(header::COOKIE) {
            for pair in field.as_bytes().split(|byte| *byte == b';') {
                let pair = pair.trim_ascii();
                for (name, place) in [SESSION_COOKIE, LOGIN_COOKIE].into_iter().zip(&mut found) {
                    let value = pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
                    if value.is_some_and(|value| place.replace(value).is_some()) {
                        return Err(RepeatedCookie);
                    }
                }
            }
        }
        let [session, login] = found.map(|value| value.and_then(well_formed));
        Ok(Self { session, login })
    }
}

impl fmt::Debug for Cookies<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Cookies(..)")
    }
}

fn well_formed(value: &[u8]) -> Option<&str> {
    let is_base64url = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let fits = value.len() == VALUE_CHARACTERS && value.iter().all(is_base64url);
    std::str::from_utf8(value).ok().filter(|_| fits)
}

/// What a login form is bound to before there is a session: 256 random bits. Never printed, zeroed when dropped.
#[derive(Clone)]
pub struct PreSession(Zeroizing<String>);

impl PreSession {
    /// A new one.
    ///
    /// # Errors
    ///
    /// [`ring::error::Unspecified`] when the system has no randomness to give.
    pub fn random(random: &dyn SecureRandom) -> Result<Self, ring::error::Unspecified> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        random.fill(bytes.as_mut())?;
        Ok(Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes))))
    }

    /// The text of it, for the cookie and for the tokens of forms.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PreSession {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PreSession(..)")
    }
}

/// `Set-Cookie` for the browser to keep until it is closed. `None` for a text that could not be read back.
#[must_use]
pub fn set(name: &'static str, value: &str) -> Option<HeaderValue> {
    let value = well_formed(value.as_bytes())?;
    HeaderValue::from_str(&format!("{name}={value}; {ATTRIBUTES}")).ok()
}

/// `Set-Cookie` for the browser to forget it.
#[must_use]
pub fn forget(name: &'static str) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("{name}=; {ATTRIBUTES}; Max-Age=0")).ok()
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderName;
    use ring::rand::SystemRandom;

    use super::*;

    const A: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0";
    const B: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB_-E";

    #[track_caller]
    fn check(fields: &[String], expected: Result<(Option<&str>, Option<&str>), RepeatedCookie>) {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(HeaderName::from_static("cookie"), HeaderValue::from_bytes(field.as_bytes()).unwrap());
        }
        let cookies = Cookies::of(&headers).map(|cookies| (cookies.session, cookies.login));
        assert_eq!(cookies, expected, "{fields:?}");
    }

    #[test]
    fn our_cookies_are_found_among_others() {
        check(&[], Ok((None, None)));
        check(&[format!("{SESSION_COOKIE}={A}")], Ok((Some(A), None)));
        check(&[format!("x=1; {LOGIN_COOKIE}={B}; y; =;; {SESSION_COOKIE}={A}")], Ok((Some(A), Some(B))));
        check(&[format!("{SESSION_COOKIE}={A}"), format!("{LOGIN_COOKIE}={B}")], Ok((Some(A), Some(B))));
        check(&[format!("x={SESSION_COOKIE}={A}")], Ok((None, None)));
        check(&[format!("x{SESSION_COOKIE}={A}")], Ok((None, None)));
        check(&[format!("{SESSION_COOKIE}x={A}")], Ok((None, None)));
        check(&[format!("{}={A}", SESSION_COOKIE.to_ascii_lowercase())], Ok((None, None)));
    }

    #[test]
    fn a_value_of_another_form_is_none() {
        for value in [
            String::new(),
            "x".to_owned(),
            format!("\"{A}\""),
            format!("{A}A"),
            A.replace('0', "="),
            A.replace('0', "\u{e9}"),
        ] {
            check(&[format!("{SESSION_COOKIE}={value}")], Ok((None, None)));
        }
    }

    #[test]
    fn a_cookie_that_comes_twice_is_refused() {
        for twice in [
            format!("{SESSION_COOKIE}={A}; {SESSION_COOKIE}={B}"),
            format!("{LOGIN_COOKIE}={A};{LOGIN_COOKIE}={A}"),
            format!("{SESSION_COOKIE}={A}; {SESSION_COOKIE}="),
        ] {
            check(&[twice], Err(RepeatedCookie));
        }
        check(&[format!("{SESSION_COOKIE}={A}"), format!("{SESSION_COOKIE}={B}")], Err(RepeatedCookie));
    }

    #[test]
    fn a_cookie_is_set_with_every_attribute_that_keeps_it() {
        let token = PreSession::random(&SystemRandom::new()).unwrap();
        let field = set(SESSION_COOKIE, token.reveal()).unwrap();
        let expected = format!("__Host-tessera-session={}; Path=/; Secure; HttpOnly; SameSite=Lax", token.reveal());
        assert_eq!(field.to_str().unwrap(), expected);
        assert_eq!(set(SESSION_COOKIE, "a; Domain=example.com"), None);
        assert!(forget(LOGIN_COOKIE).unwrap().to_str().unwrap().ends_with("Max-Age=0"));
        assert_eq!(format!("{token:?}"), "PreSession(..)");
    }
}

//! Forms: `application/x-www-form-urlencoded`, read strictly (RFC 6749 Appendix B).

use std::borrow::Cow;

use memchr::{memchr, memchr2};
use percent_encoding::percent_decode;
use smallvec::SmallVec;

use crate::oauth::error::OAuthError;

/// The parameters of a request. Each is there once: RFC 6749 §3.2 forbids repeats, known parameter or not. RFC 8707 §2 allows them
/// for `resource`, at the endpoints that know it.
#[derive(Debug)]
pub(super) struct Form<'a> {
    parameters: SmallVec<[(Cow<'a, str>, Cow<'a, str>); PARAMETERS_USUAL]>,
}

const RESOURCE: &str = "resource";
/// Parameters that need no allocation.
const PARAMETERS_USUAL: usize = 4;
/// The most parameters of one request.
pub(super) const PARAMETERS_MAX: usize = 32;
/// The longest value of a parameter, decoded, in bytes.
pub(super) const VALUE_BYTES_MAX: usize = 16 * 1024;

impl<'a> Form<'a> {
    /// Reads a body. Unlike a browser's parser it replaces nothing: what cannot be decoded is an error.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, OAuthError> {
        Self::read(body, |_| false)
    }

    /// [`Form::parse`] where tokens are asked for, which may be for several resources.
    pub(super) fn parse_with_resources(body: &'a [u8]) -> Result<Self, OAuthError> {
        Self::read(body, |name| name == RESOURCE)
    }

    /// [`Form::parse`] for whoever has something else to say of a repeat.
    pub(super) fn parse_with_repeats(body: &'a [u8]) -> Result<Self, OAuthError> {
        Self::read(body, |_| true)
    }

    fn read(body: &'a [u8], may_repeat: impl Fn(&str) -> bool) -> Result<Self, OAuthError> {
        let mut form = Self { parameters: SmallVec::new() };
        let mut rest = Some(body);
        while let Some(unread) = rest {
            let (pair, after) = split_at_byte(b'&', unread);
            if !pair.is_empty() {
                let (name, value) = split_at_byte(b'=', pair);
                form.add(decode(name)?, decode(value.unwrap_or_default())?, &may_repeat)?;
            }
            rest = after;
        }
        Ok(form)
    }

    /// The value of a parameter. One without a value counts as omitted (RFC 6749 §3.2).
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| &**value).filter(|value| !value.is_empty())
    }

    /// The value of a parameter that must be there.
    pub(super) fn require(&self, name: &'static str) -> Result<&str, OAuthError> {
        self.find(name).ok_or_else(|| OAuthError::invalid_request(format!("the parameter {name} is missing")))
    }

    /// The values of `resource` (RFC 8707 §2), without those that are empty.
    pub(super) fn resources(&self) -> impl Iterator<Item = &str> {
        self.pairs().filter(|(name, value)| *name == RESOURCE && !value.is_empty()).map(|(_, value)| value)
    }

    /// All parameters in their order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters.iter().map(|(name, value)| (&**name, &**value))
    }

    fn add(
        &mut self,
        name: Cow<'a, str>,
        value: Cow<'a, str>,
        may_repeat: impl Fn(&str) -> bool,
    ) -> Result<(), OAuthError> {
        if self.parameters.len() == PARAMETERS_MAX {
            return Err(OAuthError::invalid_request("there are more than 32 parameters"));
        }
        if value.len() > VALUE_BYTES_MAX {
            return Err(OAuthError::invalid_request("a parameter is longer than 16384 bytes"));
        }
        if self.parameters.iter().any(|(own, _)| *own == name) && !may_repeat(&name) {
            return Err(OAuthError::invalid_request("a parameter is repeated"));
        }
        self.parameters.push((name, value));
        Ok(())
    }
}

/// What is before the first `byte`, and what is after it, if it is there.
fn split_at_byte(byte: u8, text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr(byte, text).and_then(|position| text.split_at_checked(position)) {
        Some((before, after)) => (before, after.get(1..)),
        None => (text, None),
    }
}

/// Decodes a name or a value. Also used for the two halves of Basic credentials, which are encoded likewise (RFC 6749 §2.3.1).
pub(super) fn decode(text: &[u8]) -> Result<Cow<'_, str>, OAuthError> {
    if memchr2(b'%', b'+', text).is_none() {
        return std::str::from_utf8(text).map(Cow::Borrowed).map_err(|_| not_utf8());
    }
    if !is_well_escaped(text) {
        return Err(OAuthError::invalid_request("a percent sign is not followed by two hexadecimal digits"));
    }
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    String::from_utf8(percent_decode(&spaced).collect()).map(Cow::Owned).map_err(|_| not_utf8())
}

fn is_well_escaped(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'%')
        .skip(1)
        .all(|after| after.get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

fn not_utf8() -> OAuthError {
    OAuthError::invalid_request("a parameter is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &[u8], expected: Result<&[(&str, &str)], &str>) {
        let form = Form::parse(body);
        let pairs = form.as_ref().map(|form| form.pairs().collect());
        let pairs: Result<Vec<_>, _> = pairs.map_err(|error| &*error.description);
        assert_eq!(pairs.as_deref(), expected.as_ref().map(|pairs| *pairs), "{}", body.escape_ascii());
    }

    #[test]
    fn a_form_is_decoded_strictly() {
        check(b"", Ok(&[]));
        check(b"a=1&b=2", Ok(&[("a", "1"), ("b", "2")]));
        check(b"&a=1&&", Ok(&[("a", "1")]));
        check(b"a=x+y%20z%2B&%62==c", Ok(&[("a", "x y z+"), ("b", "=c")]));
        check(b"a&b=", Ok(&[("a", ""), ("b", "")]));
        check("a=é".as_bytes(), Ok(&[("a", "é")]));
        check(b"a=%C3%A9", Ok(&[("a", "é")]));
        for broken in [&b"a=%"[..], b"a=%4", b"a=%zz", b"a=%4g", b"%=a", b"a=%%41"] {
            check(broken, Err("a percent sign is not followed by two hexadecimal digits"));
        }
        for broken in [&b"a=\xff"[..], b"a=%FF", b"a=%C0%80", b"a=%ED%A0%80"] {
            check(broken, Err("a parameter is not UTF-8"));
        }
    }

    #[test]
    fn a_repeated_parameter_is_refused_known_or_not() {
        for body in [&b"a=1&a=1"[..], b"a=1&%61=2", b"a&a=1", b"x=1&x="] {
            check(body, Err("a parameter is repeated"));
        }
    }

    #[test]
    fn a_resource_may_be_named_more_than_once_where_tokens_are_asked_for() {
        let form = Form::parse_with_resources(b"resource=a&x=1&resource=&resource=b").unwrap();
        assert_eq!(form.resources().collect::<Vec<_>>(), ["a", "b"]);
        assert!(Form::parse_with_resources(b"resource=a&x=1&x=2").is_err());
        check(b"resource=a&resource=b", Err("a parameter is repeated"));
    }

    #[test]
    fn repeats_are_kept_where_they_are_answered_otherwise() {
        let form = Form::parse_with_repeats(b"a=1&a=2&b=").unwrap();
        assert_eq!(form.pairs().collect::<Vec<_>>(), [("a", "1"), ("a", "2"), ("b", "")]);
    }

    #[test]
    fn parameters_are_bounded_in_number_and_length() {
        let many: Vec<String> = (0..33).map(|number| format!("p{number}=1")).collect();
        check(many.join("&").as_bytes(), Err("there are more than 32 parameters"));
        assert!(Form::parse(many[..32].join("&").as_bytes()).is_ok());
        check(format!("a={}", "x".repeat(16385)).as_bytes(), Err("a parameter is longer than 16384 bytes"));
    }

    #[test]
    fn a_parameter_without_a_value_is_omitted() {
        let form = Form::parse(b"scope=&token").unwrap();
        assert_eq!((form.find("scope"), form.find("token")), (None, None));
        assert!(form.require("token").is_err());
    }
}

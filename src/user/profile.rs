//! What is known of a person, under the names of `OpenID` Connect Core §5.1.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What is known of a person, all of it checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    name: Option<String>,
    email: Option<String>,
    is_email_verified: bool,
    /// What few have.
    more: Option<Box<Map<String, Value>>>,
}

/// The members of a profile as the admin API and the journal have them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileDocument {
    /// Their full name, in any script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where mail reaches them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether somebody has seen that it does. Only beside `email`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
    /// The other claims: texts, `phone_number_verified` beside `phone_number`, and `address` (§5.1.1).
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A member of a profile that is out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{member} {reason}")]
pub struct InvalidProfile {
    /// The member's name on the wire.
    pub member: &'static str,
    /// What is allowed.
    pub reason: &'static str,
}

const NAME_BYTES_MAX: usize = 255;
/// RFC 5321 §4.5.3.1.3, less the angle brackets.
const EMAIL_BYTES_MAX: usize = 254;

impl Profile {
    /// Checks a document.
    ///
    /// # Errors
    ///
    /// [`InvalidProfile`] names the first member that is out of bounds.
    pub fn parse(document: ProfileDocument) -> Result<Self, InvalidProfile> {
        let invalid = |member, reason| Err(InvalidProfile { member, reason });
        let ProfileDocument { name, email, email_verified, more } = document;
        let is_name = |name: &str| (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
        if !name.as_deref().is_none_or(is_name) {
            return invalid("name", "must have 1 to 255 bytes without control characters");
        }
        if !email.as_deref().is_none_or(is_email) {
            return invalid("email", "must be an address with one @, of at most 254 bytes, without spaces");
        }
        if email.is_none() && email_verified == Some(true) {
            return invalid("email_verified", "can be true only beside an email");
        }
        check_members(&more)?;
        let is_invalid = |(member, is_valid, _): &&More| more.get(*member).is_some_and(|value| !is_valid(value));
        if let Some((member, _, reason)) = MORE.iter().find(is_invalid) {
            return invalid(member, reason);
        }
        let is_phone_verified = more.get(PHONE_NUMBER_VERIFIED) == Some(&Value::Bool(true));
        if is_phone_verified && !more.contains_key(PHONE_NUMBER) {
            return invalid(PHONE_NUMBER_VERIFIED, "can be true only beside a phone_number");
        }
        let more = Some(more).filter(|more| !more.is_empty()).map(Box::new);
        Ok(Self { name, email, is_email_verified: email_verified.unwrap_or_default(), more })
    }

    /// The document that parses to this.
    #[must_use]
    pub fn to_document(&self) -> ProfileDocument {
        ProfileDocument {
            name: self.name.clone(),
            email: self.email.clone(),
            email_verified: self.email.as_ref().map(|_| self.is_email_verified),
            more: self.more.as_deref().cloned().unwrap_or_default(),
        }
    }

    /// Their full name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Where mail reaches them.
    #[must_use]
    pub fn email(&self) -> Option<&str> {
        self.email.as_deref()
    }

    /// The other claims: see [`ProfileDocument::more`].
    pub fn more(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.more.iter().flat_map(|more| more.iter())
    }

    /// Whether somebody has seen that it does.
    #[must_use]
    pub fn is_email_verified(&self) -> bool {
        self.is_email_verified
    }
}

/// Whether all are names of [`ProfileDocument::more`].
///
/// # Errors
///
/// [`InvalidProfile`].
pub fn check_members(more: &Map<String, Value>) -> Result<(), InvalidProfile> {
    if more.keys().all(|member| MORE.iter().any(|(own, ..)| own == member)) {
        return Ok(());
    }
    Err(InvalidProfile { member: "profile", reason: "has an unknown field" })
}

/// The claim that says where a phone reaches somebody.
pub const PHONE_NUMBER: &str = "phone_number";
/// The claim that says whether somebody has seen that it does.
pub const PHONE_NUMBER_VERIFIED: &str = "phone_number_verified";

/// A member of [`ProfileDocument::more`], what it may be, and that in words.
type More = (&'static str, fn(&Value) -> bool, &'static str);

const MORE: [More; 14] = [
    ("given_name", is_line, LINE),
    ("family_name", is_line, LINE),
    ("middle_name", is_line, LINE),
    ("nickname", is_line, LINE),
    ("profile", is_page, PAGE),
    ("picture", is_page, PAGE),
    ("website", is_page, PAGE),
    ("gender", is_line, LINE),
    ("birthdate", is_birthdate, "must be YYYY-MM-DD, 0000-MM-DD or YYYY"),
    ("zoneinfo", is_line, LINE),
    ("locale", is_line, LINE),
    (PHONE_NUMBER, is_line, LINE),
    (PHONE_NUMBER_VERIFIED, Value::is_boolean, "must be true or false"),
    (
        "address",
        is_address,
        "must be an object of formatted, street_address, locality, region, postal_code and country, each of 1 to 1024 bytes",
    ),
];

const LINE: &str = "must have 1 to 255 bytes without control characters";
const PAGE: &str = "must be the URL of a page, with http or https, of at most 2048 bytes";
const PAGE_BYTES_MAX: usize = 2048;
const ADDRESS_BYTES_MAX: usize = 1024;
/// §5.1.1.
const ADDRESS_MEMBERS: [&str; 6] = ["formatted", "street_address", "locality", "region", "postal_code", "country"];

fn is_line(value: &Value) -> bool {
    let is_line = |text: &str| (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    value.as_str().is_some_and(is_line)
}

fn is_page(value: &Value) -> bool {
    let text = value.as_str().filter(|text| text.len() <= PAGE_BYTES_MAX).unwrap_or_default();
    let behind_scheme = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let has_host =
        |rest: &str| rest.starts_with(|character: char| character.is_ascii_alphanumeric() || character == '[');
    behind_scheme.is_some_and(has_host) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_birthdate(value: &Value) -> bool {
    let is_number = |text: &str, length: usize, max: u32| {
        let is_digits = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
        is_digits && text.parse::<u32>().is_ok_and(|number| number <= max)
    };
    match value.as_str().unwrap_or_default().split('-').collect::<Vec<_>>().as_slice() {
        [year] => is_number(year, 4, 9999),
        [year, month, day] => {
            is_number(year, 4, 9999)
                && is_number(month, 2, 12)
                && is_number(day, 2, 31)
                && *month != "00"
                && *day != "00"
        }
        _ => false,
    }
}

fn is_address(value: &Value) -> bool {
    // A line of its own for each part of what stands on an envelope.
    let is_text = |text: &str| {
        let is_control = |character: char| character.is_control() && !matches!(character, '\r' | '\n');
        (1..=ADDRESS_BYTES_MAX).contains(&text.len()) && !text.chars().any(is_control)
    };
    value.as_object().is_some_and(|members| {
        let is_valid = |(member, value): (&String, &Value)| {
            ADDRESS_MEMBERS.contains(&member.as_str()) && value.as_str().is_some_and(is_text)
        };
        !members.is_empty() && members.iter().all(is_valid)
    })
}

fn is_email(email: &str) -> bool {
    let halves = email.split_once('@').filter(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && !domain.contains('@') && email.len() <= EMAIL_BYTES_MAX
    });
    halves.is_some() && !email.chars().any(|character| character.is_control() || character.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: Result<(), &str>) {
        let document: ProfileDocument = serde_json::from_str(json).unwrap();
        assert_eq!(Profile::parse(document).map(drop).map_err(|error| error.member), expected, "{json}");
    }

    #[test]
    fn a_member_out_of_bounds_is_refused_by_name() {
        check("{}", Ok(()));
        check(r#"{"name":"Ада Лавлейс","email":"ada@example.com","email_verified":true}"#, Ok(()));
        check(r#"{"email":"Дарья@почта.рф"}"#, Ok(()));
        check(r#"{"name":""}"#, Err("name"));
        check(r#"{"name":"a\u0000"}"#, Err("name"));
        for email in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\\n"] {
            check(&format!(r#"{{"email":"{email}"}}"#), Err("email"));
        }
        check(r#"{"email_verified":true}"#, Err("email_verified"));
        check(r#"{"email_verified":false}"#, Ok(()));
        check(
            r#"{"nickname":"A","birthdate":"0000-12-10","website":"https://a.example/","phone_number":"+1 555;ext=1"}"#,
            Ok(()),
        );
        check(
            r#"{"phone_number":"+1","phone_number_verified":true,"address":{"formatted":"a\r\nb","country":"x"}}"#,
            Ok(()),
        );
        check(r#"{"shoe_size":"42"}"#, Err("profile"));
        check(r#"{"sub":"ada"}"#, Err("profile"));
        for (member, values) in [
            ("nickname", &["\"\"", "7", "null", "[]", "\"a\\n\""][..]),
            ("picture", &["\"a\"", "\"javascript:alert(1)\"", "\"data:,\"", "{}"]),
            ("birthdate", &["\"1815-13-10\"", "\"1815-12\"", "\"10.12.1815\"", "\"1815-00-10\"", "\"+815\"", "1815"]),
            ("phone_number_verified", &["true", "\"true\"", "null"]),
            ("address", &["{}", "\"a\"", "{\"city\":\"a\"}", "{\"country\":7}", "{\"country\":\"\"}"]),
        ] {
            for value in values {
                check(&format!("{{\"{member}\":{value}}}"), Err(member));
            }
        }
    }

    #[test]
    fn a_document_survives_the_round_trip() {
        for json in [
            "{}",
            r#"{"name":"n"}"#,
            r#"{"address":{"country":"x"},"nickname":"n","phone_number":"1"}"#,
            r#"{"email":"a@b","email_verified":false}"#,
        ] {
            let profile = Profile::parse(serde_json::from_str(json).unwrap()).unwrap();
            assert_eq!(serde_json::to_string(&profile.to_document()).unwrap(), json);
            assert_eq!(Profile::parse(profile.to_document()), Ok(profile));
        }
    }
}

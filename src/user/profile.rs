//! What is known of a person, under the names of `OpenID` Connect Core §5.1.

use serde::{Deserialize, Serialize};

/// What is known of a person, all of it checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    name: Option<String>,
    email: Option<String>,
    is_email_verified: bool,
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
        let ProfileDocument { name, email, email_verified } = document;
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
        Ok(Self { name, email, is_email_verified: email_verified.unwrap_or_default() })
    }

    /// The document that parses to this.
    #[must_use]
    pub fn to_document(&self) -> ProfileDocument {
        ProfileDocument {
            name: self.name.clone(),
            email: self.email.clone(),
            email_verified: self.email.as_ref().map(|_| self.is_email_verified),
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

    /// Whether somebody has seen that it does.
    #[must_use]
    pub fn is_email_verified(&self) -> bool {
        self.is_email_verified
    }
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
    }

    #[test]
    fn a_document_survives_the_round_trip() {
        for json in ["{}", r#"{"name":"n"}"#, r#"{"email":"a@b","email_verified":false}"#] {
            let profile = Profile::parse(serde_json::from_str(json).unwrap()).unwrap();
            assert_eq!(serde_json::to_string(&profile.to_document()).unwrap(), json);
            assert_eq!(Profile::parse(profile.to_document()), Ok(profile));
        }
    }
}

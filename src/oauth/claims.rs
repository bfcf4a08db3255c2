//! Claims about a person (`OpenID` Connect Core §5): which there are, what scope asks for each (§5.4), and how a request asks for single
//! ones (§5.5).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The claims that a user may have, each with the scope token that asks for it.
pub const CLAIMS: [(&str, &str); 19] = [
    ("name", "profile"),
    ("given_name", "profile"),
    ("family_name", "profile"),
    ("middle_name", "profile"),
    ("nickname", "profile"),
    ("preferred_username", "profile"),
    ("profile", "profile"),
    ("picture", "profile"),
    ("website", "profile"),
    ("gender", "profile"),
    ("birthdate", "profile"),
    ("zoneinfo", "profile"),
    ("locale", "profile"),
    ("updated_at", "profile"),
    ("email", "email"),
    ("email_verified", "email"),
    ("address", "address"),
    ("phone_number", "phone"),
    ("phone_number_verified", "phone"),
];

/// The scope tokens that ask for claims.
pub const CLAIM_SCOPES: [&str; 4] = ["profile", "email", "address", "phone"];

/// The scope token that asks for a claim; `None` for a claim that no user has.
#[must_use]
pub fn scope_of(claim: &str) -> Option<&'static str> {
    CLAIMS.iter().find(|(own, _)| *own == claim).map(|(_, scope)| *scope)
}

/// The `claims` of an authorization request, checked, and without what means nothing here. Clones share one text.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClaimsRequest {
    /// JSON of [`Document`].
    text: Arc<str>,
}

/// The longest `claims` that are read, in bytes.
pub const CLAIMS_BYTES_MAX: usize = 4096;

/// Why a text is no `claims`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClaims {
    /// Longer than [`CLAIMS_BYTES_MAX`].
    #[error("claims must have at most 4096 bytes")]
    TooLong,
    /// Not as §5.5 has it.
    #[error(
        "claims must be a JSON object whose userinfo and id_token are objects, in which each claim is null or an object, \
         with essential a boolean and values an array where they are there"
    )]
    Syntax,
}

/// Single claims, each with what is asked of it: null, or `essential`, `value` and `values` (§5.5.1).
type Asked = Map<String, Value>;

#[derive(Default, Serialize, Deserialize)]
struct Document {
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    userinfo: Asked,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    id_token: Asked,
}

impl ClaimsRequest {
    /// Reads a text. Members and claims that are not known here are left out, as §5.5 wants it.
    ///
    /// # Errors
    ///
    /// [`InvalidClaims`].
    pub fn parse(text: &str) -> Result<Self, InvalidClaims> {
        if text.len() > CLAIMS_BYTES_MAX {
            return Err(InvalidClaims::TooLong);
        }
        read(text).map(|document| Self::of(&document))
    }

    /// A text that [`ClaimsRequest::as_str`] once gave, as it is: written anew a number might become another.
    ///
    /// # Errors
    ///
    /// [`InvalidClaims::Syntax`].
    pub fn stored(text: &str) -> Result<Self, InvalidClaims> {
        read(text).map(|_| Self { text: Arc::from(text) })
    }

    fn of(document: &Document) -> Self {
        // Such a document can always be written.
        Self { text: Arc::from(serde_json::to_string(document).unwrap_or_default()) }
    }

    /// The text, which [`ClaimsRequest::stored`] reads as the same.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the userinfo endpoint is to tell, beside what the scope asks for.
    #[must_use]
    pub fn userinfo(&self) -> Map<String, Value> {
        self.document().userinfo
    }

    /// What ID tokens are to tell.
    #[must_use]
    pub fn id_token(&self) -> Map<String, Value> {
        self.document().id_token
    }

    /// The same without claims whose scope token `is_allowed` refuses; `None` where nothing is left.
    #[must_use]
    pub fn within(&self, is_allowed: impl Fn(&str) -> bool) -> Option<Self> {
        let mut document = self.document();
        for asked in [&mut document.userinfo, &mut document.id_token] {
            asked.retain(|claim, _| scope_of(claim).is_none_or(&is_allowed));
        }
        let is_empty = document.userinfo.is_empty() && document.id_token.is_empty();
        (!is_empty).then(|| Self::of(&document))
    }

    /// The scope tokens that would have asked for the same claims, and more.
    #[must_use]
    pub fn scopes(&self) -> Vec<&'static str> {
        let document = self.document();
        let asks_for = |token: &&str| {
            let mut claims = document.userinfo.keys().chain(document.id_token.keys());
            claims.any(|claim| scope_of(claim) == Some(*token))
        };
        CLAIM_SCOPES.into_iter().filter(asks_for).collect()
    }

    /// The only person that the request is about: the `value` of `sub`, wherever it stands.
    #[must_use]
    pub fn subject(&self) -> Option<Value> {
        let Document { userinfo, id_token } = self.document();
        [id_token, userinfo].iter().find_map(|asked| asked.get("sub")?.get("value").cloned())
    }

    /// The values of `acr` of which one must be met (§5.5.1.1); none where any will do.
    #[must_use]
    pub fn essential_acr(&self) -> Vec<String> {
        let asked = self.document().id_token.remove("acr").unwrap_or_default();
        if asked.get("essential") != Some(&Value::Bool(true)) {
            return Vec::new();
        }
        let values = asked.get("values").and_then(Value::as_array).into_iter().flatten();
        let values = values.chain(asked.get("value"));
        values.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn document(&self) -> Document {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

/// Whether a value is one that was asked for: any, where none was named.
#[must_use]
pub fn is_wanted(asked: &Value, value: &Value) -> bool {
    let one = asked.get("value").is_none_or(|wanted| wanted == value);
    one && asked.get("values").and_then(Value::as_array).is_none_or(|wanted| wanted.contains(value))
}

fn read(text: &str) -> Result<Document, InvalidClaims> {
    let Ok(Value::Object(mut members)) = serde_json::from_str(text) else { return Err(InvalidClaims::Syntax) };
    let mut asked = |member| members.remove(member).map_or_else(|| Ok(Asked::new()), read_asked);
    Ok(Document { userinfo: asked("userinfo")?, id_token: asked("id_token")? })
}

fn read_asked(value: Value) -> Result<Asked, InvalidClaims> {
    let claims = match value {
        Value::Object(claims) => claims,
        Value::Null => Asked::new(),
        _ => return Err(InvalidClaims::Syntax),
    };
    let mut kept = Asked::new();
    for (claim, asked) in claims {
        let asked = read_single(asked)?;
        if scope_of(&claim).is_some() || matches!(&*claim, "sub" | "acr") {
            kept.insert(claim, asked);
        }
    }
    Ok(kept)
}

fn read_single(asked: Value) -> Result<Value, InvalidClaims> {
    let mut members = match asked {
        Value::Null => return Ok(Value::Null),
        Value::Object(members) => members,
        _ => return Err(InvalidClaims::Syntax),
    };
    let is_valid =
        members.get("essential").is_none_or(Value::is_boolean) && members.get("values").is_none_or(Value::is_array);
    if !is_valid {
        return Err(InvalidClaims::Syntax);
    }
    members.retain(|member, _| matches!(&**member, "essential" | "value" | "values"));
    Ok(if members.is_empty() { Value::Null } else { Value::Object(members) })
}

impl fmt::Debug for ClaimsRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("ClaimsRequest").field(&&*self.text).finish()
    }
}

impl TryFrom<String> for ClaimsRequest {
    type Error = InvalidClaims;

    fn try_from(text: String) -> Result<Self, InvalidClaims> {
        Self::stored(&text)
    }
}

impl From<ClaimsRequest> for String {
    fn from(request: ClaimsRequest) -> Self {
        request.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, InvalidClaims>) {
        let request = ClaimsRequest::parse(text);
        assert_eq!(request.as_ref().map(ClaimsRequest::as_str).map_err(|error| *error), expected, "{text}");
        if let Ok(request) = request {
            assert_eq!(ClaimsRequest::stored(request.as_str()), Ok(request), "{text}");
        }
    }

    #[test]
    fn what_is_known_is_kept_and_what_is_not_as_the_specification_has_it_is_refused() {
        check("{}", Ok("{}"));
        check(r#"{"userinfo":null,"id_token":{}}"#, Ok("{}"));
        check(
            r#"{"userinfo":{"email":null,"name":{"essential":true}}}"#,
            Ok(r#"{"userinfo":{"email":null,"name":{"essential":true}}}"#),
        );
        check(r#"{"userinfo":{"email#de":null,"x":{"essential":true}},"other":7}"#, Ok("{}"));
        check(
            r#"{"id_token":{"sub":{"value":"ada","x":1},"acr":{"values":["a"]}}}"#,
            Ok(r#"{"id_token":{"acr":{"values":["a"]},"sub":{"value":"ada"}}}"#),
        );
        for wrong in [
            "",
            " ",
            "null",
            "7",
            "[]",
            "\"a\"",
            "{",
            "{}x",
            "{\"userinfo\":[]}",
            "{\"userinfo\":\"email\"}",
            "{\"id_token\":7}",
            r#"{"userinfo":{"email":true}}"#,
            r#"{"userinfo":{"email":"x"}}"#,
            r#"{"userinfo":{"email":[]}}"#,
            r#"{"userinfo":{"email":{"essential":"true"}}}"#,
            r#"{"userinfo":{"email":{"values":"x"}}}"#,
            r#"{"userinfo":{"unknown":7}}"#,
            r#"{"userinfo":{"email":{"essential":null}}}"#,
        ] {
            check(wrong, Err(InvalidClaims::Syntax));
        }
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(2000), "]".repeat(2000));
        check(&deep, Err(InvalidClaims::Syntax));
        check(&format!("{{\"x\":\"{}\"}}", "a".repeat(CLAIMS_BYTES_MAX)), Err(InvalidClaims::TooLong));
    }

    #[test]
    fn claims_belong_to_scopes() {
        let request =
            ClaimsRequest::parse(r#"{"userinfo":{"email":null},"id_token":{"name":null,"sub":null}}"#).unwrap();
        assert_eq!(request.scopes(), ["profile", "email"]);
        let within = request.within(|token| token == "email").unwrap();
        assert_eq!(within.as_str(), r#"{"userinfo":{"email":null},"id_token":{"sub":null}}"#);
        assert_eq!(within.scopes(), ["email"]);
        assert_eq!(ClaimsRequest::parse(r#"{"userinfo":{"email":null}}"#).unwrap().within(|_| false), None);
        for (claim, scope) in CLAIMS {
            assert!(CLAIM_SCOPES.contains(&scope), "{claim}");
        }
    }

    #[test]
    fn who_and_how_sure_is_read_from_where_it_stands() {
        let read = |text: &str| ClaimsRequest::parse(text).unwrap();
        assert_eq!(read(r#"{"userinfo":{"sub":{"value":"ada"}}}"#).subject(), Some(json!("ada")));
        assert_eq!(read(r#"{"id_token":{"sub":null}}"#).subject(), None);
        let acr = |asked: &str| read(&format!(r#"{{"id_token":{{"acr":{asked}}}}}"#)).essential_acr();
        assert_eq!(acr(r#"{"essential":true,"values":["a","b"]}"#), ["a", "b"]);
        assert_eq!(acr(r#"{"essential":true,"value":"a"}"#), ["a"]);
        for any in ["null", r#"{"essential":true}"#, r#"{"values":["a"]}"#, r#"{"essential":false,"values":["a"]}"#] {
            assert!(acr(any).is_empty(), "{any}");
        }
    }

    #[test]
    fn a_value_that_was_not_asked_for_is_not_wanted() {
        for (asked, wanted) in [
            (json!(null), true),
            (json!({ "essential": true }), true),
            (json!({ "value": "a" }), true),
            (json!({ "value": "b" }), false),
            (json!({ "values": ["b", "a"] }), true),
            (json!({ "values": [] }), false),
        ] {
            assert_eq!(is_wanted(&asked, &json!("a")), wanted, "{asked}");
        }
    }
}

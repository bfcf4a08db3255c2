//! Claims about a person (`OpenID` Connect Core §5.1): which there are, what scope asks for each (§5.4), and what of them a client is
//! told.

use serde_json::{Map, Value, json};

use crate::oauth::scope::Scope;
use crate::user::User;

/// The claims that a user may have, each with the scope token that asks for it.
pub const CLAIMS: [(&str, &str); 5] = [
    ("name", "profile"),
    ("preferred_username", "profile"),
    ("updated_at", "profile"),
    ("email", "email"),
    ("email_verified", "email"),
];

/// The scope tokens that ask for claims.
pub const CLAIM_SCOPES: [&str; 2] = ["profile", "email"];

/// The claims that a scope asks for, as far as they are known of this user.
#[must_use]
pub fn claims_in(scope: &Scope, user: &User) -> Map<String, Value> {
    let mut claims = known_of(user);
    claims.retain(|claim, _| scope_of(claim).is_some_and(|token| scope.contains(token)));
    claims
}

/// The scope token that asks for a claim; `None` for a claim that no user has.
#[must_use]
pub fn scope_of(claim: &str) -> Option<&'static str> {
    CLAIMS.iter().find(|(own, _)| *own == claim).map(|(_, scope)| *scope)
}

/// All claims that are known of a user.
fn known_of(user: &User) -> Map<String, Value> {
    let mut claims = Map::new();
    let mut put = |claim: &str, value: Option<Value>| {
        if let Some(value) = value {
            claims.insert(claim.to_owned(), value);
        }
    };
    put("preferred_username", Some(json!(user.name.as_str())));
    put("updated_at", Some(json!(user.updated_at.as_seconds())));
    put("name", user.profile.name().map(Value::from));
    put("email", user.profile.email().map(Value::from));
    put("email_verified", user.profile.email().map(|_| json!(user.profile.is_email_verified())));
    claims
}

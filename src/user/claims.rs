//! What a client is told of a user (`OpenID` Connect Core §5.1).

use serde_json::{Map, Value, json};

use crate::oauth::claims::{is_wanted, scope_of};
use crate::oauth::scope::Scope;
use crate::user::User;
use crate::user::profile::{PHONE_NUMBER, PHONE_NUMBER_VERIFIED};

/// The claims that a scope asks for (§5.4), or a request by name (§5.5), as far as they are known of this user.
#[must_use]
pub fn claims_of(user: &User, scope: &Scope, asked: &Map<String, Value>) -> Map<String, Value> {
    let mut claims = known_of(user);
    claims.retain(|claim, value| {
        let is_in_scope = scope_of(claim).is_some_and(|token| scope.contains(token));
        is_in_scope || asked.get(claim).is_some_and(|asked| is_wanted(asked, value))
    });
    claims
}

/// All claims that are known of a user.
fn known_of(user: &User) -> Map<String, Value> {
    let mut claims = Map::new();
    let mut put = |claim: &str, value: Option<Value>| {
        if let Some(value) = value {
            claims.insert(claim.to_owned(), value);
        }
    };
    for (claim, value) in user.profile.more() {
        put(claim, Some(value.clone()));
    }
    let has_number = user.profile.more().any(|(claim, _)| claim == PHONE_NUMBER);
    let is_stated = user.profile.more().any(|(claim, _)| claim == PHONE_NUMBER_VERIFIED);
    put(PHONE_NUMBER_VERIFIED, (has_number && !is_stated).then_some(Value::Bool(false)));
    put("preferred_username", Some(json!(user.name.as_str())));
    put("updated_at", Some(json!(user.updated_at.as_seconds())));
    put("name", user.profile.name().map(Value::from));
    put("email", user.profile.email().map(Value::from));
    put("email_verified", user.profile.email().map(|_| json!(user.profile.is_email_verified())));
    claims
}

//! What a client sends that registers itself (RFC 7591 §2 and §3.1).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::client::metadata::{ClientMetadata, ClientMetadataDocument, InvalidClientMetadata};
use crate::client::name::check_one_script;
use crate::client::registration_policy::RegistrationPolicy;
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::oauth::unique_members::UniqueMembers;

/// The members of [`ClientMetadataDocument`] that a client may say itself. The others are the operator's.
const OWN_MEMBERS: [&str; 22] = [
    "application_type",
    "client_name",
    "client_uri",
    "contacts",
    "default_max_age",
    "grant_types",
    "id_token_signed_response_alg",
    "jwks",
    "jwks_uri",
    "logo_uri",
    "policy_uri",
    "post_logout_redirect_uris",
    "redirect_uris",
    "require_auth_time",
    "require_pushed_authorization_requests",
    "response_types",
    "scope",
    "software_id",
    "software_version",
    "token_endpoint_auth_method",
    "token_endpoint_auth_signing_alg",
    "tos_uri",
];

/// What a client asks to be.
#[derive(Clone, Debug)]
pub struct RegistrationRequest(ClientMetadataDocument);

impl RegistrationRequest {
    /// Reads the body of a registration request: a JSON object, no member of it twice. A member that is `null` counts as left out, and
    /// one that no version of this server knows is ignored (RFC 7591 §2).
    ///
    /// # Errors
    ///
    /// Those of RFC 7591 §3.2.2; the description begins with the member's name.
    pub fn parse(body: &str) -> Result<Self, OAuthError> {
        if !body.trim_ascii_start().starts_with('{') {
            return Err(invalid("the body must be a JSON object"));
        }
        let UniqueMembers(mut members) = serde_json::from_str(body).map_err(|error| invalid(error.to_string()))?;
        members.retain(|_, value| !value.is_null());
        if let Some(statement) = members.get("software_statement") {
            return Err(refused_statement(statement));
        }
        let mut own = Map::new();
        for (member, value) in members {
            if OWN_MEMBERS.contains(&member.as_str()) {
                let alone = Map::from_iter([(member.clone(), value.clone())]);
                read(alone).map_err(|error| refused_type(&member, &error))?;
                own.insert(member, value);
            } else if is_known(&member) {
                return Err(invalid(format!("{member}: only an operator decides this; leave it out")));
            }
        }
        Ok(Self(read(own).map_err(|error| invalid(error.to_string()))?))
    }

    /// The client that it becomes, if the policy lets it.
    ///
    /// # Errors
    ///
    /// Those of RFC 7591 §3.2.2; the description begins with the member's name.
    pub fn admit(self, policy: &RegistrationPolicy) -> Result<ClientMetadata, OAuthError> {
        let metadata = policy.admit(self.0)?;
        let name = metadata.name.as_deref().map(check_one_script).transpose();
        name.map_err(|error| invalid(format!("client_name: {error}")))?;
        Ok(metadata)
    }
}

impl From<InvalidClientMetadata> for OAuthError {
    fn from(error: InvalidClientMetadata) -> Self {
        refused(error.member, error.to_string())
    }
}

fn refused_type(member: &str, error: &serde_json::Error) -> OAuthError {
    refused(member, format!("{member}: {error}"))
}

fn refused(member: &str, description: String) -> OAuthError {
    let is_uri = member == "redirect_uris";
    let code = if is_uri { OAuthErrorCode::InvalidRedirectUri } else { OAuthErrorCode::InvalidClientMetadata };
    OAuthError::new(code, description)
}

fn invalid(description: impl Into<String>) -> OAuthError {
    OAuthError::new(OAuthErrorCode::InvalidClientMetadata, description.into())
}

/// RFC 7591 §2.3: what is no JWT is invalid, and of one nobody here trusts the issuer.
fn refused_statement(statement: &Value) -> OAuthError {
    let parts = statement.as_str().unwrap_or_default().split('.').collect::<Vec<_>>();
    let is_part = |part: &&str| !part.is_empty() && URL_SAFE_NO_PAD.decode(part).is_ok();
    if parts.len() == 3 && parts.iter().all(is_part) {
        let description = "software_statement: no issuer of software statements is trusted here; leave it out";
        return OAuthError::new(OAuthErrorCode::UnapprovedSoftwareStatement, description);
    }
    let description = "software_statement: must be a signed JWT of three parts in base64url";
    OAuthError::new(OAuthErrorCode::InvalidSoftwareStatement, description)
}

fn read(members: Map<String, Value>) -> Result<ClientMetadataDocument, serde_json::Error> {
    serde_json::from_value(Value::Object(members))
}

/// Whether a document may have this member, whoever writes it; or a client information response (RFC 7591 §3.2.1).
fn is_known(member: &str) -> bool {
    let is_of_response =
        matches!(member, "client_id" | "client_secret" | "client_id_issued_at" | "client_secret_expires_at");
    is_of_response || read(Map::from_iter([(member.to_owned(), Value::Null)])).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::registration_policy::RegistrationPolicyDocument;

    #[track_caller]
    fn check(body: &str, expected: Result<(), (OAuthErrorCode, &str)>) {
        let policy = RegistrationPolicy::parse(&RegistrationPolicyDocument::default()).unwrap();
        let admitted = RegistrationRequest::parse(body).and_then(|request| request.admit(&policy));
        match (&admitted, expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err((code, start))) => {
                assert!(error.code == code && error.description.starts_with(start), "{body}: {error}");
            }
            _ => panic!("{body}: {admitted:?}"),
        }
    }

    #[test]
    fn what_is_left_out_is_null_or_is_not_known_does_not_matter() {
        check(r#"{"redirect_uris":["https://a.example/"]}"#, Ok(()));
        check(r#"{"redirect_uris":["https://a.example/"],"client_name":null,"jwks":null,"skip_consent":null}"#, Ok(()));
        check(r#"{"redirect_uris":["https://a.example/"],"client_name#de":"Das","subject_type":{"a":[1]}}"#, Ok(()));
    }

    #[test]
    fn an_operators_member_is_refused_whatever_it_says() {
        use OAuthErrorCode::InvalidClientMetadata;
        for member in [
            "audience",
            "introspection",
            "skip_consent",
            "nonce_instead_of_pkce",
            "allowed_cors_origins",
            "access_token_lifetime_seconds",
            "refresh_token_rotation",
            "refresh_token_lifetime_seconds",
            "client_id",
            "client_secret",
        ] {
            let body = format!(r#"{{"redirect_uris":["https://a.example/"],"{member}":"any"}}"#);
            check(&body, Err((InvalidClientMetadata, &format!("{member}: "))));
        }
    }
}

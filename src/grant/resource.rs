//! Resource indicators (RFC 8707): for whom tokens are asked.

use crate::client::Client;
use crate::client::metadata::AccessTokenFormat;
use crate::grant::Defaults;
use crate::oauth::audience::Audience;
use crate::oauth::error::{OAuthError, OAuthErrorCode};

/// The resources that a request names, each once; `None` where it names none.
///
/// # Errors
///
/// `invalid_target` for one that is no absolute URI without a fragment, or out of bounds.
pub fn read<'a>(resources: impl IntoIterator<Item = &'a str>) -> Result<Option<Audience>, OAuthError> {
    let mut named: Vec<&str> = Vec::new();
    for resource in resources {
        if !is_absolute_uri(resource) {
            return Err(invalid_target("resource must be an absolute URI without a fragment"));
        }
        if !named.contains(&resource) {
            named.push(resource);
        }
    }
    if named.is_empty() {
        return Ok(None);
    }
    Audience::parse(named).map(Some).map_err(|error| invalid_target(format!("resource: {error}")))
}

/// Whom the tokens of a client are for that asks for `resources`, or for all that it may have.
///
/// # Errors
///
/// `invalid_target` for a resource that is not in the client's audience.
pub fn decide(resources: Option<Audience>, client: &Client, defaults: &Defaults) -> Result<Audience, OAuthError> {
    check(resources.as_ref(), client)?;
    let allowed = &client.metadata.audience;
    match resources {
        Some(resources) => Ok(resources),
        // A JWT has an audience in any case (RFC 9068 §2.2).
        None if allowed.is_empty() && client.metadata.access_token_format == AccessTokenFormat::Jwt => {
            Ok(defaults.audience.clone())
        }
        None => Ok(allowed.clone()),
    }
}

/// Whether a client may have tokens for what it names.
///
/// # Errors
///
/// As [`decide`].
pub fn check(resources: Option<&Audience>, client: &Client) -> Result<(), OAuthError> {
    if resources.is_none_or(|resources| resources.is_subset_of(&client.metadata.audience)) {
        return Ok(());
    }
    Err(invalid_target("this client may not have tokens for this resource"))
}

/// What is asked for, within what was granted; `None` where that is all of it.
///
/// # Errors
///
/// `invalid_target` for a resource that was not granted.
pub fn narrowed(resources: Option<&Audience>, granted: &Audience) -> Result<Option<Audience>, OAuthError> {
    match resources {
        Some(resources) if !resources.is_subset_of(granted) => {
            Err(invalid_target("the resource is not among those that were granted"))
        }
        Some(resources) if !granted.is_subset_of(resources) => Ok(Some(resources.clone())),
        _ => Ok(None),
    }
}

/// RFC 3986 §4.3. What the rest of it may look like its resource server has said when it was registered.
fn is_absolute_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let is_scheme_character = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    scheme.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
        && scheme.bytes().all(is_scheme_character)
        && !rest.is_empty()
        && !rest.contains('#')
}

fn invalid_target(description: impl Into<std::borrow::Cow<'static, str>>) -> OAuthError {
    OAuthError::new(OAuthErrorCode::InvalidTarget, description)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(resources: &[&str], expected: Result<&[&str], &str>) {
        let read = read(resources.iter().copied());
        let read =
            read.map(|audience| audience.iter().flat_map(Audience::members).map(str::to_owned).collect::<Vec<_>>());
        match expected {
            Ok(expected) => assert_eq!(
                read.as_deref(),
                Ok(expected.iter().map(|member| (*member).to_owned()).collect::<Vec<_>>().as_slice())
            ),
            Err(expected) => {
                let error = read.unwrap_err();
                assert_eq!(
                    (error.code, &*error.description),
                    (OAuthErrorCode::InvalidTarget, expected),
                    "{resources:?}"
                );
            }
        }
    }

    #[test]
    fn a_resource_is_an_absolute_uri_without_a_fragment() {
        check(&[], Ok(&[]));
        check(&["https://api.example/"], Ok(&["https://api.example/"]));
        check(&["urn:x", "https://a.example/?q=1", "urn:x"], Ok(&["urn:x", "https://a.example/?q=1"]));
        let no_uri = Err("resource must be an absolute URI without a fragment");
        for resource in
            ["api", "/api", "//api.example/", "https:", ":x", "1a:x", "a b:c", "https://a.example/#", "a_b:c"]
        {
            check(&[resource], no_uri);
        }
        check(
            &["urn:x y"],
            Err("resource: an audience member must have 1 to 512 bytes without spaces and control characters"),
        );
        let many: Vec<String> = (0..33).map(|number| format!("urn:{number}")).collect();
        check(&many.iter().map(String::as_str).collect::<Vec<_>>(), Err("resource: audience has more than 32 members"));
    }

    #[test]
    fn what_was_granted_is_narrowed_and_never_widened() {
        let audience = |members: &[&str]| Audience::parse(members.iter().copied()).unwrap();
        let granted = audience(&["urn:a", "urn:b"]);
        let narrow = |resources: &[&str]| narrowed(Some(&audience(resources)), &granted);
        assert_eq!(narrowed(None, &granted), Ok(None));
        assert_eq!(narrow(&["urn:b", "urn:a"]), Ok(None), "the order means nothing");
        assert_eq!(narrow(&["urn:b"]), Ok(Some(audience(&["urn:b"]))));
        assert_eq!(narrow(&["urn:b", "urn:c"]).unwrap_err().code, OAuthErrorCode::InvalidTarget);
    }
}

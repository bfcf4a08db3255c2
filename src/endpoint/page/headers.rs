//! The header fields that every page has.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};

/// Nothing may be loaded, run, framed or sent anywhere but what a page of ours needs.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; base-uri 'none'; \
    frame-ancestors 'none'; form-action 'self'";

const FIXED: [(HeaderName, HeaderValue); 7] = [
    (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    // A page's URL may hold a request or a user code.
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    // An application may open us in a window of its own and wait for the answer; it must not learn more of it than that.
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin-allow-popups")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ),
];

/// The start of a page. `leads_to` is the validated URI to which a form of the page leads in the end, past our own redirects:
/// `form-action` is held against those too.
pub(super) fn page(status: StatusCode, leads_to: Option<&str>) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    for field in FIXED {
        response.insert_header(field);
    }
    let policy = match leads_to.and_then(source_of) {
        Some(source) => HeaderValue::from_str(&format!("{POLICY} {source}")).ok(),
        None => None,
    };
    response.insert_header((header::CONTENT_SECURITY_POLICY, policy.unwrap_or(HeaderValue::from_static(POLICY))));
    response
}

/// A 303: whatever the request was, the next one is a `GET` without its body.
pub(super) fn see_other(location: &str) -> HttpResponse {
    let mut response = page(StatusCode::SEE_OTHER, None);
    response.insert_header((header::LOCATION, location));
    response.finish()
}

/// What `form-action` calls the place of a URI (CSP Level 3 §2.3.1): its origin, or its scheme where the grammar has no word for
/// the host (an IPv6 address) or there is none (an app's own scheme).
fn source_of(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    if !is_scheme {
        return None;
    }
    let authority = rest.strip_prefix("//").and_then(|rest| rest.split(['/', '?', '#']).next());
    let has_word = |authority: &&str| {
        !authority.is_empty()
            && authority.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':'))
    };
    let is_web = matches!(scheme, "http" | "https");
    match authority.filter(has_word).filter(|_| is_web) {
        Some(authority) => Some(format!("{scheme}://{authority}")),
        None => Some(format!("{scheme}:")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &str, expected: Option<&str>) {
        assert_eq!(source_of(uri).as_deref(), expected, "{uri}");
    }

    #[test]
    fn a_form_may_lead_to_the_place_of_the_redirect_uri() {
        check("https://app.example/cb?a=b", Some("https://app.example"));
        check("https://app.example:8443", Some("https://app.example:8443"));
        check("http://127.0.0.1:4711/cb", Some("http://127.0.0.1:4711"));
        check("http://[::1]:4711/cb", Some("http:"));
        check("com.example.app:/cb", Some("com.example.app:"));
        check("com.example.app://cb", Some("com.example.app:"));
    }

    #[test]
    fn no_uri_adds_a_word_to_the_policy() {
        check("https://app.example;script-src *", Some("https:"));
        check("https://app.example *", Some("https:"));
        check("*://app.example", None);
        check("a b:", None);
        check("app", None);
    }

    #[test]
    fn every_page_forbids_what_it_does_not_need() {
        let response = page(StatusCode::OK, Some("https://app.example/cb")).finish();
        let field = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap());
        let policy = field("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.ends_with("; form-action 'self' https://app.example"), "{policy}");
        for (name, expected) in [
            ("cache-control", "no-store"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(field(name), Some(expected), "{name}");
        }
    }
}

//! Redirect URIs (RFC 6749 §3.1.2, RFC 8252 §7, RFC 9700 §2.1): where a browser is sent with a code.
//!
//! Only what every parser reads alike is a redirect URI here: absolute, of visible ASCII, without a fragment, user information,
//! dot segments or anything that a browser would take for something else. What was registered and what a request names are
//! compared byte by byte, so nothing is ever normalised.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::oauth::application_type::ApplicationType;

/// A redirect URI that may be registered: `https`, `http` to a loopback literal, or a private-use scheme with a dot in its
/// name. At most [`REDIRECT_URI_BYTES_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RedirectUri {
    text: Box<str>,
    kind: Kind,
}

/// The longest redirect URI, in bytes.
pub const REDIRECT_URI_BYTES_MAX: usize = 2048;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Https,
    Loopback,
    PrivateUse,
}

/// Why a text is no redirect URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRedirectUri {
    /// Longer than [`REDIRECT_URI_BYTES_MAX`].
    #[error("a redirect URI must have at most 2048 bytes")]
    TooLong,
    /// RFC 6749 §3.1.2: even an empty fragment.
    #[error("a redirect URI must not have a fragment")]
    Fragment,
    /// A character that RFC 3986 does not allow, or a `%` without two hexadecimal digits.
    #[error("a redirect URI must be of the characters of RFC 3986; write others as %XX")]
    Character,
    /// Another scheme, or upper-case letters in it.
    #[error(
        "a redirect URI must begin with https://, with http://127.0.0.1 or http://[::1], or be of a private-use scheme with a \
         dot in its name, as in com.example.app:/callback; the scheme is written in lower case"
    )]
    Scheme,
    /// `http` to something else than a loopback literal.
    #[error(
        "a redirect URI of http must name 127.0.0.1 or [::1]: others can listen to it, and localhost may be elsewhere"
    )]
    NotLoopback,
    /// `user@`
    #[error("a redirect URI must not have user information")]
    UserInformation,
    /// No host, or one that parsers read differently.
    #[error(
        "the host of a redirect URI must be a domain name in lower case (non-ASCII names as xn--), an IPv4 address of four \
         decimal numbers, or an IPv6 address in its shortest form in brackets"
    )]
    Host,
    /// Not a number from 1 to 65535 without zeros before it.
    #[error("the port of a redirect URI must be a number from 1 to 65535")]
    Port,
    /// `/./`, `/../`, `/..;/`, also where the dots are written as `%2e`.
    #[error("the path of a redirect URI must not have dot segments")]
    DotSegment,
    /// A parameter that an answer has too.
    #[error("the query of a redirect URI must not have a parameter that the answer adds, such as code or state")]
    AnswerParameter,
}

impl RedirectUri {
    /// Reads a redirect URI.
    ///
    /// # Errors
    ///
    /// [`InvalidRedirectUri`] says what is allowed.
    pub fn parse(text: &str) -> Result<Self, InvalidRedirectUri> {
        check_characters(text)?;
        let (scheme, rest) = text.split_once(':').ok_or(InvalidRedirectUri::Scheme)?;
        let (hierarchy, query) = rest.split_once('?').map_or((rest, None), |(before, query)| (before, Some(query)));
        let kind = match scheme {
            "https" | "http" => {
                let hierarchy = hierarchy.strip_prefix("//").ok_or(InvalidRedirectUri::Scheme)?;
                let host = check_hierarchy(hierarchy)?;
                match (scheme, is_loopback(host)) {
                    ("https", _) => Kind::Https,
                    (_, true) => Kind::Loopback,
                    (_, false) => return Err(InvalidRedirectUri::NotLoopback),
                }
            }
            _ if is_private_use(scheme) => {
                check_private_use(hierarchy)?;
                Kind::PrivateUse
            }
            _ => return Err(InvalidRedirectUri::Scheme),
        };
        check_query(query.unwrap_or_default())?;
        Ok(Self { text: Box::from(text), kind })
    }

    /// The text of it, as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a client of that type may register it: a private-use scheme is for native clients (RFC 8252 §7.1).
    #[must_use]
    pub fn is_for(&self, application_type: ApplicationType) -> bool {
        self.kind != Kind::PrivateUse || application_type == ApplicationType::Native
    }

    /// Whether only the client that it was registered for can receive what is sent there. On a device, any program can claim a
    /// private-use scheme or a loopback port (RFC 8252 §8.6).
    #[must_use]
    pub fn proves_client(&self) -> bool {
        self.kind == Kind::Https
    }

    /// Whether a request that names `presented` means this. Byte by byte, but for the port of a loopback literal where the
    /// client is native (RFC 8252 §7.3).
    #[must_use]
    pub fn matches(&self, presented: &Self, application_type: ApplicationType) -> bool {
        if self.text == presented.text {
            return true;
        }
        application_type == ApplicationType::Native
            && [self, presented].iter().all(|uri| uri.kind == Kind::Loopback)
            && self.without_port() == presented.without_port()
    }

    /// What comes before and after the port of a URI with a host.
    fn without_port(&self) -> (&str, &str) {
        let authority = self.text.find("//").map_or(0, |at| at.saturating_add(2));
        let host_end = self.text.get(authority..).and_then(host_bytes).unwrap_or_default().saturating_add(authority);
        let (host, rest) = self.text.split_at_checked(host_end).unwrap_or((&self.text, ""));
        let path = rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or_default();
        (host, path)
    }

    /// The URI with parameters added to its query, which stays as it is (RFC 6749 §4.1.2).
    #[must_use]
    pub fn with_parameters<'a>(&self, parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
        let mut location = String::from(&*self.text);
        let mut separator = match self.text.split_once('?') {
            None => "?",
            Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
            Some(_) => "&",
        };
        for (name, value) in parameters {
            location.push_str(separator);
            location.push_str(name);
            location.push('=');
            location.extend(utf8_percent_encode(value, &ENCODED));
            separator = "&";
        }
        location
    }
}

/// All but the unreserved characters of RFC 3986 §2.3.
const ENCODED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What an answer may add to the query. A second one beside it would be read by some and not by others.
const ANSWER_PARAMETERS: [&str; 10] = [
    "access_token",
    "code",
    "error",
    "error_description",
    "error_uri",
    "id_token",
    "iss",
    "response",
    "session_state",
    "state",
];

impl fmt::Display for RedirectUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl TryFrom<String> for RedirectUri {
    type Error = InvalidRedirectUri;

    fn try_from(text: String) -> Result<Self, InvalidRedirectUri> {
        Self::parse(&text)
    }
}

impl From<RedirectUri> for String {
    fn from(uri: RedirectUri) -> Self {
        uri.text.into()
    }
}

fn check_characters(text: &str) -> Result<(), InvalidRedirectUri> {
    if text.len() > REDIRECT_URI_BYTES_MAX {
        return Err(InvalidRedirectUri::TooLong);
    }
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let fits = match byte {
            b'#' => return Err(InvalidRedirectUri::Fragment),
            b'%' => [rest.next(), rest.next()].iter().all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit())),
            _ => byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=".contains(&byte),
        };
        if !fits {
            return Err(InvalidRedirectUri::Character);
        }
    }
    Ok(())
}

/// Checks `host [":" port] path`, and answers the host.
fn check_hierarchy(hierarchy: &str) -> Result<&str, InvalidRedirectUri> {
    let (authority, path) =
        hierarchy.split_at_checked(hierarchy.find('/').unwrap_or(hierarchy.len())).unwrap_or_default();
    if authority.contains('@') {
        return Err(InvalidRedirectUri::UserInformation);
    }
    let (host, port) =
        host_bytes(authority).and_then(|end| authority.split_at_checked(end)).ok_or(InvalidRedirectUri::Host)?;
    if !is_host(host) {
        return Err(InvalidRedirectUri::Host);
    }
    if !is_port(port) {
        return Err(InvalidRedirectUri::Port);
    }
    check_path(path)?;
    Ok(host)
}

/// How long the host at the start of an authority is.
fn host_bytes(authority: &str) -> Option<usize> {
    if authority.starts_with('[') {
        return authority.find(']').map(|at| at.saturating_add(1));
    }
    Some(authority.find([':', '/', '?']).unwrap_or(authority.len()))
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let parsed: Option<Ipv6Addr> = address.parse().ok();
        // One that holds an IPv4 address has two forms that both pass for the shortest.
        return parsed.is_some_and(|parsed| parsed.to_ipv4_mapped().is_none() && parsed.to_string() == address);
    }
    let ends_in_a_number = host.rsplit('.').next().is_some_and(is_number);
    if ends_in_a_number { host.parse::<Ipv4Addr>().is_ok() } else { is_domain_name(host) }
}

/// What a browser takes for a number of an IPv4 address.
fn is_number(label: &str) -> bool {
    let hexadecimal =
        label.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    hexadecimal || (!label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_domain_name(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

fn is_port(port: &str) -> bool {
    match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => digits.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == digits),
    }
}

fn is_loopback(host: &str) -> bool {
    matches!(host, "127.0.0.1" | "[::1]")
}

/// RFC 8252 §7.1: a domain name in reverse. No scheme with a meaning of its own, such as `javascript`, has a dot.
fn is_private_use(scheme: &str) -> bool {
    scheme.contains('.')
        && is_domain_name(scheme)
        && !scheme.contains('_')
        && !scheme.starts_with(|first: char| !first.is_ascii_lowercase())
}

/// Checks what follows the colon of a private-use scheme: a path, or a name without port and then a path.
fn check_private_use(hierarchy: &str) -> Result<(), InvalidRedirectUri> {
    if !hierarchy.starts_with('/') {
        return Err(InvalidRedirectUri::Scheme);
    }
    let Some(named) = hierarchy.strip_prefix("//") else { return check_path(hierarchy) };
    let (name, path) = named.split_at_checked(named.find('/').unwrap_or(named.len())).unwrap_or_default();
    if name.contains('@') {
        return Err(InvalidRedirectUri::UserInformation);
    }
    if !is_domain_name(name) {
        return Err(InvalidRedirectUri::Host);
    }
    check_path(path)
}

fn check_path(path: &str) -> Result<(), InvalidRedirectUri> {
    if path.contains(['[', ']']) {
        return Err(InvalidRedirectUri::Character);
    }
    let is_dot_segment = |segment: &str| {
        // Some servers cut what follows a semicolon off before they look at the dots.
        let name = segment.split(';').next().unwrap_or_default();
        let name: String = percent_decode_str(name).decode_utf8_lossy().into();
        name == "." || name == ".."
    };
    if path.split('/').any(is_dot_segment) { Err(InvalidRedirectUri::DotSegment) } else { Ok(()) }
}

fn check_query(query: &str) -> Result<(), InvalidRedirectUri> {
    if query.contains(['[', ']']) {
        return Err(InvalidRedirectUri::Character);
    }
    let is_of_answer = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default().replace('+', " ");
        let name = percent_decode_str(&name).decode_utf8_lossy().to_ascii_lowercase();
        ANSWER_PARAMETERS.contains(&name.trim())
    };
    if query.split(['&', ';']).any(is_of_answer) { Err(InvalidRedirectUri::AnswerParameter) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::Url;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(), InvalidRedirectUri>) {
        assert_eq!(RedirectUri::parse(text).map(|_| ()), expected, "{text:?}");
    }

    #[test]
    fn a_redirect_uri_is_what_every_parser_reads_alike() {
        for text in [
            "https://client.example/callback",
            "https://client.example",
            "https://client.example?tenant=7",
            "https://client.example/a/b%2Fc;v=1/?x=y&&z",
            "https://client.example:8443/cb",
            "https://xn--bcher-kva.example/cb",
            "https://192.0.2.7/cb",
            "https://[2001:db8::1]:8443/cb",
            "http://127.0.0.1/cb",
            "http://127.0.0.1:51000/cb",
            "http://[::1]:51000/cb",
            "com.example.app:/callback",
            "com.example.app://callback",
            "com.example.app://callback/path?x=1",
            "https://client.example/a..b/...",
            "https://client.example/:@!$&'()*+,=",
        ] {
            check(text, Ok(()));
        }
        use InvalidRedirectUri as E;
        for (text, expected) in [
            ("", E::Scheme),
            ("/callback", E::Scheme),
            ("//client.example/cb", E::Scheme),
            ("client.example/cb", E::Scheme),
            ("https:/client.example/cb", E::Scheme),
            ("https:client.example", E::Scheme),
            ("https://", E::Host),
            ("https:///cb", E::Host),
            ("https:////client.example/cb", E::Host),
            ("HTTPS://client.example/cb", E::Scheme),
            ("https://Client.example/cb", E::Host),
            ("https://client.example./cb", E::Host),
            ("https://client..example/cb", E::Host),
            ("https://.client.example/cb", E::Host),
            ("https://*.client.example/cb", E::Host),
            ("https://clïent.example/cb", E::Character),
            ("https://client.example/cafe\u{301}", E::Character),
            ("https://client.example/#", E::Fragment),
            ("https://client.example/cb#", E::Fragment),
            ("https://client.example/cb#code=1", E::Fragment),
            ("https://client.example\\cb", E::Character),
            ("https:/\\client.example/cb", E::Character),
            ("https://client.example/\\", E::Character),
            ("https://client.example/a\tb", E::Character),
            ("https://client.example/a\r\nb", E::Character),
            ("https://client.example/a\0b", E::Character),
            (" https://client.example/", E::Character),
            ("https://client.example/ ", E::Character),
            ("https://client.example/\"<>", E::Character),
            ("https://client.example/%", E::Character),
            ("https://client.example/%2", E::Character),
            ("https://client.example/%zz", E::Character),
            ("https://client.example/[]", E::Character),
            ("https://client.example/?a[]=1", E::Character),
            ("https://user@client.example/cb", E::UserInformation),
            ("https://user:password@client.example/cb", E::UserInformation),
            ("https://a@b@client.example/cb", E::UserInformation),
            ("https://client.example@evil.example/cb", E::UserInformation),
            ("https://@client.example/cb", E::UserInformation),
            ("https://client.example:/cb", E::Port),
            ("https://client.example:0/cb", E::Port),
            ("https://client.example:0443/cb", E::Port),
            ("https://client.example:65536/cb", E::Port),
            ("https://client.example:+1/cb", E::Port),
            ("https://client.example:1:2/cb", E::Port),
            ("https://[::1]x/cb", E::Port),
            ("https://[::1%25eth0]/cb", E::Host),
            ("https://[::1/cb", E::Host),
            ("https://[0:0::1]/cb", E::Host),
            ("https://[::FFFF]/cb", E::Host),
            ("https://[::ffff:127.0.0.1]/cb", E::Host),
            ("https://127.1/cb", E::Host),
            ("https://0x7f000001/cb", E::Host),
            ("https://2130706433/cb", E::Host),
            ("https://127.0.0.01/cb", E::Host),
            ("https://evil.0x1/cb", E::Host),
            ("https://client.example/..", E::DotSegment),
            ("https://client.example/a/../b", E::DotSegment),
            ("https://client.example/./b", E::DotSegment),
            ("https://client.example/%2e%2E/b", E::DotSegment),
            ("https://client.example/.%2e", E::DotSegment),
            ("https://client.example/..;/b", E::DotSegment),
            ("https://client.example/..;x=1/b", E::DotSegment),
            ("https://client.example/?code=attacker", E::AnswerParameter),
            ("https://client.example/?a=b&STATE", E::AnswerParameter),
            ("https://client.example/?%63ode=1", E::AnswerParameter),
            ("https://client.example/?a=1;code=2", E::AnswerParameter),
            ("https://client.example/?iss=x", E::AnswerParameter),
            ("https://client.example/?+code=x", E::AnswerParameter),
            ("http://client.example/cb", E::NotLoopback),
            ("http://localhost/cb", E::NotLoopback),
            ("http://127.0.0.2/cb", E::NotLoopback),
            ("http://127.0.0.1.evil.example/cb", E::NotLoopback),
            ("http://127.1/cb", E::Host),
            ("http://0x7f000001/cb", E::Host),
            ("http://127.0.0.1@evil.example/cb", E::UserInformation),
            ("javascript:alert(1)", E::Scheme),
            ("JaVaScRiPt:alert(1)", E::Scheme),
            ("javascript://client.example/%0aalert(1)", E::Scheme),
            ("java.script:alert(1)", E::Scheme),
            ("data:text/html,x", E::Scheme),
            ("vbscript:x", E::Scheme),
            ("file:///etc/passwd", E::Scheme),
            ("intent://x/", E::Scheme),
            ("ftp://client.example/", E::Scheme),
            ("blob:https://client.example/x", E::Scheme),
            ("about:blank", E::Scheme),
            ("myapp:/callback", E::Scheme),
            ("com.example.app:callback", E::Scheme),
            ("Com.example.app:/callback", E::Scheme),
            ("1.example:/callback", E::Scheme),
            (".app:/callback", E::Scheme),
            ("com.example.app://user@host/", E::UserInformation),
            ("com.example.app://host:80/", E::Host),
            ("com.example.app:///callback", E::Host),
            ("com.example.app:/../x", E::DotSegment),
        ] {
            check(text, Err(expected));
        }
        check(&format!("https://client.example/{}", "a".repeat(REDIRECT_URI_BYTES_MAX)), Err(E::TooLong));
    }

    fn uri(text: &str) -> RedirectUri {
        RedirectUri::parse(text).unwrap()
    }

    #[test]
    fn what_a_request_names_is_compared_byte_by_byte() {
        let registered = uri("https://client.example/a%2Fb?x=1");
        assert!(registered.matches(&registered, ApplicationType::Web));
        for text in [
            "https://client.example/a%2fb?x=1",
            "https://client.example/a/b?x=1",
            "https://client.example/a%252Fb?x=1",
            "https://client.example:443/a%2Fb?x=1",
            "https://client.example:8443/a%2Fb?x=1",
            "https://client.example/a%2Fb",
            "https://client.example/a%2Fb?x=1&",
            "https://client.example/a%2Fb/?x=1",
            "https://client.example//a%2Fb?x=1",
            "https://client.example/A%2Fb?x=1",
            "https://client.example.evil.example/a%2Fb?x=1",
            "https://clientxexample/a%2Fb?x=1",
        ] {
            for application_type in [ApplicationType::Web, ApplicationType::Native] {
                assert!(!registered.matches(&uri(text), application_type), "{text}");
                assert!(!uri(text).matches(&registered, application_type), "{text}");
            }
        }
    }

    #[test]
    fn the_port_of_a_loopback_literal_is_free_for_native_clients_alone() {
        let [plain, registered, six] =
            ["http://127.0.0.1/cb?x=1", "http://127.0.0.1:1234/cb?x=1", "http://[::1]:1234/cb"].map(uri);
        for presented in ["http://127.0.0.1:9/cb?x=1", "http://127.0.0.1:65535/cb?x=1"].map(uri) {
            for own in [&plain, &registered] {
                assert!(own.matches(&presented, ApplicationType::Native));
                assert!(!own.matches(&presented, ApplicationType::Web));
            }
            assert!(!six.matches(&presented, ApplicationType::Native));
        }
        assert!(six.matches(&uri("http://[::1]:7/cb"), ApplicationType::Native));
        for presented in [
            "http://127.0.0.1:9/cb",
            "http://127.0.0.1:9/cb/?x=1",
            "http://127.0.0.1:9/?x=1",
            "https://127.0.0.1:9/cb?x=1",
        ] {
            assert!(!plain.matches(&uri(presented), ApplicationType::Native), "{presented}");
        }
        // `https` to a loopback address is like any other host.
        assert!(!uri("https://127.0.0.1:1/cb").matches(&uri("https://127.0.0.1:2/cb"), ApplicationType::Native));
    }

    #[test]
    fn a_private_use_scheme_is_for_native_clients() {
        let [private, web] = ["com.example.app:/cb", "https://client.example/cb"].map(uri);
        assert!(private.is_for(ApplicationType::Native) && !private.is_for(ApplicationType::Web));
        assert!(web.is_for(ApplicationType::Native) && web.is_for(ApplicationType::Web));
        assert!(web.proves_client() && !private.proves_client() && !uri("http://127.0.0.1/").proves_client());
    }

    #[test]
    fn an_answer_is_added_to_the_query_that_is_there() {
        let parameters = [("code", "c"), ("state", "a b&=+%#\r\n\"é")];
        let answer = "code=c&state=a%20b%26%3D%2B%25%23%0D%0A%22%C3%A9";
        for (registered, start) in [
            ("https://client.example/cb", "https://client.example/cb?"),
            ("https://client.example", "https://client.example?"),
            ("https://client.example/cb?x=1", "https://client.example/cb?x=1&"),
            ("https://client.example/cb?", "https://client.example/cb?"),
            ("https://client.example/cb?x=1&", "https://client.example/cb?x=1&"),
            ("com.example.app:/cb", "com.example.app:/cb?"),
        ] {
            assert_eq!(uri(registered).with_parameters(parameters), format!("{start}{answer}"));
        }
    }

    /// What a browser makes of it is what is written.
    fn is_read_alike(text: &str) -> bool {
        let Ok(url) = Url::parse(text) else { return false };
        let rebuilt = url.as_str();
        let usual_port = if text.starts_with("https:") { ":443" } else { ":80" };
        let uri = uri(text);
        let (before, after) = uri.without_port();
        let port = text.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        let has_usual_port = text.starts_with("http") && port == Some(usual_port);
        let plain = if has_usual_port { format!("{before}{after}") } else { text.to_owned() };
        let with_path = match plain.split_once("://") {
            Some((scheme, rest)) if !rest.contains('/') && scheme.starts_with("http") => {
                let (authority, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
                format!("{scheme}://{authority}/{query}")
            }
            _ => plain,
        };
        // The parser writes an apostrophe of a query as %27; servers read both alike.
        rebuilt.replace("%27", "'") == with_path.replace("%27", "'")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn what_is_accepted_is_what_a_browser_reads(
            text in "(https?|com\\.a|HTTP|javascript)(:|://|:/)([a-z0-9.:@\\[\\]%_A\\\\-]{0,12}|127\\.0\\.0\\.1|\\[::1\\])(:[0-9]{0,5})?(/[a-z.%2eE/;\\\\ ]{0,8})?(\\?[a-z=&%'2;]{0,8})?(#[a-z]?)?"
        ) {
            if RedirectUri::parse(&text).is_ok() && !text.contains("xn--") {
                prop_assert!(is_read_alike(&text), "{text:?} {:?}", Url::parse(&text).map(String::from));
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = RedirectUri::parse(&text);
            let _ = RedirectUri::parse(&format!("https://{text}"));
        }

        #[test]
        fn an_answer_comes_back_from_the_query_as_it_was(state in "\\PC{0,20}") {
            let location = uri("https://client.example/cb?x=1").with_parameters([("state", state.as_str())]);
            let url = Url::parse(&location).unwrap();
            let pairs: Vec<_> = url.query_pairs().into_owned().collect();
            prop_assert_eq!(pairs, [("x".to_owned(), "1".to_owned()), ("state".to_owned(), state)]);
        }
    }
}

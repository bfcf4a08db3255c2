//! What pages show, as plain data. Whoever fills it in need not care how long a text is or what is in it.

use serde::{Serialize, Serializer};

use crate::client::Client;
use crate::clock::UnixTime;
use crate::endpoint::page::problem::{DeviceProblem, LoginProblem};
use crate::endpoint::page::text::{ago, browser, shown};

/// The form that asks for username and password.
#[derive(Debug, Serialize)]
pub struct LoginPage<'a> {
    /// For [`Purpose::Login`](crate::endpoint::page::csrf::Purpose::Login), bound to the cookie of the login form.
    pub csrf: &'a str,
    /// Where the person goes afterwards.
    pub then: Then<'a>,
    /// What stands in the field already: what was typed before, or what the client says.
    #[serde(serialize_with = "as_field")]
    pub username: &'a str,
    /// What went wrong before.
    #[serde(serialize_with = "in_words")]
    pub problem: Option<LoginProblem>,
}

impl<'a> LoginPage<'a> {
    pub(super) fn leads_to(&self) -> Option<&'a str> {
        match self.then {
            Then::Authorize { redirect_uri, .. } => Some(redirect_uri),
            Then::Account | Then::Device { .. } => None,
        }
    }
}

/// Where a person goes after the login.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "to")]
pub enum Then<'a> {
    /// On with an authorization request.
    Authorize {
        /// The sealed request.
        request: &'a str,
        /// Who asks.
        #[serde(flatten)]
        client: ClientView<'a>,
        /// The validated redirect URI.
        #[serde(skip)]
        redirect_uri: &'a str,
    },
    /// To the account page.
    Account,
    /// To the page of a device.
    Device {
        /// What stands in the field there.
        #[serde(serialize_with = "as_field")]
        user_code: &'a str,
    },
}

/// A client, as it calls itself.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ClientView<'a> {
    /// Its name, or its `client_id`.
    #[serde(rename = "client_name", serialize_with = "as_name")]
    pub name: &'a str,
}

impl<'a> ClientView<'a> {
    /// How people are shown that client.
    #[must_use]
    pub fn of(client: &'a Client) -> Self {
        Self { name: client.metadata.name.as_deref().unwrap_or(client.id.as_str()) }
    }
}

/// The question whether a client may have what it asks for.
#[derive(Debug, Serialize)]
pub struct ConsentPage<'a> {
    /// For [`Purpose::Consent`](crate::endpoint::page::csrf::Purpose::Consent), bound to the session's cookie and about the sealed
    /// request.
    pub csrf: &'a str,
    /// The sealed request.
    pub request: &'a str,
    /// Who asks.
    #[serde(flatten)]
    pub client: ClientView<'a>,
    /// What it asks for.
    #[serde(serialize_with = "as_scopes")]
    pub scopes: Vec<&'a str>,
    /// Who is logged in.
    #[serde(serialize_with = "as_name")]
    pub username: &'a str,
    /// The validated redirect URI.
    #[serde(serialize_with = "as_place")]
    pub redirect_uri: &'a str,
}

/// The form that asks for the code that a device shows.
#[derive(Debug, Serialize)]
pub struct DeviceCodePage<'a> {
    /// For [`Purpose::DeviceCode`](crate::endpoint::page::csrf::Purpose::DeviceCode), bound to the session's cookie.
    pub csrf: &'a str,
    /// What stands in the field already.
    #[serde(serialize_with = "as_field")]
    pub user_code: &'a str,
    /// Who is logged in.
    #[serde(serialize_with = "as_name")]
    pub username: &'a str,
    /// What went wrong before.
    #[serde(serialize_with = "device_in_words")]
    pub problem: Option<DeviceProblem>,
}

/// The question whether a device may have what it asks for.
#[derive(Debug, Serialize)]
pub struct DevicePage<'a> {
    /// For [`Purpose::Device`](crate::endpoint::page::csrf::Purpose::Device), bound to the session's cookie and about the user code.
    pub csrf: &'a str,
    /// The code that the device shows.
    #[serde(serialize_with = "as_field")]
    pub user_code: &'a str,
    /// Who asks.
    #[serde(flatten)]
    pub client: ClientView<'a>,
    /// What it asks for.
    #[serde(serialize_with = "as_scopes")]
    pub scopes: Vec<&'a str>,
    /// When the device asked.
    pub asked: Moment,
    /// From where the device asked.
    pub address: Option<String>,
    /// Who is logged in.
    #[serde(serialize_with = "as_name")]
    pub username: &'a str,
}

/// What came of a device.
#[derive(Debug, Serialize)]
pub struct DeviceDonePage {
    /// What the person has said.
    pub outcome: DeviceOutcome,
}

/// What came of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceOutcome {
    /// It has access.
    Allowed,
    /// It has none.
    Denied,
    /// It was decided before, or the code has expired.
    Late,
}

/// What a person may see and take back.
#[derive(Debug, Serialize)]
pub struct AccountPage<'a> {
    /// For [`Purpose::Account`](crate::endpoint::page::csrf::Purpose::Account), bound to the session's cookie.
    pub csrf: &'a str,
    /// For [`Purpose::Logout`](crate::endpoint::page::csrf::Purpose::Logout), bound to the session's cookie.
    pub logout_csrf: &'a str,
    /// Who is logged in.
    #[serde(serialize_with = "as_name")]
    pub username: &'a str,
    /// Their full name.
    #[serde(serialize_with = "as_optional_name")]
    pub full_name: Option<&'a str>,
    /// Where they are logged in.
    pub sessions: Vec<SessionView>,
    /// What they have allowed.
    pub applications: Vec<ApplicationView>,
    /// What was done just now.
    pub notice: Option<Notice>,
}

/// What was done just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// A session was ended.
    SessionEnded,
    /// An application lost its access.
    ApplicationRevoked,
}

/// A session, as its owner may know it by.
#[derive(Debug, Serialize)]
pub struct SessionView {
    /// Names it.
    pub id: String,
    /// Whether it is the one of this very browser.
    pub is_this: bool,
    /// What the browser is called.
    pub browser: String,
    /// Where the person logged in from.
    pub address: Option<String>,
    /// When that was.
    pub signed_in: Moment,
    /// When it was last used, a minute more or less.
    pub last_seen: Moment,
}

impl SessionView {
    /// What the browser is called, by what it calls itself.
    #[must_use]
    pub fn browser_of(user_agent: Option<&str>) -> String {
        user_agent.map(browser).filter(|name| !name.is_empty()).unwrap_or_else(|| "Unknown browser".to_owned())
    }
}

/// An application that a person has allowed something.
#[derive(Debug, Serialize)]
pub struct ApplicationView {
    /// Its `client_id`.
    pub client_id: String,
    /// Its name, or its `client_id`.
    #[serde(serialize_with = "as_name")]
    pub name: String,
    /// What it may do.
    #[serde(serialize_with = "as_scopes")]
    pub scopes: Vec<String>,
    /// Since when.
    pub since: Moment,
}

/// The question whether to sign out, or that it is done.
#[derive(Debug, Serialize)]
pub struct LogoutPage<'a> {
    /// Who is logged in and the token for [`Purpose::Logout`](crate::endpoint::page::csrf::Purpose::Logout), bound to the session's
    /// cookie; `None` where nobody is.
    pub session: Option<LogoutForm<'a>>,
}

/// The question whether to sign out.
#[derive(Debug, Serialize)]
pub struct LogoutForm<'a> {
    /// Bound to the session's cookie.
    pub csrf: &'a str,
    /// Who is logged in.
    #[serde(serialize_with = "as_name")]
    pub username: &'a str,
    /// The application that asks for it, if one does.
    pub asked_by: Option<LogoutAsked<'a>>,
}

/// An application that asks for a sign-out.
#[derive(Debug, Serialize)]
pub struct LogoutAsked<'a> {
    /// What it asks for, sealed.
    pub request: &'a str,
    /// Who it is, where it says so.
    pub client: Option<ClientView<'a>>,
}

/// That something is wrong.
#[derive(Debug, Serialize)]
pub(super) struct ErrorPage<'a> {
    pub(super) title: &'a str,
    pub(super) text: &'a str,
}

/// A page that the browser leaves by itself.
#[derive(Debug, Serialize)]
pub(super) struct SendOnPage<'a> {
    pub(super) uri: &'a str,
}

/// A moment, for machines and for people.
#[derive(Debug, Serialize)]
pub struct Moment {
    /// RFC 3339, in UTC.
    pub exact: String,
    /// How long ago.
    pub ago: String,
}

impl Moment {
    /// A moment as it is seen now.
    #[must_use]
    pub fn seen(then: UnixTime, now: UnixTime) -> Self {
        Self { exact: UnixTime::from_seconds(then.as_seconds()).to_string(), ago: ago(then, now) }
    }
}

/// What is asked for, in words where the name is of a standard.
#[derive(Serialize)]
struct ScopeView<'a> {
    name: String,
    description: Option<&'a str>,
}

/// `OpenID` Connect Core §5.4 and §11.
const KNOWN_SCOPES: [(&str, &str); 6] = [
    ("openid", "Know that it is you, by an identifier of your account"),
    ("profile", "See your name and what else your profile says about you"),
    ("email", "See your email address"),
    ("address", "See your postal address"),
    ("phone", "See your phone number"),
    ("offline_access", "Keep its access while you are away, until you revoke it"),
];

const NAME_CHARACTERS_MAX: usize = 80;
const FIELD_CHARACTERS_MAX: usize = 200;
const SCOPES_MAX: usize = 50;

fn as_name<S: Serializer>(text: &impl AsRef<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown(text.as_ref(), NAME_CHARACTERS_MAX))
}

fn as_optional_name<S: Serializer>(text: &Option<&str>, serializer: S) -> Result<S::Ok, S::Error> {
    text.map(|text| shown(text, NAME_CHARACTERS_MAX)).serialize(serializer)
}

fn as_field<S: Serializer>(text: &&str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text.chars().take(FIELD_CHARACTERS_MAX).collect::<String>())
}

fn as_scopes<S: Serializer>(scopes: &[impl AsRef<str>], serializer: S) -> Result<S::Ok, S::Error> {
    let describe =
        |scope: &str| KNOWN_SCOPES.iter().find(|(name, _)| *name == scope).map(|(_, description)| *description);
    let views = scopes.iter().take(SCOPES_MAX).map(|scope| ScopeView {
        name: shown(scope.as_ref(), NAME_CHARACTERS_MAX),
        description: describe(scope.as_ref()),
    });
    let beyond = scopes.len().saturating_sub(SCOPES_MAX);
    let rest = (beyond > 0).then(|| ScopeView { name: format!("and {beyond} more"), description: None });
    serializer.collect_seq(views.chain(rest))
}

/// The host of a URI, or the scheme by which it opens an app.
fn as_place<S: Serializer>(uri: &&str, serializer: S) -> Result<S::Ok, S::Error> {
    let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
    let host = rest.strip_prefix("//").and_then(|rest| rest.split(['/', '?', '#']).next());
    let place = host.filter(|host| !host.is_empty() && matches!(scheme, "http" | "https")).unwrap_or(scheme);
    as_name(&place, serializer)
}

fn in_words<S: Serializer>(problem: &Option<LoginProblem>, serializer: S) -> Result<S::Ok, S::Error> {
    problem.map(LoginProblem::text).serialize(serializer)
}

fn device_in_words<S: Serializer>(problem: &Option<DeviceProblem>, serializer: S) -> Result<S::Ok, S::Error> {
    problem.map(DeviceProblem::text).serialize(serializer)
}

//! `/admin/v1/users`: people who log in here, under the member names of `OpenID` Connect Core §5.1 where it has one.
//!
//! A subject that is no user here (`--login-url`) has sessions and can be revoked too.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Path, Query, ServiceConfig};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::clock::UnixTime;
use crate::endpoint::admin::{Access, Asked, administer_at, done, page_limit};
use crate::endpoint::reject::{Rejection, json_response};
use crate::endpoint::request::{Arrived, read_object};
use crate::oauth::error::OAuthError;
use crate::oauth::subject::Subject;
use crate::password::hash::{PasswordHash, check_new};
use crate::telemetry::http::Endpoint;
use crate::user::User;
use crate::user::actor::{
    CreateUser, DeleteUser, EndSessionsOf, ListUsers, RevokeSubject, SetPassword, UpdateUser, UserError, WhichSessions,
    ask,
};
use crate::user::name::UserName;
use crate::user::profile::{PHONE_NUMBER, PHONE_NUMBER_VERIFIED, Profile, ProfileDocument, check_members};
use crate::user::session::Session;

pub(super) fn configure(access: Access, app: &mut ServiceConfig) {
    let access = Data::new(access);
    let users = web::resource("/admin/v1/users")
        .route(web::post().to(create))
        .route(web::get().to(list))
        .default_service(web::to(super::post_or_get_allowed));
    let user = web::resource("/admin/v1/users/{sub}")
        .route(web::get().to(show))
        .route(web::patch().to(update))
        .route(web::delete().to(delete))
        .default_service(web::to(super::get_patch_or_delete_allowed));
    let sessions = web::resource("/admin/v1/users/{sub}/sessions")
        .route(web::get().to(list_sessions))
        .route(web::delete().to(end_sessions))
        .default_service(web::to(super::get_or_delete_allowed));
    let session = web::resource("/admin/v1/users/{sub}/sessions/{id}")
        .route(web::delete().to(end_session))
        .default_service(web::to(super::delete_allowed));
    let password = super::only_post("/admin/v1/users/{sub}/password", web::post().to(set_password));
    let revoke = super::only_post("/admin/v1/users/{sub}/revoke", web::post().to(revoke));
    for resource in [users, password, revoke, session, sessions, user] {
        app.service(resource.app_data(Data::clone(&access)));
    }
}

async fn administer(
    asked: Asked,
    answer: impl AsyncFnOnce(&Arrived<'_>) -> Result<HttpResponse, Rejection>,
) -> HttpResponse {
    administer_at(Endpoint::AdminUsers, asked, answer).await
}

async fn create(asked: Asked) -> HttpResponse {
    administer(asked, async |request| {
        let document: CreateDocument = read_json(request)?;
        let subject = document.sub.as_deref().map(Subject::parse).transpose();
        let subject = subject.map_err(|error| invalid("sub", &error))?;
        let name = UserName::parse(&document.username).map_err(|error| invalid("username", &error))?;
        let profile = Profile::parse(ProfileDocument {
            name: document.name,
            email: document.email,
            email_verified: document.email_verified,
            more: document.more,
        });
        let profile = profile.map_err(|error| Rejection::InvalidUser(error.to_string()))?;
        let password = read_password(request, document.password, document.password_hash.as_deref()).await?;
        let is_disabled = document.disabled.unwrap_or_default();
        let create = CreateUser { subject, name, profile, password, is_disabled };
        let user = ask(&request.service.user_actor, create).await?;
        Ok(described(StatusCode::CREATED, &user))
    })
    .await
}

async fn list(asked: Asked) -> HttpResponse {
    administer(asked, async |request| {
        let query = Query::<ListQuery>::from_query(request.head.uri.query().unwrap_or_default());
        let ListQuery { limit, cursor, username } = query
            .map_err(|error| {
                OAuthError::invalid_request(format!("the query may have limit, cursor and username: {error}"))
            })?
            .into_inner();
        if let Some(username) = username {
            let found = UserName::parse(&username).ok().and_then(|name| request.service.users.find_by_name(&name));
            return Ok(page(found.iter().map(|user| describe(user)).collect(), None));
        }
        let limit = page_limit(limit)?;
        let after = cursor.as_deref().map(UserName::parse).transpose();
        let after = after.map_err(|_| OAuthError::invalid_request("cursor must be the next_cursor of a page"))?;
        let listed = ask(&request.service.user_actor, ListUsers { after, limit }).await?;
        let next_cursor = listed.users.last().filter(|_| listed.has_more).map(|user| user.name.as_str());
        Ok(page(listed.users.iter().map(|user| describe(user)).collect(), next_cursor))
    })
    .await
}

async fn show(asked: Asked, sub: Path<String>) -> HttpResponse {
    administer(asked, async |request| {
        let user = request.service.users.find(&named(&sub)?).ok_or(UserError::Unknown)?;
        Ok(described(StatusCode::OK, &user))
    })
    .await
}

/// A JSON Merge Patch (RFC 7396) of the members that may change: what is left out stays, `null` removes.
async fn update(asked: Asked, sub: Path<String>) -> HttpResponse {
    administer(asked, async |request| {
        let subject = named(&sub)?;
        let patch: UpdateDocument = read_json(request)?;
        let name = patch.username.as_deref().map(UserName::parse).transpose();
        let name = name.map_err(|error| invalid("username", &error))?;
        check_members(&patch.more).map_err(|error| Rejection::InvalidUser(error.to_string()))?;
        let profile = if patch.changes_profile() {
            let user = request.service.users.find(&subject).ok_or(UserError::Unknown)?;
            let profile = Profile::parse(patch.apply_to(user.profile.to_document()));
            Some(profile.map_err(|error| Rejection::InvalidUser(error.to_string()))?)
        } else {
            None
        };
        let update = UpdateUser { subject, name, profile, is_disabled: patch.disabled };
        let user = ask(&request.service.user_actor, update).await?;
        Ok(described(StatusCode::OK, &user))
    })
    .await
}

async fn delete(asked: Asked, sub: Path<String>) -> HttpResponse {
    administer(asked, async |request| {
        ask(&request.service.user_actor, DeleteUser { subject: named(&sub)? }).await?;
        Ok(done())
    })
    .await
}

async fn set_password(asked: Asked, sub: Path<String>) -> HttpResponse {
    administer(asked, async |request| {
        let subject = named(&sub)?;
        let PasswordDocument { password, password_hash } = read_json(request)?;
        let password = read_password(request, password, password_hash.as_deref()).await?;
        if password.is_none() {
            return Err(Rejection::InvalidUser("password or password_hash is missing".to_owned()));
        }
        ask(&request.service.user_actor, SetPassword { subject, password, keep: None }).await?;
        Ok(done())
    })
    .await
}

async fn revoke(asked: Asked, sub: Path<String>) -> HttpResponse {
    administer(asked, async |request| {
        ask(&request.service.user_actor, RevokeSubject { subject: named(&sub)? }).await?;
        Ok(done())
    })
    .await
}

async fn list_sessions(asked: Asked, sub: Path<String>) -> HttpResponse {
    administer(asked, async |request| {
        let sessions = request.service.users.sessions_of(&named(&sub)?);
        let live = sessions.iter().filter(|session| session.is_live(request.now));
        let body = SessionsDocument { sessions: live.map(|session| describe_session(session)).collect() };
        Ok(json_response(StatusCode::OK).body(serde_json::to_string(&body).unwrap_or_default()))
    })
    .await
}

async fn end_sessions(asked: Asked, sub: Path<String>) -> HttpResponse {
    administer(asked, async |request| {
        let end = EndSessionsOf { subject: named(&sub)?, which: WhichSessions::All };
        ask(&request.service.user_actor, end).await?;
        Ok(done())
    })
    .await
}

async fn end_session(asked: Asked, path: Path<(String, String)>) -> HttpResponse {
    administer(asked, async |request| {
        let (sub, id) = path.into_inner();
        let end = EndSessionsOf { subject: named(&sub)?, which: WhichSessions::Named(id) };
        ask(&request.service.user_actor, end).await?;
        Ok(done())
    })
    .await
}

/// The hash that a document gives, or that of the password that it gives.
async fn read_password(
    request: &Arrived<'_>,
    password: Option<Password>,
    hash: Option<&str>,
) -> Result<Option<PasswordHash>, Rejection> {
    match (password, hash) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Rejection::InvalidUser("password and password_hash exclude each other".to_owned())),
        (None, Some(hash)) => PasswordHash::parse(hash).map(Some).map_err(|error| invalid("password_hash", &error)),
        (Some(Password(password)), None) => {
            check_new(&password).map_err(|error| invalid("password", &error))?;
            let hash = request.service.logins.hash(&password).await;
            hash.map(Some).map_err(|_| Rejection::TooManyChecks)
        }
    }
}

fn read_json<'a, T: Deserialize<'a>>(request: &'a Arrived<'_>) -> Result<T, Rejection> {
    request.expect_content("application/json")?;
    read_object(&request.body).map_err(|error| Rejection::InvalidUser(error.to_string()))
}

fn invalid(member: &str, error: &dyn ToString) -> Rejection {
    Rejection::InvalidUser(format!("{member}: {}", error.to_string()))
}

fn named(sub: &str) -> Result<Subject, UserError> {
    Subject::parse(sub).map_err(|_| UserError::Unknown)
}

/// A password on its way: zeroed when dropped.
struct Password(Zeroizing<String>);

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

#[derive(Deserialize)]
struct CreateDocument {
    sub: Option<String>,
    username: String,
    name: Option<String>,
    email: Option<String>,
    email_verified: Option<bool>,
    disabled: Option<bool>,
    password: Option<Password>,
    password_hash: Option<String>,
    /// See [`ProfileDocument::more`]; what is no member of that is refused with it.
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// `Some(None)` is a member that is `null`.
#[derive(Deserialize)]
struct UpdateDocument {
    username: Option<String>,
    #[serde(default, deserialize_with = "present")]
    name: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    email: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    email_verified: Option<Option<bool>>,
    disabled: Option<bool>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl UpdateDocument {
    fn changes_profile(&self) -> bool {
        self.name.is_some() || self.email.is_some() || self.email_verified.is_some() || !self.more.is_empty()
    }

    /// Another address or phone number is one that nobody has verified, unless this says so.
    fn apply_to(&self, mut document: ProfileDocument) -> ProfileDocument {
        if let Some(name) = &self.name {
            document.name.clone_from(name);
        }
        if let Some(email) = self.email.as_ref().filter(|email| **email != document.email) {
            document.email.clone_from(email);
            document.email_verified = None;
        }
        if let Some(email_verified) = self.email_verified {
            document.email_verified = email_verified;
        }
        if self.more.get(PHONE_NUMBER).is_some_and(|number| document.more.get(PHONE_NUMBER) != Some(number)) {
            document.more.remove(PHONE_NUMBER_VERIFIED);
        }
        for (member, value) in &self.more {
            match value {
                Value::Null => document.more.remove(member),
                value => document.more.insert(member.clone(), value.clone()),
            };
        }
        document
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordDocument {
    password: Option<Password>,
    password_hash: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    limit: Option<usize>,
    cursor: Option<String>,
    username: Option<String>,
}

#[derive(Serialize)]
struct PageDocument<'a> {
    users: Vec<UserDocument<'a>>,
    /// For the query of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<&'a str>,
}

#[derive(Serialize)]
struct UserDocument<'a> {
    sub: &'a str,
    username: &'a str,
    #[serde(flatten)]
    profile: ProfileDocument,
    disabled: bool,
    has_password: bool,
    created_at: u64,
    updated_at: u64,
}

#[derive(Serialize)]
struct SessionsDocument<'a> {
    sessions: Vec<SessionDocument<'a>>,
}

#[derive(Serialize)]
struct SessionDocument<'a> {
    id: String,
    auth_time: u64,
    amr: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    created_at: u64,
    last_seen_at: u64,
    expires_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
}

fn describe(user: &User) -> UserDocument<'_> {
    UserDocument {
        sub: user.subject.as_str(),
        username: user.name.as_str(),
        profile: user.profile.to_document(),
        disabled: user.is_disabled,
        has_password: user.password.is_some(),
        created_at: user.created_at.as_seconds(),
        updated_at: user.updated_at.as_seconds(),
    }
}

fn describe_session(session: &Session) -> SessionDocument<'_> {
    let seconds = UnixTime::as_seconds;
    SessionDocument {
        id: session.id(),
        auth_time: seconds(session.auth_time),
        amr: &session.amr,
        acr: session.acr.as_deref(),
        created_at: seconds(session.created_at),
        last_seen_at: seconds(session.last_seen_at),
        expires_at: seconds(session.expires_at),
        address: session.address.map(|address| address.to_string()),
        user_agent: session.user_agent.as_deref(),
    }
}

fn described(status: StatusCode, user: &User) -> HttpResponse {
    json_response(status).body(serde_json::to_string(&describe(user)).unwrap_or_default())
}

fn page(users: Vec<UserDocument<'_>>, next_cursor: Option<&str>) -> HttpResponse {
    let body = serde_json::to_string(&PageDocument { users, next_cursor }).unwrap_or_default();
    json_response(StatusCode::OK).body(body)
}

//! Requests of goose's users. Each is counted under a name, and a wrong answer is its failure.

use std::sync::Arc;
use std::time::Duration;

use goose::goose::goose_method_from_method;
use goose::prelude::{GooseRequest, GooseUser, TransactionError};
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::header::HOST;
use hyper::http::uri::PathAndQuery;
use tokio::time::{Instant, sleep};

use crate::client::{Answer, Bearer, Credentials, Request};
use crate::flows::answer::{self, Wrong};
use crate::flows::token::Token;

/// What was asked for, or why the step ends here.
pub(super) type Asked<T> = Result<T, Box<TransactionError>>;

/// Who is refused, or not answered, waits so long: nobody is asked in a spin.
const REST: Duration = Duration::from_millis(100);

/// Sends a request, and has its answer judged if it has the right status.
pub(super) async fn ask<T>(
    user: &mut GooseUser,
    name: &str,
    request: Request,
    expected: StatusCode,
    judge: impl FnOnce(&Answer) -> Result<T, Wrong> + Send,
) -> Asked<T> {
    let (mut head, body) = request.into_parts();
    let Ok(body) = body.collect().await;
    // The client below says whom it asks.
    head.headers.remove(HOST);
    let method = goose_method_from_method(head.method)?;
    let builder = user.get_request_builder(&method, head.uri.path_and_query().map_or("/", PathAndQuery::as_str))?;
    let builder = builder.headers(head.headers).body(body.to_bytes());
    let request = GooseRequest::builder().name(name).expect_status_code(expected.as_u16()).error_on_fail();
    let mut asked = match user.request(request.set_request_builder(builder).build()).await {
        Ok(asked) => asked,
        Err(error) => {
            sleep(REST).await;
            return Err(error);
        }
    };
    let response = asked.response?;
    let answer =
        Answer { status: response.status(), headers: response.headers().clone(), body: response.bytes().await? };
    match judge(&answer) {
        Ok(found) => Ok(found),
        Err(wrong) => {
            let wrong = wrong.to_string();
            user.set_failure(&wrong, &mut asked.request, None, None)?;
            Err(wrong.into())
        }
    }
}

/// Has a token issued to a client.
pub(super) async fn issue(user: &mut GooseUser, name: &str, client: &Credentials) -> Asked<Arc<Token>> {
    let sent = Instant::now();
    let read = |answer: &Answer| answer::token(answer, &client.id, sent, Instant::now());
    Ok(Arc::new(ask(user, name, client.issue(), StatusCode::OK, read).await?))
}

/// Introspects a token as a gateway that may see all tokens.
pub(super) async fn introspect(user: &mut GooseUser, name: &str, gateway: &Credentials, token: &Token) -> Asked<()> {
    let question = token.ask(Instant::now());
    let judge = |answer: &Answer| answer::introspection(answer, &question, Instant::now());
    ask(user, name, gateway.introspect(&token.text), StatusCode::OK, judge).await
}

/// Introspects many tokens in one request.
pub(super) async fn introspect_batch(
    user: &mut GooseUser,
    name: &str,
    gateway: &Credentials,
    tokens: &[Arc<Token>],
) -> Asked<()> {
    let now = Instant::now();
    let questions: Vec<_> = tokens.iter().map(|token| token.ask(now)).collect();
    let judge = |answer: &Answer| answer::batch(answer, &questions, Instant::now());
    let request = gateway.introspect_batch(tokens.iter().map(|token| &*token.text));
    ask(user, name, request, StatusCode::OK, judge).await
}

/// Revokes a token of the client's.
pub(super) async fn revoke(user: &mut GooseUser, name: &str, client: &Credentials, token: &Token) -> Asked<()> {
    token.begin_end();
    ask(user, name, client.revoke(&token.text), StatusCode::OK, answer::anything).await?;
    token.end();
    Ok(())
}

/// Has a token issued that opens the admin API.
pub(super) async fn log_in(user: &mut GooseUser, operator: &Credentials) -> Asked<Bearer> {
    Ok(Bearer::new(&issue(user, "operator token", operator).await?.text))
}

//! The steps of a request, one at a time: see `crate::benching`.

use std::sync::Arc;

use actix_web::http::header::HeaderMap;

use crate::client::Client;
use crate::client::registry::ClientRegistry;
use crate::clock::UnixTime;
use crate::endpoint::client_authentication::{self, CREDENTIALS_BYTES_MAX};
use crate::endpoint::form::Form;
use crate::endpoint::introspect::{RESPONSE_BYTES_USUAL, write_introspection};
use crate::endpoint::introspect_batch::BatchRequest;
use crate::endpoint::service::Service;

/// Reads a form, and answers the length of its `token`.
#[must_use]
pub fn parse_form(body: &[u8]) -> Option<usize> {
    Form::parse(body).ok()?.find("token").map(str::len)
}

/// Reads an `Authorization: Basic` header, and answers the lengths of both halves.
#[must_use]
pub fn read_basic(field: &[u8]) -> Option<(usize, usize)> {
    let mut buffer = [0; CREDENTIALS_BYTES_MAX];
    let (id, secret) = client_authentication::read_basic(field, &mut buffer).ok()?;
    Some((id.len(), secret.len()))
}

/// The client that a request proves itself to be, by its headers or by its form.
#[must_use]
pub fn authenticate(registry: &ClientRegistry, headers: &HeaderMap, form: Option<&[u8]>) -> Option<Arc<Client>> {
    let form = form.map(Form::parse).transpose().ok()?;
    client_authentication::authenticate(registry, headers, form.as_ref()).ok()
}

/// Reads the body of a batch, and answers how many tokens are in it.
#[must_use]
pub fn parse_batch(body: &[u8]) -> Option<usize> {
    BatchRequest::parse(body).ok().map(|batch| batch.tokens().len())
}

/// The answer to one introspection.
#[must_use]
pub fn introspect(service: &Service, caller: &Client, token: &str, now: UnixTime) -> Option<String> {
    let mut body = String::with_capacity(RESPONSE_BYTES_USUAL);
    write_introspection(service, caller, token, now, &mut body).ok()?;
    Some(body)
}

/// Reads a batch and answers it, token by token.
#[must_use]
pub fn introspect_batch(service: &Service, caller: &Client, body: &[u8], now: UnixTime) -> Option<String> {
    let batch = BatchRequest::parse(body).ok()?;
    let mut answers = String::with_capacity(RESPONSE_BYTES_USUAL * batch.tokens().len());
    for token in batch.tokens() {
        write_introspection(service, caller, token, now, &mut answers).ok()?;
    }
    Some(answers)
}

//! `POST /v1/<operation>`: the operations of [`crate::backend`] over HTTP, under the rate of their caller.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::access::Caller;
use super::answer::{self, Refusal};
use super::{Api, body};
use crate::backend::{self, Operation};

/// A batch or a broadcast may be so many times as large as one message.
const BATCH_BYTES: usize = 4;

/// Reads the body, counts it against the caller's rate, and asks.
async fn call(api: &Api, caller: &Caller, operation: Operation, body: Body) -> Result<Response, Refusal> {
    let config = &api.shared.config;
    let limit = config.limits.message_bytes.saturating_mul(BATCH_BYTES);
    let text = body::read(body, limit, config.timing.head).await?;
    caller.take(api, backend::publish_requests(&text))?;
    let answer = api.backend.call(operation, &caller.authorization, &text).await?;
    Ok(answer::respond(StatusCode::OK, answer))
}

pub(super) async fn publish(State(api): State<Api>, caller: Caller, body: Body) -> Result<Response, Refusal> {
    call(&api, &caller, Operation::Publish, body).await
}

pub(super) async fn broadcast(
    State(api): State<Api>,
    caller: Caller,
    body: Body,
) -> Result<Response, Refusal> {
    call(&api, &caller, Operation::Broadcast, body).await
}

pub(super) async fn subscribe(
    State(api): State<Api>,
    caller: Caller,
    body: Body,
) -> Result<Response, Refusal> {
    call(&api, &caller, Operation::Subscribe, body).await
}

pub(super) async fn unsubscribe(
    State(api): State<Api>,
    caller: Caller,
    body: Body,
) -> Result<Response, Refusal> {
    call(&api, &caller, Operation::Unsubscribe, body).await
}

pub(super) async fn disconnect(
    State(api): State<Api>,
    caller: Caller,
    body: Body,
) -> Result<Response, Refusal> {
    call(&api, &caller, Operation::Disconnect, body).await
}

pub(super) async fn revoke(State(api): State<Api>, caller: Caller, body: Body) -> Result<Response, Refusal> {
    call(&api, &caller, Operation::Revoke, body).await
}

pub(super) async fn info(State(api): State<Api>, caller: Caller) -> Result<Response, Refusal> {
    caller.take(&api, 1)?;
    let answer = api.backend.call(Operation::Info, &caller.authorization, b"").await?;
    Ok(answer::respond(StatusCode::OK, answer))
}

//! `POST /v1/publish`: one publication, or a batch.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use futures_util::future::join_all;
use hashbrown::HashMap;
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use skywave_engine::capability::Operation;
use skywave_protocol::limits::BATCH_REQUESTS;
use skywave_protocol::message::{Publish, Published, Reply, Request};
use skywave_protocol::{ChannelName, ErrorCode, WireError};

use super::access::Caller;
use super::answer::{self, Refusal};
use super::{Api, body, native};

/// A batch may be so many times as large as one message.
const BATCH_BYTES: usize = 4;

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    batch: Option<Vec<&'a RawValue>>,
}

pub(super) async fn publish(State(api): State<Api>, caller: Caller, body: Body) -> Result<Response, Refusal> {
    let limits = &api.shared.config.limits;
    let text =
        body::read(body, limits.message_bytes.saturating_mul(BATCH_BYTES), api.shared.config.timing.head)
            .await?;
    let batch: Batch<'_> = serde_json::from_slice(&text).map_err(|error| {
        Refusal::new(ErrorCode::BadRequest, format!("the body is no publication and no batch: {error}"))
    })?;
    match batch.batch {
        None => one(&api, &caller, &text).await,
        Some(items) => many(&api, &caller, &items).await,
    }
}

async fn one(api: &Api, caller: &Caller, text: &[u8]) -> Result<Response, Refusal> {
    let publish = checked(api, caller, read(api, text)?)?;
    caller.take(api, 1).await?;
    let published = api.relay.publish(publish, caller.authorization.user.clone()).await?;
    Ok(answer::reply(Reply::Published(published)))
}

async fn many(api: &Api, caller: &Caller, items: &[&RawValue]) -> Result<Response, Refusal> {
    if items.is_empty() || items.len() > BATCH_REQUESTS {
        let message = format!("a batch holds 1 to {BATCH_REQUESTS} publications");
        return Err(Refusal::new(ErrorCode::BadRequest, message));
    }
    caller.take(api, items.len() as u32).await?;
    let mut results: Vec<Option<Result<Published, WireError>>> = Vec::with_capacity(items.len());
    let mut by_channel: HashMap<ChannelName, Vec<(usize, Publish)>> = HashMap::new();
    for (index, item) in items.iter().enumerate() {
        match read(api, item.get().as_bytes()).and_then(|publish| checked(api, caller, publish)) {
            Ok(publish) => {
                by_channel.entry(publish.channel.clone()).or_default().push((index, publish));
                results.push(None);
            }
            Err(error) => results.push(Some(Err(error))),
        }
    }
    // Within a channel one after the other, so that they stand in the order of the batch.
    let published =
        join_all(by_channel.into_values().map(|publishes| in_order(api, caller, publishes))).await;
    for (index, result) in published.into_iter().flatten() {
        results[index] = Some(result);
    }
    Ok(answer::respond(StatusCode::OK, results_object(results)))
}

async fn in_order(
    api: &Api,
    caller: &Caller,
    publishes: Vec<(usize, Publish)>,
) -> Vec<(usize, Result<Published, WireError>)> {
    let mut results = Vec::with_capacity(publishes.len());
    for (index, publish) in publishes {
        let result = api.relay.publish(publish, caller.authorization.user.clone()).await;
        // What follows a failure in a channel would overtake its retry.
        let failed = result.is_err();
        results.push((index, result));
        if failed {
            break;
        }
    }
    results
}

/// `{"results":[…]}`: for each publication its position or `{"error":…}`, in the order of the batch.
fn results_object(results: Vec<Option<Result<Published, WireError>>>) -> Vec<u8> {
    let mut out = br#"{"results":["#.to_vec();
    for (index, result) in results.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let skipped = || {
            let message = "not published: one before it in the same channel failed";
            Err(WireError::new(ErrorCode::NotAvailable, message))
        };
        match result.unwrap_or_else(skipped) {
            Ok(published) => out.extend_from_slice(&answer::reply_object(Reply::Published(published))),
            Err(error) => out.extend_from_slice(&answer::error_object(&error)),
        }
    }
    out.extend_from_slice(b"]}");
    out
}

/// Reads `{"channel":…,"id":…,"data":…}`, exactly as in the native protocol.
fn read(api: &Api, text: &[u8]) -> Result<Publish, WireError> {
    let limit = api.shared.config.limits.message_bytes;
    if text.len() > limit {
        return Err(WireError::new(ErrorCode::TooLarge, format!("a publication has at most {limit} bytes")));
    }
    match native::request("publish", text)? {
        Request::Publish(publish) => Ok(publish),
        _ => Err(WireError::new(ErrorCode::BadRequest, "not a publication")),
    }
}

fn checked(api: &Api, caller: &Caller, publish: Publish) -> Result<Publish, WireError> {
    caller.may(api, Operation::Publish, &publish.channel)?;
    Ok(publish)
}

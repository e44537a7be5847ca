//! `GET /v1/channels/{channel}/history` and `/presence`.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;
use skywave_engine::capability::Operation;
use skywave_protocol::limits::HISTORY_PAGE_MAX;
use skywave_protocol::message::{HistoryQuery, Reply};
use skywave_protocol::{ChannelName, ErrorCode, Offset, WireError};

use super::Api;
use super::access::{self, Caller};
use super::answer::{self, Refusal};

/// Publications in a page when the query does not say.
const PAGE: u32 = 100;

/// As in the native protocol.
#[derive(Deserialize)]
pub(super) struct HistoryParameters {
    #[serde(default)]
    after: Offset,
    #[serde(default)]
    before: Offset,
    #[serde(default = "page")]
    limit: u32,
    #[serde(default)]
    reverse: bool,
}

fn page() -> u32 {
    PAGE
}

pub(super) async fn history(
    State(api): State<Api>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<HistoryParameters>, QueryRejection>,
) -> Result<Response, Refusal> {
    let channel = channel(path)?;
    let Query(HistoryParameters { after, before, limit, reverse }) =
        query.map_err(|error| Refusal::new(ErrorCode::BadRequest, error.body_text()))?;
    if !(1..=HISTORY_PAGE_MAX).contains(&limit) {
        return Err(Refusal::new(ErrorCode::BadRequest, format!("limit is 1 to {HISTORY_PAGE_MAX}")));
    }
    caller.may(&api, Operation::History, &channel)?;
    caller.take(&api, 1)?;
    let page = api.relay.history(HistoryQuery { channel, after, before, limit, reverse }).await?;
    Ok(answer::reply(Reply::History(page)))
}

pub(super) async fn presence(
    State(api): State<Api>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    let channel = channel(path)?;
    caller.may(&api, Operation::Presence, &channel)?;
    caller.take(&api, 1)?;
    let members = api.relay.presence(channel.clone()).await?;
    Ok(answer::reply(Reply::Presence { channel, members }))
}

fn channel(path: Result<Path<String>, PathRejection>) -> Result<ChannelName, WireError> {
    let Path(name) =
        path.map_err(|_| WireError::new(ErrorCode::InvalidChannel, "the channel is not UTF-8"))?;
    access::channel(&name)
}

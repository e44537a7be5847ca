//! `GET /v1/route?key=…`: which node serves a key best.
//!
//! A node that stands alone names itself; the ring of a region will answer here.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::response::Response;
use http::header::HOST;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use skywave_protocol::ErrorCode;
use skywave_protocol::limits::CHANNEL_NAME_BYTES;

use super::answer::{self, Refusal};
use super::{Api, OverTls};

#[derive(Deserialize)]
pub(super) struct Parameters {
    key: String,
}

#[derive(Serialize)]
struct Place<'a> {
    node: &'a str,
    /// Base URL to connect to.
    url: String,
}

#[derive(Serialize)]
struct Route<'a> {
    #[serde(flatten)]
    first: Place<'a>,
    /// Where to go when it does not answer, best first.
    alternates: Vec<Place<'a>>,
}

pub(super) async fn route(
    State(api): State<Api>,
    tls: Option<Extension<OverTls>>,
    headers: HeaderMap,
    query: Result<Query<Parameters>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(Parameters { key }) =
        query.map_err(|error| Refusal::new(ErrorCode::BadRequest, error.body_text()))?;
    if key.is_empty() || key.len() > CHANNEL_NAME_BYTES {
        return Err(Refusal::new(ErrorCode::BadRequest, format!("key has 1 to {CHANNEL_NAME_BYTES} bytes")));
    }
    let url = format!("{}://{}", if tls.is_some() { "https" } else { "http" }, host(&headers)?);
    let first = Place { node: api.shared.config.node.as_str(), url };
    Ok(answer::value(StatusCode::OK, &Route { first, alternates: Vec::new() }))
}

/// What the client calls us, if it is a plain authority: it comes back to the client as part of a URL.
pub(super) fn host(headers: &HeaderMap) -> Result<&str, Refusal> {
    let plain = |text: &&str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        !text.is_empty() && text.len() <= 255 && text.bytes().all(fits)
    };
    headers.get(HOST).and_then(|host| host.to_str().ok()).filter(plain).ok_or_else(|| {
        Refusal::new(ErrorCode::BadRequest, "a Host header with a name or an address is required")
    })
}

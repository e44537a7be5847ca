//! `GET /v1/route?key=…`: which node of the region serves a key best, and which ones next.
//!
//! Without a key the user of the token counts, or else the client's address: one client is always sent to the same node. A
//! node that stands alone names itself.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, FromRequestParts, Query, Request, State};
use axum::response::Response;
use http::header::HOST;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use skywave_engine::region::KeyDigest;
use skywave_protocol::{ErrorCode, PlacementKey, WireError};

use super::access::{self, Caller};
use super::answer::{self, Refusal};
use super::{Api, OverTls};
use crate::admission::network;
use crate::limits::{Limit, Who};

#[derive(Deserialize)]
pub(super) struct Parameters {
    key: Option<String>,
}

#[derive(Serialize)]
struct Place<'a> {
    node: &'a str,
    /// Base URL to connect to.
    url: &'a str,
}

#[derive(Serialize)]
struct Route<'a> {
    region: &'a str,
    #[serde(flatten)]
    first: Place<'a>,
    /// Where to go when it does not answer, best first.
    alternates: Vec<Place<'a>>,
}

pub(super) async fn route(
    State(api): State<Api>,
    tls: Option<Extension<OverTls>>,
    query: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let Query(Parameters { key }) =
        query.map_err(|error| Refusal::new(ErrorCode::BadRequest, error.body_text()))?;
    let (mut head, _) = request.into_parts();
    let address = network(access::address(&head));
    let who = Who::Network(address);
    api.shared.limits.take_from(Limit::HttpRequests, who, 1).map_err(|wait_ms| {
        WireError::new(ErrorCode::RateLimited, "too many requests").retry_after_ms(wait_ms.max(1))
    })?;
    let key = match key {
        Some(key) => PlacementKey::parse(&key)
            .map_err(|error| Refusal::new(ErrorCode::BadRequest, error.to_string()))?
            .to_string(),
        None => {
            // Who shows a token must show a good one; who shows none is placed by where he is.
            let shown = access::bearer(&head)?.is_some();
            let caller = if shown { Some(Caller::from_request_parts(&mut head, &api).await?) } else { None };
            let user = caller.and_then(|caller| caller.authorization.user);
            user.map_or_else(|| address.to_string(), |user| user.to_string())
        }
    };
    let region = api.shared.config.region.as_str();
    let places = api.shared.region.as_ref().map(|region| region.route(KeyDigest::of(&key)));
    let mut places =
        places.iter().flatten().map(|place| Place { node: place.node.as_str(), url: &place.url });
    if let Some(first) = places.next() {
        return Ok(answer::value(StatusCode::OK, &Route { region, first, alternates: places.collect() }));
    }
    let url = format!("{}://{}", if tls.is_some() { "https" } else { "http" }, host(&head.headers)?);
    let first = Place { node: api.shared.config.node.as_str(), url: &url };
    Ok(answer::value(StatusCode::OK, &Route { region, first, alternates: Vec::new() }))
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

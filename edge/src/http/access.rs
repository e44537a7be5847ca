//! Who asks, and whether they may: bearer token, capability or the namespace's rule, rate.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use http::header::AUTHORIZATION;
use http::request::Parts as Head;
use skywave_engine::capability::Operation;
use skywave_engine::session::Authorization;
use skywave_protocol::{ChannelName, ErrorCode, WireError};

use super::Api;
use super::answer::Refusal;
use crate::admission::network;
use crate::limits::{Limit, Who};

/// The checked sender of a request.
pub(crate) struct Caller {
    pub(crate) authorization: Authorization,
    address: IpAddr,
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(head: &mut Head, api: &Api) -> Result<Self, Refusal> {
        let token = bearer(head)?;
        let authorization =
            api.shared.ports.auth.authorize(token, api.unix_now_s()).await.map_err(WireError::from)?;
        Ok(Self { authorization, address: address(head) })
    }
}

/// The client's address.
pub(crate) fn address(head: &Head) -> IpAddr {
    // Invariant: the front adds it to every request. Without it all requests would share one limit.
    head.extensions.get::<ConnectInfo<SocketAddr>>().map_or(IpAddr::from([0, 0, 0, 0]), |info| info.0.ip())
}

/// The token of `Authorization: Bearer …`; `None` without that header.
pub(crate) fn bearer(head: &Head) -> Result<Option<&str>, Refusal> {
    let refusal = || Refusal::new(ErrorCode::Unauthorized, "give one header Authorization: Bearer <token>");
    let mut values = head.headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(refusal());
    }
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(refusal)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(Some(token.trim())) } else { Err(refusal()) }
}

impl Caller {
    /// Checks the operation.
    pub(super) fn may(
        &self,
        api: &Api,
        operation: Operation,
        channel: &ChannelName,
    ) -> Result<(), WireError> {
        api.backend.may(&self.authorization, operation, channel)
    }

    /// Counts `requests` against the caller's rate in the region.
    pub(super) fn take(&self, api: &Api, requests: u32) -> Result<(), WireError> {
        let who = match &self.authorization.user {
            Some(user) => Who::User(user.clone()),
            None => Who::Network(network(self.address)),
        };
        api.shared.limits.take_from(Limit::HttpRequests, who, requests).map_err(|wait_ms| {
            WireError::new(ErrorCode::RateLimited, "too many requests").retry_after_ms(wait_ms.max(1))
        })
    }
}

/// A channel out of a path or a query.
pub(super) fn channel(name: &str) -> Result<ChannelName, WireError> {
    ChannelName::parse(name).map_err(|error| WireError::new(ErrorCode::InvalidChannel, error.to_string()))
}

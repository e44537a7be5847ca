//! Who asks, and whether they may: bearer token, capability or the namespace's rule, rate.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use http::header::AUTHORIZATION;
use http::request::Parts as Head;
use skywave_engine::capability::Operation;
use skywave_engine::session::Authorization;
use skywave_ports::TokenGrant;
use skywave_protocol::{ChannelName, ErrorCode, WireError};

use super::Api;
use super::answer::Refusal;
use crate::admission::network;

/// Requests a second of one user (of one address, for anonymous ones) over all nodes of a region, and how many may come at
/// once. A batch counts as many as it holds. Without the shared state there is no such limit.
const REQUESTS_PER_SECOND: f64 = 1_000.0;
const REQUESTS_BURST: u32 = 4_000;

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
    /// Checks the operation. What the namespace allows to nobody is the relay's to refuse.
    pub(super) fn may(
        &self,
        api: &Api,
        operation: Operation,
        channel: &ChannelName,
    ) -> Result<(), WireError> {
        let namespace = api.shared.config.namespace(channel).ok_or_else(|| {
            let message = format!("there is no namespace {:?}", channel.namespace());
            WireError::new(ErrorCode::UnknownNamespace, message)
        })?;
        if self.authorization.allows(operation, channel, namespace) {
            return Ok(());
        }
        let message = format!("{} is not allowed in this channel", operation.name());
        // Somebody who has shown no token may be more than nobody.
        let unknown = self.authorization.user.is_none() && self.authorization.token_id.is_none();
        let code = if unknown && !api.shared.ports.auth.allows_anonymous() {
            ErrorCode::Unauthorized
        } else {
            ErrorCode::Forbidden
        };
        Err(WireError::new(code, message))
    }

    /// Counts `requests` against the caller's rate.
    pub(super) async fn take(&self, api: &Api, requests: u32) -> Result<(), WireError> {
        let key = match &self.authorization.user {
            Some(user) => format!("http:user:{user}"),
            None => format!("http:address:{}", network(self.address)),
        };
        let grant =
            api.shared.ports.state.take_tokens(&key, requests, REQUESTS_BURST, REQUESTS_PER_SECOND).await;
        match grant {
            Ok(TokenGrant::Granted) => Ok(()),
            Ok(TokenGrant::Wait(time)) => {
                let ms = (time.as_millis() as u64).max(1);
                Err(WireError::new(ErrorCode::RateLimited, "too many requests").retry_after_ms(ms))
            }
            Err(error) => {
                tracing::debug!(%error, "no rate limit without the shared state");
                Ok(())
            }
        }
    }
}

/// A channel out of a path or a query.
pub(super) fn channel(name: &str) -> Result<ChannelName, WireError> {
    ChannelName::parse(name).map_err(|error| WireError::new(ErrorCode::InvalidChannel, error.to_string()))
}

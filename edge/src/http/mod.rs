//! The HTTP side of an edge besides WebSocket: REST, health, metrics, the page, and the way in for SSE.
//!
//! A request passes, in this order: hyper with its limits and deadlines (`front`), `guard` (origin, CORS, headers every
//! answer has), one route, `answer` (how replies and errors look). Requests that concern a channel go through
//! `access` (token, capability, rate) and then through [`Relay`], as those of connected clients do.
//!
//! Owns: the paths of `docs/http-api.md`. Never: logs a URL or a header (they may hold a token), or answers an error with
//! anything but `{"error":{…}}`.

pub(crate) mod access;
pub(crate) mod answer;
mod backend;
pub(crate) mod body;
mod certificate;
mod channel;
mod guard;
mod health;
mod metrics;
pub(crate) mod native;
mod openapi;
mod page;
mod route;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

pub use page::{PageAssets, PageFile};

use crate::backend::Backend;
use crate::relay::Relay;
use crate::shared::Shared;
use crate::transport::sse;

/// What the handlers share; cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) relay: Relay,
    pub(crate) backend: Backend,
    /// Worker whose connections these are.
    pub(crate) worker: u16,
    page: page::Page,
}

impl std::ops::Deref for Api {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Parts {
    /// Seconds since the Unix epoch.
    fn unix_now_s(&self) -> u64 {
        self.shared.ports.clock.unix_ms() / 1_000
    }
}

/// All routes, for the HTTP connections of one worker. Each request must carry a
/// [`ConnectInfo`](axum::extract::ConnectInfo) with the client's address, and [`OverTls`] if that is how it came.
pub(crate) fn router(relay: Relay, worker: u16) -> Router {
    let shared = relay.shared().clone();
    let page = page::Page::new(shared.ports.page);
    let api = Api(Arc::new(Parts { shared, backend: Backend::new(relay.clone()), relay, worker, page }));
    Router::new()
        .route("/v1/publish", post(backend::publish))
        .route("/v1/broadcast", post(backend::broadcast))
        .route("/v1/subscribe", post(backend::subscribe))
        .route("/v1/unsubscribe", post(backend::unsubscribe))
        .route("/v1/disconnect", post(backend::disconnect))
        .route("/v1/revoke", post(backend::revoke))
        .route("/v1/info", get(backend::info))
        .route("/v1/channels/{channel}/history", get(channel::history))
        .route("/v1/channels/{channel}/presence", get(channel::presence))
        .route("/v1/route", get(route::route))
        .route("/v1/sse", get(sse::open).post(sse::receive))
        .route("/v1/webtransport/certificate", get(certificate::certificate))
        .route("/v1/openapi.json", get(openapi::openapi))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/", get(page::page))
        .route("/assets/{*path}", get(page::page))
        .fallback(answer::not_found)
        .method_not_allowed_fallback(answer::method_not_allowed)
        .layer(from_fn_with_state(api.clone(), guard::guard))
        .with_state(api)
}

/// Marks requests that came over TLS; an extension of the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OverTls;

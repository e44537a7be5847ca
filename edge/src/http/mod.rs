//! The HTTP side of an edge: REST, health, metrics, the page, and the way in for SSE.

mod page;

use crate::relay::Relay;

pub use page::{PageAssets, PageFile};

/// What answers the HTTP requests that come in on worker `_index`.
pub(crate) fn router(_relay: Relay, _index: u16) -> axum::Router {
    axum::Router::new()
}

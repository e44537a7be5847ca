//! The HTTP side of an edge: REST, health, metrics, the page, and the way in for SSE.

mod page;

pub use page::{PageAssets, PageFile};

//! What the REST interface asks of the edge: publish, history, presence, as plain async calls from any thread.
//!
//! The caller has checked token and capability already; limits of the namespace are checked here. Never: the hot path of
//! connected clients, which goes through their session.

use std::sync::Arc;

use skywave_protocol::message::{HistoryPage, HistoryQuery, Member, Publish, Published};
use skywave_protocol::{ChannelName, UserId, WireError};

use crate::worker::Remote;

/// Cheap to clone; requests are spread over the workers.
#[derive(Clone)]
pub struct Relay {
    workers: Arc<[Remote]>,
}

impl Relay {
    /// The workers, by index (a [`ConnectionKey`](crate::worker::ConnectionKey) belongs to one of them).
    pub fn workers(&self) -> &[Remote] {
        &self.workers
    }

    /// Publishes as `from`. Durable: waits for the position.
    pub async fn publish(&self, _publish: Publish, _from: Option<UserId>) -> Result<Published, WireError> {
        Err(WireError::new(skywave_protocol::ErrorCode::Internal, "not built yet"))
    }

    /// One page of history.
    pub async fn history(&self, _query: HistoryQuery) -> Result<HistoryPage, WireError> {
        Err(WireError::new(skywave_protocol::ErrorCode::Internal, "not built yet"))
    }

    /// Who is present, over all nodes, as far as this node knows. Only channels with a subscriber or a presence watch on
    /// this node are known at once; others answer after one round of asking.
    pub async fn presence(&self, _channel: ChannelName) -> Result<Vec<Member>, WireError> {
        Err(WireError::new(skywave_protocol::ErrorCode::Internal, "not built yet"))
    }
}

//! What hub shards hand to workers, and the loop that turns it into writes.
//!
//! One bounded queue per receiving worker. When it is full the shard waits, never the other way round: a round only does
//! non-blocking writes, so it always ends. Order in the queue is order on the wire: a `Joined` stands exactly between
//! the publications its subscriber has (or gets with it) and those that follow.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use skywave_protocol::message::Recovery;
use skywave_protocol::{ChannelName, Position, Reply, WireError};
use tokio::sync::mpsc;

use crate::encoding::{Encoded, EncodedPage};
use crate::worker::Worker;

/// Hand-overs taken in one round: enough to share writes, few enough that readers get their turn.
const ROUND: usize = 256;

/// One hand-over.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// To every subscriber of the channel.
    Everyone(Arc<Encoded>),
    /// To those that asked for presence news.
    Watchers(Arc<Encoded>),
    Joined(Box<Joined>),
    CatchUp(Box<CatchUp>),
    JoinFailed(Box<JoinFailed>),
    /// The shard's answer to one request.
    Answer {
        connection: u64,
        request_id: u32,
        reply: Box<Reply>,
    },
}

#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) connection: u64,
    pub(crate) channel: ChannelName,
    pub(crate) position: Option<Position>,
    pub(crate) recovery: Option<Recovery>,
    pub(crate) missed: Vec<Arc<Encoded>>,
    /// Presence news are wanted.
    pub(crate) watches: bool,
    /// What it missed comes page by page, as it is asked for, and nothing for everyone before that.
    pub(crate) behind: bool,
}

/// What a subscriber that is behind gets next, in this order.
#[derive(Debug)]
pub(crate) struct CatchUp {
    pub(crate) connection: u64,
    pub(crate) channel: ChannelName,
    pub(crate) gap: Option<Arc<Encoded>>,
    pub(crate) page: Option<(Arc<EncodedPage>, Range<usize>)>,
    pub(crate) recent: Vec<Arc<Encoded>>,
    /// It is a subscriber like any other from here on.
    pub(crate) live: bool,
}

#[derive(Debug)]
pub(crate) struct JoinFailed {
    pub(crate) connection: u64,
    pub(crate) channel: ChannelName,
    pub(crate) error: WireError,
}

/// Runs a worker's delivery until every shard is gone.
pub(crate) async fn run(worker: Rc<Worker>, mut queue: mpsc::Receiver<Delivery>) {
    let mut round = Vec::with_capacity(ROUND);
    while queue.recv_many(&mut round, ROUND).await > 0 {
        let mut hand_overs = round.drain(..);
        while worker.deliver(&mut hand_overs) {
            // A big channel has filled the batch: pings and requests of others get their turn before the rest.
            tokio::task::yield_now().await;
        }
    }
}

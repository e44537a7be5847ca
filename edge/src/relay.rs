//! What the REST interface asks of the edge: publish, history, presence, as plain async calls from any thread.
//!
//! The caller has checked token and capability already; limits of the namespace are checked here. Never: the hot path of
//! connected clients, which goes through their session.

use std::sync::Arc;

use skywave_protocol::inner::{Control, CoreAnswer};
use skywave_protocol::message::{HistoryPage, HistoryQuery, Member, Publish, Published};
use skywave_protocol::{ChannelName, Durability, ErrorCode, NamespaceOptions, UserId, WireError};
use tokio::sync::oneshot;

use crate::control;
use crate::core_client::Requester;
use crate::hub::HubCommand;
use crate::shared::Shared;
use crate::worker::{Remote, State, WorkerStopped};

/// Cheap to clone.
#[derive(Clone)]
pub struct Relay {
    shared: Arc<Shared>,
}

impl Relay {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// What the workers share, and through it the workers themselves.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Publishes as `from`. Durable: waits for the position; an error `timeout` means that it may or may not have
    /// happened.
    pub async fn publish(&self, publish: Publish, from: Option<UserId>) -> Result<Published, WireError> {
        let options = self.options(&publish.channel)?;
        let (limit, got) = (options.payload_bytes, publish.data.len());
        if got > limit {
            let message = format!("a publication here has at most {limit} bytes; this one has {got}");
            return Err(WireError::new(ErrorCode::TooLarge, message));
        }
        let durable = options.durability == Durability::Durable;
        let worker = self.worker(&publish.channel);
        if !durable {
            return worker
                .run(move |worker| worker.state().publish_ephemeral(publish, from))
                .await
                .map_err(stopped)?;
        }
        let answer =
            self.ask(worker, move |state, requester| state.publish_durable(requester, publish, from)).await?;
        match answer {
            CoreAnswer::Published { position, duplicate } => {
                Ok(Published { position: Some(position), duplicate })
            }
            CoreAnswer::History(_) | CoreAnswer::Missing { .. } => Err(unexpected()),
        }
    }

    /// One page of history.
    pub async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, WireError> {
        let options = self.options(&query.channel)?;
        if options.durability == Durability::Ephemeral || options.history_size == 0 {
            return Err(WireError::new(ErrorCode::NotAvailable, "the namespace keeps no history"));
        }
        let worker = self.worker(&query.channel);
        let answer = self.ask(worker, move |state, requester| state.read_history(requester, query)).await?;
        match answer {
            CoreAnswer::History(answer) => Ok(HistoryPage {
                channel: answer.channel,
                epoch: answer.head.epoch,
                head: answer.head.offset,
                publications: answer.publications,
            }),
            CoreAnswer::Published { .. } | CoreAnswer::Missing { .. } => Err(unexpected()),
        }
    }

    /// Who is present, over all nodes, as far as this node knows. A channel that somebody here is in, or has asked about a
    /// moment ago, is known at once; for others the other nodes are asked, which takes half a second. Errors:
    /// `store_unavailable`, when they cannot be.
    pub async fn presence(&self, channel: ChannelName) -> Result<Vec<Member>, WireError> {
        if !self.options(&channel)?.presence {
            return Err(WireError::new(ErrorCode::NotAvailable, "the namespace has no presence"));
        }
        let (answer, members) = oneshot::channel();
        self.worker(&channel)
            .run(move |worker| worker.state().command(HubCommand::ReadMembers { channel, answer }))
            .await
            .map_err(stopped)?;
        members.await.map_err(|_| stopped(WorkerStopped))?
    }

    /// Tells every edge (this one included): close a user's connections, or refuse a token from now on.
    pub async fn announce(&self, control: Control) -> Result<(), WireError> {
        control::announce(&self.shared, control).await
    }

    fn options(&self, channel: &ChannelName) -> Result<&NamespaceOptions, WireError> {
        self.shared
            .config
            .namespace(channel)
            .ok_or_else(|| WireError::new(ErrorCode::UnknownNamespace, "there is no such namespace"))
    }

    fn worker(&self, channel: &ChannelName) -> &Remote {
        &self.shared.workers[self.shared.shard_of(channel)]
    }

    async fn ask(
        &self,
        worker: &Remote,
        ask: impl FnOnce(&mut State, Requester) + Send + 'static,
    ) -> Result<CoreAnswer, WireError> {
        let (caller, answer) = oneshot::channel();
        worker
            .run(move |worker| ask(&mut worker.state(), Requester::Caller(caller)))
            .await
            .map_err(stopped)?;
        answer.await.map_err(|_| stopped(WorkerStopped))?
    }
}

fn stopped(_: WorkerStopped) -> WireError {
    WireError::new(ErrorCode::Draining, "this node is stopping").retry_after_ms(1_000)
}

fn unexpected() -> WireError {
    WireError::new(ErrorCode::Internal, "core answered another question")
}

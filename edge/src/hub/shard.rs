//! The task of one shard: takes bus messages, commands and answers in, and does what the hub machine decides.
//!
//! Everything that reaches a worker leaves through one place, in the order of the decisions. A full delivery queue makes
//! this task wait; its bus inbox then overflows, the bus drops, and the machine repairs the hole from history.

use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;
use skywave_engine::hub::{FetchId, Hub, HubConfig, HubOutput, Join, Subscriber};
use skywave_engine::presence::{Presence, PresenceConfig, PresenceOutput};
use skywave_engine::time::Millis;
use skywave_ports::{BusMessage, Inbox};
use skywave_protocol::inner::{CoreAnswer, Live};
use skywave_protocol::message::Member;
use skywave_protocol::namespace::SlowPolicy;
use skywave_protocol::{ChannelName, ErrorCode, Publication, Push, Reply, Subject, WireError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant, sleep_until};

use super::command::{HubCommand, JoinCommand};
use super::interest::{Interests, Outcome};
use super::presence::Roll;
use crate::core_client::{CoreResult, Requester};
use crate::delivery::{Delivery, JoinFailed, Joined};
use crate::encoding::Encoded;
use crate::metrics::WorkerMetrics;
use crate::shared::Shared;
use crate::worker::Worker;

/// Messages taken from one source before the others get their turn.
const TURN: usize = 256;
/// Payload bytes of recent recoveries whose frames are kept for the next subscriber that missed the same. When full, all
/// are forgotten; so they are after a second, when a storm is over.
const RECENT_BYTES: usize = 8 * 1024 * 1024;
/// Subscriber number of the shard itself, when it asks about a channel nobody here is in.
const SELF: u16 = u16::MAX;
/// How long other nodes have for saying who is in a channel.
const ASKING_MS: Millis = 250;

/// What a shard receives.
pub(crate) struct Queues {
    pub(crate) live: mpsc::Receiver<BusMessage>,
    pub(crate) inbox: Inbox,
    pub(crate) commands: mpsc::Receiver<HubCommand>,
    /// Answers to the shard's history reads. When full, an answer is dropped and the machine asks again.
    pub(crate) histories: mpsc::Receiver<(FetchId, CoreResult)>,
}

struct Shard {
    worker: Rc<Worker>,
    shared: Arc<Shared>,
    metrics: Arc<WorkerMetrics>,
    hub: Hub,
    roll: Roll,
    interests: Interests,
    deliveries: Vec<mpsc::Sender<Delivery>>,
    recent: HashMap<*const Publication, Arc<Encoded>>,
    recent_bytes: usize,
    recent_since: Millis,
    /// Callers that wait for the other nodes' word on a channel.
    asking: Vec<Asking>,
    asked: u64,
    /// When the gauges are refreshed and old frames are forgotten.
    housekeeping: Millis,
}

/// Milliseconds between two looks at what needs no exact time.
const HOUSEKEEPING_MS: Millis = 1_000;

struct Asking {
    due: Millis,
    subscriber: Subscriber,
    channel: ChannelName,
    answer: oneshot::Sender<Vec<Member>>,
}

/// Runs the shard of `worker` until its queues close.
pub(crate) async fn run(worker: Rc<Worker>, queues: Queues, deliveries: Vec<mpsc::Sender<Delivery>>) {
    let Queues { mut live, inbox, mut commands, mut histories } = queues;
    let shared = worker.shared().clone();
    let (interests, mut outcomes) = Interests::new(shared.ports.bus.clone(), inbox);
    let mut shard = Shard::new(worker, shared, interests, deliveries);
    let mut lives: Vec<BusMessage> = Vec::with_capacity(TURN);
    let mut orders: Vec<HubCommand> = Vec::with_capacity(TURN);
    loop {
        let due = shard.due();
        tokio::select! {
            taken = live.recv_many(&mut lives, TURN) => {
                if taken == 0 {
                    return;
                }
                for message in lives.drain(..) {
                    shard.live(message).await;
                }
            }
            taken = commands.recv_many(&mut orders, TURN) => {
                if taken == 0 {
                    return;
                }
                for command in orders.drain(..) {
                    shard.command(command).await;
                }
            }
            Some(outcome) = outcomes.recv() => shard.interest(outcome).await,
            Some((id, result)) = histories.recv() => shard.history(id, result).await,
            () = sleep_until(due) => shard.timeout().await,
        }
    }
}

impl Shard {
    fn new(
        worker: Rc<Worker>,
        shared: Arc<Shared>,
        interests: Interests,
        deliveries: Vec<mpsc::Sender<Delivery>>,
    ) -> Self {
        let timing = &shared.config.timing;
        let ms = |duration: Duration| duration.as_millis() as Millis;
        let hub = HubConfig { linger_ms: ms(timing.interest_linger), ..HubConfig::default() };
        let presence =
            PresenceConfig { beat_ms: ms(timing.presence_beat), lease_ms: ms(timing.presence_lease) };
        Self {
            metrics: shared.metrics[usize::from(worker.index())].clone(),
            hub: Hub::new(hub),
            roll: Roll::new(Presence::new(shared.config.node.clone(), presence)),
            interests,
            deliveries,
            recent: HashMap::new(),
            recent_bytes: 0,
            recent_since: 0,
            asking: Vec::new(),
            asked: 0,
            housekeeping: HOUSEKEEPING_MS,
            worker,
            shared,
        }
    }

    fn now(&self) -> Millis {
        self.shared.now_ms()
    }

    fn due(&self) -> Instant {
        let asking = self.asking.first().map(|asking| asking.due);
        let due =
            [self.hub.poll_timeout(), self.roll.machine.poll_timeout(), asking].into_iter().flatten().min();
        // An idle shard looks up once in a while, which also refreshes its gauges.
        let due = due.unwrap_or(Millis::MAX).min(self.now() + 1_000);
        Instant::from_std(self.shared.started + Duration::from_millis(due))
    }

    async fn live(&mut self, message: BusMessage) {
        let now = self.now();
        match Live::decode(message.payload) {
            Ok(Live::Presence { channel, delta }) => self.roll.machine.handle_delta(now, &channel, delta),
            Ok(live) => self.hub.handle_live(now, live),
            Err(error) => {
                tracing::warn!(%error, subject = %message.subject, "a live message cannot be read; dropped");
                return;
            }
        }
        self.act().await;
    }

    async fn command(&mut self, command: HubCommand) {
        let now = self.now();
        match command {
            HubCommand::Join(join) => {
                let JoinCommand { subscriber, channel, durable, recover, member, watches } = *join;
                if let Some(error) = self.room_full(&channel) {
                    return self.join_failed(subscriber, channel, error).await;
                }
                self.roll.joining(now, subscriber, &channel, member, watches);
                self.hub.join(now, Join { subscriber, channel, durable, recover });
            }
            HubCommand::Leave { subscriber, channel } => {
                self.roll.left(now, subscriber, &channel);
                self.hub.leave(now, subscriber, &channel);
            }
            HubCommand::Members { subscriber, channel, request_id } => {
                let members = self.roll.machine.members(&channel);
                let reply = Box::new(Reply::Presence { channel, members });
                let answer = Delivery::Answer { connection: subscriber.connection, request_id, reply };
                self.hand_over(subscriber.worker, answer).await;
            }
            HubCommand::ReadMembers { channel, answer } => self.read_members(now, channel, answer),
        }
        self.act().await;
    }

    /// Members of a tracked channel are known at once; for others the shard joins for a moment and asks around.
    fn read_members(&mut self, now: Millis, channel: ChannelName, answer: oneshot::Sender<Vec<Member>>) {
        if self.roll.machine.is_tracked(&channel) {
            // The caller may have gone; then nobody wants to know.
            let _ = answer.send(self.roll.machine.members(&channel));
            return;
        }
        self.asked += 1;
        let subscriber = Subscriber { worker: SELF, connection: self.asked };
        self.hub.join(now, Join { subscriber, channel: channel.clone(), durable: false, recover: None });
        self.asking.push(Asking { due: now + ASKING_MS, subscriber, channel, answer });
    }

    fn room_full(&self, channel: &ChannelName) -> Option<WireError> {
        let limit = self.shared.config.namespace(channel)?.subscribers;
        (limit > 0 && self.hub.member_count(channel) >= limit as usize).then(|| {
            WireError::new(
                ErrorCode::ChannelFull,
                format!("the channel has {limit} subscribers on this node"),
            )
            .retry_after_ms(5_000)
        })
    }

    async fn interest(&mut self, outcome: Outcome) {
        let channel = outcome.channel.clone();
        let Some(result) = self.interests.settle(outcome) else { return };
        let result = result.map_err(|error| WireError::new(ErrorCode::Internal, error.to_string()));
        self.hub.handle_interest(self.now(), &channel, result);
        self.act().await;
    }

    async fn history(&mut self, id: FetchId, result: CoreResult) {
        let result = result.and_then(|answer| match answer {
            CoreAnswer::History(history) => Ok(history),
            CoreAnswer::Published { .. } => {
                Err(WireError::new(ErrorCode::Internal, "not an answer to a read"))
            }
        });
        self.hub.handle_history(self.now(), id, result);
        self.act().await;
    }

    async fn timeout(&mut self) {
        let now = self.now();
        self.hub.handle_timeout(now);
        self.roll.machine.handle_timeout(now);
        while self.asking.first().is_some_and(|asking| asking.due <= now) {
            let Asking { subscriber, channel, answer, .. } = self.asking.remove(0);
            let _ = answer.send(self.roll.machine.members(&channel));
            self.roll.left(now, subscriber, &channel);
            self.hub.leave(now, subscriber, &channel);
        }
        if self.housekeeping <= now {
            self.housekeeping = now + HOUSEKEEPING_MS;
            if self.recent_since + HOUSEKEEPING_MS <= now {
                self.forget_recent();
            }
            self.metrics.hub_channels.set(self.interests.len() as u64);
            self.metrics.bus_dropped.set(self.interests.dropped());
        }
        self.act().await;
    }

    /// Does what the machines have decided.
    async fn act(&mut self) {
        while let Some(output) = self.hub.poll_output() {
            self.hub_output(output).await;
        }
        while let Some(output) = self.roll.machine.poll_output() {
            match output {
                PresenceOutput::Publish { channel, delta } => {
                    let live = Live::Presence { channel: channel.clone(), delta };
                    // Lost news are repaired by the next beat.
                    let _ = self.shared.ports.bus.publish(&Subject::live(&channel), live.encode());
                }
                PresenceOutput::Join { channel, member } => {
                    let push = Push::Join { channel: channel.clone(), member };
                    self.fan_out(channel, push, Delivery::Watchers).await;
                }
                PresenceOutput::Leave { channel, member } => {
                    let push = Push::Leave { channel: channel.clone(), member };
                    self.fan_out(channel, push, Delivery::Watchers).await;
                }
            }
        }
    }

    async fn hub_output(&mut self, output: HubOutput) {
        match output {
            HubOutput::Deliver { channel, epoch, publication } => {
                let push = Push::Publication { channel: channel.clone(), epoch, publication };
                self.fan_out(channel, push, Delivery::Everyone).await;
            }
            HubOutput::Joined { subscriber, channel, position, recovery, missed, epoch } => {
                let now = self.now();
                if subscriber.worker == SELF {
                    self.roll.joining(now, subscriber, &channel, None, true);
                    return;
                }
                let watches = self.roll.joined(now, subscriber, &channel);
                let missed = missed
                    .into_iter()
                    .map(|publication| self.recent(&channel, &epoch, publication))
                    .collect();
                let joined = Joined {
                    connection: subscriber.connection,
                    channel,
                    position,
                    recovery,
                    missed,
                    watches,
                };
                self.hand_over(subscriber.worker, Delivery::Joined(Box::new(joined))).await;
            }
            HubOutput::JoinFailed { subscriber, channel, error } => {
                self.roll.left(self.now(), subscriber, &channel);
                self.join_failed(subscriber, channel, error).await;
            }
            HubOutput::Gap { channel, epoch, from, to, reason } => {
                self.metrics.gaps.add(1);
                let push = Push::Gap { channel: channel.clone(), epoch, from, to, reason };
                self.fan_out(channel, push, Delivery::Everyone).await;
            }
            HubOutput::AddInterest(channel) => self.interests.add(channel),
            HubOutput::DropInterest(channel) => self.interests.drop_interest(&channel),
            HubOutput::Fetch { id, query } => {
                self.metrics.fetches.add(1);
                self.worker.state().read_history(Requester::Hub(id), query);
            }
        }
    }

    async fn join_failed(&mut self, subscriber: Subscriber, channel: ChannelName, error: WireError) {
        let failed = JoinFailed { connection: subscriber.connection, channel, error };
        self.hand_over(subscriber.worker, Delivery::JoinFailed(Box::new(failed))).await;
    }

    /// One hand-over to each worker with subscribers of the channel.
    async fn fan_out(&mut self, channel: ChannelName, push: Push, wrap: fn(Arc<Encoded>) -> Delivery) {
        let droppable = self.is_droppable(&channel);
        let encoded = Encoded::new(channel, push, droppable, self.shared.config.compression.threshold);
        for (worker, _) in self.hub.workers(encoded.channel()) {
            if let Some(queue) = self.deliveries.get(usize::from(*worker)) {
                send(queue, wrap(encoded.clone())).await;
            }
        }
    }

    /// The frames of a publication that several subscribers recover, made once.
    fn recent(
        &mut self,
        channel: &ChannelName,
        epoch: &Option<skywave_protocol::Epoch>,
        publication: Arc<Publication>,
    ) -> Arc<Encoded> {
        if self.recent_bytes >= RECENT_BYTES {
            self.forget_recent();
        }
        if self.recent.is_empty() {
            self.recent_since = self.now();
        }
        let bytes = publication.data.len();
        // The entry keeps the publication alive, so its address cannot come to mean another one.
        let entry = self.recent.entry(Arc::as_ptr(&publication));
        entry
            .or_insert_with(|| {
                self.recent_bytes += bytes;
                let push = Push::Publication { channel: channel.clone(), epoch: epoch.clone(), publication };
                Encoded::new(channel.clone(), push, false, self.shared.config.compression.threshold)
            })
            .clone()
    }

    fn forget_recent(&mut self) {
        self.recent = HashMap::new();
        self.recent_bytes = 0;
    }

    fn is_droppable(&self, channel: &ChannelName) -> bool {
        self.shared.config.namespace(channel).is_some_and(|options| {
            options.slow == SlowPolicy::DropOldest
                && options.durability == skywave_protocol::Durability::Ephemeral
        })
    }

    async fn hand_over(&self, worker: u16, delivery: Delivery) {
        if let Some(queue) = self.deliveries.get(usize::from(worker)) {
            send(queue, delivery).await;
        }
    }
}

/// Waits while the queue is full. A worker that is gone (the process is stopping) needs nothing.
async fn send(queue: &mpsc::Sender<Delivery>, delivery: Delivery) {
    if let Err(mpsc::error::TrySendError::Full(delivery)) = queue.try_send(delivery) {
        let _ = queue.send(delivery).await;
    }
}

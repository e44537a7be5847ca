//! The task of one shard: takes bus messages, commands and answers in, and does what the hub machine decides.
//!
//! Everything that reaches a worker leaves through one place, in the order of the decisions. A full delivery queue makes
//! this task wait; its bus inbox then overflows, the bus drops, and the machine repairs the hole from history.

use std::rc::Rc;
use std::sync::Arc;

use skywave_engine::hub::{self, FetchId, Hub, HubConfig, HubOutput, Join, Subscriber};
use skywave_engine::presence::{Presence, PresenceConfig, PresenceOutput};
use skywave_engine::time::Millis;
use skywave_ports::{BusError, BusMessage, Inbox};
use skywave_protocol::inner::{CoreAnswer, Live};
use skywave_protocol::message::Member;
use skywave_protocol::namespace::SlowPolicy;
use skywave_protocol::{ChannelName, ErrorCode, Push, Reply, Subject, WireError};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep_until};

use super::command::{HubCommand, JoinCommand};
use super::copies::{Copies, Looked};
use super::enquiry::{Asked, Caller, Due, Enquiries};
use super::interest::{Interests, Outcome};
use super::presence::Roll;
use super::recent::Recent;
use crate::core_client::{CoreResult, Requester};
use crate::delivery::{CatchUp, Delivery, JoinFailed, Joined};
use crate::encoding::Encoded;
use crate::metrics::WorkerMetrics;
use crate::shared::Shared;
use crate::worker::Worker;

/// Messages taken from one source before the others get their turn.
const TURN: usize = 256;

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
    recent: Recent,
    copies: Copies,
    enquiries: Enquiries,
    /// When the gauges are refreshed and old frames are forgotten.
    housekeeping: Millis,
}

/// Milliseconds between two looks at what needs no exact time.
const HOUSEKEEPING_MS: Millis = 1_000;

/// Runs the shard of `worker` until its queues close.
pub(crate) async fn run(worker: Rc<Worker>, queues: Queues, deliveries: Vec<mpsc::Sender<Delivery>>) {
    let Queues { mut live, inbox, mut commands, mut histories } = queues;
    let shared = worker.shared().clone();
    let (interests, mut outcomes) = Interests::new(shared.ports.bus.clone(), inbox);
    let metrics = shared.metrics[usize::from(worker.index())].clone();
    let (copies, mut looked) = Copies::new(&shared, metrics);
    let mut shard = Shard::new(worker, shared, interests, copies, deliveries);
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
            Some(looked) = looked.recv() => shard.looked(looked).await,
            () = sleep_until(due) => shard.timeout().await,
        }
    }
}

impl Shard {
    fn new(
        worker: Rc<Worker>,
        shared: Arc<Shared>,
        interests: Interests,
        copies: Copies,
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
            recent: Recent::new(shared.config.compression.threshold),
            copies,
            enquiries: Enquiries::new(ms(timing.presence_listen)),
            housekeeping: HOUSEKEEPING_MS,
            worker,
            shared,
        }
    }

    fn now(&self) -> Millis {
        self.shared.now_ms()
    }

    fn due(&self) -> Instant {
        let enquiry = self.enquiries.poll_timeout();
        let due =
            [self.hub.poll_timeout(), self.roll.machine.poll_timeout(), enquiry].into_iter().flatten().min();
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
            HubCommand::Leave { subscriber, channel, client } => {
                self.roll.left(now, subscriber, &channel, Some(&client));
                self.hub.leave(now, subscriber, &channel);
            }
            HubCommand::More { subscriber, channel } => self.hub.more(now, subscriber, &channel),
            HubCommand::Members { subscriber, channel, request_id } => {
                self.read_members(now, channel, Caller::Connection { subscriber, request_id }).await;
            }
            HubCommand::ReadMembers { channel, answer } => {
                self.read_members(now, channel, Caller::Task(answer)).await;
            }
        }
        self.act().await;
    }

    /// Members of a channel that has been followed for a while are known at once; for others the shard joins it and
    /// listens first.
    async fn read_members(&mut self, now: Millis, channel: ChannelName, caller: Caller) {
        let since = self.roll.machine.tracked_since(&channel);
        if !self.enquiries.is_open(&channel) && self.enquiries.is_known(now, since) {
            return self.tell_members(&channel, vec![caller]).await;
        }
        match self.enquiries.ask(now, &channel, caller) {
            Asked::Known(caller) => self.tell_members(&channel, vec![caller]).await,
            Asked::Wait => {}
            Asked::Join(subscriber) => {
                self.hub.join(now, Join { subscriber, channel, durable: false, recover: None });
            }
            Asked::Refused(caller, error) => self.tell(vec![caller], Err(error)).await,
        }
    }

    async fn tell_members(&mut self, channel: &ChannelName, callers: Vec<Caller>) {
        let members = self.roll.machine.members(channel);
        self.tell(callers, Ok((channel, members))).await;
    }

    async fn tell(&self, callers: Vec<Caller>, outcome: Result<(&ChannelName, Vec<Member>), WireError>) {
        for caller in callers {
            match caller {
                // The caller may have gone; then nobody wants to know.
                Caller::Task(answer) => _ = answer.send(outcome.clone().map(|(_, members)| members)),
                Caller::Connection { subscriber, request_id } => {
                    let reply = Box::new(match outcome.clone() {
                        Ok((channel, members)) => Reply::Presence { channel: channel.clone(), members },
                        Err(error) => Reply::Error(error),
                    });
                    let answer = Delivery::Answer { connection: subscriber.connection, request_id, reply };
                    self.hand_over(subscriber.worker, answer).await;
                }
            }
        }
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
            CoreAnswer::Published { .. } | CoreAnswer::Missing { .. } => {
                Err(WireError::new(ErrorCode::Internal, "not an answer to a read"))
            }
        });
        let now = self.now();
        self.copies.answered(now, id, result.as_ref().ok());
        self.hub.handle_history(now, id, result);
        self.act().await;
    }

    /// What was looked for in the region's shared state was found there, or not.
    async fn looked(&mut self, looked: Looked) {
        let now = self.now();
        let served = looked.found.as_ref().is_some_and(|copy| self.hub.handle_copy(now, looked.id, copy));
        if let Some((id, query)) = self.copies.looked(now, looked, served)
            && self.hub.is_reading(id)
        {
            self.worker.state().read_history(Requester::Hub(id), query);
        }
        self.act().await;
    }

    async fn timeout(&mut self) {
        let now = self.now();
        self.hub.handle_timeout(now);
        self.roll.machine.handle_timeout(now);
        while let Some(due) = self.enquiries.poll_due(now) {
            match due {
                Due::Known(channel, callers) => self.tell_members(&channel, callers).await,
                Due::Failed(callers, error) => self.tell(callers, Err(error)).await,
                Due::Leave(channel, subscriber) => {
                    self.roll.left(now, subscriber, &channel, None);
                    self.hub.leave(now, subscriber, &channel);
                }
            }
        }
        if self.housekeeping <= now {
            self.housekeeping = now + HOUSEKEEPING_MS;
            self.recent.tidy(now);
            self.copies.tidy(now);
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
                    self.publish_presence(&channel, live);
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

    /// Lost news are repaired by the next beat; what the bus never takes is said.
    fn publish_presence(&self, channel: &ChannelName, news: Live) {
        let refused = self.shared.ports.bus.publish(&Subject::live(channel), news.encode());
        if let Err(error) = refused {
            self.metrics.presence_refused.add(1);
            if matches!(error, BusError::TooLarge(_)) {
                tracing::error!(%error, %channel, "other nodes do not learn who is present");
            }
        }
    }

    async fn hub_output(&mut self, output: HubOutput) {
        match output {
            HubOutput::Deliver { channel, epoch, publication } => {
                let push = Push::Publication { channel: channel.clone(), epoch, publication };
                self.fan_out(channel, push, Delivery::Everyone).await;
            }
            HubOutput::Joined { subscriber, channel, position, recovery, missed, epoch, behind } => {
                let now = self.now();
                if Enquiries::owns(subscriber) {
                    if self.enquiries.joined(now, &channel, subscriber) {
                        self.roll.joining(now, subscriber, &channel, None, true);
                    }
                    return;
                }
                let watches = self.roll.joined(now, subscriber, &channel);
                let missed = missed
                    .into_iter()
                    .map(|publication| self.recent.publication(now, &channel, &epoch, publication))
                    .collect();
                let joined = Joined {
                    connection: subscriber.connection,
                    channel,
                    position,
                    recovery,
                    missed,
                    watches,
                    behind,
                };
                self.hand_over(subscriber.worker, Delivery::Joined(Box::new(joined))).await;
            }
            HubOutput::CatchUp(step) => {
                let worker = step.subscriber.worker;
                let step = self.catch_up(*step);
                self.hand_over(worker, Delivery::CatchUp(Box::new(step))).await;
            }
            HubOutput::JoinFailed { subscriber, channel, error } => {
                self.roll.left(self.now(), subscriber, &channel, None);
                if Enquiries::owns(subscriber) {
                    let callers = self.enquiries.failed(&channel, subscriber);
                    return self.tell(callers, Err(error)).await;
                }
                self.join_failed(subscriber, channel, error).await;
            }
            HubOutput::Gap { channel, epoch, from, to, reason } => {
                self.metrics.gaps.add(1);
                let push = Push::Gap { channel: channel.clone(), epoch, from, to, reason };
                self.fan_out(channel, push, Delivery::Everyone).await;
            }
            HubOutput::AddInterest(channel) => self.interests.add(channel),
            HubOutput::DropInterest(channel) => self.interests.drop_interest(&channel),
            HubOutput::Fetch { id, query, past } => {
                self.metrics.fetches.add(1);
                if let Some(query) = self.copies.look(id, query, past) {
                    self.worker.state().read_history(Requester::Hub(id), query);
                }
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

    /// What a subscriber gets that is catching up, encoded.
    fn catch_up(&mut self, step: hub::CatchUp) -> CatchUp {
        let now = self.now();
        let hub::CatchUp { subscriber, channel, epoch, gap, page, recent, live } = step;
        let gap = gap.map(|hub::Missing { from, to, reason }| {
            self.metrics.gaps.add(1);
            let push = Push::Gap { channel: channel.clone(), epoch: epoch.clone(), from, to, reason };
            Encoded::new(channel.clone(), push, false, self.shared.config.compression.threshold)
        });
        let page = page.map(|part| (self.recent.page(now, &channel, &epoch, part.page), part.from..part.to));
        let epoch = Some(epoch);
        let recent = recent
            .into_iter()
            .map(|publication| self.recent.publication(now, &channel, &epoch, publication))
            .collect();
        CatchUp { connection: subscriber.connection, channel, gap, page, recent, live }
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

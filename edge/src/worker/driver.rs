//! Drives sessions: what comes from the client, the hub, core and the authenticator goes in; what the session decides is
//! done. Synchronous throughout; the one thing that may wait (a slow authorisation) becomes a task.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use skywave_engine::hub::Subscriber;
use skywave_engine::region::KeyDigest;
use skywave_engine::session::{Authorization, SessionOutput};
use skywave_protocol::inner::{CoreAnswer, Live};
use skywave_protocol::message::{HistoryPage, HistoryQuery, Member, Publish, Published};
use skywave_protocol::{
    ChannelName, ClientMessage, DecodeFailure, ErrorCode, Publication, Reply, Subject, UserId, WireError,
    json,
};

use super::connection::{Line, Standing};
use super::state::State;
use super::subscribers::{self, ConnectionSlot, relocate};
use crate::core_client::{Answered, DurablePublish, Requester};
use crate::delivery::{Delivery, JoinFailed, Joined};
use crate::encoding::Encoded;
use crate::hub::{HubCommand, JoinCommand};
use crate::limits::{Limit, Who};
use crate::region::{Move, UNHURRIED};
use crate::reporting::Happening;
use crate::transport::Encoding;

impl State {
    /// A decoded message, or what was wrong with it.
    pub(crate) fn received(&mut self, slot: ConnectionSlot, message: Result<ClientMessage, DecodeFailure>) {
        let now = self.now();
        self.metrics.messages_in.add(1);
        let session = &mut self.connections[slot as usize].session;
        match message {
            Ok(message) => session.handle_message(now, message),
            Err(failure) => session.handle_invalid(now, failure.id, failure.error),
        }
        self.pump(slot);
        if self.batch.is_full() {
            self.flush();
        }
    }

    /// Does what the session has decided.
    pub(crate) fn pump(&mut self, slot: ConnectionSlot) {
        while let Some(output) = self.connections[slot as usize].session.poll_output() {
            match output {
                SessionOutput::Send(message) => self.send(slot, &message),
                SessionOutput::Place { key, placed } => {
                    let key = key.map(|key| KeyDigest::of(key.as_str()));
                    self.connections[slot as usize].place = Standing { key, placed };
                }
                SessionOutput::Authenticate { token } => self.authenticate(slot, token),
                SessionOutput::Join { channel, durable, recover, presence } => {
                    let subscriber = self.subscriber(slot);
                    let member = self.member(slot, &channel);
                    self.command(HubCommand::Join(Box::new(JoinCommand {
                        subscriber,
                        channel,
                        durable,
                        recover,
                        member,
                        watches: presence,
                    })));
                }
                SessionOutput::Leave { channel } => self.leave(slot, channel),
                SessionOutput::Publish { request_id, channel, id, data, durable } => {
                    let publish = Publish { channel, id, data };
                    self.publish(slot, request_id, publish, durable);
                }
                SessionOutput::ReadHistory { request_id, query } => {
                    let key = self.connections[slot as usize].key;
                    self.read_history(Requester::Connection { key, request_id }, query);
                }
                SessionOutput::ReadPresence { request_id, channel } => {
                    let subscriber = self.subscriber(slot);
                    self.command(HubCommand::Members { subscriber, channel, request_id });
                }
                SessionOutput::Close { code, reason } => self.say_goodbye(slot, code, reason),
            }
        }
        if let Some(due) = self.connections[slot as usize].session.poll_timeout() {
            self.schedule(slot, due);
        }
    }

    fn subscriber(&self, slot: ConnectionSlot) -> Subscriber {
        Subscriber { worker: self.index, connection: self.connections[slot as usize].key }
    }

    /// What a subscription adds to the channel's presence.
    fn member(&self, slot: ConnectionSlot, channel: &ChannelName) -> Option<Member> {
        let session = &self.connections[slot as usize].session;
        let visible = self.shared.config.namespace(channel).is_some_and(|options| options.presence);
        visible.then(|| Member { client: session.client().clone(), user: session.user().cloned() })
    }

    fn leave(&mut self, slot: ConnectionSlot, channel: ChannelName) {
        let mut mine = std::mem::take(&mut self.connections[slot as usize].subscriptions);
        if self.subscribers.is_behind(&channel, &mine) {
            self.end_catching_up(slot, &channel);
        }
        let connections = &mut self.connections;
        let left = self.subscribers.remove(&channel, &mut mine, |other, index, place| {
            relocate(&mut connections[other as usize].subscriptions, index, place);
        });
        if left {
            self.metrics.subscriptions.sub(1);
            self.report(slot, |whose| Happening::Unsubscribed { whose, channel: channel.clone() });
        }
        let connection = &mut self.connections[slot as usize];
        connection.subscriptions = mine;
        if let Line::Outlet(outlet) = &connection.line {
            outlet.left(&channel);
        }
        let subscriber = self.subscriber(slot);
        let client = self.connections[slot as usize].session.client().clone();
        self.command(HubCommand::Leave { subscriber, channel, client });
    }

    /// Most answers are there at once (no token, or one that this node can check alone); the others come by a task.
    fn authenticate(&mut self, slot: ConnectionSlot, token: Option<String>) {
        let auth = self.shared.ports.auth.clone();
        let clock = self.shared.ports.clock.clone();
        let mut check: Pin<Box<dyn Future<Output = Result<Authorization, WireError>>>> =
            Box::pin(async move {
                let now_s = clock.unix_ms() / 1_000;
                auth.authorize(token.as_deref(), now_s).await.map_err(WireError::from)
            });
        match check.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => self.authorized(slot, result),
            Poll::Pending => {
                let key = self.connections[slot as usize].key;
                let worker = self.worker.clone();
                tokio::task::spawn_local(async move {
                    let result = check.await;
                    let Some(worker) = worker.upgrade() else { return };
                    let mut state = worker.state();
                    if let Some(slot) = state.find(key) {
                        state.authorized(slot, result);
                        state.pump(slot);
                        state.flush();
                    }
                });
            }
        }
    }

    fn authorized(&mut self, slot: ConnectionSlot, result: Result<Authorization, WireError>) {
        let now = self.now();
        if let Ok(authorization) = &result {
            let connection = &mut self.connections[slot as usize];
            let who = match &authorization.user {
                Some(user) => Who::User(user.clone()),
                None => Who::Network(connection.network),
            };
            connection.publishes = self.shared.limits.account(Limit::Publishes, who);
        }
        let unix_now_s = self.shared.ports.clock.unix_ms() / 1_000;
        let session = &mut self.connections[slot as usize].session;
        let connecting = session.authorization().is_none();
        session.handle_authorized(now, unix_now_s, result);
        if connecting {
            self.place(slot);
            self.report_connected(slot);
        }
    }

    /// The connection has opened: notes where it belongs, and asks it to go there if it came here by chance.
    fn place(&mut self, slot: ConnectionSlot) {
        let Some(region) = &self.shared.region else { return };
        let connection = &mut self.connections[slot as usize];
        let Some(authorization) = connection.session.authorization() else { return };
        let place = &mut connection.place;
        if place.key.is_none() && (place.placed || region.places_everyone()) {
            place.key = authorization.user.as_ref().map(|user| KeyDigest::of(user.as_str()));
        }
        if let (Some(key), false) = (place.key, place.placed)
            && let Some(target) = region.redirect(key)
        {
            region.count(Move::Redirect);
            let within_ms = UNHURRIED.as_millis() as u32;
            connection.session.drain(self.started.elapsed().as_millis() as u64, Some(target), within_ms);
        }
    }

    fn publish(&mut self, slot: ConnectionSlot, request_id: u32, publish: Publish, durable: bool) {
        self.metrics.publishes.add(1);
        if let Some(account) = &self.connections[slot as usize].publishes
            && let Err(wait_ms) = self.shared.limits.take(account, 1)
        {
            let error = WireError::new(ErrorCode::RateLimited, "this user publishes too much");
            let now = self.now();
            let reply = Reply::Error(error.retry_after_ms(wait_ms));
            return self.connections[slot as usize].session.handle_answer(now, request_id, reply);
        }
        let from = self.connections[slot as usize].session.user().cloned();
        if durable {
            let requester = Requester::Connection { key: self.connections[slot as usize].key, request_id };
            self.publish_durable(requester, publish, from);
            return;
        }
        let reply = match self.publish_ephemeral(publish, from) {
            Ok(published) => Reply::Published(published),
            Err(error) => Reply::Error(error),
        };
        let now = self.now();
        self.connections[slot as usize].session.handle_answer(now, request_id, reply);
    }

    pub(crate) fn publish_durable(&mut self, requester: Requester, publish: Publish, from: Option<UserId>) {
        let Publish { channel, id, data } = publish;
        let time_ms = self.shared.ports.clock.unix_ms();
        let now = self.now();
        let publish = DurablePublish { channel, id, from, data, time_ms };
        if let Err(refused) = self.core.publish(now, requester, publish, &self.metrics) {
            self.core_answered(refused);
        }
    }

    pub(crate) fn read_history(&mut self, requester: Requester, query: HistoryQuery) {
        let now = self.now();
        if let Err(refused) = self.core.history(now, requester, query, &self.metrics) {
            self.core_answered(refused);
        }
    }

    /// At most once, to whoever listens now.
    pub(crate) fn publish_ephemeral(
        &mut self,
        publish: Publish,
        from: Option<UserId>,
    ) -> Result<Published, WireError> {
        let Publish { channel, id, data } = publish;
        let time_ms = self.shared.ports.clock.unix_ms();
        let publication = Arc::new(Publication { offset: 0, id, from, time_ms, data });
        let subject = Subject::live(&channel);
        let wants_json = self.shared.config.namespace(&channel).is_some_and(|options| options.live_json);
        let for_backends = wants_json
            .then(|| (Subject::json(&channel), json::live_publication(&channel, None, &publication)));
        let live = Live::Publication { channel, epoch: None, publication };
        match self.shared.ports.bus.publish(&subject, live.encode()) {
            Ok(()) => {
                if let Some((subject, payload)) = for_backends {
                    self.tell_backends(&subject, payload);
                }
                Ok(Published { position: None, duplicate: false })
            }
            Err(error) => {
                self.metrics.publish_errors.add(1);
                Err(WireError::new(ErrorCode::Internal, error.to_string()).retry_after_ms(1_000))
            }
        }
    }

    /// The clients have it: what is lost here is lost to backends alone, as an ephemeral publication may be.
    fn tell_backends(&self, subject: &Subject, payload: Bytes) {
        match self.shared.ports.bus.publish(subject, payload) {
            Ok(()) => self.metrics.live_json.add(1),
            Err(error) => {
                self.metrics.live_json_refused.add(1);
                tracing::debug!(%subject, %error, "not told to backends");
            }
        }
    }

    /// Brings an answer of core to whoever asked.
    pub(crate) fn core_answered(&mut self, answered: Answered) {
        let Answered { requester, result } = answered;
        match requester {
            Requester::Connection { key, request_id } => {
                if result.is_err() {
                    self.metrics.publish_errors.add(1);
                }
                let Some(slot) = self.find(key) else { return };
                let now = self.now();
                let session = &mut self.connections[slot as usize].session;
                session.handle_answer(now, request_id, reply_of(result));
                self.pump(slot);
                if self.batch.is_full() {
                    self.flush();
                }
            }
            Requester::Hub(id) => {
                // A full queue drops the answer; the machine's own timeout makes it ask again.
                let _ = self.histories.try_send((id, result));
            }
            Requester::Caller(caller) => {
                // The caller may have given up.
                let _ = caller.send(result);
            }
        }
    }

    /// One round of hand-overs, or as many of them as fill a batch (`true`: there may be more).
    pub(crate) fn deliver(&mut self, hand_overs: &mut impl Iterator<Item = Delivery>) -> bool {
        self.metrics.rounds.add(1);
        let mut full = false;
        for delivery in hand_overs {
            self.metrics.hand_overs.add(1);
            match delivery {
                Delivery::Everyone(encoded) => self.fan_out(&encoded, |member| !member.is_behind()),
                Delivery::Watchers(encoded) => self.fan_out(&encoded, subscribers::Member::watches),
                Delivery::Joined(joined) => self.joined(*joined),
                Delivery::CatchUp(step) => self.catch_up(*step),
                Delivery::JoinFailed(failed) => self.join_failed(*failed),
                Delivery::Answer { connection, request_id, reply } => {
                    let Some(slot) = self.find(connection) else { continue };
                    let now = self.now();
                    self.connections[slot as usize].session.handle_answer(now, request_id, *reply);
                    self.pump(slot);
                }
            }
            full = self.batch.is_full();
            if full {
                break;
            }
        }
        self.flush();
        full
    }

    fn fan_out(&mut self, encoded: &Encoded, is_for: impl Fn(subscribers::Member) -> bool) {
        let members = self.subscribers.members(encoded.channel());
        let mut frames = [None; Encoding::COUNT];
        let mut deliveries = 0;
        for member in members.iter().filter(|member| is_for(**member)) {
            let connection = &mut self.connections[member.connection as usize];
            let frame = *frames[connection.encoding as usize]
                .get_or_insert_with(|| self.batch.frame(encoded.frame(connection.encoding)));
            self.batch.link(member.connection, &mut connection.chain, frame);
            deliveries += 1;
        }
        self.metrics.deliveries.add(deliveries);
    }

    /// The hub took a connection in: from here on it is a subscriber, and what it missed goes out behind the answer, or
    /// page by page.
    fn joined(&mut self, joined: Joined) {
        let Joined { connection: key, channel, position, recovery, missed, watches, behind } = joined;
        let Some(slot) = self.find(key) else { return };
        let now = self.now();
        let connection = &mut self.connections[slot as usize];
        let stands = connection.session.handle_joined(now, &channel, position, recovery);
        if !stands {
            return self.pump(slot);
        }
        if self.subscribers.add(&channel, slot, watches, behind, &mut connection.subscriptions) {
            self.metrics.subscriptions.add(1);
            self.report(slot, |whose| Happening::Subscribed { whose, channel: channel.clone() });
        }
        self.pump(slot);
        self.metrics.deliveries.add(missed.len() as u64);
        for encoded in missed {
            self.owe(slot, encoded.frame(self.connections[slot as usize].encoding));
        }
        if behind {
            self.begin_catching_up(slot, channel);
        }
    }

    fn join_failed(&mut self, failed: JoinFailed) {
        let JoinFailed { connection: key, channel, error } = failed;
        let Some(slot) = self.find(key) else { return };
        let now = self.now();
        self.connections[slot as usize].session.handle_join_failed(now, &channel, error);
        self.pump(slot);
    }
}

fn reply_of(result: Result<CoreAnswer, WireError>) -> Reply {
    match result {
        Ok(CoreAnswer::Published { position, duplicate }) => {
            Reply::Published(Published { position: Some(position), duplicate })
        }
        Ok(CoreAnswer::History(answer)) => Reply::History(HistoryPage {
            channel: answer.channel,
            epoch: answer.head.epoch,
            head: answer.head.offset,
            publications: answer.publications,
        }),
        // The client of core keeps these to itself.
        Ok(CoreAnswer::Missing { .. }) => {
            Reply::Error(WireError::new(ErrorCode::Internal, "not an answer to a request"))
        }
        Err(error) => Reply::Error(error),
    }
}

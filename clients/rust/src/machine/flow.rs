//! The life of connections: opening, losing, moving; deadlines; and what goes out next on which connection.

use std::time::Duration;

use skywave_protocol::close::{CloseCode, Reconnect};
use skywave_protocol::limits::BATCH_REQUESTS;
use skywave_protocol::message::Publish;
use skywave_protocol::{ChannelName, ClientMessage, ErrorCode, Request, WireError};

use super::channel::Step;
use super::link::{Awaiting, Link, Phase};
use super::places::Next;
use super::{Broken, LinkId, Machine, Millis, Output, TokenWanted};
use crate::error::{ClosedError, PublishError};
use crate::event::State;

/// A connection that lasted this long was a good one: the backoff begins anew.
const STABLE_MS: u64 = 5_000;
/// A frame is not filled beyond this many bytes with requests; a single larger one goes alone.
const BATCH_BYTES: usize = 32 * 1024;

impl Machine {
    /// Begins to connect: gets a token first if none is at hand and one can be had.
    pub(super) fn connect(&mut self, now: Millis) {
        self.connect_at = None;
        self.output.push_back(Output::State(State::Connecting));
        if self.settings.can_fetch_tokens && self.token.is_none() {
            self.token_wanted = TokenWanted::ToConnect;
            self.output.push_back(Output::FetchToken);
            return;
        }
        match self.places.next() {
            Next::Open { url, placed } => self.active = Some(self.open(now, url, placed)),
            Next::Ask(url) => {
                self.routing = true;
                let (key, token) = (self.settings.key.clone(), self.token.clone());
                self.output.push_back(Output::Route { url, key, token });
            }
        }
    }

    /// The base addresses of the nodes to go to, or why there are none.
    pub(crate) fn handle_route(&mut self, now: Millis, answer: Result<Vec<String>, String>) {
        if std::mem::take(&mut self.routing) {
            self.places.named(answer);
            self.connect(now);
        }
    }

    fn open(&mut self, now: Millis, url: String, placed: bool) -> Link {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        self.output.push_back(Output::Open { link: id, url });
        Link::new(id, placed, now)
    }

    /// The application's token, or why there is none.
    pub(crate) fn handle_token(&mut self, now: Millis, token: Result<String, String>) {
        let wanted = std::mem::replace(&mut self.token_wanted, TokenWanted::No);
        match (wanted, token) {
            (TokenWanted::No, _) => {}
            (TokenWanted::ToConnect, Ok(token)) => {
                self.token = Some(token);
                self.connect(now);
            }
            (TokenWanted::ToConnect, Err(reason)) => self.reconnect(now, format!("no token: {reason}"), None),
            (TokenWanted::ToRefresh, Ok(token)) => {
                self.token = Some(token.clone());
                for link in [&mut self.active, &mut self.successor].into_iter().flatten() {
                    if link.is_ready() {
                        link.ask(now, Request::Refresh { token: token.clone() }, Awaiting::Refresh);
                    }
                }
            }
            // The server will close when the old token expires; a new one is asked for then.
            (TokenWanted::ToRefresh, Err(reason)) => tracing::warn!(reason, "could not refresh the token"),
        }
    }

    /// The transport of a connection stands.
    pub(crate) fn handle_opened(&mut self, now: Millis, id: LinkId) {
        let mut connect = skywave_protocol::message::Connect {
            token: self.token.clone(),
            name: Some(self.settings.name.clone()),
            key: self.settings.key.clone(),
            placed: false,
        };
        if let Some(link) = self.link(id) {
            connect.placed = link.placed;
            link.phase = Phase::Greeting;
            link.last_received = now;
            link.ask(now, Request::Connect(connect), Awaiting::Connect);
        }
    }

    /// A connection is gone, or could not be made.
    pub(crate) fn handle_broken(&mut self, now: Millis, id: LinkId, broken: Broken) {
        if self.successor.as_ref().is_some_and(|link| link.id == id) {
            self.drop_link(id);
            self.successor = None;
            if self.active.is_some() {
                // Counted apart: a node that refuses newcomers while it drains is no reason to stay away for long after.
                let wait = self.wait_ms(self.move_attempts, broken.retry_after_ms);
                self.move_attempts = self.move_attempts.saturating_add(1);
                self.move_at = Some((now + wait, None));
            }
            // What had begun there begins again here.
            return self.start_channels(now);
        }
        let Some(link) = self.active.take_if(|link| link.id == id) else { return };
        self.drop_link(id);
        if self.successor.is_some() {
            return self.promote(now);
        }
        self.move_at = None;
        self.move_deadline = None;
        if link.is_ready() && now.saturating_sub(link.since) >= STABLE_MS {
            self.attempts = 0;
        }
        let reason = describe(&broken);
        let advice = broken.code.and_then(CloseCode::from_number).map(CloseCode::reconnect);
        if !link.is_ready()
            && self.places.has_more()
            && !matches!(advice, Some(Reconnect::No | Reconnect::WithNewToken))
        {
            tracing::debug!(reason, "the node does not take us; trying the next one");
            return self.connect(now);
        }
        self.places.begin_again();
        match advice {
            _ if broken.hopeless => self.close(ClosedError::Address(reason)),
            Some(Reconnect::No) => self.close(ClosedError::Refused(reason)),
            Some(Reconnect::WithNewToken) if !self.settings.can_fetch_tokens => {
                self.close(ClosedError::Unauthorized(reason));
            }
            Some(Reconnect::WithNewToken) => {
                self.token = None;
                self.reconnect(now, reason, broken.retry_after_ms);
            }
            Some(Reconnect::Elsewhere) => {
                self.places.turn();
                self.reconnect(now, reason, broken.retry_after_ms);
            }
            Some(Reconnect::Resume) | None => {
                // An address that has not answered is not asked twice in a row.
                if !link.is_ready() {
                    self.places.turn();
                }
                self.reconnect(now, reason, broken.retry_after_ms);
            }
        }
    }

    /// Waits, and then connects again.
    pub(super) fn reconnect(&mut self, now: Millis, reason: String, server_asks_ms: Option<u64>) {
        let wait = self.wait_ms(self.attempts, server_asks_ms);
        self.attempts = self.attempts.saturating_add(1);
        self.connect_at = Some(now + wait);
        let retry_in = Duration::from_millis(wait);
        self.output.push_back(Output::State(State::Disconnected { reason, retry_in }));
    }

    /// Takes everything back that a connection had.
    fn drop_link(&mut self, id: LinkId) {
        for (ticket, result) in self.publishing.link_lost(id) {
            self.output.push_back(Output::Published { ticket, result });
        }
        for channel in self.channels.values_mut() {
            channel.link_lost(id);
        }
        self.output.extend(self.grants.link_lost(id).into_iter().map(Output::Granted));
        let names: Vec<ChannelName> = self.channels.keys().cloned().collect();
        for name in names {
            self.follow_grant(&name);
        }
    }

    /// Ends a connection from this side and treats it as lost.
    pub(super) fn abandon(&mut self, now: Millis, id: LinkId, reason: &str) {
        self.output.push_back(Output::Shut(id));
        self.handle_broken(now, id, Broken { reason: reason.into(), ..Broken::default() });
    }

    /// The server asks to be left within the time.
    pub(super) fn handle_move(&mut self, now: Millis, target: Option<String>, within_ms: u32) {
        if self.successor.is_some() || self.move_at.is_some() {
            return;
        }
        // A slot of our own in the first half of the time, so that there is time for the move itself.
        let slot = (f64::from(within_ms) / 2.0 * rand::Rng::random::<f64>(&mut self.random)) as u64;
        self.move_at = Some((now + slot, target));
        self.move_deadline = Some(now + u64::from(within_ms));
        self.move_attempts = 0;
    }

    fn open_successor(&mut self, now: Millis, target: Option<String>) {
        self.move_at = None;
        let placed = target.is_some();
        let url = target.unwrap_or_else(|| self.places.another());
        let link = self.open(now, url, placed);
        self.successor = Some(link);
    }

    /// Makes the successor the active connection if nothing is left to wait for.
    pub(super) fn promote_if_done(&mut self, now: Millis) {
        let Some(successor) = self.successor.as_ref().filter(|link| link.is_ready()) else { return };
        let id = successor.id;
        let old = self.active.as_ref().map(|link| link.id);
        let old_is_idle = old.is_none_or(|old| self.publishing.oldest_sent(old).is_none());
        if old_is_idle && self.channels.values().all(|channel| channel.is_joined_on(id)) {
            self.promote(now);
        }
    }

    fn promote(&mut self, now: Millis) {
        if let Some(old) = self.active.take() {
            self.output.push_back(Output::Shut(old.id));
            self.drop_link(old.id);
        }
        self.move_at = None;
        self.move_deadline = None;
        let Some(link) = self.successor.take() else { return };
        let ready = link.is_ready();
        self.active = Some(link);
        if ready {
            self.announce();
            self.resume(now);
        } else {
            self.output.push_back(Output::State(State::Connecting));
        }
    }

    /// Starts what has no place on the active connection yet: channels, and requests of the application.
    pub(super) fn resume(&mut self, now: Millis) {
        self.start_channels(now);
        let requests: Vec<_> =
            self.requests.iter().map(|(ticket, request)| (*ticket, request.clone())).collect();
        if let Some(link) = self.active.as_mut() {
            for (ticket, request) in requests {
                link.ask(now, request, Awaiting::Application(ticket));
            }
        }
    }

    fn start_channels(&mut self, now: Millis) {
        let names: Vec<ChannelName> = self.channels.keys().cloned().collect();
        for name in names {
            self.start_channel(now, &name);
        }
    }

    /// Begins on the connection that will stay: a move would wait for one that begins on the other.
    pub(super) fn start_channel(&mut self, now: Millis, name: &ChannelName) {
        let links = [&self.successor, &self.active];
        let Some(link) = links.into_iter().flatten().find(|link| link.is_ready()).map(|link| link.id) else {
            return;
        };
        if let Some(channel) = self.channels.get_mut(name)
            && channel.wants_start(now)
        {
            let step = channel.start(link);
            self.carry_out(now, link, name, step);
        }
    }

    pub(super) fn carry_out(&mut self, now: Millis, id: LinkId, name: &ChannelName, step: Step) {
        for event in step.events {
            self.output.push_back(Output::Event { channel: name.clone(), event });
        }
        let Some(link) = self.link(id) else { return };
        for request in step.requests {
            let awaiting = match &request {
                Request::Subscribe(_) => Awaiting::Subscribe(name.clone()),
                _ => Awaiting::Nothing,
            };
            link.ask(now, request, awaiting);
        }
    }

    /// Whether [`Machine::transmit`] has something for this connection.
    pub(crate) fn wants_transmit(&mut self, now: Millis, id: LinkId) -> bool {
        let publishes = self.publish_link() == Some(id) && self.publishing.has_next(now);
        publishes || self.link(id).is_some_and(|link| !link.control.is_empty())
    }

    /// The next frame for this connection: as many requests as are ready and fit.
    pub(crate) fn transmit(&mut self, now: Millis, id: LinkId) -> Option<Vec<u8>> {
        let encoding = self.settings.encoding;
        let publishes = self.publish_link() == Some(id);
        let limit = self.link(id)?.message_bytes();
        let room = limit.min(BATCH_BYTES);
        let mut batch = Vec::new();
        for _ in 0..BATCH_REQUESTS {
            let before = batch.len();
            if let Some(message) = self.link(id).and_then(|link| link.control.pop_front()) {
                encoding.append(&message, &mut batch);
                if before > 0 && batch.len() > room {
                    batch.truncate(before);
                    self.link(id)?.control.push_front(message);
                    break;
                }
            } else if publishes && let Some((sequence, outgoing)) = self.publishing.next(now) {
                let request = Request::Publish(Publish {
                    channel: outgoing.channel.clone(),
                    id: outgoing.id.clone(),
                    data: outgoing.data.clone(),
                });
                let number = self.link(id)?.number(now, Awaiting::Publish(sequence));
                encoding.append(&ClientMessage { id: number, request }, &mut batch);
                let bytes = batch.len() - before;
                if (before > 0 && batch.len() > room) || bytes > limit {
                    batch.truncate(before);
                    self.link(id)?.answered(number);
                    if bytes > limit {
                        self.refuse_oversized(sequence, bytes, limit);
                        continue;
                    }
                    break;
                }
                self.publishing.sent(sequence, id, now);
            } else {
                break;
            }
        }
        (!batch.is_empty()).then_some(batch)
    }

    fn refuse_oversized(&mut self, sequence: u64, bytes: usize, limit: usize) {
        let message = format!("the message has {bytes} bytes; the server takes {limit}");
        let error = PublishError::Refused(WireError::new(ErrorCode::TooLarge, message));
        if let Some((ticket, result)) = self.publishing.refuse(sequence, error) {
            self.output.push_back(Output::Published { ticket, result });
        }
    }

    /// Nothing was read for a while because the application did not take its events: not the server's fault.
    pub(crate) fn forgive(&mut self, now: Millis) {
        for link in [&mut self.active, &mut self.successor].into_iter().flatten() {
            link.last_received = now;
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Millis> {
        let mut times = vec![self.connect_at, self.move_at.as_ref().map(|(at, _)| *at), self.move_deadline];
        times.push(self.publishing.poll_timeout());
        for link in [&self.active, &self.successor].into_iter().flatten() {
            times.push(self.link_timeout(link));
        }
        if self.active.as_ref().is_some_and(Link::is_ready) {
            times.extend(self.channels.values().map(|channel| channel.poll_timeout()));
        }
        times.into_iter().flatten().min()
    }

    fn link_timeout(&self, link: &Link) -> Option<Millis> {
        let asked = [link.oldest_request(), self.publishing.oldest_sent(link.id)].into_iter().flatten().min();
        let unanswered = asked.filter(|_| link.is_ready()).map(|at| at + self.settings.request_timeout_ms);
        [Some(link.dead_at(self.settings.connect_timeout_ms)), unanswered].into_iter().flatten().min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Millis) {
        if self.connect_at.is_some_and(|at| at <= now) {
            self.connect(now);
        }
        let due = |link: &Option<Link>| {
            let link = link.as_ref()?;
            self.link_timeout(link).filter(|at| *at <= now).map(|_| link.id)
        };
        let overdue: Vec<LinkId> = [due(&self.successor), due(&self.active)].into_iter().flatten().collect();
        for id in overdue {
            self.abandon(now, id, "the server does not answer");
        }
        if let Some((_, target)) = self.move_at.take_if(|(at, _)| *at <= now) {
            self.open_successor(now, target);
        }
        if self.move_deadline.take_if(|at| *at <= now).is_some()
            && self.successor.as_ref().is_some_and(Link::is_ready)
        {
            self.promote(now);
        }
        for (ticket, result) in self.publishing.expire(now) {
            self.output.push_back(Output::Published { ticket, result });
        }
        if self.active.as_ref().is_some_and(Link::is_ready) {
            let due = self
                .channels
                .iter()
                .filter(|(_, channel)| channel.poll_timeout().is_some_and(|at| at <= now));
            let names: Vec<ChannelName> = due.map(|(name, _)| name.clone()).collect();
            for name in names {
                self.start_channel(now, &name);
            }
        }
    }
}

fn describe(broken: &Broken) -> String {
    match broken.code {
        Some(code) if broken.reason.is_empty() => {
            let known = CloseCode::from_number(code).map_or("no reason given", CloseCode::reason);
            format!("{known} ({code})")
        }
        Some(code) => format!("{} ({code})", broken.reason),
        None => broken.reason.clone(),
    }
}

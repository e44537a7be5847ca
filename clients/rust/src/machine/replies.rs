//! What the server says: replies to requests, and pushes.

use skywave_protocol::error::Retry;
use skywave_protocol::{ChannelName, ErrorCode, Push, Reply, Request, ServerMessage, WireError};

use super::link::{Awaiting, Phase};
use super::output::Answer;
use super::{Broken, LinkId, Machine, Millis, Output, TokenWanted};
use crate::error::{ClosedError, RequestError};
use crate::event::{State, SubscriptionEvent};

impl Machine {
    /// Any byte came, a ping of the transport included.
    pub(crate) fn handle_received(&mut self, now: Millis, id: LinkId) {
        if let Some(link) = self.link(id) {
            link.last_received = now;
        }
    }

    /// One frame of the server.
    pub(crate) fn handle_frame(&mut self, now: Millis, id: LinkId, frame: &[u8]) {
        self.handle_received(now, id);
        match self.settings.encoding.read(frame) {
            Ok(messages) => {
                for message in messages {
                    if self.link(id).is_none() {
                        return;
                    }
                    self.handle_message(now, id, message);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the server sent something that is not of the protocol");
                self.abandon(now, id, "the server sent something that is not of the protocol");
            }
        }
    }

    fn handle_message(&mut self, now: Millis, id: LinkId, message: ServerMessage) {
        match message {
            ServerMessage::Ping => {
                if let Some(link) = self.link(id) {
                    link.tell(Request::Ping);
                }
            }
            ServerMessage::Push(push) => self.handle_push(now, id, push),
            ServerMessage::Reply { id: request, reply } => {
                let Some(awaiting) = self.link(id).and_then(|link| link.answered(request)) else { return };
                self.handle_reply(now, id, awaiting, reply);
            }
        }
    }

    fn handle_reply(&mut self, now: Millis, id: LinkId, awaiting: Awaiting, reply: Reply) {
        match (awaiting, reply) {
            (Awaiting::Connect, Reply::Connected(connected)) => {
                if let Some(link) = self.link(id) {
                    link.phase = Phase::Ready;
                    link.since = now;
                    link.connected = Some(connected);
                }
                self.handle_ready(now, id);
            }
            (Awaiting::Connect, Reply::Error(error)) => self.handle_refused(now, id, error),
            (Awaiting::Publish(sequence), reply) => {
                let result = match reply {
                    Reply::Published(published) => Ok(published),
                    Reply::Error(error) => Err(error),
                    _ => Err(WireError::new(ErrorCode::Internal, "an answer of another kind")),
                };
                let asked = result.as_ref().err().and_then(|error| error.retry_after_ms);
                let retry_at = match &result {
                    Ok(_) => now,
                    Err(_) => now + self.wait_ms(self.publishing.refusals(), asked),
                };
                if let Some((ticket, result)) = self.publishing.answered(sequence, result, retry_at) {
                    self.output.push_back(Output::Published { ticket, result });
                }
                self.promote_if_done(now);
            }
            (Awaiting::Subscribe(name), Reply::Subscribed(subscribed)) => {
                if self.channels.get(&name).is_some_and(|channel| channel.is_joining_on(id)) {
                    self.take_over(&name);
                }
                if let Some(channel) = self.channels.get_mut(&name) {
                    let step = channel.handle_subscribed(id, subscribed);
                    self.carry_out(now, id, &name, step);
                }
                self.promote_if_done(now);
            }
            (Awaiting::Subscribe(name), Reply::Error(error)) => {
                self.handle_subscribe_refused(now, id, &name, error);
                self.promote_if_done(now);
            }
            (Awaiting::Application(ticket), reply) => self.handle_answer(now, ticket, reply),
            (Awaiting::Refresh, Reply::Error(error)) => {
                tracing::warn!(%error, "the server did not take the fresh token");
            }
            _ => {}
        }
    }

    fn handle_ready(&mut self, now: Millis, id: LinkId) {
        if self.active.as_ref().is_some_and(|link| link.id == id) {
            self.announce();
            return self.resume(now);
        }
        let names: Vec<ChannelName> = self.channels.keys().cloned().collect();
        for name in names {
            if let Some(channel) = self.channels.get_mut(&name) {
                let step = channel.join_successor(id);
                self.carry_out(now, id, &name, step);
            }
        }
        self.promote_if_done(now);
    }

    /// Tells the application about the active connection.
    pub(super) fn announce(&mut self) {
        if let Some(connected) = self.active.as_ref().and_then(|link| link.connected.as_ref()) {
            self.output.push_back(Output::State(State::Connected {
                client: connected.client.clone(),
                node: connected.node.clone(),
                region: connected.region.clone(),
            }));
        }
    }

    /// The server does not accept the connection.
    fn handle_refused(&mut self, now: Millis, id: LinkId, error: WireError) {
        let broken =
            Broken { reason: error.to_string(), retry_after_ms: error.retry_after_ms, ..Broken::default() };
        match error.code.retry() {
            Retry::WithNewToken if self.settings.can_fetch_tokens => {
                self.token = None;
                self.output.push_back(Output::Shut(id));
                self.handle_broken(now, id, broken);
            }
            Retry::WithNewToken => self.close(ClosedError::Unauthorized(error.to_string())),
            Retry::Never => self.close(ClosedError::Refused(error.to_string())),
            Retry::Later | Retry::Elsewhere => {
                self.output.push_back(Output::Shut(id));
                self.handle_broken(now, id, broken);
            }
        }
    }

    fn handle_subscribe_refused(&mut self, now: Millis, id: LinkId, name: &ChannelName, error: WireError) {
        let Some(channel) = self.channels.get(name) else { return };
        let joining = channel.is_joining_on(id);
        let retry_at = now + self.wait_ms(channel.attempts(), error.retry_after_ms);
        // The server has the channel by a backend's doing: the subscription goes on where the grant stands.
        let granted = joining && error.code == ErrorCode::AlreadySubscribed && self.take_over(name);
        let Some(channel) = self.channels.get_mut(name) else { return };
        match channel.handle_refused(id, &error, retry_at, granted) {
            Some(step) => self.carry_out(now, id, name, step),
            None => self.end_channel(name, error),
        }
    }

    fn handle_revoked(&mut self, now: Millis, id: LinkId, name: &ChannelName, error: WireError) {
        let Some(attempts) = self.channels.get(name).map(|channel| channel.attempts()) else { return };
        let retry_at = now + self.wait_ms(attempts, error.retry_after_ms);
        let Some(channel) = self.channels.get_mut(name) else { return };
        match channel.handle_revoked(id, &error, retry_at) {
            Some(step) => self.carry_out(now, id, name, step),
            None => self.end_channel(name, error),
        }
    }

    /// A grant of the channel stays: what the server has said of one since it was asked is for the grants.
    fn end_channel(&mut self, name: &ChannelName, error: WireError) {
        let Some(channel) = self.channels.remove(name) else { return };
        let event = SubscriptionEvent::Ended(error);
        self.output.push_back(Output::Event { channel: name.clone(), event });
        for (of, push) in channel.into_early() {
            self.output.extend(self.grants.pushed(of, push).into_iter().map(Output::Granted));
        }
    }

    fn handle_answer(&mut self, now: Millis, ticket: u64, reply: Reply) {
        let result = match reply {
            Reply::History(page) => Ok(Answer::History(page)),
            Reply::Presence { members, .. } => Ok(Answer::Presence(members)),
            Reply::Error(error) if error.code.retry() == Retry::Elsewhere => {
                // Asked again on the connection that follows this one.
                tracing::debug!(%error, now, "a request waits for the next connection");
                return;
            }
            Reply::Error(error) => Err(RequestError::Refused(error)),
            _ => Err(RequestError::Refused(WireError::new(ErrorCode::Internal, "an answer of another kind"))),
        };
        if self.requests.remove(&ticket).is_some() {
            self.output.push_back(Output::Answered { ticket, result });
        }
    }

    fn handle_push(&mut self, now: Millis, id: LinkId, push: Push) {
        let name = match &push {
            Push::Publication { channel, .. }
            | Push::Gap { channel, .. }
            | Push::Join { channel, .. }
            | Push::Leave { channel, .. } => channel.clone(),
            Push::Subscribed(subscribed) => subscribed.channel.clone(),
            Push::Unsubscribed { channel, .. } => channel.clone(),
            Push::Move { target, within_ms } => {
                if self.active.as_ref().is_some_and(|link| link.id == id) {
                    self.handle_move(now, target.clone(), *within_ms);
                }
                return;
            }
            Push::Expiring { .. } => {
                if self.settings.can_fetch_tokens && self.token_wanted == TokenWanted::No {
                    self.token_wanted = TokenWanted::ToRefresh;
                    self.output.push_back(Output::FetchToken);
                }
                return;
            }
            Push::Close { code, reason } => {
                let broken =
                    Broken { code: Some(code.number()), reason: reason.clone(), ..Broken::default() };
                self.output.push_back(Output::Shut(id));
                return self.handle_broken(now, id, broken);
            }
        };
        // Until the server has taken a subscription, a grant of the channel goes on.
        let granted = self.grants.stands(&name, id);
        match (self.channels.get_mut(&name).filter(|_| !granted), push) {
            // One that is said while a `subscribe` is under way is of what stood before.
            (Some(channel), Push::Unsubscribed { error, .. }) if channel.is_joined_on(id) => {
                self.handle_revoked(now, id, &name, error);
            }
            (Some(channel), push) => {
                let step = channel.handle_push(id, push);
                self.carry_out(now, id, &name, step);
            }
            (None, push) => {
                self.output.extend(self.grants.pushed(id, push).into_iter().map(Output::Granted));
                self.follow_grant(&name);
            }
        }
    }
}

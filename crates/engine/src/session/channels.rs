//! Joining and leaving channels: requests of the client, answers of the hub, and the two crossing each other.

use skywave_protocol::message::{Recovery, Reply, Subscribe, Subscribed};
use skywave_protocol::{ChannelName, Durability, ErrorCode, Position, Push, WireError};

use super::state::{Open, Phase};
use super::subscriptions::{Again, State};
use super::{Session, SessionOutput};
use crate::capability::Operation;
use crate::time::Millis;

impl Session {
    /// The hub made this connection a member. `true`: the reply goes out with the outputs; after it the missed
    /// publications are to be sent, and the connection counts as a subscriber. `false`: the client does not want it any
    /// more; nothing is to be sent.
    #[must_use]
    pub fn handle_joined(
        &mut self,
        _now: Millis,
        channel: &ChannelName,
        position: Option<Position>,
        recovery: Option<Recovery>,
    ) -> bool {
        let Some(state) = self.subscriptions.get_mut(channel) else { return false };
        match state {
            State::Joining { request_id } => {
                let request_id = *request_id;
                *state = State::Standing;
                let channel = channel.clone();
                self.reply(request_id, Reply::Subscribed(Subscribed { channel, position, recovery }));
                true
            }
            State::Granted => {
                *state = State::Standing;
                let channel = channel.clone();
                self.push(Push::Subscribed(Subscribed { channel, position, recovery }));
                true
            }
            State::Standing => false,
            State::Unwanted { again } => {
                let again = again.take();
                self.out.push_back(SessionOutput::Leave { channel: channel.clone() });
                self.join_again(channel, again);
                false
            }
        }
    }

    pub fn handle_join_failed(&mut self, _now: Millis, channel: &ChannelName, error: WireError) {
        match self.subscriptions.get_mut(channel) {
            Some(State::Joining { request_id }) => {
                let request_id = *request_id;
                self.subscriptions.remove(channel);
                self.refuse(request_id, error);
            }
            Some(State::Unwanted { again }) => {
                let again = again.take();
                self.join_again(channel, again);
            }
            // The client never heard of it; the backend may grant it again.
            Some(State::Granted) => self.subscriptions.remove(channel),
            Some(State::Standing) | None => {}
        }
    }

    pub(super) fn subscribe(&mut self, open: &Open, request_id: u32, subscribe: Subscribe) {
        let Subscribe { channel, recover, presence } = subscribe;
        if let Err(error) = self.may_subscribe(open, &channel, presence) {
            return self.refuse(request_id, error);
        }
        match self.subscriptions.get_mut(&channel) {
            Some(State::Unwanted { again: again @ None }) => {
                *again = Some(Box::new(Again { request_id, recover, presence }));
                return;
            }
            Some(_) => {
                let error =
                    WireError::new(ErrorCode::AlreadySubscribed, "this connection has joined the channel");
                return self.refuse(request_id, error);
            }
            None => {}
        }
        if self.subscriptions.len() >= self.config.subscriptions {
            let limit = self.config.subscriptions;
            let message = format!("a connection may subscribe to {limit} channels");
            return self.refuse(request_id, WireError::new(ErrorCode::TooManySubscriptions, message));
        }
        self.join(channel, request_id, recover, presence);
    }

    pub(super) fn unsubscribe(&mut self, request_id: u32, channel: ChannelName) {
        let overtaken = match self.subscriptions.get_mut(&channel) {
            Some(State::Standing) => {
                self.subscriptions.remove(&channel);
                self.out.push_back(SessionOutput::Leave { channel: channel.clone() });
                return self.reply(request_id, Reply::Unsubscribed { channel });
            }
            Some(state @ State::Granted) => {
                *state = State::Unwanted { again: None };
                return self.reply(request_id, Reply::Unsubscribed { channel });
            }
            Some(state @ State::Joining { .. }) => {
                match std::mem::replace(state, State::Unwanted { again: None }) {
                    State::Joining { request_id } => Some(request_id),
                    _ => None,
                }
            }
            Some(State::Unwanted { again }) => again.take().map(|again| again.request_id),
            None => None,
        };
        let error = |message| WireError::new(ErrorCode::NotSubscribed, message);
        match overtaken {
            Some(overtaken) => {
                self.refuse(overtaken, error("unsubscribed before the subscription stood"));
                self.reply(request_id, Reply::Unsubscribed { channel });
            }
            None => self.refuse(request_id, error("this connection has not joined the channel")),
        }
    }

    /// A backend puts this connection into the channel, whatever its token says. Nothing happens
    /// on a connection that is not open, or full.
    pub fn grant(&mut self, channel: ChannelName) {
        if !matches!(self.phase, Phase::Open(_)) || self.config.namespace(&channel).is_none() {
            return;
        }
        if self.subscriptions.grant(&channel, true) {
            // One that is being left is not taken back: the client has just said that it does not want it.
            return;
        }
        if self.subscriptions.len() < self.config.subscriptions {
            self.start_join(channel.clone(), State::Granted, None, false);
            self.subscriptions.grant(&channel, true);
        }
    }

    /// A backend takes this connection out of the channel, whoever put it there.
    pub fn withdraw(&mut self, channel: &ChannelName) {
        self.subscriptions.grant(channel, false);
        self.end_subscription(channel, || {
            WireError::new(ErrorCode::Forbidden, "a backend has ended the subscription")
        });
    }

    /// Ends a subscription from this side, whatever state it is in.
    pub(super) fn end_subscription(&mut self, channel: &ChannelName, error: impl FnOnce() -> WireError) {
        let Some(state) = self.subscriptions.get_mut(channel) else { return };
        match state {
            State::Standing => {
                self.subscriptions.remove(channel);
                self.out.push_back(SessionOutput::Leave { channel: channel.clone() });
                self.push(Push::Unsubscribed { channel: channel.clone(), error: error() });
            }
            State::Joining { request_id } => {
                let request_id = *request_id;
                *state = State::Unwanted { again: None };
                self.refuse(request_id, error());
            }
            State::Granted => *state = State::Unwanted { again: None },
            State::Unwanted { again } => {
                if let Some(again) = again.take() {
                    self.refuse(again.request_id, error());
                }
            }
        }
    }

    fn may_subscribe(&self, open: &Open, channel: &ChannelName, presence: bool) -> Result<(), WireError> {
        let namespace = self.namespace(channel)?;
        if !open.allows(Operation::Subscribe, channel, namespace) {
            return Err(super::requests::forbidden(Operation::Subscribe));
        }
        if !presence {
            return Ok(());
        }
        if !namespace.presence {
            return Err(WireError::new(ErrorCode::NotAvailable, "the namespace has no presence"));
        }
        match open.allows(Operation::Presence, channel, namespace) {
            true => Ok(()),
            false => Err(super::requests::forbidden(Operation::Presence)),
        }
    }

    fn join(&mut self, channel: ChannelName, request_id: u32, recover: Option<Position>, presence: bool) {
        self.start_join(channel, State::Joining { request_id }, recover, presence);
    }

    fn start_join(&mut self, channel: ChannelName, state: State, recover: Option<Position>, presence: bool) {
        let durability = self.config.namespace(&channel).map(|namespace| namespace.durability);
        let durable = durability == Some(Durability::Durable);
        self.subscriptions.insert(channel.clone(), presence, state);
        let recover = recover.filter(|_| durable);
        self.out.push_back(SessionOutput::Join { channel, durable, recover, presence });
    }

    fn join_again(&mut self, channel: &ChannelName, again: Option<Box<Again>>) {
        match again {
            Some(again) => {
                let Again { request_id, recover, presence } = *again;
                self.join(channel.clone(), request_id, recover, presence);
            }
            None => self.subscriptions.remove(channel),
        }
    }
}

//! Requests of the client: admitted by phase and rate, checked against namespace, token and limits, then handed out.

use skywave_protocol::limits::{BATCH_REQUESTS, HISTORY_PAGE_MAX};
use skywave_protocol::message::{HistoryQuery, Publish, Reply, Request};
use skywave_protocol::{
    ChannelName, ClientMessage, CloseCode, Durability, ErrorCode, NamespaceOptions, WireError,
};

use super::state::{Connecting, Open, Phase};
use super::{Session, SessionOutput};
use crate::capability::Operation;
use crate::time::Millis;

pub(super) fn forbidden(operation: Operation) -> WireError {
    WireError::new(ErrorCode::Forbidden, format!("{} is not allowed in this channel", operation.name()))
}

impl Session {
    pub(super) fn request(&mut self, now: Millis, message: ClientMessage) {
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::New { until } => self.first_request(until, message),
            Phase::Connecting(mut connecting) => {
                let overflow = connecting.hold(message);
                self.phase = Phase::Connecting(connecting);
                if let Some(message) = overflow {
                    let error = WireError::new(ErrorCode::RateLimited, "wait for the answer to connect");
                    self.refuse(message.id, error.retry_after_ms(100));
                }
            }
            Phase::Open(mut open) => {
                self.open_request(now, &mut open, message);
                self.phase = Phase::Open(open);
            }
            Phase::Closed => {}
        }
    }

    fn first_request(&mut self, until: Millis, message: ClientMessage) {
        if let Request::Connect(connect) = message.request {
            self.phase =
                Phase::Connecting(Box::new(Connecting { until, request_id: message.id, held: Vec::new() }));
            if connect.key.is_some() || connect.placed {
                self.out.push_back(SessionOutput::Place { key: connect.key, placed: connect.placed });
            }
            self.out.push_back(SessionOutput::Authenticate { token: connect.token });
        } else {
            self.phase = Phase::New { until };
            self.refuse(message.id, WireError::new(ErrorCode::Unauthorized, "connect comes first"));
            self.close(CloseCode::ConnectRequired, "connect comes first");
        }
    }

    fn open_request(&mut self, now: Millis, open: &mut Open, message: ClientMessage) {
        let ClientMessage { id, request } = message;
        let outcome = match self.admit(now, &request) {
            Err(error) => Err(error),
            Ok(()) => match request {
                Request::Publish(publish) => self.publish(now, open, id, publish),
                Request::Subscribe(subscribe) => {
                    self.subscribe(open, id, subscribe);
                    Ok(())
                }
                Request::Unsubscribe { channel } => {
                    self.unsubscribe(id, channel);
                    Ok(())
                }
                Request::History(query) => self.history(now, open, id, query),
                Request::Presence { channel } => self.presence(now, open, id, channel),
                Request::Refresh { token } => self.refresh(open, id, token),
                Request::Ping => {
                    self.reply(id, Reply::Pong);
                    Ok(())
                }
                Request::Connect(_) => Err(WireError::new(ErrorCode::BadRequest, "connected already")),
            },
        };
        if let Err(error) = outcome {
            self.refuse(id, error);
        }
    }

    fn admit(&mut self, now: Millis, request: &Request) -> Result<(), WireError> {
        let (bucket, rate) = match request {
            Request::Publish(_) => (&mut self.publishes, self.config.publish_rate),
            _ => (&mut self.requests, self.config.request_rate),
        };
        bucket.take(now, rate, 1).map_err(|wait_ms| {
            WireError::new(ErrorCode::RateLimited, "too many requests").retry_after_ms(wait_ms)
        })
    }

    fn publish(&mut self, now: Millis, open: &Open, id: u32, publish: Publish) -> Result<(), WireError> {
        let namespace = self.namespace(&publish.channel)?;
        if !open.allows(Operation::Publish, &publish.channel, namespace) {
            return Err(forbidden(Operation::Publish));
        }
        let limit = namespace.payload_bytes;
        if publish.data.len() > limit {
            return Err(WireError::new(ErrorCode::TooLarge, format!("data has at most {limit} bytes here")));
        }
        let durable = namespace.durability == Durability::Durable;
        self.wait_for_answer(now, id)?;
        let Publish { channel, id: message_id, data } = publish;
        self.out.push_back(SessionOutput::Publish { request_id: id, channel, id: message_id, data, durable });
        Ok(())
    }

    fn history(
        &mut self,
        now: Millis,
        open: &Open,
        id: u32,
        mut query: HistoryQuery,
    ) -> Result<(), WireError> {
        let namespace = self.namespace(&query.channel)?;
        if !open.allows(Operation::History, &query.channel, namespace) {
            return Err(forbidden(Operation::History));
        }
        if namespace.durability == Durability::Ephemeral || namespace.history_size == 0 {
            return Err(WireError::new(ErrorCode::NotAvailable, "the namespace keeps no history"));
        }
        self.wait_for_answer(now, id)?;
        query.limit = query.limit.clamp(1, HISTORY_PAGE_MAX);
        self.out.push_back(SessionOutput::ReadHistory { request_id: id, query });
        Ok(())
    }

    fn presence(&mut self, now: Millis, open: &Open, id: u32, channel: ChannelName) -> Result<(), WireError> {
        let namespace = self.namespace(&channel)?;
        if !open.allows(Operation::Presence, &channel, namespace) {
            return Err(forbidden(Operation::Presence));
        }
        if !namespace.presence {
            return Err(WireError::new(ErrorCode::NotAvailable, "the namespace has no presence"));
        }
        self.wait_for_answer(now, id)?;
        self.out.push_back(SessionOutput::ReadPresence { request_id: id, channel });
        Ok(())
    }

    fn refresh(&mut self, open: &mut Open, id: u32, token: String) -> Result<(), WireError> {
        if open.refreshing.is_some() {
            let error = WireError::new(ErrorCode::RateLimited, "another refresh is being checked");
            return Err(error.retry_after_ms(1_000));
        }
        open.refreshing = Some(id);
        self.out.push_back(SessionOutput::Authenticate { token: Some(token) });
        Ok(())
    }

    pub(super) fn namespace(&self, channel: &ChannelName) -> Result<&NamespaceOptions, WireError> {
        self.config.namespace(channel).ok_or_else(|| {
            let message = format!("there is no namespace {:?}", channel.namespace());
            WireError::new(ErrorCode::UnknownNamespace, message)
        })
    }

    /// Takes note of a request whose answer comes from outside.
    fn wait_for_answer(&mut self, now: Millis, id: u32) -> Result<(), WireError> {
        if id == 0 {
            return Ok(());
        }
        if self.waiting.iter().any(|(waiting, _)| *waiting == id) {
            return Err(WireError::new(ErrorCode::BadRequest, "a request with this id is unanswered"));
        }
        if self.waiting.len() >= self.config.requests {
            let error = WireError::new(ErrorCode::RateLimited, "too many unanswered requests");
            return Err(error.retry_after_ms(100));
        }
        self.waiting.push((id, now + self.config.request_timeout_ms));
        Ok(())
    }
}

impl Connecting {
    /// Keeps a request until the token is checked; gives it back if there is no room.
    fn hold(&mut self, message: ClientMessage) -> Option<ClientMessage> {
        if self.held.len() >= BATCH_REQUESTS {
            return Some(message);
        }
        self.held.push(message);
        None
    }
}

//! Reads what clients receive.
//!
//! Meant to outlive the server's version: an error code or gap reason unknown here reads as the safest known one, and a
//! message of an unknown kind is [`DecodeError::UnknownKind`], to be skipped.

mod pushes;
mod replies;

use serde::Deserialize;

use self::pushes::{
    CloseFields, ExpiringFields, GapPushFields, MemberPushFields, MoveFields, PubFields, UnsubscribedFields,
};
use self::replies::{
    ConnectedFields, ErrorFields, HistoryFields, PresenceFields, PublishedFields, RefreshedFields,
    SubscribedFields,
};
use super::object::{Nothing, Object, Text, is_empty_object, malformed, text};
use crate::ChannelName;
use crate::decode::DecodeError;
use crate::message::{Push, Reply, ServerMessage};
use crate::position::{Epoch, Position};

/// Reads one message.
pub fn decode_server(message: &[u8]) -> Result<ServerMessage, DecodeError> {
    let text = text(message)?;
    let Object(envelope): Object<Envelope<'_>> =
        serde_json::from_str(text).map_err(|error| malformed(&error))?;
    envelope.message(text)
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "pub")]
    publication: Option<Object<PubFields<'a>>>,
    id: Option<u32>,
    #[serde(borrow)]
    connected: Option<Object<ConnectedFields<'a>>>,
    #[serde(borrow)]
    subscribed: Option<Object<SubscribedFields<'a>>>,
    #[serde(borrow)]
    unsubscribed: Option<Object<UnsubscribedFields<'a>>>,
    #[serde(borrow)]
    published: Option<Object<PublishedFields<'a>>>,
    #[serde(borrow)]
    history: Option<Object<HistoryFields<'a>>>,
    #[serde(borrow)]
    presence: Option<Object<PresenceFields<'a>>>,
    refreshed: Option<Object<RefreshedFields>>,
    pong: Option<Object<Nothing>>,
    #[serde(borrow)]
    error: Option<Object<ErrorFields<'a>>>,
    #[serde(borrow)]
    gap: Option<Object<GapPushFields<'a>>>,
    #[serde(borrow)]
    join: Option<Object<MemberPushFields<'a>>>,
    #[serde(borrow)]
    leave: Option<Object<MemberPushFields<'a>>>,
    #[serde(borrow, rename = "move")]
    relocate: Option<Object<MoveFields<'a>>>,
    expiring: Option<Object<ExpiringFields>>,
    #[serde(borrow)]
    close: Option<Object<CloseFields<'a>>>,
}

impl Envelope<'_> {
    /// With an `id` a reply, without one a push (or an error about a request whose id could not be read).
    fn message(self, text: &str) -> Result<ServerMessage, DecodeError> {
        let Some(id) = self.id else { return self.push(text) };
        let mut replies = [
            self.connected.map(|Object(fields)| fields.reply()),
            self.subscribed.map(|Object(fields)| Ok(Reply::Subscribed(fields.subscribed()?))),
            self.unsubscribed
                .map(|Object(fields)| Ok(Reply::Unsubscribed { channel: channel(&fields.channel)? })),
            self.published.map(|Object(fields)| fields.reply()),
            self.history.map(|Object(fields)| fields.reply()),
            self.presence.map(|Object(fields)| fields.reply()),
            self.refreshed
                .map(|Object(fields)| Ok(Reply::Refreshed { expires_in_seconds: fields.expires_in_seconds })),
            self.pong.map(|_| Ok(Reply::Pong)),
            self.error.map(|Object(fields)| Ok(Reply::Error(fields.error()))),
        ]
        .into_iter()
        .flatten();
        let reply = one(replies.next(), replies.next(), "reply")?;
        Ok(ServerMessage::Reply { id, reply })
    }

    fn push(self, text: &str) -> Result<ServerMessage, DecodeError> {
        if let Some(Object(fields)) = self.error {
            return Ok(ServerMessage::Reply { id: 0, reply: Reply::Error(fields.error()) });
        }
        let mut pushes = [
            self.publication.map(|Object(fields)| fields.push()),
            self.subscribed.map(|Object(fields)| Ok(Push::Subscribed(fields.subscribed()?))),
            self.unsubscribed.map(|Object(fields)| fields.push()),
            self.gap.map(|Object(fields)| fields.push()),
            self.join.map(|Object(fields)| {
                let (channel, member) = fields.parse()?;
                Ok(Push::Join { channel, member })
            }),
            self.leave.map(|Object(fields)| {
                let (channel, member) = fields.parse()?;
                Ok(Push::Leave { channel, member })
            }),
            self.relocate.map(|Object(fields)| {
                let target = fields.target.map(Text::into_string);
                Ok(Push::Move { target, within_ms: fields.within_ms })
            }),
            self.expiring.map(|Object(fields)| Ok(Push::Expiring { seconds: fields.seconds })),
            self.close.map(|Object(fields)| fields.push()),
        ]
        .into_iter()
        .flatten();
        match (pushes.next(), pushes.next()) {
            (None, None) if is_empty_object(text) => Ok(ServerMessage::Ping),
            (first, second) => Ok(ServerMessage::Push(one(first, second, "push")?)),
        }
    }
}

fn one<T>(
    first: Option<Result<T, DecodeError>>,
    second: Option<Result<T, DecodeError>>,
    what: &'static str,
) -> Result<T, DecodeError> {
    match (first, second) {
        (Some(only), None) => only,
        (None, _) => Err(DecodeError::UnknownKind { what, tag: 0 }),
        (Some(_), Some(_)) => Err(DecodeError::Malformed("a message holds one thing only".into())),
    }
}

fn channel(text: &str) -> Result<ChannelName, DecodeError> {
    Ok(ChannelName::parse(text)?)
}

fn position(epoch: Option<Text<'_>>, offset: Option<u64>) -> Result<Option<Position>, DecodeError> {
    match (epoch, offset) {
        (Some(epoch), Some(offset)) => Ok(Some(Position { epoch: Epoch::parse(&epoch)?, offset })),
        (None, None) => Ok(None),
        _ => Err(DecodeError::Malformed("epoch and offset come together".into())),
    }
}

//! Reads what clients receive.
//!
//! Meant to outlive the server's version: an error code or gap reason unknown here reads as the safest known one, and a
//! message of an unknown kind is [`DecodeError::UnknownKind`], to be skipped.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::object::{Nothing, Object, Text, is_empty_object, malformed, present, text};
use super::payload;
use crate::close::CloseCode;
use crate::decode::DecodeError;
use crate::error::{ErrorCode, WireError};
use crate::message::{
    Connected, GapReason, HistoryPage, Member, Published, Push, Recovery, Reply, ServerMessage, Subscribed,
};
use crate::position::{Epoch, Position};
use crate::publication::Publication;
use crate::{ChannelName, ClientId, MessageId, NodeId, UserId};

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
            self.subscribed.map(|Object(fields)| fields.reply()),
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

#[derive(Deserialize)]
struct ConnectedFields<'a> {
    #[serde(borrow)]
    client: Text<'a>,
    #[serde(borrow)]
    user: Option<Text<'a>>,
    #[serde(borrow)]
    region: Text<'a>,
    #[serde(borrow)]
    node: Text<'a>,
    ping_seconds: u32,
    pong_timeout_seconds: u32,
    expires_in_seconds: Option<u64>,
    message_bytes: u32,
}

impl ConnectedFields<'_> {
    fn reply(self) -> Result<Reply, DecodeError> {
        Ok(Reply::Connected(Connected {
            client: ClientId::parse(&self.client)?,
            user: self.user.map(|user| UserId::parse(&user)).transpose()?,
            region: self.region.into_string(),
            node: NodeId::parse(&self.node)?,
            ping_seconds: self.ping_seconds,
            pong_timeout_seconds: self.pong_timeout_seconds,
            expires_in_seconds: self.expires_in_seconds,
            message_bytes: self.message_bytes,
        }))
    }
}

#[derive(Deserialize)]
struct SubscribedFields<'a> {
    #[serde(borrow)]
    channel: Text<'a>,
    #[serde(borrow)]
    epoch: Option<Text<'a>>,
    offset: Option<u64>,
    #[serde(borrow)]
    recovery: Option<Text<'a>>,
    #[serde(borrow)]
    gap: Option<Object<GapFields<'a>>>,
}

impl SubscribedFields<'_> {
    fn reply(self) -> Result<Reply, DecodeError> {
        let recovery = match (self.recovery.as_deref(), self.gap) {
            (None, _) => None,
            (Some("exact"), _) => Some(Recovery::Exact),
            (Some("gap"), Some(Object(gap))) => {
                Some(Recovery::Gap { from: gap.from, to: gap.to, reason: GapReason::from_name(&gap.reason) })
            }
            _ => return Err(DecodeError::Malformed("the recovery is neither exact nor a gap".into())),
        };
        Ok(Reply::Subscribed(Subscribed {
            channel: channel(&self.channel)?,
            position: position(self.epoch, self.offset)?,
            recovery,
        }))
    }
}

#[derive(Deserialize)]
struct GapFields<'a> {
    from: u64,
    to: u64,
    #[serde(borrow)]
    reason: Text<'a>,
}

#[derive(Deserialize)]
struct GapPushFields<'a> {
    #[serde(borrow)]
    channel: Text<'a>,
    #[serde(borrow)]
    epoch: Text<'a>,
    from: u64,
    to: u64,
    #[serde(borrow)]
    reason: Text<'a>,
}

impl GapPushFields<'_> {
    fn push(self) -> Result<Push, DecodeError> {
        Ok(Push::Gap {
            channel: channel(&self.channel)?,
            epoch: Epoch::parse(&self.epoch)?,
            from: self.from,
            to: self.to,
            reason: GapReason::from_name(&self.reason),
        })
    }
}

#[derive(Deserialize)]
struct UnsubscribedFields<'a> {
    #[serde(borrow)]
    channel: Text<'a>,
    #[serde(borrow)]
    code: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
    retry_after_ms: Option<u64>,
}

impl UnsubscribedFields<'_> {
    fn push(self) -> Result<Push, DecodeError> {
        let (Some(code), Some(message)) = (self.code, self.message) else {
            return Err(DecodeError::Malformed("unsubscribed without code or message".into()));
        };
        let error = ErrorFields { code, message, retry_after_ms: self.retry_after_ms }.error();
        Ok(Push::Unsubscribed { channel: channel(&self.channel)?, error })
    }
}

#[derive(Deserialize)]
struct PublishedFields<'a> {
    #[serde(borrow)]
    epoch: Option<Text<'a>>,
    offset: Option<u64>,
    duplicate: Option<bool>,
}

impl PublishedFields<'_> {
    fn reply(self) -> Result<Reply, DecodeError> {
        let position = position(self.epoch, self.offset)?;
        Ok(Reply::Published(Published { position, duplicate: self.duplicate.unwrap_or(false) }))
    }
}

#[derive(Deserialize)]
struct HistoryFields<'a> {
    #[serde(borrow)]
    channel: Text<'a>,
    #[serde(borrow)]
    epoch: Text<'a>,
    offset: u64,
    #[serde(borrow)]
    publications: Vec<Object<PubFields<'a>>>,
}

impl HistoryFields<'_> {
    fn reply(self) -> Result<Reply, DecodeError> {
        let publications = self.publications.into_iter().map(|Object(fields)| fields.publication());
        Ok(Reply::History(HistoryPage {
            channel: channel(&self.channel)?,
            epoch: Epoch::parse(&self.epoch)?,
            head: self.offset,
            publications: publications.collect::<Result<_, _>>()?,
        }))
    }
}

/// A publication, in a push with its channel, in a history page without.
#[derive(Deserialize)]
struct PubFields<'a> {
    #[serde(borrow)]
    channel: Option<Text<'a>>,
    offset: Option<u64>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    data64: Option<Text<'a>>,
    #[serde(borrow)]
    from: Option<Text<'a>>,
    time: Option<u64>,
    #[serde(borrow)]
    epoch: Option<Text<'a>>,
}

impl PubFields<'_> {
    fn push(self) -> Result<Push, DecodeError> {
        let Some(name) = &self.channel else {
            return Err(DecodeError::Malformed("a publication without a channel".into()));
        };
        Ok(Push::Publication {
            channel: channel(name)?,
            epoch: self.epoch.as_deref().map(Epoch::parse).transpose()?,
            publication: self.publication()?,
        })
    }

    fn publication(&self) -> Result<Arc<Publication>, DecodeError> {
        Ok(Arc::new(Publication {
            offset: self.offset.unwrap_or(0),
            id: self.id.as_deref().map(MessageId::parse).transpose()?,
            from: self.from.as_deref().map(UserId::parse).transpose()?,
            time_ms: self.time.unwrap_or(0),
            data: payload::from_fields(self.data, self.data64.as_ref())?,
        }))
    }
}

#[derive(Deserialize)]
struct MemberFields<'a> {
    #[serde(borrow)]
    client: Text<'a>,
    #[serde(borrow)]
    user: Option<Text<'a>>,
}

impl MemberFields<'_> {
    fn member(&self) -> Result<Member, DecodeError> {
        Ok(Member {
            client: ClientId::parse(&self.client)?,
            user: self.user.as_deref().map(UserId::parse).transpose()?,
        })
    }
}

#[derive(Deserialize)]
struct MemberPushFields<'a> {
    #[serde(borrow)]
    channel: Text<'a>,
    #[serde(borrow)]
    client: Text<'a>,
    #[serde(borrow)]
    user: Option<Text<'a>>,
}

impl MemberPushFields<'_> {
    fn parse(self) -> Result<(ChannelName, Member), DecodeError> {
        let member = MemberFields { client: self.client, user: self.user }.member()?;
        Ok((channel(&self.channel)?, member))
    }
}

#[derive(Deserialize)]
struct PresenceFields<'a> {
    #[serde(borrow)]
    channel: Text<'a>,
    #[serde(borrow)]
    members: Vec<Object<MemberFields<'a>>>,
}

impl PresenceFields<'_> {
    fn reply(self) -> Result<Reply, DecodeError> {
        let members = self.members.iter().map(|Object(fields)| fields.member());
        Ok(Reply::Presence { channel: channel(&self.channel)?, members: members.collect::<Result<_, _>>()? })
    }
}

#[derive(Deserialize)]
struct RefreshedFields {
    expires_in_seconds: Option<u64>,
}

#[derive(Deserialize)]
struct ErrorFields<'a> {
    #[serde(borrow)]
    code: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
    retry_after_ms: Option<u64>,
}

impl ErrorFields<'_> {
    fn error(self) -> WireError {
        WireError {
            code: ErrorCode::from_name(&self.code).unwrap_or(ErrorCode::Internal),
            message: self.message.into_string(),
            retry_after_ms: self.retry_after_ms,
        }
    }
}

#[derive(Deserialize)]
struct MoveFields<'a> {
    #[serde(borrow)]
    target: Option<Text<'a>>,
    within_ms: u32,
}

#[derive(Deserialize)]
struct ExpiringFields {
    seconds: u32,
}

#[derive(Deserialize)]
struct CloseFields<'a> {
    code: u16,
    #[serde(borrow)]
    reason: Text<'a>,
}

impl CloseFields<'_> {
    fn push(self) -> Result<Push, DecodeError> {
        Ok(Push::Close { code: CloseCode::from_wire(self.code), reason: self.reason.into_string() })
    }
}

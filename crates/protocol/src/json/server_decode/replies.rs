//! The fields of replies.

use serde::Deserialize;

use super::pushes::PubFields;
use super::{channel, position};
use crate::decode::DecodeError;
use crate::error::{ErrorCode, WireError};
use crate::json::object::{Object, Text};
use crate::message::{Connected, GapReason, HistoryPage, Member, Published, Recovery, Reply, Subscribed};
use crate::position::Epoch;
use crate::{ClientId, NodeId, UserId};

#[derive(Deserialize)]
pub(super) struct ConnectedFields<'a> {
    #[serde(borrow)]
    pub(super) client: Text<'a>,
    #[serde(borrow)]
    pub(super) user: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) region: Text<'a>,
    #[serde(borrow)]
    pub(super) node: Text<'a>,
    pub(super) ping_seconds: u32,
    pub(super) pong_timeout_seconds: u32,
    pub(super) expires_in_seconds: Option<u64>,
    pub(super) message_bytes: u32,
}

impl ConnectedFields<'_> {
    pub(super) fn reply(self) -> Result<Reply, DecodeError> {
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
pub(super) struct SubscribedFields<'a> {
    #[serde(borrow)]
    pub(super) channel: Text<'a>,
    #[serde(borrow)]
    pub(super) epoch: Option<Text<'a>>,
    pub(super) offset: Option<u64>,
    #[serde(borrow)]
    pub(super) recovery: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) gap: Option<Object<GapFields<'a>>>,
}

impl SubscribedFields<'_> {
    pub(super) fn subscribed(self) -> Result<Subscribed, DecodeError> {
        let recovery = match (self.recovery.as_deref(), self.gap) {
            (None, _) => None,
            (Some("exact"), _) => Some(Recovery::Exact),
            (Some("gap"), Some(Object(gap))) => {
                Some(Recovery::Gap { from: gap.from, to: gap.to, reason: GapReason::from_name(&gap.reason) })
            }
            _ => return Err(DecodeError::Malformed("the recovery is neither exact nor a gap".into())),
        };
        Ok(Subscribed {
            channel: channel(&self.channel)?,
            position: position(self.epoch, self.offset)?,
            recovery,
        })
    }
}

#[derive(Deserialize)]
pub(super) struct GapFields<'a> {
    pub(super) from: u64,
    pub(super) to: u64,
    #[serde(borrow)]
    pub(super) reason: Text<'a>,
}

#[derive(Deserialize)]
pub(super) struct PublishedFields<'a> {
    #[serde(borrow)]
    pub(super) epoch: Option<Text<'a>>,
    pub(super) offset: Option<u64>,
    pub(super) duplicate: Option<bool>,
}

impl PublishedFields<'_> {
    pub(super) fn reply(self) -> Result<Reply, DecodeError> {
        let position = position(self.epoch, self.offset)?;
        Ok(Reply::Published(Published { position, duplicate: self.duplicate.unwrap_or(false) }))
    }
}

#[derive(Deserialize)]
pub(super) struct HistoryFields<'a> {
    #[serde(borrow)]
    pub(super) channel: Text<'a>,
    #[serde(borrow)]
    pub(super) epoch: Text<'a>,
    pub(super) offset: u64,
    #[serde(borrow)]
    pub(super) publications: Vec<Object<PubFields<'a>>>,
}

impl HistoryFields<'_> {
    pub(super) fn reply(self) -> Result<Reply, DecodeError> {
        let publications = self.publications.into_iter().map(|Object(fields)| fields.publication());
        Ok(Reply::History(HistoryPage {
            channel: channel(&self.channel)?,
            epoch: Epoch::parse(&self.epoch)?,
            head: self.offset,
            publications: publications.collect::<Result<_, _>>()?,
        }))
    }
}

#[derive(Deserialize)]
pub(super) struct MemberFields<'a> {
    #[serde(borrow)]
    pub(super) client: Text<'a>,
    #[serde(borrow)]
    pub(super) user: Option<Text<'a>>,
}

impl MemberFields<'_> {
    pub(super) fn member(&self) -> Result<Member, DecodeError> {
        Ok(Member {
            client: ClientId::parse(&self.client)?,
            user: self.user.as_deref().map(UserId::parse).transpose()?,
        })
    }
}

#[derive(Deserialize)]
pub(super) struct PresenceFields<'a> {
    #[serde(borrow)]
    pub(super) channel: Text<'a>,
    #[serde(borrow)]
    pub(super) members: Vec<Object<MemberFields<'a>>>,
}

impl PresenceFields<'_> {
    pub(super) fn reply(self) -> Result<Reply, DecodeError> {
        let members = self.members.iter().map(|Object(fields)| fields.member());
        Ok(Reply::Presence { channel: channel(&self.channel)?, members: members.collect::<Result<_, _>>()? })
    }
}

#[derive(Deserialize)]
pub(super) struct RefreshedFields {
    pub(super) expires_in_seconds: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct ErrorFields<'a> {
    #[serde(borrow)]
    pub(super) code: Text<'a>,
    #[serde(borrow)]
    pub(super) message: Text<'a>,
    pub(super) retry_after_ms: Option<u64>,
}

impl ErrorFields<'_> {
    pub(super) fn error(self) -> WireError {
        WireError {
            code: ErrorCode::from_name(&self.code).unwrap_or(ErrorCode::Internal),
            message: self.message.into_string(),
            retry_after_ms: self.retry_after_ms,
        }
    }
}

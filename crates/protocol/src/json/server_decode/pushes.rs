//! The fields of pushes, and of publications wherever they stand.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::channel;
use super::replies::{ErrorFields, MemberFields};
use crate::close::CloseCode;
use crate::decode::DecodeError;
use crate::json::object::{Text, present};
use crate::json::payload;
use crate::message::{GapReason, Member, Push};
use crate::position::Epoch;
use crate::publication::Publication;
use crate::{ChannelName, MessageId, UserId};

#[derive(Deserialize)]
pub(super) struct GapPushFields<'a> {
    #[serde(borrow)]
    pub(super) channel: Text<'a>,
    #[serde(borrow)]
    pub(super) epoch: Text<'a>,
    pub(super) from: u64,
    pub(super) to: u64,
    #[serde(borrow)]
    pub(super) reason: Text<'a>,
}

impl GapPushFields<'_> {
    pub(super) fn push(self) -> Result<Push, DecodeError> {
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
pub(super) struct UnsubscribedFields<'a> {
    #[serde(borrow)]
    pub(super) channel: Text<'a>,
    #[serde(borrow)]
    pub(super) code: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) message: Option<Text<'a>>,
    pub(super) retry_after_ms: Option<u64>,
}

impl UnsubscribedFields<'_> {
    pub(super) fn push(self) -> Result<Push, DecodeError> {
        let (Some(code), Some(message)) = (self.code, self.message) else {
            return Err(DecodeError::Malformed("unsubscribed without code or message".into()));
        };
        let error = ErrorFields { code, message, retry_after_ms: self.retry_after_ms }.error();
        Ok(Push::Unsubscribed { channel: channel(&self.channel)?, error })
    }
}

/// A publication, in a push with its channel, in a history page without.
#[derive(Deserialize)]
pub(super) struct PubFields<'a> {
    #[serde(borrow)]
    pub(super) channel: Option<Text<'a>>,
    pub(super) offset: Option<u64>,
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) data: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) data64: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) from: Option<Text<'a>>,
    pub(super) time: Option<u64>,
    #[serde(borrow)]
    pub(super) epoch: Option<Text<'a>>,
}

impl PubFields<'_> {
    pub(super) fn push(self) -> Result<Push, DecodeError> {
        let Some(name) = &self.channel else {
            return Err(DecodeError::Malformed("a publication without a channel".into()));
        };
        Ok(Push::Publication {
            channel: channel(name)?,
            epoch: self.epoch.as_deref().map(Epoch::parse).transpose()?,
            publication: self.publication()?,
        })
    }

    pub(super) fn publication(&self) -> Result<Arc<Publication>, DecodeError> {
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
pub(super) struct MemberPushFields<'a> {
    #[serde(borrow)]
    pub(super) channel: Text<'a>,
    #[serde(borrow)]
    pub(super) client: Text<'a>,
    #[serde(borrow)]
    pub(super) user: Option<Text<'a>>,
}

impl MemberPushFields<'_> {
    pub(super) fn parse(self) -> Result<(ChannelName, Member), DecodeError> {
        let member = MemberFields { client: self.client, user: self.user }.member()?;
        Ok((channel(&self.channel)?, member))
    }
}

#[derive(Deserialize)]
pub(super) struct MoveFields<'a> {
    #[serde(borrow)]
    pub(super) target: Option<Text<'a>>,
    pub(super) within_ms: u32,
}

#[derive(Deserialize)]
pub(super) struct ExpiringFields {
    pub(super) seconds: u32,
}

#[derive(Deserialize)]
pub(super) struct CloseFields<'a> {
    pub(super) code: u16,
    #[serde(borrow)]
    pub(super) reason: Text<'a>,
}

impl CloseFields<'_> {
    pub(super) fn push(self) -> Result<Push, DecodeError> {
        Ok(Push::Close { code: CloseCode::from_wire(self.code), reason: self.reason.into_string() })
    }
}

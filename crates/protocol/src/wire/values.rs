//! The values both binary formats carry: positions, publications, members, errors.

use std::sync::Arc;

use super::{Reader, put_bytes, put_flags, put_item, put_str, put_varint};
use crate::decode::DecodeError;
use crate::error::{ErrorCode, WireError};
use crate::message::{GapReason, HistoryQuery, Member};
use crate::position::{Epoch, Offset, Position};
use crate::publication::{Payload, Publication};
use crate::{ChannelName, ClientId, MessageId, UserId};

pub(crate) fn put_position(out: &mut Vec<u8>, position: &Position) {
    put_str(out, position.epoch.as_str());
    put_varint(out, position.offset);
}

pub(crate) fn read_position(reader: &mut Reader<'_>) -> Result<Position, DecodeError> {
    Ok(Position { epoch: Epoch::parse(reader.str("epoch")?)?, offset: reader.varint("offset")? })
}

/// A publication and what may stand beside it. Flags: 0 id, 1 from, 2 binary payload, 3 epoch.
/// Then: offset, time, \[id\], \[from\], \[epoch\], payload.
pub(crate) struct PublicationFields {
    pub(crate) publication: Publication,
    pub(crate) epoch: Option<Epoch>,
}

pub(crate) fn put_publication(out: &mut Vec<u8>, publication: &Publication, epoch: Option<&Epoch>) {
    let Publication { offset, id, from, time_ms, data } = publication;
    put_flags(out, [id.is_some(), from.is_some(), matches!(data, Payload::Binary(_)), epoch.is_some()]);
    put_varint(out, *offset);
    put_varint(out, *time_ms);
    if let Some(id) = id {
        put_str(out, id.as_str());
    }
    if let Some(from) = from {
        put_str(out, from.as_str());
    }
    if let Some(epoch) = epoch {
        put_str(out, epoch.as_str());
    }
    put_bytes(out, data.bytes());
}

pub(crate) fn read_publication(reader: &mut Reader<'_>) -> Result<PublicationFields, DecodeError> {
    let flags = reader.flags("publication flags")?;
    let offset = reader.varint("offset")?;
    let time_ms = reader.varint("time")?;
    let id = flags.has(0).then(|| reader.str("message id")).transpose()?;
    let from = flags.has(1).then(|| reader.str("user id")).transpose()?;
    let epoch = flags.has(3).then(|| reader.str("epoch")).transpose()?;
    let data = reader.owned_bytes("payload")?;
    let publication = Publication {
        offset,
        id: id.map(MessageId::parse).transpose()?,
        from: from.map(UserId::parse).transpose()?,
        time_ms,
        data: if flags.has(2) { Payload::Binary(data) } else { Payload::Json(data) },
    };
    Ok(PublicationFields { publication, epoch: epoch.map(Epoch::parse).transpose()? })
}

pub(crate) fn put_publications(out: &mut Vec<u8>, publications: &[Arc<Publication>]) {
    put_varint(out, publications.len() as u64);
    for publication in publications {
        put_item(out, |out| put_publication(out, publication, None));
    }
}

pub(crate) fn read_publications(reader: &mut Reader<'_>) -> Result<Vec<Arc<Publication>>, DecodeError> {
    reader.list("publications", |item| Ok(Arc::new(read_publication(item)?.publication)))
}

/// Flags: 0 user. Then: client, \[user\].
pub(crate) fn put_member(out: &mut Vec<u8>, member: &Member) {
    put_flags(out, [member.user.is_some()]);
    put_str(out, member.client.as_str());
    if let Some(user) = &member.user {
        put_str(out, user.as_str());
    }
}

pub(crate) fn read_member(reader: &mut Reader<'_>) -> Result<Member, DecodeError> {
    let flags = reader.flags("member flags")?;
    let client = ClientId::parse(reader.str("client id")?)?;
    let user = flags.has(0).then(|| reader.str("user id")).transpose()?;
    Ok(Member { client, user: user.map(UserId::parse).transpose()? })
}

pub(crate) fn put_members(out: &mut Vec<u8>, members: &[Member]) {
    put_varint(out, members.len() as u64);
    for member in members {
        put_item(out, |out| put_member(out, member));
    }
}

pub(crate) fn read_members(reader: &mut Reader<'_>) -> Result<Vec<Member>, DecodeError> {
    reader.list("members", read_member)
}

/// Flags: 0 retry time. Then: code, message, \[retry_after_ms\].
pub(crate) fn put_error(out: &mut Vec<u8>, error: &WireError) {
    put_flags(out, [error.retry_after_ms.is_some()]);
    put_varint(out, u64::from(error.code.number()));
    put_str(out, &error.message);
    if let Some(ms) = error.retry_after_ms {
        put_varint(out, ms);
    }
}

/// A code of a newer version reads as `internal`: its advice, to try again later, is the safe one.
pub(crate) fn read_error(reader: &mut Reader<'_>) -> Result<WireError, DecodeError> {
    let flags = reader.flags("error flags")?;
    let number = reader.varint("error code")?;
    let code = u8::try_from(number).ok().and_then(ErrorCode::from_number).unwrap_or(ErrorCode::Internal);
    let message = reader.str("error message")?.to_owned();
    let retry_after_ms = flags.has(0).then(|| reader.varint("retry time")).transpose()?;
    Ok(WireError { code, message, retry_after_ms })
}

/// First and last missing offset, reason.
pub(crate) fn put_gap(out: &mut Vec<u8>, from: Offset, to: Offset, reason: GapReason) {
    put_varint(out, from);
    put_varint(out, to);
    put_varint(out, reason.number().into());
}

pub(crate) fn read_gap(reader: &mut Reader<'_>) -> Result<(Offset, Offset, GapReason), DecodeError> {
    let (from, to) = (reader.varint("from")?, reader.varint("to")?);
    Ok((from, to, GapReason::from_number(reader.varint("gap reason")?)))
}

/// Flags (0 reverse), channel, after, before, limit.
pub(crate) fn put_query(out: &mut Vec<u8>, query: &HistoryQuery) {
    let HistoryQuery { channel, after, before, limit, reverse } = query;
    put_flags(out, [*reverse]);
    put_str(out, channel.as_str());
    put_varint(out, *after);
    put_varint(out, *before);
    put_varint(out, (*limit).into());
}

pub(crate) fn read_query(reader: &mut Reader<'_>) -> Result<HistoryQuery, DecodeError> {
    let flags = reader.flags("query flags")?;
    Ok(HistoryQuery {
        channel: ChannelName::parse(reader.str("channel")?)?,
        after: reader.varint("after")?,
        before: reader.varint("before")?,
        limit: reader.varint32("limit")?,
        reverse: flags.has(0),
    })
}

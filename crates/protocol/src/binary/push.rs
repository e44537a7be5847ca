//! Pushes: tag, then the fields of the news.

use std::sync::Arc;

use super::reply::{put_subscribed, read_subscribed};
use super::tags::push as tag;
use crate::ChannelName;
use crate::close::CloseCode;
use crate::decode::DecodeError;
use crate::message::Push;
use crate::position::Epoch;
use crate::wire::{
    PublicationFields, Reader, put_error, put_flags, put_gap, put_member, put_publication, put_str,
    put_varint, read_error, read_gap, read_member, read_publication,
};

/// Room for everything but the payload of a usual publication.
const ENVELOPE_BYTES: usize = 128;

pub(super) fn put(out: &mut Vec<u8>, push: &Push) {
    match push {
        Push::Publication { channel, epoch, publication } => {
            out.reserve(ENVELOPE_BYTES + publication.data.len());
            out.push(tag::PUBLICATION);
            put_str(out, channel.as_str());
            put_publication(out, publication, epoch.as_ref());
        }
        Push::Gap { channel, epoch, from, to, reason } => {
            out.push(tag::GAP);
            put_str(out, channel.as_str());
            put_str(out, epoch.as_str());
            put_gap(out, *from, *to, *reason);
        }
        Push::Join { channel, member } => {
            out.push(tag::JOIN);
            put_str(out, channel.as_str());
            put_member(out, member);
        }
        Push::Leave { channel, member } => {
            out.push(tag::LEAVE);
            put_str(out, channel.as_str());
            put_member(out, member);
        }
        Push::Subscribed(subscribed) => {
            out.push(tag::SUBSCRIBED);
            put_subscribed(out, subscribed);
        }
        Push::Unsubscribed { channel, error } => {
            out.push(tag::UNSUBSCRIBED);
            put_str(out, channel.as_str());
            put_error(out, error);
        }
        Push::Move { target, within_ms } => {
            out.push(tag::MOVE);
            put_flags(out, [target.is_some()]);
            put_varint(out, (*within_ms).into());
            if let Some(target) = target {
                put_str(out, target);
            }
        }
        Push::Expiring { seconds } => {
            out.push(tag::EXPIRING);
            put_varint(out, (*seconds).into());
        }
        Push::Close { code, reason } => {
            out.push(tag::CLOSE);
            put_varint(out, code.number().into());
            put_str(out, reason);
        }
    }
}

pub(super) fn read(tag: u8, reader: &mut Reader<'_>) -> Result<Push, DecodeError> {
    let channel = |reader: &mut Reader<'_>| -> Result<ChannelName, DecodeError> {
        Ok(ChannelName::parse(reader.str("channel")?)?)
    };
    Ok(match tag {
        tag::PUBLICATION => {
            let channel = channel(reader)?;
            let PublicationFields { publication, epoch } = read_publication(reader)?;
            Push::Publication { channel, epoch, publication: Arc::new(publication) }
        }
        tag::GAP => {
            let channel = channel(reader)?;
            let epoch = Epoch::parse(reader.str("epoch")?)?;
            let (from, to, reason) = read_gap(reader)?;
            Push::Gap { channel, epoch, from, to, reason }
        }
        tag::JOIN => Push::Join { channel: channel(reader)?, member: read_member(reader)? },
        tag::LEAVE => Push::Leave { channel: channel(reader)?, member: read_member(reader)? },
        tag::SUBSCRIBED => Push::Subscribed(read_subscribed(reader)?),
        tag::UNSUBSCRIBED => Push::Unsubscribed { channel: channel(reader)?, error: read_error(reader)? },
        tag::MOVE => {
            let flags = reader.flags("move flags")?;
            let within_ms = reader.varint32("within_ms")?;
            let target = flags.has(0).then(|| reader.str("target")).transpose()?;
            Push::Move { target: target.map(str::to_owned), within_ms }
        }
        tag::EXPIRING => Push::Expiring { seconds: reader.varint32("seconds")? },
        tag::CLOSE => {
            // A number that is no close code at all reads as a newer version's.
            let code = u16::try_from(reader.varint("close code")?).unwrap_or(0);
            Push::Close { code: CloseCode::from_wire(code), reason: reader.str("reason")?.to_owned() }
        }
        _ => return Err(DecodeError::UnknownKind { what: "push", tag: tag.into() }),
    })
}

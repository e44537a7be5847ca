//! Replies: tag, the request's id, then the fields of the answer.

use super::tags::reply as tag;
use crate::decode::DecodeError;
use crate::message::{Connected, HistoryPage, Published, Recovery, Reply, Subscribed};
use crate::position::Epoch;
use crate::wire::{
    Reader, put_error, put_flags, put_gap, put_members, put_position, put_publications, put_str, put_varint,
    read_error, read_gap, read_members, read_position, read_publications,
};
use crate::{ChannelName, ClientId, NodeId, UserId};

pub(super) fn put(out: &mut Vec<u8>, id: u32, reply: &Reply) {
    out.push(reply_tag(reply));
    put_varint(out, id.into());
    match reply {
        Reply::Connected(connected) => put_connected(out, connected),
        Reply::Subscribed(subscribed) => put_subscribed(out, subscribed),
        Reply::Unsubscribed { channel } => put_str(out, channel.as_str()),
        Reply::Published(Published { position, duplicate }) => {
            put_flags(out, [position.is_some(), *duplicate]);
            if let Some(position) = position {
                put_position(out, position);
            }
        }
        Reply::History(HistoryPage { channel, epoch, head, publications }) => {
            put_str(out, channel.as_str());
            put_str(out, epoch.as_str());
            put_varint(out, *head);
            put_publications(out, publications);
        }
        Reply::Presence { channel, members } => {
            put_str(out, channel.as_str());
            put_members(out, members);
        }
        Reply::Refreshed { expires_in_seconds } => {
            put_flags(out, [expires_in_seconds.is_some()]);
            if let Some(seconds) = expires_in_seconds {
                put_varint(out, *seconds);
            }
        }
        Reply::Pong => {}
        Reply::Error(error) => put_error(out, error),
    }
}

fn reply_tag(reply: &Reply) -> u8 {
    match reply {
        Reply::Pong => tag::PONG,
        Reply::Connected(_) => tag::CONNECTED,
        Reply::Subscribed(_) => tag::SUBSCRIBED,
        Reply::Unsubscribed { .. } => tag::UNSUBSCRIBED,
        Reply::Published(_) => tag::PUBLISHED,
        Reply::History(_) => tag::HISTORY,
        Reply::Presence { .. } => tag::PRESENCE,
        Reply::Refreshed { .. } => tag::REFRESHED,
        Reply::Error(_) => tag::ERROR,
    }
}

pub(super) fn read(tag: u8, reader: &mut Reader<'_>) -> Result<Reply, DecodeError> {
    Ok(match tag {
        tag::PONG => Reply::Pong,
        tag::CONNECTED => Reply::Connected(read_connected(reader)?),
        tag::SUBSCRIBED => Reply::Subscribed(read_subscribed(reader)?),
        tag::UNSUBSCRIBED => Reply::Unsubscribed { channel: read_channel(reader)? },
        tag::PUBLISHED => {
            let flags = reader.flags("published flags")?;
            let position = flags.has(0).then(|| read_position(reader)).transpose()?;
            Reply::Published(Published { position, duplicate: flags.has(1) })
        }
        tag::HISTORY => Reply::History(HistoryPage {
            channel: read_channel(reader)?,
            epoch: Epoch::parse(reader.str("epoch")?)?,
            head: reader.varint("head")?,
            publications: read_publications(reader)?,
        }),
        tag::PRESENCE => Reply::Presence { channel: read_channel(reader)?, members: read_members(reader)? },
        tag::REFRESHED => {
            let flags = reader.flags("refreshed flags")?;
            let seconds = flags.has(0).then(|| reader.varint("expires_in_seconds")).transpose()?;
            Reply::Refreshed { expires_in_seconds: seconds }
        }
        tag::ERROR => Reply::Error(read_error(reader)?),
        _ => return Err(DecodeError::UnknownKind { what: "reply", tag: tag.into() }),
    })
}

fn read_channel(reader: &mut Reader<'_>) -> Result<ChannelName, DecodeError> {
    Ok(ChannelName::parse(reader.str("channel")?)?)
}

/// Flags (0 user, 1 expiry), client, \[user\], region, node, ping, pong timeout, \[expiry\], message limit.
fn put_connected(out: &mut Vec<u8>, connected: &Connected) {
    put_flags(out, [connected.user.is_some(), connected.expires_in_seconds.is_some()]);
    put_str(out, connected.client.as_str());
    if let Some(user) = &connected.user {
        put_str(out, user.as_str());
    }
    put_str(out, &connected.region);
    put_str(out, connected.node.as_str());
    put_varint(out, connected.ping_seconds.into());
    put_varint(out, connected.pong_timeout_seconds.into());
    if let Some(seconds) = connected.expires_in_seconds {
        put_varint(out, seconds);
    }
    put_varint(out, connected.message_bytes.into());
}

fn read_connected(reader: &mut Reader<'_>) -> Result<Connected, DecodeError> {
    let flags = reader.flags("connected flags")?;
    let client = ClientId::parse(reader.str("client")?)?;
    let user = flags.has(0).then(|| reader.str("user")).transpose()?;
    Ok(Connected {
        client,
        user: user.map(UserId::parse).transpose()?,
        region: reader.str("region")?.to_owned(),
        node: NodeId::parse(reader.str("node")?)?,
        ping_seconds: reader.varint32("ping_seconds")?,
        pong_timeout_seconds: reader.varint32("pong_timeout_seconds")?,
        expires_in_seconds: flags.has(1).then(|| reader.varint("expires_in_seconds")).transpose()?,
        message_bytes: reader.varint32("message_bytes")?,
    })
}

/// Flags (0 position, 1 recovery asked for, 2 it has a gap), channel, \[position\], \[gap\].
pub(super) fn put_subscribed(out: &mut Vec<u8>, subscribed: &Subscribed) {
    let Subscribed { channel, position, recovery } = subscribed;
    let gap = matches!(recovery, Some(Recovery::Gap { .. }));
    put_flags(out, [position.is_some(), recovery.is_some(), gap]);
    put_str(out, channel.as_str());
    if let Some(position) = position {
        put_position(out, position);
    }
    if let Some(Recovery::Gap { from, to, reason }) = recovery {
        put_gap(out, *from, *to, *reason);
    }
}

pub(super) fn read_subscribed(reader: &mut Reader<'_>) -> Result<Subscribed, DecodeError> {
    let flags = reader.flags("subscribed flags")?;
    let channel = read_channel(reader)?;
    let position = flags.has(0).then(|| read_position(reader)).transpose()?;
    let recovery = match (flags.has(1), flags.has(2)) {
        (false, _) => None,
        (true, false) => Some(Recovery::Exact),
        (true, true) => {
            let (from, to, reason) = read_gap(reader)?;
            Some(Recovery::Gap { from, to, reason })
        }
    };
    Ok(Subscribed { channel, position, recovery })
}

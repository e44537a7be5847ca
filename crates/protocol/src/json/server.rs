//! Writes what clients receive. A publication push is encoded once for all subscribers of an edge, yet at thousands of
//! publications a second it is still the busiest code here: nothing is allocated but the output's growth.

use super::write::Object;
use crate::channel::ChannelName;
use crate::error::WireError;
use crate::message::{Connected, GapReason, Member, Push, Recovery, Reply, ServerMessage, Subscribed};
use crate::position::{Epoch, Position};
use crate::publication::Publication;

/// Room for everything but the payload of a usual push.
pub(super) const ENVELOPE_BYTES: usize = 192;

/// Appends one message, without a newline after it.
pub fn encode_server(message: &ServerMessage, out: &mut Vec<u8>) {
    match message {
        ServerMessage::Ping => out.extend_from_slice(b"{}"),
        ServerMessage::Push(push) => {
            if let Push::Publication { publication, .. } = push {
                out.reserve(ENVELOPE_BYTES + publication.data.len());
            }
            Object::write(out, |object| put_push(object, push));
        }
        ServerMessage::Reply { id, reply } => Object::write(out, |object| {
            object.number("id", (*id).into());
            object.object(reply_name(reply), |object| put_reply(object, reply));
        }),
    }
}

fn put_push(object: &mut Object<'_>, push: &Push) {
    match push {
        Push::Publication { channel, epoch, publication } => object.object("pub", |object| {
            put_channel_publication(object, channel, epoch.as_ref(), publication);
        }),
        Push::Gap { channel, epoch, from, to, reason } => object.object("gap", |object| {
            object.plain("channel", channel.as_str());
            object.plain("epoch", epoch.as_str());
            put_gap(object, *from, *to, *reason);
        }),
        Push::Join { channel, member } => object.object("join", |object| {
            object.plain("channel", channel.as_str());
            put_member(object, member);
        }),
        Push::Leave { channel, member } => object.object("leave", |object| {
            object.plain("channel", channel.as_str());
            put_member(object, member);
        }),
        Push::Subscribed(subscribed) => {
            object.object("subscribed", |object| put_subscribed(object, subscribed));
        }
        Push::Unsubscribed { channel, error } => object.object("unsubscribed", |object| {
            object.plain("channel", channel.as_str());
            put_error(object, error);
        }),
        Push::Move { target, within_ms } => object.object("move", |object| {
            if let Some(target) = target {
                object.text("target", target);
            }
            object.number("within_ms", (*within_ms).into());
        }),
        Push::Expiring { seconds } => {
            object.object("expiring", |object| object.number("seconds", (*seconds).into()));
        }
        Push::Close { code, reason } => object.object("close", |object| {
            object.number("code", code.number().into());
            object.text("reason", reason);
        }),
    }
}

/// Appends what stands behind a reply's name alone: the body of an HTTP answer.
pub fn encode_reply(reply: &Reply, out: &mut Vec<u8>) {
    Object::write(out, |object| put_reply(object, reply));
}

fn reply_name(reply: &Reply) -> &'static str {
    match reply {
        Reply::Connected(_) => "connected",
        Reply::Subscribed(_) => "subscribed",
        Reply::Unsubscribed { .. } => "unsubscribed",
        Reply::Published(_) => "published",
        Reply::History(_) => "history",
        Reply::Presence { .. } => "presence",
        Reply::Refreshed { .. } => "refreshed",
        Reply::Pong => "pong",
        Reply::Error(_) => "error",
    }
}

fn put_reply(object: &mut Object<'_>, reply: &Reply) {
    match reply {
        Reply::Connected(connected) => put_connected(object, connected),
        Reply::Subscribed(subscribed) => put_subscribed(object, subscribed),
        Reply::Unsubscribed { channel } => object.plain("channel", channel.as_str()),
        Reply::Published(published) => {
            put_position(object, published.position.as_ref());
            object.boolean("duplicate", published.duplicate);
        }
        Reply::History(page) => {
            object.plain("channel", page.channel.as_str());
            object.plain("epoch", page.epoch.as_str());
            object.number("offset", page.head);
            object.objects("publications", &page.publications, |object, publication| {
                put_publication(object, publication);
            });
        }
        Reply::Presence { channel, members } => {
            object.plain("channel", channel.as_str());
            object.objects("members", members, put_member);
        }
        Reply::Refreshed { expires_in_seconds } => {
            if let Some(seconds) = expires_in_seconds {
                object.number("expires_in_seconds", *seconds);
            }
        }
        Reply::Pong => {}
        Reply::Error(error) => put_error(object, error),
    }
}

fn put_connected(object: &mut Object<'_>, connected: &Connected) {
    object.text("client", connected.client.as_str());
    if let Some(user) = &connected.user {
        object.text("user", user.as_str());
    }
    object.text("region", &connected.region);
    object.text("node", connected.node.as_str());
    object.number("ping_seconds", connected.ping_seconds.into());
    object.number("pong_timeout_seconds", connected.pong_timeout_seconds.into());
    if let Some(seconds) = connected.expires_in_seconds {
        object.number("expires_in_seconds", seconds);
    }
    object.number("message_bytes", connected.message_bytes.into());
}

fn put_subscribed(object: &mut Object<'_>, subscribed: &Subscribed) {
    object.plain("channel", subscribed.channel.as_str());
    put_position(object, subscribed.position.as_ref());
    match &subscribed.recovery {
        None => {}
        Some(Recovery::Exact) => object.plain("recovery", "exact"),
        Some(Recovery::Gap { from, to, reason }) => {
            object.plain("recovery", "gap");
            object.object("gap", |object| put_gap(object, *from, *to, *reason));
        }
    }
}

#[inline]
pub(super) fn put_channel_publication(
    object: &mut Object<'_>,
    channel: &ChannelName,
    epoch: Option<&Epoch>,
    publication: &Publication,
) {
    object.plain("channel", channel.as_str());
    put_publication(object, publication);
    if let Some(epoch) = epoch {
        object.plain("epoch", epoch.as_str());
    }
}

#[inline]
fn put_publication(object: &mut Object<'_>, publication: &Publication) {
    if publication.offset != 0 {
        object.number("offset", publication.offset);
    }
    if let Some(id) = &publication.id {
        object.text("id", id.as_str());
    }
    object.payload(&publication.data);
    if let Some(from) = &publication.from {
        object.text("from", from.as_str());
    }
    if publication.time_ms != 0 {
        object.number("time", publication.time_ms);
    }
}

pub(super) fn put_position(object: &mut Object<'_>, position: Option<&Position>) {
    if let Some(position) = position {
        object.plain("epoch", position.epoch.as_str());
        object.number("offset", position.offset);
    }
}

fn put_gap(object: &mut Object<'_>, from: u64, to: u64, reason: GapReason) {
    object.number("from", from);
    object.number("to", to);
    object.plain("reason", reason.name());
}

fn put_member(object: &mut Object<'_>, member: &Member) {
    object.text("client", member.client.as_str());
    if let Some(user) = &member.user {
        object.text("user", user.as_str());
    }
}

fn put_error(object: &mut Object<'_>, error: &WireError) {
    object.plain("code", error.code.name());
    object.text("message", &error.message);
    if let Some(ms) = error.retry_after_ms {
        object.number("retry_after_ms", ms);
    }
}

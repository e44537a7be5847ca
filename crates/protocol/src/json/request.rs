//! Writes what clients send.

use super::write::Object;
use crate::message::{ClientMessage, Request};

/// Appends one message, without a newline after it.
pub fn encode_client(message: &ClientMessage, out: &mut Vec<u8>) {
    Object::write(out, |object| {
        if message.id != 0 {
            object.number("id", message.id.into());
        }
        put_request(object, message);
    });
}

fn put_request(object: &mut Object<'_>, message: &ClientMessage) {
    match &message.request {
        Request::Connect(connect) => object.object("connect", |object| {
            if let Some(token) = &connect.token {
                object.text("token", token);
            }
            if let Some(name) = &connect.name {
                object.text("name", name);
            }
            if let Some(key) = &connect.key {
                object.text("key", key.as_str());
            }
            if connect.placed {
                object.boolean("placed", true);
            }
        }),
        Request::Subscribe(subscribe) => object.object("subscribe", |object| {
            object.plain("channel", subscribe.channel.as_str());
            if let Some(position) = &subscribe.recover {
                object.object("recover", |object| {
                    object.plain("epoch", position.epoch.as_str());
                    object.number("offset", position.offset);
                });
            }
            if subscribe.presence {
                object.boolean("presence", true);
            }
        }),
        Request::Unsubscribe { channel } => {
            object.object("unsubscribe", |object| object.plain("channel", channel.as_str()));
        }
        Request::Publish(publish) => object.object("publish", |object| {
            object.plain("channel", publish.channel.as_str());
            if let Some(id) = &publish.id {
                object.text("id", id.as_str());
            }
            object.payload(&publish.data);
        }),
        Request::History(query) => object.object("history", |object| {
            object.plain("channel", query.channel.as_str());
            object.number("after", query.after);
            object.number("before", query.before);
            object.number("limit", query.limit.into());
            object.boolean("reverse", query.reverse);
        }),
        Request::Presence { channel } => {
            object.object("presence", |object| object.plain("channel", channel.as_str()));
        }
        Request::Refresh { token } => object.object("refresh", |object| object.text("token", token)),
        // Without an id it is the answer to the server's `{}`, in kind.
        Request::Ping if message.id == 0 => {}
        Request::Ping => object.object("ping", |_| {}),
    }
}

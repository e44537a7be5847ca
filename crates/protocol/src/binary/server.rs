//! What clients receive: a push, or a reply with the id of its request.

use super::batch::body;
use super::tags::push as tag;
use super::{push, reply};
use crate::decode::DecodeError;
use crate::message::ServerMessage;
use crate::wire::put_item;

/// Appends one message with its length in front.
pub fn encode_server(message: &ServerMessage, out: &mut Vec<u8>) {
    put_item(out, |out| match message {
        ServerMessage::Ping => out.push(tag::PING),
        ServerMessage::Push(push) => push::put(out, push),
        ServerMessage::Reply { id, reply } => reply::put(out, *id, reply),
    });
}

/// Reads one message. One of a kind this version does not know is [`DecodeError::UnknownKind`], to be skipped.
///
/// Payloads are taken as they are: what a server sends as JSON was checked when it was published.
pub fn decode_server(message: &[u8]) -> Result<ServerMessage, DecodeError> {
    let mut reader = body(message)?;
    match reader.byte("the message's tag")? {
        tag::PING => Ok(ServerMessage::Ping),
        tag if tag >= tag::PING => Ok(ServerMessage::Push(push::read(tag, &mut reader)?)),
        tag => {
            let id = reader.varint32("id")?;
            Ok(ServerMessage::Reply { id, reply: reply::read(tag, &mut reader)? })
        }
    }
}

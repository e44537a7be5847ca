//! What clients send: tag, request id, then the fields of the request.

use super::batch::body;
use super::tags::client as tag;
use crate::decode::{DecodeError, DecodeFailure};
use crate::limits::{CLIENT_NAME_BYTES, HISTORY_PAGE_MAX, TOKEN_BYTES};
use crate::message::{ClientMessage, Connect, HistoryQuery, Publish, Request, Subscribe};
use crate::publication::Payload;
use crate::wire::{
    Reader, put_bytes, put_flags, put_item, put_position, put_query, put_str, put_varint, read_position,
    read_query,
};
use crate::{ChannelName, MessageId, PlacementKey};

/// Appends one message with its length in front.
pub fn encode_client(message: &ClientMessage, out: &mut Vec<u8>) {
    put_item(out, |out| {
        out.push(request_tag(&message.request));
        put_varint(out, message.id.into());
        put_request(out, &message.request);
    });
}

/// Reads one message. A failure carries the request's id wherever it can still be made out.
pub fn decode_client(message: &[u8]) -> Result<ClientMessage, DecodeFailure> {
    let mut id = 0;
    let mut read = || {
        let mut reader = body(message)?;
        let tag = reader.byte("the message's tag")?;
        id = reader.varint32("id")?;
        read_request(tag, &mut reader)
    };
    match read() {
        Ok(request) => Ok(ClientMessage { id, request }),
        Err(error) => Err(DecodeFailure::new(id, error)),
    }
}

fn request_tag(request: &Request) -> u8 {
    match request {
        Request::Ping => tag::PING,
        Request::Connect(_) => tag::CONNECT,
        Request::Subscribe(_) => tag::SUBSCRIBE,
        Request::Unsubscribe { .. } => tag::UNSUBSCRIBE,
        Request::Publish(_) => tag::PUBLISH,
        Request::History(_) => tag::HISTORY,
        Request::Presence { .. } => tag::PRESENCE,
        Request::Refresh { .. } => tag::REFRESH,
    }
}

fn put_request(out: &mut Vec<u8>, request: &Request) {
    match request {
        Request::Ping => {}
        Request::Connect(Connect { token, name, key, placed }) => {
            put_flags(out, [token.is_some(), name.is_some(), key.is_some(), *placed]);
            let key = key.as_ref().map(PlacementKey::as_str);
            for text in [token.as_deref(), name.as_deref(), key].into_iter().flatten() {
                put_str(out, text);
            }
        }
        Request::Subscribe(Subscribe { channel, recover, presence }) => {
            put_flags(out, [recover.is_some(), *presence]);
            put_str(out, channel.as_str());
            if let Some(position) = recover {
                put_position(out, position);
            }
        }
        Request::Unsubscribe { channel } | Request::Presence { channel } => put_str(out, channel.as_str()),
        Request::Publish(Publish { channel, id, data }) => {
            put_flags(out, [id.is_some(), matches!(data, Payload::Binary(_))]);
            put_str(out, channel.as_str());
            if let Some(id) = id {
                put_str(out, id.as_str());
            }
            put_bytes(out, data.bytes());
        }
        Request::History(query) => put_query(out, query),
        Request::Refresh { token } => put_str(out, token),
    }
}

fn read_request(tag: u8, reader: &mut Reader<'_>) -> Result<Request, DecodeError> {
    Ok(match tag {
        tag::PING => Request::Ping,
        tag::CONNECT => Request::Connect(read_connect(reader)?),
        tag::SUBSCRIBE => Request::Subscribe(read_subscribe(reader)?),
        tag::UNSUBSCRIBE => Request::Unsubscribe { channel: read_channel(reader)? },
        tag::PUBLISH => Request::Publish(read_publish(reader)?),
        tag::HISTORY => Request::History(read_page_query(reader)?),
        tag::PRESENCE => Request::Presence { channel: read_channel(reader)? },
        tag::REFRESH => Request::Refresh { token: read_token(reader)? },
        _ => return Err(DecodeError::UnknownKind { what: "request", tag: tag.into() }),
    })
}

fn read_channel(reader: &mut Reader<'_>) -> Result<ChannelName, DecodeError> {
    Ok(ChannelName::parse(reader.str("channel")?)?)
}

fn read_token(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let token = reader.str("token")?;
    if token.len() > TOKEN_BYTES {
        return Err(DecodeError::TooLarge { what: "a token", limit: TOKEN_BYTES });
    }
    Ok(token.to_owned())
}

fn read_connect(reader: &mut Reader<'_>) -> Result<Connect, DecodeError> {
    let flags = reader.flags("connect flags")?;
    let token = flags.has(0).then(|| read_token(reader)).transpose()?;
    let name = flags.has(1).then(|| reader.str("name")).transpose()?;
    let kept = |name: &str| name[..name.floor_char_boundary(CLIENT_NAME_BYTES)].to_owned();
    let name = name.map(kept);
    let key = flags.has(2).then(|| reader.str("placement key")).transpose()?;
    let key = key.map(PlacementKey::parse).transpose()?;
    Ok(Connect { token, name, key, placed: flags.has(3) })
}

fn read_subscribe(reader: &mut Reader<'_>) -> Result<Subscribe, DecodeError> {
    let flags = reader.flags("subscribe flags")?;
    let channel = read_channel(reader)?;
    let recover = flags.has(0).then(|| read_position(reader)).transpose()?;
    Ok(Subscribe { channel, recover, presence: flags.has(1) })
}

/// A payload that claims to be JSON is checked: subscribers of the other encoding receive it inside of their messages.
fn read_publish(reader: &mut Reader<'_>) -> Result<Publish, DecodeError> {
    let flags = reader.flags("publish flags")?;
    let channel = read_channel(reader)?;
    let id = flags.has(0).then(|| reader.str("message id")).transpose()?;
    let id = id.map(MessageId::parse).transpose()?;
    let data = if flags.has(1) {
        Payload::Binary(reader.owned_bytes("data")?)
    } else {
        Payload::from_json(reader.bytes("data")?)?
    };
    Ok(Publish { channel, id, data })
}

fn read_page_query(reader: &mut Reader<'_>) -> Result<HistoryQuery, DecodeError> {
    let query = read_query(reader)?;
    if !(1..=HISTORY_PAGE_MAX).contains(&query.limit) {
        return Err(DecodeError::Malformed(format!("limit must be 1 to {HISTORY_PAGE_MAX}")));
    }
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;

    fn message(body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_bytes(&mut out, body);
        out
    }

    #[test]
    fn a_publish_is_as_short_as_documented() {
        let publish = Publish {
            channel: ChannelName::parse("a").unwrap(),
            id: None,
            data: Payload::Binary(b"xyz".as_slice().into()),
        };
        let mut out = Vec::new();
        encode_client(&ClientMessage { id: 1, request: Request::Publish(publish) }, &mut out);
        assert_eq!(out, b"\x09\x04\x01\x02\x01a\x03xyz");
    }

    #[test]
    fn fields_of_a_later_version_are_ignored() {
        let read = decode_client(&message(b"\x03\x07\x01aFUTURE")).unwrap();
        let channel = ChannelName::parse("a").unwrap();
        assert_eq!(read, ClientMessage { id: 7, request: Request::Unsubscribe { channel } });
        // Also flags that say so: bit 5 announces something that stands at the end.
        assert!(decode_client(&message(b"\x02\x07\x20\x01aFUTURE")).is_ok());
    }

    #[test]
    fn each_mistake_has_its_code_and_keeps_its_id() {
        for (body, id, code) in [
            (&b""[..], 0, ErrorCode::BadRequest),
            (b"\x00", 0, ErrorCode::BadRequest),
            (b"\x3f\x07", 7, ErrorCode::BadRequest),
            (b"\x03\x07\x01*", 7, ErrorCode::InvalidChannel),
            (b"\x03\x07\x05a", 7, ErrorCode::BadRequest),
            (b"\x04\x07\x01\x01a\x00\x011", 7, ErrorCode::InvalidId),
            (b"\x04\x07\x00\x01a\x01{", 7, ErrorCode::InvalidData),
            (b"\x05\x07\x00\x01a\x00\x00\x00", 7, ErrorCode::BadRequest),
            (b"\x00\xff\xff\xff\xff\x7f", 0, ErrorCode::BadRequest),
        ] {
            let failure = decode_client(&message(body)).unwrap_err();
            assert_eq!((failure.id, failure.error.code), (id, code), "{body:x?}");
        }
        assert!(decode_client(b"\x02\x00\x00\x00").is_err(), "something follows the message");
    }
}

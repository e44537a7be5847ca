//! Reads what clients send.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::object::{Nothing, Object, Text, is_empty_object, malformed, present, salvage_id, text};
use super::payload;
use crate::decode::{DecodeError, DecodeFailure};
use crate::limits::{CLIENT_NAME_BYTES, HISTORY_PAGE_DEFAULT, HISTORY_PAGE_MAX, TOKEN_BYTES};
use crate::message::{ClientMessage, Connect, HistoryQuery, Publish, Request, Subscribe};
use crate::position::{Epoch, Position};
use crate::{ChannelName, MessageId, PlacementKey};

/// Reads one message. A failure carries the request's id wherever it can still be made out.
pub fn decode_client(message: &[u8]) -> Result<ClientMessage, DecodeFailure> {
    let text = text(message).map_err(|error| DecodeFailure::new(0, error))?;
    let Object(envelope): Object<Envelope<'_>> = serde_json::from_str(text)
        .map_err(|error| DecodeFailure::new(salvage_id(text), malformed(&error)))?;
    let id = envelope.id.unwrap_or(0);
    match envelope.request(text) {
        Ok(request) => Ok(ClientMessage { id, request }),
        Err(error) => Err(DecodeFailure::new(id, error)),
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    id: Option<u32>,
    #[serde(borrow)]
    connect: Option<Object<ConnectFields<'a>>>,
    #[serde(borrow)]
    subscribe: Option<Object<SubscribeFields<'a>>>,
    #[serde(borrow)]
    unsubscribe: Option<Object<ChannelField<'a>>>,
    #[serde(borrow)]
    publish: Option<Object<PublishFields<'a>>>,
    #[serde(borrow)]
    history: Option<Object<HistoryFields<'a>>>,
    #[serde(borrow)]
    presence: Option<Object<ChannelField<'a>>>,
    #[serde(borrow)]
    refresh: Option<Object<RefreshFields<'a>>>,
    ping: Option<Object<Nothing>>,
}

#[derive(Deserialize)]
struct ConnectFields<'a> {
    #[serde(borrow)]
    token: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    key: Option<Text<'a>>,
    placed: Option<bool>,
}

#[derive(Deserialize)]
struct SubscribeFields<'a> {
    #[serde(borrow)]
    channel: Text<'a>,
    #[serde(borrow)]
    recover: Option<Object<PositionFields<'a>>>,
    presence: Option<bool>,
}

#[derive(Deserialize)]
struct PositionFields<'a> {
    #[serde(borrow)]
    epoch: Text<'a>,
    offset: u64,
}

#[derive(Deserialize)]
struct ChannelField<'a> {
    #[serde(borrow)]
    channel: Text<'a>,
}

#[derive(Deserialize)]
struct PublishFields<'a> {
    #[serde(borrow)]
    channel: Text<'a>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    data64: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct HistoryFields<'a> {
    #[serde(borrow)]
    channel: Text<'a>,
    after: Option<u64>,
    before: Option<u64>,
    limit: Option<u32>,
    reverse: Option<bool>,
}

#[derive(Deserialize)]
struct RefreshFields<'a> {
    #[serde(borrow)]
    token: Text<'a>,
}

impl Envelope<'_> {
    /// Exactly one request; a bare `{}` is the answer to a ping.
    fn request(self, text: &str) -> Result<Request, DecodeError> {
        let mut requests = [
            self.connect.map(|Object(fields)| fields.request()),
            self.subscribe.map(|Object(fields)| fields.request()),
            self.unsubscribe.map(|Object(fields)| Ok(Request::Unsubscribe { channel: fields.parse()? })),
            self.publish.map(|Object(fields)| fields.request()),
            self.history.map(|Object(fields)| fields.request()),
            self.presence.map(|Object(fields)| Ok(Request::Presence { channel: fields.parse()? })),
            self.refresh.map(|Object(fields)| Ok(Request::Refresh { token: token(fields.token)? })),
            self.ping.map(|_| Ok(Request::Ping)),
        ]
        .into_iter()
        .flatten();
        match (requests.next(), requests.next()) {
            (Some(request), None) => request,
            (Some(_), Some(_)) => Err(DecodeError::Malformed("a message holds one request only".into())),
            (None, _) if is_empty_object(text) => Ok(Request::Ping),
            (None, _) => Err(DecodeError::Malformed("the message holds no request known here".into())),
        }
    }
}

impl ConnectFields<'_> {
    fn request(self) -> Result<Request, DecodeError> {
        let name = self.name.map(|name| {
            let mut name = name.into_string();
            name.truncate(name.floor_char_boundary(CLIENT_NAME_BYTES));
            name
        });
        Ok(Request::Connect(Connect {
            token: self.token.map(token).transpose()?,
            name,
            key: self.key.map(|key| PlacementKey::parse(&key)).transpose()?,
            placed: self.placed.unwrap_or(false),
        }))
    }
}

impl SubscribeFields<'_> {
    fn request(self) -> Result<Request, DecodeError> {
        let position = |Object(fields): Object<PositionFields<'_>>| {
            Ok::<_, DecodeError>(Position { epoch: Epoch::parse(&fields.epoch)?, offset: fields.offset })
        };
        Ok(Request::Subscribe(Subscribe {
            channel: ChannelName::parse(&self.channel)?,
            recover: self.recover.map(position).transpose()?,
            presence: self.presence.unwrap_or(false),
        }))
    }
}

impl ChannelField<'_> {
    fn parse(&self) -> Result<ChannelName, DecodeError> {
        Ok(ChannelName::parse(&self.channel)?)
    }
}

impl PublishFields<'_> {
    fn request(self) -> Result<Request, DecodeError> {
        Ok(Request::Publish(Publish {
            channel: ChannelName::parse(&self.channel)?,
            id: self.id.map(|id| MessageId::parse(&id)).transpose()?,
            data: payload::from_fields(self.data, self.data64.as_ref())?,
        }))
    }
}

impl HistoryFields<'_> {
    fn request(self) -> Result<Request, DecodeError> {
        let limit = self.limit.unwrap_or(HISTORY_PAGE_DEFAULT);
        if !(1..=HISTORY_PAGE_MAX).contains(&limit) {
            return Err(DecodeError::Malformed(format!("limit must be 1 to {HISTORY_PAGE_MAX}")));
        }
        Ok(Request::History(HistoryQuery {
            channel: ChannelName::parse(&self.channel)?,
            after: self.after.unwrap_or(0),
            before: self.before.unwrap_or(0),
            limit,
            reverse: self.reverse.unwrap_or(false),
        }))
    }
}

fn token(token: Text<'_>) -> Result<String, DecodeError> {
    if token.len() > TOKEN_BYTES {
        return Err(DecodeError::TooLarge { what: "a token", limit: TOKEN_BYTES });
    }
    Ok(token.into_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorCode, Payload};

    fn read(text: &str) -> Result<ClientMessage, DecodeFailure> {
        decode_client(text.as_bytes())
    }

    fn refused(text: &str) -> (u32, ErrorCode) {
        let failure = read(text).unwrap_err();
        (failure.id, failure.error.code)
    }

    #[test]
    fn the_documented_examples_read() {
        let message =
            read(r#"{"id":1,"connect":{"token":"t","name":"page","key":"room 7","placed":true}}"#).unwrap();
        let connect = Connect {
            token: Some("t".into()),
            name: Some("page".into()),
            key: Some(PlacementKey::parse("room 7").unwrap()),
            placed: true,
        };
        assert_eq!(message, ClientMessage { id: 1, request: Request::Connect(connect) });

        let text = r#"{"id":2,"subscribe":{"channel":"chat:1","recover":{"epoch":"e","offset":12}}}"#;
        let Request::Subscribe(subscribe) = read(text).unwrap().request else { panic!() };
        assert_eq!(subscribe.recover, Some(Position { epoch: Epoch::parse("e").unwrap(), offset: 12 }));

        let text = r#"{"id":3,"publish":{"channel":"chat:1","id":"01","data":{"a": [1]}}}"#;
        let Request::Publish(publish) = read(text).unwrap().request else { panic!() };
        assert_eq!(publish.data, Payload::Json(br#"{"a": [1]}"#.as_slice().into()));

        let text = r#"{"publish":{"channel":"chat:1","data64":"AP8"}}"#;
        let Request::Publish(publish) = read(text).unwrap().request else { panic!() };
        assert_eq!(publish.data, Payload::Binary([0u8, 255].as_slice().into()));

        let Request::History(query) = read(r#"{"id":5,"history":{"channel":"a"}}"#).unwrap().request else {
            panic!()
        };
        assert_eq!((query.after, query.before, query.limit, query.reverse), (0, 0, 100, false));
    }

    #[test]
    fn an_empty_object_and_an_explicit_ping_are_pings() {
        assert_eq!(read(" { } ").unwrap(), ClientMessage { id: 0, request: Request::Ping });
        assert_eq!(read(r#"{"id":4,"ping":{}}"#).unwrap(), ClientMessage { id: 4, request: Request::Ping });
    }

    #[test]
    fn null_is_data() {
        let Request::Publish(publish) = read(r#"{"publish":{"channel":"a","data":null}}"#).unwrap().request
        else {
            panic!()
        };
        assert_eq!(publish.data, Payload::Json(b"null".as_slice().into()));
    }

    #[test]
    fn unknown_fields_are_ignored_at_every_level() {
        let text = r#"{"v":[[{}]],"id":1,"subscribe":{"channel":"a","x":{"y":"\ud800"},"presence":true}}"#;
        assert!(read(text).is_ok());
    }

    #[test]
    fn each_mistake_has_its_code_and_keeps_its_id() {
        use ErrorCode::{BadRequest, InvalidChannel, InvalidData, InvalidId, TooLarge};
        let long_token = format!(r#"{{"id":1,"refresh":{{"token":"{}"}}}}"#, "t".repeat(TOKEN_BYTES + 1));
        for (text, expected) in [
            (r#"{"id":1,"subscribe":{"channel":"a b"}}"#, (1, InvalidChannel)),
            (r#"{"id":1,"subscribe":{"channel":7}}"#, (1, BadRequest)),
            (r#"{"id":1,"subscribe":["a"]}"#, (1, BadRequest)),
            (r#"{"id":1,"subscribe":{"channel":"a","recover":{"epoch":"e","offset":-1}}}"#, (1, BadRequest)),
            (r#"{"id":1,"subscribe":{"channel":"a","recover":{"epoch":"","offset":1}}}"#, (1, InvalidId)),
            (r#"{"id":1,"publish":{"channel":"a","id":"a b","data":1}}"#, (1, InvalidId)),
            (r#"{"id":1,"publish":{"channel":"a"}}"#, (1, InvalidData)),
            (r#"{"id":1,"publish":{"channel":"a","data":1,"data64":""}}"#, (1, InvalidData)),
            (r#"{"id":1,"publish":{"channel":"a","data64":"?"}}"#, (1, InvalidData)),
            (r#"{"id":1,"publish":{"channel":"a","data":tru}}"#, (1, BadRequest)),
            (r#"{"id":1,"history":{"channel":"a","limit":0}}"#, (1, BadRequest)),
            (r#"{"id":1,"history":{"channel":"a","limit":1001}}"#, (1, BadRequest)),
            (r#"{"id":1,"ping":{},"connect":{}}"#, (1, BadRequest)),
            (r#"{"id":1,"id":2,"ping":{}}"#, (1, BadRequest)),
            (r#"{"id":1}"#, (1, BadRequest)),
            (r#"{"id":1,"fly":{}}"#, (1, BadRequest)),
            (r#"{"id":4294967296,"ping":{}}"#, (0, BadRequest)),
            (r#"[1,{}]"#, (0, BadRequest)),
            ("", (0, BadRequest)),
            ("nonsense", (0, BadRequest)),
            (&long_token, (1, TooLarge)),
        ] {
            assert_eq!(refused(text), expected, "{text}");
        }
        assert_eq!(decode_client(b"{\"id\":1,\"x\":\"\xff\"}").unwrap_err().error.code, BadRequest);
    }

    #[test]
    fn an_error_does_not_echo_a_long_input() {
        let text = format!(r#"{{"id":1,"subscribe":"{}"}}"#, "é".repeat(5_000));
        assert!(read(&text).unwrap_err().error.message.len() <= 200);
    }
}

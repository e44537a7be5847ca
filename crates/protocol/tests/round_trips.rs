//! Laws of the codecs: what is written reads back, in every encoding, alone and in batches; the encodings agree; a
//! message cut short is refused; fields of a later version are skipped.
#![allow(clippy::unwrap_used)]

mod strategies;

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use skywave_protocol::inner::{
    CellNews, CoreBeat, CoreReply, CoreRequest, Excerpt, Live, LogRecord, NodeBeat, Notice,
};
use skywave_protocol::message::{ClientMessage, ServerMessage};
use skywave_protocol::{DecodeError, Publication, binary, json};

fn json_client(message: &ClientMessage) -> Vec<u8> {
    let mut out = Vec::new();
    json::encode_client(message, &mut out);
    out
}

fn json_server(message: &ServerMessage) -> Vec<u8> {
    let mut out = Vec::new();
    json::encode_server(message, &mut out);
    out
}

fn binary_client(message: &ClientMessage) -> Vec<u8> {
    let mut out = Vec::new();
    binary::encode_client(message, &mut out);
    out
}

fn binary_server(message: &ServerMessage) -> Vec<u8> {
    let mut out = Vec::new();
    binary::encode_server(message, &mut out);
    out
}

/// An inner message reads back, alone and with something of a later version behind it; no part of it reads.
fn check_inner<T: PartialEq + std::fmt::Debug>(
    message: &T,
    encoded: &Bytes,
    decode: impl Fn(Bytes) -> Result<T, DecodeError>,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(&decode(encoded.clone()).unwrap(), message);
    let longer = [&encoded[..], b"later"].concat();
    prop_assert_eq!(&decode(longer.into()).unwrap(), message);
    for cut in 0..encoded.len() {
        prop_assert!(decode(encoded.slice(..cut)).is_err(), "cut at {}", cut);
    }
    Ok(())
}

proptest! {
    #[test]
    fn client_messages_read_back_in_both_encodings(message in strategies::client_message()) {
        let text = json_client(&message);
        prop_assert!(!text.contains(&b'\n') && !text.contains(&b'\r'), "a message is one line");
        prop_assert_eq!(&json::decode_client(&text).unwrap(), &message);
        prop_assert_eq!(&binary::decode_client(&binary_client(&message)).unwrap(), &message);
    }

    #[test]
    fn server_messages_read_back_in_both_encodings(message in strategies::server_message()) {
        let text = json_server(&message);
        prop_assert!(!text.contains(&b'\n') && !text.contains(&b'\r'), "a message is one line");
        prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok());
        prop_assert_eq!(&json::decode_server(&text).unwrap(), &message);
        prop_assert_eq!(&binary::decode_server(&binary_server(&message)).unwrap(), &message);
    }

    #[test]
    fn a_reply_without_its_envelope_is_what_stands_in_it(message in strategies::server_message()) {
        if let ServerMessage::Reply { id, reply } = &message {
            let mut inner = format!("{{\"id\":{id},\"").into_bytes();
            let whole = json_server(&message);
            let name = whole[inner.len()..].split(|&byte| byte == b'"').next().unwrap();
            inner.extend_from_slice(&[name, b"\":"].concat());
            json::encode_reply(reply, &mut inner);
            inner.push(b'}');
            prop_assert_eq!(inner, whole);
        }
    }

    #[test]
    fn batches_read_back_in_both_encodings(
        messages in prop::collection::vec(strategies::client_message(), 0..8),
    ) {
        let lines: Vec<Vec<u8>> = messages.iter().map(json_client).collect();
        let read: Result<Vec<_>, _> = json::decode_client_batch(&lines.join(&b'\n')).collect();
        prop_assert_eq!(&read.unwrap(), &messages);
        let frame: Vec<u8> = messages.iter().flat_map(binary_client).collect();
        let read: Result<Vec<_>, _> = binary::decode_client_batch(&frame).collect();
        prop_assert_eq!(&read.unwrap(), &messages);
    }

    #[test]
    fn a_message_cut_short_is_refused(
        client in strategies::client_message(),
        server in strategies::server_message(),
        cut: prop::sample::Index,
    ) {
        let text = json_client(&client);
        prop_assert!(json::decode_client(&text[..cut.index(text.len())]).is_err());
        let text = json_server(&server);
        prop_assert!(json::decode_server(&text[..cut.index(text.len())]).is_err());
        let bytes = binary_client(&client);
        prop_assert!(binary::decode_client(&bytes[..cut.index(bytes.len())]).is_err());
        let bytes = binary_server(&server);
        prop_assert!(binary::decode_server(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn live_messages_read_back(message in strategies::live()) {
        check_inner(&message, &message.encode(), Live::decode)?;
    }

    #[test]
    fn log_records_read_back(message in strategies::log_record()) {
        check_inner(&message, &message.encode(), LogRecord::decode)?;
    }

    #[test]
    fn core_requests_read_back(message in strategies::core_request()) {
        check_inner(&message, &message.encode(), CoreRequest::decode)?;
    }

    #[test]
    fn core_replies_read_back(message in strategies::core_reply()) {
        check_inner(&message, &message.encode(), CoreReply::decode)?;
    }

    #[test]
    fn excerpts_read_back(message in strategies::excerpt()) {
        check_inner(&message, &message.encode(), Excerpt::decode)?;
    }

    /// One that lacks a publication, or has one twice or without a position, is none.
    #[test]
    fn an_excerpt_with_a_hole_is_none(whole in strategies::excerpt(), at in 0usize..4, offset: u64) {
        let mut publications = whole.publications().to_vec();
        let at = at % publications.len();
        prop_assume!(offset != publications[at].offset && (publications.len() > 1 || offset == 0));
        publications[at] = Arc::new(Publication { offset, ..(*publications[at]).clone() });
        prop_assert_eq!(Excerpt::new(whole.channel().clone(), whole.epoch().clone(), publications), None);
    }

    #[test]
    fn notices_read_back(message in strategies::notice()) {
        check_inner(&message, &message.encode(), Notice::decode)?;
    }

    #[test]
    fn cell_news_read_back(message in strategies::cell_news()) {
        check_inner(&message, &message.encode(), CellNews::decode)?;
    }

    #[test]
    fn core_beats_read_back(message in strategies::core_beat()) {
        check_inner(&message, &message.encode(), CoreBeat::decode)?;
    }

    #[test]
    fn node_beats_read_back(message in strategies::node_beat()) {
        check_inner(&message, &message.encode(), NodeBeat::decode)?;
    }
}

#[test]
fn payloads_share_the_buffer_they_came_in() {
    use skywave_protocol::{ChannelName, Payload, Publication};
    let publication = Publication {
        offset: 1,
        id: None,
        from: None,
        time_ms: 0,
        data: Payload::Binary(vec![7; 64].into()),
    };
    let channel = ChannelName::parse("a").unwrap();
    let encoded = Live::Publication { channel, epoch: None, publication: publication.into() }.encode();
    let range = encoded.as_ptr_range();
    let Live::Publication { publication, .. } = Live::decode(encoded.clone()).unwrap() else { panic!() };
    assert!(range.contains(&publication.data.bytes().as_ptr()));
}

#[test]
fn sizes_that_the_decision_record_states() {
    use skywave_protocol::{ChannelName, Epoch, MessageId, Payload, Publication, Push, UserId};
    let publication = Publication {
        offset: 123_456,
        id: Some(MessageId::parse("01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap()),
        from: Some(UserId::parse("anna-1").unwrap()),
        time_ms: 1_790_000_000_000,
        data: Payload::from_json(br#"{"text":"12345678901234567890"}"#).unwrap(),
    };
    let push = ServerMessage::Push(Push::Publication {
        channel: ChannelName::parse("chat:room-1").unwrap(),
        epoch: Some(Epoch::parse("abcdefgh").unwrap()),
        publication: publication.into(),
    });
    assert_eq!((binary_server(&push).len(), json_server(&push).len()), (99, 178));
}

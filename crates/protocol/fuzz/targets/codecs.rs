//! The message codecs.

use bytes::Bytes;
use skywave_protocol::inner::{
    CellNews, CoreBeat, CoreReply, CoreRequest, Excerpt, Live, LogRecord, NodeBeat, Notice,
};
use skywave_protocol::limits::{BATCH_REQUESTS, JSON_DEPTH};
use skywave_protocol::message::{ClientMessage, Request, ServerMessage};
use skywave_protocol::{Payload, binary, json};

pub(crate) fn json_client(data: &[u8]) {
    let mut count = 0;
    for message in json::decode_client_batch(data) {
        count += 1;
        match message {
            Ok(message) => check_client(&message),
            Err(failure) => assert!(failure.error.message.len() < 400, "an error does not echo its input"),
        }
    }
    assert!(count <= BATCH_REQUESTS + 1);
    // A message alone is never taken for something else than in a batch, unless its line breaks made it several.
    if let Ok(message) = json::decode_client(data) {
        check_client(&message);
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok());
    }
}

pub(crate) fn binary_client(data: &[u8]) {
    let messages: Vec<_> = binary::decode_client_batch(data).collect();
    assert!(messages.len() <= BATCH_REQUESTS + 1);
    for message in messages.into_iter().flatten() {
        check_client(&message);
    }
    // A stream reader that waits for each length sees the same messages as a frame reader.
    let lengths: usize = binary::split(data).flatten().map(<[u8]>::len).sum();
    assert!(lengths <= data.len());
}

/// What a client sent reads back from both encodings.
fn check_client(message: &ClientMessage) {
    if let Request::Publish(publish) = &message.request {
        check_payload(&publish.data);
    }
    let mut out = Vec::new();
    json::encode_client(message, &mut out);
    assert!(!out.contains(&b'\n') && !out.contains(&b'\r'));
    assert_eq!(json::decode_client(&out).as_ref(), Ok(message));
    out.clear();
    binary::encode_client(message, &mut out);
    assert_eq!(binary::decode_client(&out).as_ref(), Ok(message));
    assert_eq!(binary::message_length(&out), Ok(Some(out.len())));
}

/// A payload accepted as JSON is JSON, one line, and not too deep.
fn check_payload(payload: &Payload) {
    let Payload::Json(text) = payload else { return };
    assert!(serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok());
    assert!(!text.contains(&b'\n') && !text.contains(&b'\r'));
    assert_eq!(text.trim_ascii(), text);
    assert_eq!(Payload::from_json(text).as_ref(), Ok(payload), "checking again changes nothing");
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    assert!(deepest <= JSON_DEPTH);
}

pub(crate) fn json_server(data: &[u8]) {
    for line in json::split(data) {
        let Ok(message) = json::decode_server(line) else { continue };
        let mut out = Vec::new();
        json::encode_server(&message, &mut out);
        assert!(!out.contains(&b'\n') && !out.contains(&b'\r'));
        assert_eq!(json::decode_server(&out).as_ref(), Ok(&message));
        check_binary_server(&message);
    }
}

pub(crate) fn binary_server(data: &[u8]) {
    for message in binary::split(data).flatten() {
        if let Ok(message) = binary::decode_server(message) {
            check_binary_server(&message);
        }
    }
}

fn check_binary_server(message: &ServerMessage) {
    let mut out = Vec::new();
    binary::encode_server(message, &mut out);
    assert_eq!(binary::decode_server(&out).as_ref(), Ok(message));
}

pub(crate) fn inner(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(message) = Live::decode(bytes.clone()) {
        assert_eq!(Live::decode(message.encode()), Ok(message));
    }
    if let Ok(message) = LogRecord::decode(bytes.clone()) {
        assert_eq!(LogRecord::decode(message.encode()), Ok(message));
    }
    if let Ok(message) = CoreRequest::decode(bytes.clone()) {
        assert_eq!(CoreRequest::decode(message.encode()), Ok(message));
    }
    if let Ok(message) = CoreReply::decode(bytes.clone()) {
        assert_eq!(CoreReply::decode(message.encode()), Ok(message));
    }
    if let Ok(message) = Excerpt::decode(bytes.clone()) {
        assert_eq!(Excerpt::decode(message.encode()), Ok(message));
    }
    if let Ok(message) = Notice::decode(bytes.clone()) {
        assert_eq!(Notice::decode(message.encode()), Ok(message));
    }
    if let Ok(message) = NodeBeat::decode(bytes.clone()) {
        assert_eq!(NodeBeat::decode(message.encode()), Ok(message));
    }
    if let Ok(message) = CoreBeat::decode(bytes.clone()) {
        assert_eq!(CoreBeat::decode(message.encode()), Ok(message));
    }
    if let Ok(message) = CellNews::decode(bytes) {
        assert_eq!(CellNews::decode(message.encode()), Ok(message));
    }
}

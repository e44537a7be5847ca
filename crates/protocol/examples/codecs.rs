//! Nanoseconds per message of the codecs on the hot path: `cargo run --release -p skywave-protocol --example codecs`.
//!
//! For comparing a change with what was before it, on the same machine; absolute figures mean little.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use skywave_protocol::inner::{Live, LogRecord};
use skywave_protocol::message::{ClientMessage, Publish, Push, Request, ServerMessage};
use skywave_protocol::websocket::{Decoder, Opcode, Role, put_masked_frame};
use skywave_protocol::{
    ChannelName, Epoch, MessageId, NodeId, Payload, Publication, Subject, UserId, binary, json,
};

const ROUNDS: u32 = 400_000;

/// Prints the best of several runs, which is the least disturbed one.
fn measure(what: &str, mut work: impl FnMut()) {
    let best = (0..7).map(|_| {
        let start = Instant::now();
        (0..ROUNDS).for_each(|_| work());
        start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
    });
    println!("{:>8.1} ns  {what}", best.fold(f64::INFINITY, f64::min));
}

fn main() {
    let channel = ChannelName::parse("chat:room-1").unwrap();
    let id = MessageId::parse("01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap();
    let data = Payload::from_json(format!("{{\"text\":\"{}\"}}", "x".repeat(117)).as_bytes()).unwrap();
    let publication = Publication {
        offset: 123_456,
        id: Some(id.clone()),
        from: Some(UserId::parse("anna-1").unwrap()),
        time_ms: 1_790_000_000_000,
        data: data.clone(),
    };
    let epoch = Some(Epoch::parse("abcdefgh").unwrap());
    let push = ServerMessage::Push(Push::Publication {
        channel: channel.clone(),
        epoch: epoch.clone(),
        publication: publication.clone().into(),
    });
    let live = Live::Publication { channel: channel.clone(), epoch, publication: publication.into() };
    let record = LogRecord {
        channel: channel.clone(),
        time_ms: 1_790_000_000_000,
        from: Some(UserId::parse("anna-1").unwrap()),
        id: Some(id.clone()),
        region: "eu".into(),
        data: data.clone(),
        reply: Some(skywave_protocol::inner::ReplyTo {
            subject: Subject::reply(&NodeId::parse("n1").unwrap(), 1),
            correlation: 7,
        }),
    };
    let publish = ClientMessage { id: 7, request: Request::Publish(Publish { channel, id: Some(id), data }) };

    let mut out = Vec::with_capacity(1024);
    measure("encode a publication push, JSON", || {
        out.clear();
        json::encode_server(black_box(&push), &mut out);
    });
    measure("encode a publication push, binary", || {
        out.clear();
        binary::encode_server(black_box(&push), &mut out);
    });

    let mut text = Vec::new();
    json::encode_client(&publish, &mut text);
    measure("decode a publish, JSON", || drop(black_box(json::decode_client(black_box(&text)))));
    let mut bytes = Vec::new();
    binary::encode_client(&publish, &mut bytes);
    measure("decode a publish, binary", || drop(black_box(binary::decode_client(black_box(&bytes)))));

    let mut text = Vec::new();
    json::encode_server(&push, &mut text);
    measure("decode a publication push, JSON", || drop(black_box(json::decode_server(black_box(&text)))));
    let mut bytes = Vec::new();
    binary::encode_server(&push, &mut bytes);
    measure("decode a publication push, binary", || {
        drop(black_box(binary::decode_server(black_box(&bytes))))
    });

    measure("encode a live message", || drop(black_box(black_box(&live).encode())));
    let encoded = live.encode();
    measure("decode a live message", || drop(black_box(Live::decode(black_box(&encoded).clone()))));
    measure("encode a log record", || drop(black_box(black_box(&record).encode())));
    let encoded = record.encode();
    measure("decode a log record", || drop(black_box(LogRecord::decode(black_box(&encoded).clone()))));

    let mut frame = Vec::new();
    put_masked_frame(&mut frame, Opcode::Text, &text, [1, 2, 3, 4]);
    let mut decoder = Decoder::new(Role::Server, 65_536, false);
    let mut input = frame.clone();
    measure("decode a WebSocket frame of that push, masked", || {
        input.copy_from_slice(&frame);
        let mut events = decoder.feed(&mut input);
        while let Some(event) = events.next() {
            assert!(black_box(event).is_ok());
        }
    });
}

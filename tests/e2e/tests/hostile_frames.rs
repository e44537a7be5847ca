//! Broken and hostile bytes: each gets a clear close code, costs only its sender, and leaves the server serving.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;
use skywave_harness::socket::{BINARY, CONTINUATION, PING, Received, TEXT, frame};
use skywave_harness::{Server, Socket};

/// A bystander that is served before and after.
fn still_serves(server: &Server) -> anyhow::Result<()> {
    let mut socket = Socket::connect(server.address(), None)?;
    socket.publish(
        "chat:bystander",
        &format!("b-{:?}", std::time::Instant::now()).replace([' ', '{', '}'], ""),
        json!(1),
    )?;
    Ok(())
}

/// What the server closes a connection with after these bytes.
fn closed_after(server: &Server, bytes: &[u8]) -> anyhow::Result<Option<u16>> {
    let mut socket = Socket::connect(server.address(), None)?;
    socket.raw(bytes)?;
    socket.wait_close()
}

#[test]
fn frames_that_break_the_protocol_are_closed_with_the_right_code() -> anyhow::Result<()> {
    let server = Server::start()?;
    let unmasked = [0x81, 0x02, b'{', b'}'];
    let mut huge = vec![0x81, 0xff];
    huge.extend_from_slice(&(i64::MAX as u64).to_be_bytes());
    huge.extend_from_slice(&[1, 2, 3, 4]);
    let split_utf8 = [frame(false, TEXT, b"\"\xc3"), frame(true, CONTINUATION, b"(\"")].concat();
    let cases: [(&str, Vec<u8>, u16); 9] = [
        ("unmasked", unmasked.to_vec(), 1002),
        ("reserved bit", vec![0xc1, 0x80, 1, 2, 3, 4], 1002),
        ("reserved opcode", frame(true, 3, b""), 1002),
        ("long control frame", frame(true, PING, &[0; 126]), 1002),
        ("fragmented ping", frame(false, PING, b""), 1002),
        ("continuation of nothing", frame(true, CONTINUATION, b"x"), 1002),
        ("invalid UTF-8 split over fragments", split_utf8, 1007),
        ("length 2^63-1", huge, 1009),
        ("binary on a JSON connection", frame(true, BINARY, b"{}"), 1003),
    ];
    for (name, bytes, code) in cases {
        assert_eq!(closed_after(&server, &bytes)?, Some(code), "{name}");
    }
    still_serves(&server)
}

#[test]
fn an_oversized_message_is_refused_whole_or_in_fragments() -> anyhow::Result<()> {
    let server = Server::start()?;
    let big = vec![b'x'; 70 * 1024];
    assert_eq!(closed_after(&server, &frame(true, TEXT, &big))?, Some(1009), "whole");
    let mut fragments = frame(false, TEXT, &big[..40 * 1024]);
    fragments.extend(frame(false, CONTINUATION, &big[..40 * 1024]));
    assert_eq!(closed_after(&server, &fragments)?, Some(1009), "fragments");
    still_serves(&server)
}

#[test]
fn malformed_messages_are_answered_and_unknown_fields_ignored() -> anyhow::Result<()> {
    let server = Server::start()?;
    let mut socket = Socket::connect(server.address(), None)?;
    let cases = [
        ("{\"id\":7,", "cut"),
        ("[]", "array"),
        ("\"text\"", "string"),
        ("{\"id\":7,\"frobnicate\":{}}", "unknown request"),
        ("{\"id\":7,\"subscribe\":{\"channel\":5}}", "wrong type"),
        ("{\"id\":\"seven\",\"ping\":{}}", "wrong id"),
        ("{\"id\":7,\"publish\":{\"channel\":\"chat:x\"}}", "no data"),
        ("{\"id\":7,\"history\":{\"channel\":\"chat:x\",\"limit\":-1}}", "negative"),
    ];
    for (message, name) in cases {
        socket.text(message)?;
        let answer = socket.push()?;
        assert!(answer["error"]["code"].is_string(), "{name}: {answer}");
    }
    let answer = socket.request("ping", json!({"surprise": [1, 2, {"deep": null}]}))?;
    assert!(answer.get("pong").is_some(), "{answer}");
    // Patience ends: a connection that only sends rubbish is closed.
    for _ in 0..16 {
        if socket.text("rubbish").is_err() {
            break;
        }
    }
    assert_eq!(socket.wait_close()?, Some(1002));
    still_serves(&server)
}

#[test]
fn ten_thousand_levels_of_json_are_refused() -> anyhow::Result<()> {
    let server = Server::start()?;
    let mut socket = Socket::connect(server.address(), None)?;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    socket
        .text(&format!("{{\"id\":7,\"publish\":{{\"channel\":\"chat:x\",\"id\":\"d\",\"data\":{deep}}}}}"))?;
    let answer = socket.push()?;
    assert!(answer["error"]["code"].is_string(), "{answer}");
    still_serves(&server)
}

#[test]
fn a_ping_flood_is_answered_or_closed_and_hurts_nobody() -> anyhow::Result<()> {
    let server = Server::start()?;
    let mut socket = Socket::connect(server.address(), None)?;
    let pings = frame(true, PING, b"flood").repeat(2_000);
    for _ in 0..20 {
        if socket.raw(&pings).is_err() {
            break;
        }
        while let Some(received) = socket.receive_within(Duration::from_millis(1))? {
            assert!(
                matches!(received, Received::Pong(_) | Received::Close { .. } | Received::End),
                "{received:?}"
            );
            if !matches!(received, Received::Pong(_)) {
                return still_serves(&server);
            }
        }
    }
    still_serves(&server)
}

#[test]
fn rubbish_before_the_upgrade_gets_a_small_answer() -> anyhow::Result<()> {
    let server = Server::start()?;
    let head = format!("GET /v1/ws HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(1024 * 1024));
    let cases: [&[u8]; 4] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /v1/ws\r\n\r\n",
        b"\r\n\r\n\r\n\r\n",
        head.as_bytes(),
    ];
    for bytes in cases {
        let mut stream = TcpStream::connect(server.address())?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        // The server may close before it has read everything.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 4096, "{} bytes", answer.len());
        assert!(!answer.starts_with(b"HTTP/1.1 101"));
    }
    still_serves(&server)
}

//! The reference in `docs/protocol.md` says what the code does: examples decode, codes, advice, limits and tags agree.
#![allow(clippy::unwrap_used)]

use skywave_protocol::close::{CloseCode, Reconnect};
use skywave_protocol::error::{ErrorCode, Retry};
use skywave_protocol::message::GapReason;
use skywave_protocol::{binary, json};

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");
const LIMITS: &str = include_str!("../src/limits.rs");
const TAGS: &str = include_str!("../src/binary/tags.rs");

/// The lines of all code blocks with this info string.
fn examples(info: &str) -> Vec<&'static str> {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in DOCUMENT.lines() {
        match line.strip_prefix("```") {
            Some(fence) => inside = fence == info,
            None if inside => lines.push(line),
            None => {}
        }
    }
    lines
}

/// The table row whose first cell is this.
fn row(first: &str) -> Vec<&'static str> {
    let begin = format!("| {first} |");
    let mut rows = DOCUMENT.lines().filter(|line| line.starts_with(&begin));
    let row = rows.next().unwrap_or_else(|| panic!("no row for {first}"));
    row.trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn every_example_is_a_message() {
    let client = examples("json client");
    assert!(client.len() > 10);
    for line in client {
        json::decode_client(line.as_bytes()).unwrap_or_else(|failure| panic!("{line}: {failure:?}"));
    }
    let server = examples("json server");
    assert!(server.len() > 20);
    for line in server {
        json::decode_server(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn the_examples_show_every_kind_of_message() {
    let shown = |info, name: &str| {
        let pattern = format!("\"{name}\":{{");
        assert!(examples(info).iter().any(|line| line.contains(&pattern)), "no example of {name}");
    };
    for name in [
        "connect",
        "subscribe",
        "unsubscribe",
        "publish",
        "history",
        "presence",
        "refresh",
        "ping",
        "recover",
    ] {
        shown("json client", name);
    }
    for name in [
        "connected",
        "subscribed",
        "unsubscribed",
        "published",
        "history",
        "presence",
        "refreshed",
        "pong",
        "error",
        "pub",
        "gap",
        "join",
        "leave",
        "move",
        "expiring",
        "close",
    ] {
        shown("json server", name);
    }
}

#[test]
fn binary_examples_read_and_are_what_is_written() {
    let bytes = |line: &str| -> Vec<u8> {
        line.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    };
    for line in examples("hex client") {
        let message = binary::decode_client(&bytes(line)).unwrap();
        let mut out = Vec::new();
        binary::encode_client(&message, &mut out);
        assert_eq!(out, bytes(line), "{message:?}");
    }
    let server = examples("hex server");
    assert_eq!(server.len(), 3);
    for line in server {
        let message = binary::decode_server(&bytes(line)).unwrap();
        let mut out = Vec::new();
        binary::encode_server(&message, &mut out);
        assert_eq!(out, bytes(line), "{message:?}");
    }
}

#[test]
fn every_error_code_is_documented() {
    for (code, name, number, retry, status) in ErrorCode::TABLE {
        let cells = row(&format!("`{name}`"));
        let advice = match retry {
            Retry::Never => "never",
            Retry::Later => "later",
            Retry::WithNewToken => "with a new token",
            Retry::Elsewhere => "elsewhere",
        };
        assert_eq!(cells[1..4], [&number.to_string(), advice, &status.to_string()], "{code:?}");
    }
}

#[test]
fn every_close_code_is_documented() {
    for (code, number, reason, reconnect) in CloseCode::TABLE {
        let cells = row(&number.to_string());
        assert_eq!(cells[1], *reason, "{code:?}");
        let advice = match reconnect {
            Reconnect::Resume => "resume",
            Reconnect::Elsewhere => "resume, elsewhere if possible",
            Reconnect::WithNewToken => "get a new token, then resume",
            Reconnect::No => "do not reconnect",
        };
        assert!(cells[2].starts_with(advice), "{code:?}: {}", cells[2]);
    }
}

#[test]
fn every_gap_reason_is_documented() {
    for (reason, name, number) in GapReason::TABLE {
        assert_eq!(row(&format!("`{name}`"))[1], number.to_string(), "{reason:?}");
    }
}

#[test]
fn every_limit_is_documented() {
    let mut count = 0;
    for line in LIMITS.lines() {
        let Some(constant) = line.strip_prefix("pub const ") else { continue };
        let (name, value) = constant.trim_end_matches(';').split_once(" = ").unwrap();
        let (name, _) = name.split_once(':').unwrap();
        let value: u64 =
            value.split('*').map(|factor| factor.trim().replace('_', "").parse::<u64>().unwrap()).product();
        assert_eq!(row(&format!("`{name}`"))[1], value.to_string(), "{name}");
        count += 1;
    }
    assert!(count >= 16);
}

#[test]
fn every_binary_tag_is_documented() {
    let mut count = 0;
    for line in TAGS.lines() {
        let Some((_, constant)) = line.split_once("const ") else { continue };
        let (name, value) = constant.trim_end_matches(';').split_once(": u8 = ").unwrap();
        let name = match name {
            "PUBLICATION" => "pub".to_owned(),
            name => name.to_lowercase(),
        };
        let cells = row(&format!("`{value}`"));
        assert!(cells[1].contains(&name), "{value}: {name}");
        count += 1;
    }
    assert_eq!(count, 8 + 9 + 10);
}

//! A publication as a line.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use skywave_client::{ChannelName, Member, Payload, Position, Publication};

use crate::connection::printable;

/// How publications are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Strings without quotes and bytes as they are: the inverse of `pub`.
    Raw,
    /// The same for people's eyes: what a terminal would obey is escaped.
    Terminal,
    Json,
}

/// One object of `--json`.
#[derive(serde::Serialize)]
struct Line<'a> {
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data64: Option<String>,
}

impl Style {
    pub(super) fn write(
        self,
        out: &mut impl Write,
        channel: &ChannelName,
        position: Option<&Position>,
        publication: &Publication,
    ) -> io::Result<()> {
        match self {
            Self::Raw => out.write_all(&plain(&publication.data))?,
            Self::Terminal => {
                let text = String::from_utf8_lossy(&plain(&publication.data)).into_owned();
                out.write_all(printable(&text).as_bytes())?;
            }
            Self::Json => serde_json::to_writer(&mut *out, &line(channel, position, publication))?,
        }
        out.write_all(b"\n")
    }
}

/// The bytes of a string without its quotes, of anything else as it is.
fn plain(data: &Payload) -> std::borrow::Cow<'_, [u8]> {
    match data {
        Payload::Json(json) if json.first() == Some(&b'"') => match serde_json::from_slice::<String>(json) {
            Ok(text) => text.into_bytes().into(),
            // A lone surrogate (`"\ud800"`) is JSON but no text: as it stands.
            Err(_) => (&json[..]).into(),
        },
        Payload::Json(bytes) | Payload::Binary(bytes) => (&bytes[..]).into(),
    }
}

fn line<'a>(
    channel: &'a ChannelName,
    position: Option<&'a Position>,
    publication: &'a Publication,
) -> Line<'a> {
    let (data, data64) = match &publication.data {
        Payload::Json(json) => match serde_json::from_slice::<&RawValue>(json) {
            Ok(raw) => (Some(raw), None),
            Err(_) => (None, Some(STANDARD.encode(json))),
        },
        Payload::Binary(bytes) => (None, Some(STANDARD.encode(bytes))),
    };
    Line {
        channel: channel.as_str(),
        epoch: position.map(|position| position.epoch.as_str()),
        offset: position.map(|position| position.offset),
        id: publication.id.as_ref().map(|id| id.as_str()),
        from: publication.from.as_ref().map(|user| user.as_str()),
        time: publication.time_ms,
        data,
        data64,
    }
}

/// A member for people's eyes.
pub(super) fn name(member: &Member) -> String {
    match &member.user {
        Some(user) => printable(user.as_str()),
        None => format!("anonymous {}", member.client),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use skywave_protocol::Epoch;

    use super::*;

    fn printed(style: Style, data: Payload) -> String {
        let channel = ChannelName::parse("chat:1").unwrap();
        let position = Position { epoch: Epoch::parse("e").unwrap(), offset: 7 };
        let publication = Publication { offset: 7, id: None, from: None, time_ms: 5, data };
        let mut out = Vec::new();
        style.write(&mut out, &channel, Some(&position), &publication).unwrap();
        String::from_utf8_lossy(&out).into_owned()
    }

    fn json(text: &'static str) -> Payload {
        Payload::Json(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn strings_lose_their_quotes_and_nothing_else_changes() {
        assert_eq!(printed(Style::Raw, json(r#""a\"b\t""#)), "a\"b\t\n");
        assert_eq!(printed(Style::Raw, json("\"\"")), "\n");
        assert_eq!(printed(Style::Raw, json("{\"a\": 1}")), "{\"a\": 1}\n");
        assert_eq!(printed(Style::Raw, json("\"\\ud800\"")), "\"\\ud800\"\n");
        assert_eq!(printed(Style::Raw, Payload::Binary(Bytes::from_static(b"x\x01"))), "x\u{1}\n");
    }

    #[test]
    fn a_terminal_gets_nothing_to_obey() {
        assert_eq!(printed(Style::Terminal, json("\"\\u001b[2Jx\\ny\"")), "\\u{1b}[2Jx\\ny\n");
    }

    #[test]
    fn json_lines_say_everything() {
        assert_eq!(
            printed(Style::Json, json("[1,  2]")),
            "{\"channel\":\"chat:1\",\"epoch\":\"e\",\"offset\":7,\"time\":5,\"data\":[1,  2]}\n"
        );
        let binary = printed(Style::Json, Payload::Binary(Bytes::from_static(b"\xff")));
        assert!(binary.contains("\"data64\":\"/w==\""), "{binary}");
    }
}

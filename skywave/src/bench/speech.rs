//! What the generator says to each kind of server, as ready client frames.
//!
//! The product and the floor get the same load in their own words, and the same payload length on the wire.

use super::fleet::{DIGITS, MARK};
use super::frames;

/// Whom the generator talks to.
#[derive(Debug, Clone)]
pub(super) enum Speech {
    /// The product: JSON, as a client that offers no subprotocol speaks it. Channels are `<namespace>:bench-<n>`.
    Product { namespace: &'static str, token: Option<String>, payload: usize },
    /// The floor server; its frames carry `payload` bytes, those of the product's frames.
    Floor { payload: usize },
}

impl Speech {
    /// Bytes of the message that follow from the mark on, for [`super::fleet::Fleet::new`].
    pub(super) fn message(&self) -> usize {
        match self {
            Self::Product { payload, .. } => *payload,
            // The mark stands at the front of the frame, the rest is padding.
            Self::Floor { payload } => *payload,
        }
    }

    /// What a subscriber of `channel` says after its upgrade, each step after the answer to the one before.
    pub(super) fn subscriber(&self, channel: usize) -> Vec<Vec<u8>> {
        match self {
            Self::Product { .. } => {
                let subscribe =
                    format!(r#"{{"id":2,"subscribe":{{"channel":"{}"}}}}"#, self.channel(channel));
                vec![text(&self.connect()), text(&subscribe)]
            }
            Self::Floor { .. } => vec![text(&format!("S{channel}"))],
        }
    }

    /// The same, recovering from a position.
    pub(super) fn recoverer(&self, channel: usize, epoch: &str, offset: u64) -> Vec<Vec<u8>> {
        let recover = format!(r#""recover":{{"epoch":"{epoch}","offset":{offset}}}"#);
        let subscribe =
            format!(r#"{{"id":2,"subscribe":{{"channel":"{}",{recover}}}}}"#, self.channel(channel));
        vec![text(&self.connect()), text(&subscribe)]
    }

    /// What a publisher says after its upgrade.
    pub(super) fn publisher(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Product { .. } => vec![text(&self.connect())],
            Self::Floor { .. } => Vec::new(),
        }
    }

    /// Appends the publish of message `number` of a channel; `request` 0 wants no answer.
    pub(super) fn publish(&self, channel: usize, number: u64, request: u32, out: &mut Vec<u8>) {
        let mark = char::from(MARK);
        let message = match self {
            Self::Product { payload, .. } => {
                // The quotes belong to the payload.
                let padding = payload.saturating_sub(3 + DIGITS);
                let (name, id) = (self.channel(channel), message_id(channel, number, request));
                let answer = if request == 0 { String::new() } else { format!(r#""id":{request},"#) };
                format!(
                    r#"{{{answer}"publish":{{"channel":"{name}",{id}"data":"{mark}{number:0DIGITS$}{:x<padding$}"}}}}"#,
                    ""
                )
            }
            Self::Floor { payload } => {
                let padding = payload.saturating_sub(1 + DIGITS);
                format!("P{channel} {mark}{number:0DIGITS$}{:x<padding$}", "")
            }
        };
        frames::push_masked(frames::TEXT, message.as_bytes(), out);
    }

    /// Name of the product's channel.
    pub(super) fn channel(&self, channel: usize) -> String {
        match self {
            Self::Product { namespace, .. } => format!("{namespace}:bench-{channel}"),
            Self::Floor { .. } => channel.to_string(),
        }
    }

    fn connect(&self) -> String {
        match self {
            Self::Product { token: Some(token), .. } => {
                format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#)
            }
            _ => r#"{"id":1,"connect":{}}"#.to_owned(),
        }
    }
}

/// Whoever wants an answer wants it to hold, so it sends an idempotency key along.
fn message_id(channel: usize, number: u64, request: u32) -> String {
    if request == 0 { String::new() } else { format!(r#""id":"b-{channel}-{number}","#) }
}

fn text(message: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    frames::push_masked(frames::TEXT, message.as_bytes(), &mut frame);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unmasked(frame: &[u8]) -> String {
        let mut payload = Vec::new();
        assert_eq!(frames::parse_masked(frame, &mut payload).map(|(_, end)| end), Some(frame.len()));
        String::from_utf8(payload).unwrap()
    }

    #[test]
    fn the_payload_has_the_asked_length_and_is_one_json_string() {
        let speech = Speech::Product { namespace: "live", token: None, payload: 128 };
        let mut frame = Vec::new();
        speech.publish(3, 42, 7, &mut frame);
        let message: serde_json::Value = serde_json::from_str(&unmasked(&frame)).unwrap();
        assert_eq!(message["id"], 7);
        assert_eq!(message["publish"]["channel"], "live:bench-3");
        assert_eq!(message["publish"]["data"].to_string().len(), 128);
        assert!(message["publish"]["data"].as_str().unwrap().starts_with("@0000000042x"));
    }

    #[test]
    fn the_floor_gets_the_same_number_of_bytes_to_deliver() {
        let mut frame = Vec::new();
        Speech::Floor { payload: 190 }.publish(3, 42, 0, &mut frame);
        let message = unmasked(&frame);
        assert_eq!(message.strip_prefix("P3 ").unwrap().len(), 190);
    }
}

//! From a message to the bytes of a frame, once per encoding.
//!
//! A publication that is fanned out is an [`Encoded`]: its frames are made when the first connection of an encoding needs
//! one, and shared by all workers. Owns: the framing of every [`Encoding`]. Never: knows a connection.

mod page;

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use skywave_protocol::websocket::{self, Opcode};
use skywave_protocol::{ChannelName, CloseCode, Push, ServerMessage, binary, json};

pub(crate) use page::EncodedPage;

use crate::transport::websocket::deflate::Deflater;
use crate::transport::{Encoding, Frame, FrameClass};

/// A push for the subscribers of a channel, with its frames as far as they were needed.
#[derive(Debug)]
pub(crate) struct Encoded {
    channel: ChannelName,
    message: ServerMessage,
    class: FrameClass,
    droppable: bool,
    /// Messages of fewer bytes are not compressed.
    threshold: usize,
    frames: [OnceLock<Bytes>; Encoding::COUNT],
}

impl Encoded {
    pub(crate) fn new(channel: ChannelName, push: Push, droppable: bool, threshold: usize) -> Arc<Self> {
        let class = match &push {
            Push::Publication { publication, .. } if publication.is_ephemeral() => FrameClass::Ephemeral,
            Push::Publication { .. } | Push::Gap { .. } => FrameClass::Durable,
            _ => FrameClass::Control,
        };
        let frames = [const { OnceLock::new() }; Encoding::COUNT];
        Arc::new(Self { channel, message: ServerMessage::Push(push), class, droppable, threshold, frames })
    }

    pub(crate) fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// The frame for connections of `encoding`.
    pub(crate) fn frame(&self, encoding: Encoding) -> Frame {
        let bytes =
            self.frames[encoding as usize].get_or_init(|| encode(encoding, &self.message, self.threshold));
        Frame {
            bytes: bytes.clone(),
            class: self.class,
            droppable: self.droppable,
            channel: Some(self.channel.clone()),
        }
    }
}

/// A message for one connection.
pub(crate) fn control(encoding: Encoding, message: &ServerMessage, threshold: usize) -> Frame {
    let bytes = encode(encoding, message, threshold);
    Frame { bytes, class: FrameClass::Control, droppable: false, channel: None }
}

/// The WebSocket close frame for a code; a reason too long for a control frame is cut.
pub(crate) fn ws_close(code: CloseCode, reason: &str) -> Frame {
    let mut bytes = Vec::with_capacity(4 + reason.len());
    websocket::put_close(&mut bytes, code.number(), reason);
    Frame { bytes: bytes.into(), class: FrameClass::Control, droppable: false, channel: None }
}

/// A WebSocket control frame with at most 125 bytes.
pub(crate) fn ws_control(opcode: Opcode, payload: &[u8]) -> Frame {
    let bytes = ws_frame(opcode, false, payload);
    Frame { bytes, class: FrameClass::Control, droppable: false, channel: None }
}

struct Scratch {
    message: Vec<u8>,
    packed: Vec<u8>,
    deflater: Deflater,
}

thread_local! {
    /// Encoding happens on the workers' threads; each keeps one set of buffers for it.
    static SCRATCH: RefCell<Scratch> =
        RefCell::new(Scratch { message: Vec::new(), packed: Vec::new(), deflater: Deflater::default() });
}

/// Longest header of an unmasked frame.
const SERVER_HEADER_BYTES: usize = 10;
/// Scratch buffers that have grown beyond this are given back.
const SCRATCH_BYTES: usize = 1024 * 1024;

fn encode(encoding: Encoding, message: &ServerMessage, threshold: usize) -> Bytes {
    SCRATCH.with_borrow_mut(|scratch| {
        let Scratch { message: plain, packed, deflater } = scratch;
        plain.clear();
        let frame = match encoding {
            Encoding::WsJson => {
                json::encode_server(message, plain);
                ws_frame(Opcode::Text, false, plain)
            }
            Encoding::WsJsonDeflate => {
                json::encode_server(message, plain);
                ws_packed(Opcode::Text, plain, packed, deflater, threshold)
            }
            Encoding::WsBinary => {
                binary::encode_server(message, plain);
                ws_frame(Opcode::Binary, false, plain)
            }
            Encoding::WsBinaryDeflate => {
                binary::encode_server(message, plain);
                ws_packed(Opcode::Binary, plain, packed, deflater, threshold)
            }
            Encoding::SseJson => {
                plain.extend_from_slice(b"data: ");
                json::encode_server(message, plain);
                plain.extend_from_slice(b"\n\n");
                Bytes::copy_from_slice(plain)
            }
            Encoding::StreamJson => {
                json::encode_server(message, plain);
                plain.push(b'\n');
                Bytes::copy_from_slice(plain)
            }
            Encoding::StreamBinary => {
                binary::encode_server(message, plain);
                Bytes::copy_from_slice(plain)
            }
        };
        plain.shrink_to(SCRATCH_BYTES);
        packed.shrink_to(SCRATCH_BYTES);
        frame
    })
}

fn ws_packed(
    opcode: Opcode,
    plain: &[u8],
    packed: &mut Vec<u8>,
    deflater: &mut Deflater,
    threshold: usize,
) -> Bytes {
    packed.clear();
    if plain.len() >= threshold && deflater.deflate(plain, packed) {
        ws_frame(opcode, true, packed)
    } else {
        ws_frame(opcode, false, plain)
    }
}

fn ws_frame(opcode: Opcode, compressed: bool, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(payload.len() + SERVER_HEADER_BYTES);
    websocket::put_header(&mut out, opcode, compressed, payload.len());
    out.extend_from_slice(payload);
    out.into()
}

#[cfg(test)]
mod tests {
    use skywave_protocol::{Payload, Publication};

    use super::*;

    fn encoded(data: &str) -> Arc<Encoded> {
        let channel = ChannelName::parse("live:a").unwrap();
        let data = Payload::from_json(data.as_bytes()).unwrap();
        let publication = Arc::new(Publication { offset: 0, id: None, from: None, time_ms: 1, data });
        let push = Push::Publication { channel: channel.clone(), epoch: None, publication };
        Encoded::new(channel, push, true, 64)
    }

    #[test]
    fn a_frame_is_made_once_and_shared() {
        let encoded = encoded("[1,2,3]");
        let (first, second) = (encoded.frame(Encoding::WsJson), encoded.frame(Encoding::WsJson));
        assert_eq!(first.bytes.as_ptr(), second.bytes.as_ptr());
        assert_eq!((first.class, first.droppable), (FrameClass::Ephemeral, true));
    }

    #[test]
    fn each_framing_holds_the_same_message() {
        let encoded = encoded("\"a\"");
        let json = encoded.frame(Encoding::StreamJson).bytes;
        let (line, end) = json.split_at(json.len() - 1);
        assert_eq!(end, b"\n");
        assert_eq!(encoded.frame(Encoding::SseJson).bytes, [b"data: ", line, b"\n\n"].concat());
        assert_eq!(encoded.frame(Encoding::WsJson).bytes, [&[0x81, line.len() as u8], line].concat());
        let binary = encoded.frame(Encoding::StreamBinary).bytes;
        assert_eq!(encoded.frame(Encoding::WsBinary).bytes[2..], binary);
        assert_eq!(json::decode_server(line).unwrap(), binary::decode_server(&binary).unwrap());
    }

    #[test]
    fn only_what_is_long_enough_and_shrinks_is_compressed() {
        const RSV1: u8 = 0x40;
        let is_packed = |data: &str| encoded(data).frame(Encoding::WsJsonDeflate).bytes[0] & RSV1 != 0;
        assert!(!is_packed("1"));
        assert!(is_packed(&format!("\"{}\"", "again ".repeat(100))));
    }

    #[test]
    fn a_close_reason_is_cut_to_a_control_frame() {
        let frame = ws_close(CloseCode::Slow, &"é".repeat(200)).bytes;
        assert_eq!(frame[..4], [0x88, 124, 0x0f, 0xa1]);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }
}

//! Writes frames.

use bytes::Bytes;

use super::close::put_close_payload;
use super::header::{FrameHeader, HEADER_BYTES, Opcode};
use super::mask::unmask;

/// Longest header of an unmasked frame, in bytes.
const SERVER_HEADER_BYTES: usize = HEADER_BYTES - 4;

/// Appends the header of a whole server frame with `length` bytes of payload. `rsv1` marks a compressed message.
pub fn put_header(out: &mut Vec<u8>, opcode: Opcode, rsv1: bool, length: usize) {
    FrameHeader { fin: true, rsv1, opcode, mask: None, length: length as u64 }.encode(out);
}

/// Appends a whole server frame.
pub fn put_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    put_header(out, opcode, false, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a server's close frame; a reason too long for it is cut.
pub fn put_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let mut payload = Vec::with_capacity(2 + reason.len());
    put_close_payload(&mut payload, code, reason);
    put_frame(out, Opcode::Close, &payload);
}

/// Appends a whole client frame. The key must be unpredictable to whoever chose the payload (RFC 6455, section 10.3).
pub fn put_masked_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], key: [u8; 4]) {
    let length = payload.len() as u64;
    FrameHeader { fin: true, rsv1: false, opcode, mask: Some(key), length }.encode(out);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], key);
}

/// A whole server frame, ready to be shared, around what `write` appends. The payload is written once, in place: room for
/// the longest header is kept in front of it, and the unused part of that room is cut off the result.
pub fn frame_with(opcode: Opcode, rsv1: bool, capacity: usize, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::with_capacity(SERVER_HEADER_BYTES + capacity);
    out.resize(SERVER_HEADER_BYTES, 0);
    write(&mut out);
    let length = out.len() - SERVER_HEADER_BYTES;
    let mut header = Vec::with_capacity(SERVER_HEADER_BYTES);
    put_header(&mut header, opcode, rsv1, length);
    let start = SERVER_HEADER_BYTES - header.len();
    out[start..SERVER_HEADER_BYTES].copy_from_slice(&header);
    Bytes::from(out).slice(start..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_written_in_place_equals_one_copied_together() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![7; length];
            let mut copied = Vec::new();
            put_frame(&mut copied, Opcode::Text, &payload);
            let in_place = frame_with(Opcode::Text, false, 0, |out| out.extend_from_slice(&payload));
            assert_eq!(in_place, copied, "{length}");
        }
    }
}

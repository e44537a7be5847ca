//! Just enough of RFC 6455 for a load generator: masked client frames out, lengths of server frames in.
//!
//! Independent of the product's own codec on purpose: a generator that shares the server's code shares its mistakes,
//! and must cost less than it.

/// Where one server frame lies in a buffer.
pub(super) struct Frame {
    pub(super) opcode: u8,
    pub(super) start: usize,
    pub(super) end: usize,
}

pub(super) const TEXT: u8 = 1;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// Not zero, so that the server cannot skip the unmasking.
const MASK: [u8; 4] = [0x5a, 0xa5, 0x3c, 0xc3];

/// The unmasked frame at the front of `bytes`; `None` while it is incomplete.
pub(super) fn parse(bytes: &[u8]) -> Option<Frame> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (start, length) = match second & 0x7f {
        126 => (4, u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]) as usize),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        short => (2, short as usize),
    };
    let end = start + length;
    (bytes.len() >= end).then_some(Frame { opcode: first & 0x0f, start, end })
}

/// The masked frame at the front of `bytes`, unmasked into `payload`; its whole length. `None` while it is incomplete.
pub(super) fn parse_masked(bytes: &[u8], payload: &mut Vec<u8>) -> Option<(u8, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (at, length) = match second & 0x7f {
        126 => (4, u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]) as usize),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        short => (2, short as usize),
    };
    let mask: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    let masked = bytes.get(at + 4..at + 4 + length)?;
    payload.clear();
    payload.extend(masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    Some((first & 0x0f, at + 4 + length))
}

/// Appends a client's frame.
pub(super) fn push_masked(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    push_head(opcode, payload.len(), 0x80, out);
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Appends a server's frame.
pub(super) fn push(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    push_head(opcode, payload.len(), 0, out);
    out.extend_from_slice(payload);
}

fn push_head(opcode: u8, length: usize, mask: u8, out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match length {
        0..126 => out.push(mask | length as u8),
        126..0x1_0000 => {
            out.push(mask | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(mask | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_class_come_back() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut bytes = Vec::new();
            push(TEXT, &payload, &mut bytes);
            assert!(parse(&bytes[..bytes.len() - 1]).is_none(), "{length}");
            let frame = parse(&bytes).unwrap();
            assert_eq!((frame.opcode, frame.end), (TEXT, bytes.len()));
            assert_eq!(&bytes[frame.start..frame.end], payload);

            let (mut masked, mut unmasked) = (Vec::new(), Vec::new());
            push_masked(PING, &payload, &mut masked);
            assert!(parse_masked(&masked[..masked.len() - 1], &mut unmasked).is_none(), "{length}");
            assert_eq!(parse_masked(&masked, &mut unmasked), Some((PING, masked.len())));
            assert_eq!(unmasked, payload);
        }
    }
}

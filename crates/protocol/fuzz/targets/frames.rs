//! The WebSocket decoder, fed in pieces, against a reference that has everything at hand and goes by the RFC's text.

use skywave_protocol::CloseCode;
use skywave_protocol::websocket::{Decoder, Event, Role};

const MAX_MESSAGE: usize = 1000;

/// What comes out, with its data; an error counts by its close code.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Message { text: bool, compressed: bool, data: Vec<u8> },
    Control(u8, Vec<u8>),
    Error(CloseCode),
}

/// First byte: role (bit 0), deflate (bit 1). Second: sizes of the pieces. The rest: the stream.
pub(crate) fn websocket(data: &[u8]) {
    let [options, sizes, stream @ ..] = data else { return };
    let role = if options & 1 == 0 { Role::Server } else { Role::Client };
    let allow_rsv1 = options & 2 != 0;
    let expected = reference(stream, role, allow_rsv1);
    let seen = decode(stream, role, allow_rsv1, *sizes);
    assert_eq!(seen, expected);
}

fn decode(stream: &[u8], role: Role, allow_rsv1: bool, sizes: u8) -> Vec<Seen> {
    let mut decoder = Decoder::new(role, MAX_MESSAGE, allow_rsv1);
    let mut seen = Vec::new();
    let mut rest = stream;
    let mut step = u32::from(sizes);
    while !rest.is_empty() {
        // Sizes from 1 to 256 in a cheap fixed sequence; 0 gives everything at once.
        step = step.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        let size = if sizes == 0 { rest.len() } else { 1 + (step >> 16 & u32::from(sizes)) as usize };
        let (piece, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        let mut piece = piece.to_vec();
        let mut events = decoder.feed(&mut piece);
        while let Some(event) = events.next() {
            seen.push(match event {
                Ok(Event::Text { data, compressed }) => {
                    Seen::Message { text: true, compressed, data: data.into() }
                }
                Ok(Event::Binary { data, compressed }) => {
                    Seen::Message { text: false, compressed, data: data.into() }
                }
                Ok(Event::Ping(data)) => Seen::Control(9, data.into()),
                Ok(Event::Pong(data)) => Seen::Control(10, data.into()),
                Ok(Event::Close(None)) => Seen::Control(8, Vec::new()),
                Ok(Event::Close(Some(close))) => {
                    Seen::Control(8, [&close.code.to_be_bytes(), close.reason.as_bytes()].concat())
                }
                Err(error) => Seen::Error(error.close_code()),
            });
        }
        if matches!(seen.last(), Some(Seen::Error(_) | Seen::Control(8, _))) {
            assert!(decoder.is_idle(), "an ended stream holds no memory");
        }
    }
    seen
}

/// Goes through the stream frame by frame. Stops at an error, a close, or the end.
fn reference(stream: &[u8], role: Role, allow_rsv1: bool) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut message: Option<(bool, bool, Vec<u8>)> = None;
    let mut at = 0;
    loop {
        match frame(&stream[at..], role, allow_rsv1, &mut message, &mut seen) {
            Ok(Some(length)) => at += length,
            Ok(None) => return seen,
            Err(code) => {
                seen.push(Seen::Error(code));
                return seen;
            }
        }
        if matches!(seen.last(), Some(Seen::Control(8, _))) {
            return seen;
        }
    }
}

/// One frame: its whole length, or `None` when it is not complete.
fn frame(
    input: &[u8],
    role: Role,
    allow_rsv1: bool,
    message: &mut Option<(bool, bool, Vec<u8>)>,
    seen: &mut Vec<Seen>,
) -> Result<Option<usize>, CloseCode> {
    let protocol = Err(CloseCode::ProtocolError);
    let Some(&first) = input.first() else { return Ok(None) };
    let (fin, rsv1, opcode) = (first & 0x80 != 0, first & 0x40 != 0, first & 0x0f);
    let control = opcode >= 8;
    if first & 0x30 != 0 || !matches!(opcode, 0..=2 | 8..=10) || (control && !fin) {
        return protocol;
    }
    let Some(&second) = input.get(1) else { return Ok(None) };
    let (is_masked, short) = (second & 0x80 != 0, second & 0x7f);
    if control && short > 125 {
        return protocol;
    }
    let extended = [0, 2, 8][usize::from(short.saturating_sub(125))];
    let Some(bytes) = input.get(2..2 + extended) else { return Ok(None) };
    let length =
        if extended == 0 { u64::from(short) } else { bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b)) };
    if (extended == 2 && length < 126) || (extended == 8 && !(65_536..1 << 63).contains(&length)) {
        return protocol;
    }
    let mut at = 2 + extended;
    let mut key = [0; 4];
    if is_masked {
        let Some(bytes) = input.get(at..at + 4) else { return Ok(None) };
        key.copy_from_slice(bytes);
        at += 4;
    }
    if is_masked != (role == Role::Server) || (rsv1 && !(allow_rsv1 && matches!(opcode, 1 | 2))) {
        return protocol;
    }
    if !control && (opcode == 0) != message.is_some() {
        return protocol;
    }
    let before = message.as_ref().map_or(0, |message| message.2.len()) as u64;
    if !control && before + length > MAX_MESSAGE as u64 {
        return Err(CloseCode::TooLarge);
    }
    let whole = at + length as usize;
    let there = &input[at..whole.min(input.len())];
    let payload: Vec<u8> = there.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
    let complete = whole <= input.len();
    if control {
        if complete {
            if opcode == 8 {
                check_close(&payload)?;
            }
            seen.push(Seen::Control(opcode, payload));
        }
        return Ok(complete.then_some(whole));
    }
    let (text, compressed, data) = message.get_or_insert((opcode == 1, rsv1, Vec::new()));
    data.extend_from_slice(&payload);
    let last = fin && complete;
    if *text && !*compressed {
        match std::str::from_utf8(data) {
            Err(error) if last || error.error_len().is_some() => return Err(CloseCode::InvalidUtf8),
            _ => {}
        }
    }
    if last {
        seen.push(Seen::Message { text: *text, compressed: *compressed, data: std::mem::take(data) });
        *message = None;
    }
    Ok(complete.then_some(whole))
}

fn check_close(payload: &[u8]) -> Result<(), CloseCode> {
    let code = match payload {
        [] => return Ok(()),
        [_] => return Err(CloseCode::ProtocolError),
        [high, low, ..] => u16::from_be_bytes([*high, *low]),
    };
    let allowed = [1000..=1003, 1007..=1014, 3000..=4999].iter().any(|range| range.contains(&code));
    if !allowed {
        return Err(CloseCode::ProtocolError);
    }
    std::str::from_utf8(&payload[2..]).map(drop).map_err(|_| CloseCode::InvalidUtf8)
}

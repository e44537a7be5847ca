//! The header of a frame (RFC 6455, section 5.2): what can be judged from it alone is judged here, before a byte of the
//! payload is looked at.

use crate::close::CloseCode;

/// Longest payload of a control frame, in bytes (RFC 6455, section 5.5).
pub(super) const CONTROL_BYTES: u64 = 125;
/// Longest header, in bytes: two, eight of length, four of mask.
pub(super) const HEADER_BYTES: usize = 14;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_AND_3: u8 = 0x30;
const MASK: u8 = 0x80;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    pub fn number(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    fn from_number(number: u8) -> Result<Self, FrameError> {
        match number {
            0 => Ok(Self::Continuation),
            1 => Ok(Self::Text),
            2 => Ok(Self::Binary),
            8 => Ok(Self::Close),
            9 => Ok(Self::Ping),
            10 => Ok(Self::Pong),
            _ => Err(FrameError::ReservedOpcode(number)),
        }
    }

    pub fn is_control(self) -> bool {
        self.number() >= 8
    }
}

/// How a peer broke the protocol. The connection is closed with [`FrameError::close_code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a reserved bit is set that no extension uses")]
    ReservedBits,
    #[error("opcode {0} is reserved")]
    ReservedOpcode(u8),
    #[error("a length is not written in the shortest way, or has its highest bit set")]
    BadLength,
    #[error("a control frame has at most 125 bytes")]
    ControlTooLong,
    #[error("a control frame must not be fragmented")]
    ControlFragmented,
    #[error("a client's frames must be masked")]
    Unmasked,
    #[error("a server's frames must not be masked")]
    Masked,
    #[error("a continuation without a message to continue")]
    UnexpectedContinuation,
    #[error("a new message before the last one was finished")]
    ExpectedContinuation,
    #[error("a message has at most {limit} bytes")]
    TooLarge { limit: u32 },
    #[error("text is not valid UTF-8")]
    InvalidUtf8,
    #[error("a close frame's payload is one byte long")]
    ShortClose,
    #[error("close code {0} must not be sent")]
    ForbiddenCloseCode(u16),
}

impl FrameError {
    /// What to close the connection with.
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::TooLarge { .. } => CloseCode::TooLarge,
            Self::InvalidUtf8 => CloseCode::InvalidUtf8,
            Self::ReservedBits
            | Self::ReservedOpcode(_)
            | Self::BadLength
            | Self::ControlTooLong
            | Self::ControlFragmented
            | Self::Unmasked
            | Self::Masked
            | Self::UnexpectedContinuation
            | Self::ExpectedContinuation
            | Self::ShortClose
            | Self::ForbiddenCloseCode(_) => CloseCode::ProtocolError,
        }
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    pub fin: bool,
    pub rsv1: bool,
    pub opcode: Opcode,
    /// The masking key, in the order of the wire.
    pub mask: Option<[u8; 4]>,
    /// Payload length in bytes, below 2^63.
    pub length: u64,
}

impl FrameHeader {
    /// Reads a header and says how many bytes it took. `None`: more bytes are needed.
    ///
    /// Every error that the bytes at hand already show is reported, also when the header is not complete yet.
    pub fn parse(input: &[u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let Some(&first) = input.first() else { return Ok(None) };
        if first & RSV2_AND_3 != 0 {
            return Err(FrameError::ReservedBits);
        }
        let opcode = Opcode::from_number(first & 0x0f)?;
        let (fin, rsv1) = (first & FIN != 0, first & RSV1 != 0);
        if opcode.is_control() && !fin {
            return Err(FrameError::ControlFragmented);
        }
        let Some(&second) = input.get(1) else { return Ok(None) };
        let short = second & !MASK;
        if opcode.is_control() && u64::from(short) > CONTROL_BYTES {
            return Err(FrameError::ControlTooLong);
        }
        let Some((length, mut at)) = parse_length(short, input)? else { return Ok(None) };
        let mask = if second & MASK != 0 {
            let Some(key) = input.get(at..).and_then(|rest| rest.first_chunk()) else { return Ok(None) };
            at += key.len();
            Some(*key)
        } else {
            None
        };
        Ok(Some((Self { fin, rsv1, opcode, mask, length }, at)))
    }

    /// Appends the header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = if self.fin { FIN } else { 0 } | if self.rsv1 { RSV1 } else { 0 };
        out.push(flags | self.opcode.number());
        let mask_bit = if self.mask.is_some() { MASK } else { 0 };
        match self.length {
            0..=125 => out.push(mask_bit | self.length as u8),
            126..=0xffff => {
                out.push(mask_bit | 126);
                out.extend_from_slice(&(self.length as u16).to_be_bytes());
            }
            _ => {
                out.push(mask_bit | 127);
                out.extend_from_slice(&self.length.to_be_bytes());
            }
        }
        if let Some(key) = self.mask {
            out.extend_from_slice(&key);
        }
    }
}

/// The payload length and where the header goes on.
fn parse_length(short: u8, input: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
    match short {
        126 => {
            let Some(&bytes) = input[2..].first_chunk() else { return Ok(None) };
            let length = u64::from(u16::from_be_bytes(bytes));
            if length < 126 { Err(FrameError::BadLength) } else { Ok(Some((length, 4))) }
        }
        127 => {
            let Some(&bytes) = input[2..].first_chunk() else { return Ok(None) };
            let length = u64::from_be_bytes(bytes);
            if length <= 0xffff || length >> 63 != 0 {
                Err(FrameError::BadLength)
            } else {
                Ok(Some((length, 10)))
            }
        }
        _ => Ok(Some((u64::from(short), 2))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_header() -> impl Strategy<Value = FrameHeader> {
        let opcode = prop_oneof![
            Just(Opcode::Continuation),
            Just(Opcode::Text),
            Just(Opcode::Binary),
            Just(Opcode::Close),
            Just(Opcode::Ping),
            Just(Opcode::Pong),
        ];
        let length = prop_oneof![0..200u64, 65_500..65_600u64, 0..=u64::MAX >> 1];
        (any::<(bool, bool)>(), opcode, any::<Option<[u8; 4]>>(), length).prop_map(
            |((fin, rsv1), opcode, mask, length)| match opcode.is_control() {
                true => FrameHeader { fin: true, rsv1, opcode, mask, length: length % 126 },
                false => FrameHeader { fin, rsv1, opcode, mask, length },
            },
        )
    }

    proptest! {
        #[test]
        fn headers_read_back_and_a_part_of_one_is_not_enough(header in any_header()) {
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            prop_assert!(bytes.len() <= HEADER_BYTES);
            for cut in 0..bytes.len() {
                prop_assert_eq!(FrameHeader::parse(&bytes[..cut]), Ok(None));
            }
            prop_assert_eq!(FrameHeader::parse(&bytes), Ok(Some((header, bytes.len()))));
        }
    }

    #[test]
    fn each_broken_header_has_its_error() {
        for (bytes, error) in [
            (&[0x91, 0x80][..], FrameError::ReservedBits),
            (&[0xa1], FrameError::ReservedBits),
            (&[0x83], FrameError::ReservedOpcode(3)),
            (&[0x8f], FrameError::ReservedOpcode(15)),
            (&[0x09], FrameError::ControlFragmented),
            (&[0x89, 0xfe], FrameError::ControlTooLong),
            (&[0x81, 0xfe, 0, 125], FrameError::BadLength),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], FrameError::BadLength),
            (&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], FrameError::BadLength),
        ] {
            assert_eq!(FrameHeader::parse(bytes), Err(error), "{bytes:x?}");
        }
    }
}

//! The payload of a close frame (RFC 6455, sections 5.5.1 and 7.4).

use super::header::{CONTROL_BYTES, FrameError};

/// What a peer said when it closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    pub code: u16,
    pub reason: &'a str,
}

impl<'a> CloseFrame<'a> {
    /// Reads a close frame's payload; `None` when it is empty (no code was given).
    pub fn parse(payload: &'a [u8]) -> Result<Option<Self>, FrameError> {
        if payload.is_empty() {
            return Ok(None);
        }
        let (code, reason) = payload.split_first_chunk().ok_or(FrameError::ShortClose)?;
        let code = u16::from_be_bytes(*code);
        if !may_be_sent(code) {
            return Err(FrameError::ForbiddenCloseCode(code));
        }
        let reason = std::str::from_utf8(reason).map_err(|_| FrameError::InvalidUtf8)?;
        Ok(Some(Self { code, reason }))
    }
}

/// Codes an endpoint may send: those the RFC and its registry define for the wire, and the open ranges. 1004, 1005,
/// 1006 and 1015 are for local use only.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Appends a close frame's payload; the reason is cut at a character so that the frame stays within its limit.
pub fn put_close_payload(out: &mut Vec<u8>, code: u16, reason: &str) {
    let room = CONTROL_BYTES as usize - 2;
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&reason.as_bytes()[..reason.floor_char_boundary(room)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CloseCode;

    #[test]
    fn allowed_codes_are_those_of_the_rfc() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535u16] {
            assert_eq!(CloseFrame::parse(&code.to_be_bytes()), Err(FrameError::ForbiddenCloseCode(code)));
        }
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 3000, 3999, 4000, 4999u16] {
            assert_eq!(CloseFrame::parse(&code.to_be_bytes()), Ok(Some(CloseFrame { code, reason: "" })));
        }
        for (code, ..) in CloseCode::TABLE {
            assert!(may_be_sent(code.number()), "{code:?}");
        }
    }

    #[test]
    fn payloads_are_checked() {
        assert_eq!(CloseFrame::parse(b""), Ok(None));
        assert_eq!(CloseFrame::parse(b"\x03"), Err(FrameError::ShortClose));
        assert_eq!(CloseFrame::parse(b"\x03\xe8\xff"), Err(FrameError::InvalidUtf8));
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let mut out = Vec::new();
        put_close_payload(&mut out, 1000, &"é".repeat(100));
        assert_eq!(out.len(), 124);
        assert_eq!(CloseFrame::parse(&out).unwrap().unwrap().reason, "é".repeat(61));
    }
}

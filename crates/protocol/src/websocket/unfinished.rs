//! What a [`super::Decoder`] must remember between two reads: part of a header, part of a frame, part of a message.
//!
//! Grows only with bytes that have arrived; dropped as soon as nothing is unfinished.

use super::header::{FrameError, FrameHeader, HEADER_BYTES, Opcode};
use super::mask::{rotate, unmask};
use super::utf8::Utf8;

#[derive(Debug, Default)]
pub(super) struct Unfinished {
    header: [u8; HEADER_BYTES],
    header_length: u8,
    pub(super) frame: Option<Frame>,
    pub(super) message: Option<Message>,
    /// Payload of the control frame being read: at most 125 bytes.
    pub(super) control: Vec<u8>,
}

/// A frame whose payload has begun.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) header: FrameHeader,
    remaining: u64,
}

/// A message whose last byte has not come yet, or has come just now.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) opcode: Opcode,
    pub(super) compressed: bool,
    pub(super) data: Vec<u8>,
    utf8: Utf8,
}

impl Unfinished {
    pub(super) fn is_empty(&self) -> bool {
        self.header_length == 0 && self.frame.is_none() && self.message.is_none()
    }

    pub(super) fn has_header_part(&self) -> bool {
        self.header_length > 0
    }

    /// Keeps the beginning of a header. `part` is shorter than any header it could begin.
    pub(super) fn keep_header(&mut self, part: &[u8]) {
        self.header[..part.len()].copy_from_slice(part);
        self.header_length = part.len() as u8;
    }

    /// Completes a kept header with the front of `input`; says how many of its bytes were taken.
    pub(super) fn complete_header(
        &mut self,
        input: &[u8],
    ) -> Result<(Option<FrameHeader>, usize), FrameError> {
        let kept = usize::from(self.header_length);
        let added = input.len().min(HEADER_BYTES - kept);
        self.header[kept..kept + added].copy_from_slice(&input[..added]);
        match FrameHeader::parse(&self.header[..kept + added])? {
            Some((header, length)) => {
                self.header_length = 0;
                // The kept part alone was no header, so some of its bytes came from the input.
                Ok((Some(header), length - kept))
            }
            None => {
                self.header_length += added as u8;
                Ok((None, added))
            }
        }
    }

    /// Begins to collect a frame's payload, and with its first frame a message.
    pub(super) fn begin(&mut self, header: FrameHeader) {
        if !header.opcode.is_control() && self.message.is_none() {
            let compressed = header.rsv1;
            let utf8 = Utf8::default();
            self.message = Some(Message { opcode: header.opcode, compressed, data: Vec::new(), utf8 });
        }
        self.frame = Some(Frame { header, remaining: header.length });
    }

    /// Takes payload from the front of `input`, which is unmasked in place; says how many bytes were taken.
    pub(super) fn take_payload(&mut self, input: &mut [u8]) -> Result<usize, FrameError> {
        let Some(frame) = &mut self.frame else { return Ok(0) };
        let taken = usize::try_from(frame.remaining).unwrap_or(usize::MAX).min(input.len());
        let piece = &mut input[..taken];
        if let Some(key) = &mut frame.header.mask {
            unmask(piece, *key);
            *key = rotate(*key, taken);
        }
        frame.remaining -= taken as u64;
        match &mut self.message {
            Some(message) if !frame.header.opcode.is_control() => message.push(piece)?,
            _ => self.control.extend_from_slice(piece),
        }
        Ok(taken)
    }

    /// The header of the frame being read, if its payload is complete; the frame is then done with.
    pub(super) fn finish_frame(&mut self) -> Option<FrameHeader> {
        let frame = self.frame.take_if(|frame| frame.remaining == 0)?;
        Some(frame.header)
    }
}

impl Message {
    fn is_checked_text(&self) -> bool {
        self.opcode == Opcode::Text && !self.compressed
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), FrameError> {
        if self.is_checked_text() {
            self.utf8.push(piece).map_err(|_| FrameError::InvalidUtf8)?;
        }
        self.data.extend_from_slice(piece);
        Ok(())
    }

    /// Checks that the text does not end inside a character.
    pub(super) fn finish(&self) -> Result<(), FrameError> {
        if self.is_checked_text() {
            self.utf8.finish().map_err(|_| FrameError::InvalidUtf8)?;
        }
        Ok(())
    }
}

//! WebSocket frames (RFC 6455), both roles, without I/O: bytes in, messages and control frames out.
//!
//! - [`Decoder`] takes whatever has just been read, unmasks it where it lies and lends out messages. Between reads it
//!   keeps memory only while a frame or a fragmented message is unfinished.
//! - [`put_header`], [`frame_with`] and their siblings write frames.
//!
//! Owns the framing rules: masks, lengths, fragments, control frames, UTF-8, close codes. Knows nothing of the opening
//! handshake, of compression (a compressed message is handed on as such) or of when to answer what.

mod close;
mod decoder;
mod encode;
mod header;
mod mask;
mod unfinished;
mod utf8;

pub use close::{CloseFrame, put_close_payload};
pub use decoder::{Decoder, Event, Events};
pub use encode::{frame_with, put_close, put_frame, put_header, put_masked_frame};
pub use header::{FrameError, FrameHeader, Opcode};
pub use mask::unmask;
pub use utf8::Utf8;

/// Which end of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Frames that arrive must be masked, frames we send are not.
    Server,
    /// The other way round.
    Client,
}

#[cfg(test)]
mod tests;

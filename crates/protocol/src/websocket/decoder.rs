//! From bytes as they are read to messages and control frames.
//!
//! The usual case, one whole small frame in the buffer just read, is unmasked where it lies and lent out: no copy, no
//! allocation. Everything else goes through [`Unfinished`], which exists only while something is unfinished.

use std::ops::Range;

use super::Role;
use super::close::CloseFrame;
use super::header::{FrameError, FrameHeader, Opcode};
use super::mask::unmask;
use super::unfinished::Unfinished;

/// Incremental frame decoder of one connection. An idle one holds no memory beyond itself.
#[derive(Debug)]
pub struct Decoder {
    unfinished: Option<Box<Unfinished>>,
    max_message_bytes: u32,
    role: Role,
    allow_rsv1: bool,
    /// A close frame or an error ended the stream; whatever follows is ignored.
    ended: bool,
}

/// One per connection: ten thousand of them must not be felt.
const _: () = assert!(size_of::<Decoder>() <= 16);

/// What arrived. Borrows from the input, or from the decoder when it came in pieces.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Valid UTF-8, unless `compressed`: then neither inflated nor checked.
    Text {
        data: &'a [u8],
        compressed: bool,
    },
    Binary {
        data: &'a [u8],
        compressed: bool,
    },
    /// To be answered by a pong with the same payload.
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// To be answered by a close frame, after which the connection is closed. Nothing follows.
    Close(Option<CloseFrame<'a>>),
}

impl Decoder {
    /// `max_message_bytes` bounds a message (all fragments together) as it stands on the wire; `allow_rsv1` when
    /// permessage-deflate was negotiated.
    pub fn new(role: Role, max_message_bytes: usize, allow_rsv1: bool) -> Self {
        let max_message_bytes = u32::try_from(max_message_bytes).unwrap_or(u32::MAX);
        Self { unfinished: None, max_message_bytes, role, allow_rsv1, ended: false }
    }

    /// Takes bytes just read; the buffer may be reused as soon as the events are dropped. Call [`Events::next`] until it
    /// gives `None`: bytes not looked at by then are lost.
    pub fn feed<'a>(&'a mut self, input: &'a mut [u8]) -> Events<'a> {
        Events { decoder: self, input, at: 0, collected: Vec::new() }
    }

    /// Whether nothing is unfinished, and so no memory held. A peer that leaves this false for long trickles.
    pub fn is_idle(&self) -> bool {
        self.unfinished.is_none()
    }

    fn in_frame(&self) -> bool {
        self.unfinished.as_ref().is_some_and(|unfinished| unfinished.frame.is_some())
    }

    /// Gives up memory that is no longer needed.
    fn settle(&mut self, ended: bool) {
        self.ended = ended;
        self.unfinished.take_if(|unfinished| ended || unfinished.is_empty());
    }

    /// Judges a header in the light of what came before it.
    fn admit(&self, header: &FrameHeader) -> Result<(), FrameError> {
        match (self.role, header.mask) {
            (Role::Server, None) => return Err(FrameError::Unmasked),
            (Role::Client, Some(_)) => return Err(FrameError::Masked),
            _ => {}
        }
        // Compression is announced by the first frame of a data message only (RFC 7692, section 6.1).
        let may_be_compressed = matches!(header.opcode, Opcode::Text | Opcode::Binary);
        if header.rsv1 && !(self.allow_rsv1 && may_be_compressed) {
            return Err(FrameError::ReservedBits);
        }
        if header.opcode.is_control() {
            return Ok(());
        }
        let message = self.unfinished.as_ref().and_then(|unfinished| unfinished.message.as_ref());
        let collected = match (message, header.opcode) {
            (None, Opcode::Continuation) => return Err(FrameError::UnexpectedContinuation),
            (None, _) => 0,
            (Some(message), Opcode::Continuation) => message.data.len() as u64,
            (Some(_), _) => return Err(FrameError::ExpectedContinuation),
        };
        if header.length > u64::from(self.max_message_bytes) - collected {
            return Err(FrameError::TooLarge { limit: self.max_message_bytes });
        }
        Ok(())
    }
}

/// The events of one read, lent out one by one.
#[derive(Debug)]
pub struct Events<'a> {
    decoder: &'a mut Decoder,
    input: &'a mut [u8],
    /// How much of the input has been gone through.
    at: usize,
    /// The payload of the last event, if it had to be collected; given up with the next one.
    collected: Vec<u8>,
}

/// A complete message or control frame.
struct Found {
    opcode: Opcode,
    compressed: bool,
    place: Place,
}

/// Where its payload lies.
enum Place {
    Input(Range<usize>),
    Collected,
}

impl Events<'_> {
    /// The next message or control frame; `None` when the input is used up. An error ends the stream: close the
    /// connection with its code.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend its items")]
    pub fn next(&mut self) -> Option<Result<Event<'_>, FrameError>> {
        self.collected = Vec::new();
        if self.decoder.ended {
            return None;
        }
        let found = self.find();
        let ends = matches!(&found, Err(_) | Ok(Some(Found { opcode: Opcode::Close, .. })));
        self.decoder.settle(ends);
        match found {
            Ok(None) => None,
            Err(error) => Some(Err(error)),
            Ok(Some(Found { opcode, compressed, place })) => {
                let payload = match place {
                    Place::Input(range) => &self.input[range],
                    Place::Collected => &self.collected,
                };
                Some(event(opcode, compressed, payload))
            }
        }
    }

    /// Goes through the input until something is complete.
    fn find(&mut self) -> Result<Option<Found>, FrameError> {
        loop {
            if !self.decoder.in_frame() {
                let Some(header) = self.read_header()? else { return Ok(None) };
                self.decoder.admit(&header)?;
                if let Some(found) = self.whole_frame(&header)? {
                    return Ok(Some(found));
                }
                self.decoder.unfinished.get_or_insert_default().begin(header);
            }
            let unfinished = self.decoder.unfinished.get_or_insert_default();
            self.at += unfinished.take_payload(&mut self.input[self.at..])?;
            let Some(header) = unfinished.finish_frame() else { return Ok(None) };
            if header.opcode.is_control() {
                self.collected = std::mem::take(&mut unfinished.control);
                return Ok(Some(Found { opcode: header.opcode, compressed: false, place: Place::Collected }));
            }
            if let Some(message) = unfinished.message.take_if(|_| header.fin) {
                message.finish()?;
                self.collected = message.data;
                let (opcode, compressed) = (message.opcode, message.compressed);
                return Ok(Some(Found { opcode, compressed, place: Place::Collected }));
            }
        }
    }

    /// Takes a header from the input, or keeps what there is of one.
    fn read_header(&mut self) -> Result<Option<FrameHeader>, FrameError> {
        let rest = &self.input[self.at..];
        if let Some(unfinished) = &mut self.decoder.unfinished
            && unfinished.has_header_part()
        {
            let (header, taken) = unfinished.complete_header(rest)?;
            self.at += taken;
            return Ok(header);
        }
        if let Some((header, taken)) = FrameHeader::parse(rest)? {
            self.at += taken;
            return Ok(Some(header));
        }
        if !rest.is_empty() {
            self.decoder.unfinished.get_or_insert_default().keep_header(rest);
            self.at = self.input.len();
        }
        Ok(None)
    }

    /// The frame, if it stands whole in the input and is nobody's fragment.
    fn whole_frame(&mut self, header: &FrameHeader) -> Result<Option<Found>, FrameError> {
        let FrameHeader { fin, rsv1, opcode, mask, length } = *header;
        let is_fragment = !fin || opcode == Opcode::Continuation;
        let payload = match usize::try_from(length) {
            Ok(length) if !is_fragment && length <= self.input.len() - self.at => self.at..self.at + length,
            _ => return Ok(None),
        };
        self.at = payload.end;
        let bytes = &mut self.input[payload.clone()];
        if let Some(key) = mask {
            unmask(bytes, key);
        }
        if opcode == Opcode::Text && !rsv1 && std::str::from_utf8(bytes).is_err() {
            return Err(FrameError::InvalidUtf8);
        }
        Ok(Some(Found { opcode, compressed: rsv1, place: Place::Input(payload) }))
    }
}

fn event(opcode: Opcode, compressed: bool, data: &[u8]) -> Result<Event<'_>, FrameError> {
    Ok(match opcode {
        Opcode::Text => Event::Text { data, compressed },
        // A message goes by its first frame's opcode, which is never a continuation.
        Opcode::Binary | Opcode::Continuation => Event::Binary { data, compressed },
        Opcode::Ping => Event::Ping(data),
        Opcode::Pong => Event::Pong(data),
        Opcode::Close => Event::Close(CloseFrame::parse(data)?),
    })
}

//! permessage-deflate (RFC 7692) without context takeover: one compressor and one inflater a worker, reset for every
//! message; no connection keeps zlib state.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What a sync flush ends with; left out on the wire (RFC 7692, 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// How much the inflater's output grows by at a time.
const STEP: usize = 8 * 1024;

pub(crate) struct Deflater(Compress);

impl Default for Deflater {
    fn default() -> Self {
        Self(Compress::new(Compression::new(3), false))
    }
}

impl Deflater {
    /// Appends the compressed message to `out`; `false` (and `out` as it was) when that would not make it smaller.
    pub(crate) fn deflate(&mut self, message: &[u8], out: &mut Vec<u8>) -> bool {
        self.0.reset();
        let start = out.len();
        out.reserve(message.len() + 64);
        loop {
            let read = self.0.total_in() as usize;
            match self.0.compress_vec(&message[read..], out, FlushCompress::Sync) {
                Ok(Status::Ok | Status::BufError) => {}
                Ok(Status::StreamEnd) | Err(_) => break,
            }
            // Spare room is left only when everything, the flush included, is out.
            if self.0.total_in() as usize == message.len() && out.len() < out.capacity() {
                break;
            }
            if out.len() - start >= message.len() {
                break;
            }
            out.reserve(STEP);
        }
        if out[start..].ends_with(&TAIL) && out.len() - start - TAIL.len() < message.len() {
            out.truncate(out.len() - TAIL.len());
            return true;
        }
        out.truncate(start);
        false
    }
}

/// Why a compressed message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InflateError {
    #[error("the message inflates to more than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the message is not valid deflate data")]
    Corrupt,
}

pub(crate) struct Inflater(Decompress);

impl Default for Inflater {
    fn default() -> Self {
        Self(Decompress::new(false))
    }
}

impl Inflater {
    /// Writes the inflated message to `out` (cleared first). Never makes more than `limit` bytes, whatever came in.
    pub(crate) fn inflate(
        &mut self,
        message: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), InflateError> {
        self.0.reset(false);
        out.clear();
        for part in [message, &TAIL] {
            let mut part = part;
            while !part.is_empty() {
                if out.len() == out.capacity() {
                    // One byte beyond the limit tells "exactly the limit" from "more".
                    let room = (limit + 1).saturating_sub(out.len()).min(STEP);
                    if room == 0 {
                        return Err(InflateError::TooLarge { limit });
                    }
                    out.reserve_exact(room);
                }
                let (before, produced) = (self.0.total_in(), out.len());
                let status = self
                    .0
                    .decompress_vec(part, out, FlushDecompress::Sync)
                    .map_err(|_| InflateError::Corrupt)?;
                if out.len() > limit {
                    return Err(InflateError::TooLarge { limit });
                }
                part = &part[(self.0.total_in() - before) as usize..];
                if status == Status::StreamEnd {
                    // A final block is allowed (RFC 7692, 7.2.3.4); what follows it is not read.
                    return Ok(());
                }
                if self.0.total_in() == before && out.len() == produced && out.len() < out.capacity() {
                    return Err(InflateError::Corrupt);
                }
            }
        }
        self.drain(limit, out)
    }

    /// Output that did not fit when the last input byte was taken.
    fn drain(&mut self, limit: usize, out: &mut Vec<u8>) -> Result<(), InflateError> {
        while out.len() == out.capacity() {
            let room = (limit + 1).saturating_sub(out.len()).min(STEP);
            if room == 0 {
                return Err(InflateError::TooLarge { limit });
            }
            out.reserve_exact(room);
            let produced = out.len();
            self.0.decompress_vec(&[], out, FlushDecompress::Sync).map_err(|_| InflateError::Corrupt)?;
            if out.len() > limit {
                return Err(InflateError::TooLarge { limit });
            }
            if out.len() == produced {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inflate(message: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
        let mut out = Vec::new();
        Inflater::default().inflate(message, limit, &mut out).map(|()| out)
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 7692, 7.2.3.1 and 7.2.3.3 (no compression), 7.2.3.4 (a final block).
        assert_eq!(inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 100).unwrap(), b"Hello");
        assert_eq!(
            inflate(&[0x00, 5, 0, 0xfa, 0xff, b'H', b'e', b'l', b'l', b'o', 0x00], 100).unwrap(),
            b"Hello"
        );
        assert_eq!(inflate(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], 100).unwrap(), b"Hello");
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let mut packed = Vec::new();
        assert!(Deflater::default().deflate(&vec![0; 16 * 1024 * 1024], &mut packed));
        assert!(packed.len() < 100_000);
        let mut out = Vec::new();
        let result = Inflater::default().inflate(&packed, 64 * 1024, &mut out);
        assert_eq!(result, Err(InflateError::TooLarge { limit: 64 * 1024 }));
        assert!(out.capacity() <= 2 * 64 * 1024, "{}", out.capacity());
    }

    #[test]
    fn rubbish_is_refused_and_spoils_nothing() {
        let mut inflater = Inflater::default();
        let mut out = Vec::new();
        assert_eq!(inflater.inflate(&[0xff; 40], 1_000, &mut out), Err(InflateError::Corrupt));
        inflater.inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 1_000, &mut out).unwrap();
        assert_eq!(out, b"Hello");
    }

    #[test]
    fn what_does_not_shrink_is_left_alone() {
        let mut out = b"kept".to_vec();
        assert!(!Deflater::default().deflate(b"abc", &mut out));
        assert_eq!(out, b"kept");
    }

    proptest! {
        #[test]
        fn round_trip(words in proptest::collection::vec(0..40u8, 1..30_000)) {
            let mut packed = Vec::new();
            if Deflater::default().deflate(&words, &mut packed) {
                prop_assert_eq!(inflate(&packed, words.len()).unwrap(), words.clone());
                if words.len() > 1 {
                    prop_assert!(inflate(&packed, words.len() - 1).is_err());
                }
            }
        }
    }
}

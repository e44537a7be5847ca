//! Messages out of the bytes of a stream: lines of JSON, or binary messages with their length in front.

use skywave_protocol::CloseCode;
use skywave_protocol::binary;
use skywave_protocol::limits::BATCH_REQUESTS;

use crate::worker::InputFormat;

/// What of a stream has been read and is not yet a message; holds nothing between messages.
#[derive(Debug)]
pub(super) struct Input {
    format: InputFormat,
    /// Bytes of one message.
    limit: usize,
    unfinished: Vec<u8>,
}

impl Input {
    pub(super) fn new(format: InputFormat, limit: usize) -> Self {
        Self { format, limit, unfinished: Vec::new() }
    }

    pub(super) fn format(&self) -> InputFormat {
        self.format
    }

    /// Takes what has arrived and hands on whole messages, a few at a time. Errors end the connection.
    pub(super) fn take(&mut self, arrived: &[u8], mut batch: impl FnMut(&[u8])) -> Result<(), CloseCode> {
        if self.unfinished.is_empty() {
            let used = self.whole(arrived, &mut batch)?;
            self.unfinished.extend_from_slice(&arrived[used..]);
        } else {
            let mut bytes = std::mem::take(&mut self.unfinished);
            bytes.extend_from_slice(arrived);
            let used = self.whole(&bytes, &mut batch)?;
            bytes.drain(..used);
            if !bytes.is_empty() {
                self.unfinished = bytes;
            }
        }
        if self.unfinished.len() > self.limit { Err(CloseCode::TooLarge) } else { Ok(()) }
    }

    /// Hands on the whole messages at the beginning; says how many bytes they have.
    fn whole(&self, bytes: &[u8], batch: &mut impl FnMut(&[u8])) -> Result<usize, CloseCode> {
        let (mut handed, mut end, mut count) = (0, 0, 0);
        while let Some(length) = self.next(&bytes[end..])? {
            end += length;
            count += 1;
            if count == BATCH_REQUESTS {
                batch(&bytes[handed..end]);
                (handed, count) = (end, 0);
            }
        }
        if handed < end {
            batch(&bytes[handed..end]);
        }
        Ok(end)
    }

    /// Length of the first message, if it is whole.
    fn next(&self, bytes: &[u8]) -> Result<Option<usize>, CloseCode> {
        let length = match self.format {
            InputFormat::Json => bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1),
            InputFormat::Binary => binary::message_length(bytes).map_err(|_| CloseCode::ProtocolError)?,
        };
        match length {
            Some(length) if length > self.limit => Err(CloseCode::TooLarge),
            Some(length) if length <= bytes.len() => Ok(Some(length)),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn collect(input: &mut Input, pieces: &[&[u8]]) -> Result<Vec<u8>, CloseCode> {
        let mut all = Vec::new();
        for piece in pieces {
            input.take(piece, |batch| all.extend_from_slice(batch))?;
        }
        Ok(all)
    }

    #[test]
    fn nothing_is_kept_between_messages() {
        let mut input = Input::new(InputFormat::Json, 100);
        assert_eq!(collect(&mut input, &[b"{}\n{", b"}", b"\n"]).unwrap(), b"{}\n{}\n");
        assert_eq!(input.unfinished.capacity(), 0);
    }

    #[test]
    fn a_message_beyond_the_limit_is_refused_before_it_is_whole() {
        let mut json = Input::new(InputFormat::Json, 10);
        assert_eq!(collect(&mut json, &[&[b'x'; 11]]), Err(CloseCode::TooLarge));
        // The length says it: nothing of it is waited for.
        let mut binary = Input::new(InputFormat::Binary, 10);
        assert_eq!(collect(&mut binary, &[&[0xff, 0xff, 0x03]]), Err(CloseCode::TooLarge));
        assert!(collect(&mut Input::new(InputFormat::Binary, 10), &[&[0xff; 12]]).is_err());
    }

    #[test]
    fn batches_are_small() {
        let mut input = Input::new(InputFormat::Json, 100);
        let mut sizes = Vec::new();
        input.take(&b"\n".repeat(BATCH_REQUESTS * 2 + 1), |batch| sizes.push(batch.len())).unwrap();
        assert_eq!(sizes, [BATCH_REQUESTS, BATCH_REQUESTS, 1]);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_arrive(
            lines in proptest::collection::vec("[a-z]{0,9}", 0..20),
            cuts in proptest::collection::vec(0usize..200, 0..10),
            binary in proptest::bool::ANY,
        ) {
            let (format, whole): (_, Vec<u8>) = if binary {
                (InputFormat::Binary, lines.iter().flat_map(|l| [&[l.len() as u8], l.as_bytes()].concat()).collect())
            } else {
                (InputFormat::Json, lines.iter().flat_map(|l| [l.as_bytes(), b"\n"].concat()).collect())
            };
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(whole.len())).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &whole[pair[0]..pair[1]]).collect();
            prop_assert_eq!(collect(&mut Input::new(format, 100), &pieces).unwrap(), whole);
        }
    }
}

//! Several messages in one frame or stream, each preceded by its length.

use crate::decode::{DecodeError, DecodeFailure};
use crate::limits::BATCH_REQUESTS;
use crate::message::ClientMessage;
use crate::wire::Reader;

/// Bytes of the first message in `input`, its length prefix included; `None` when the prefix is not complete yet. The
/// message itself may be. For streams: compare with the message limit before waiting for the rest.
pub fn message_length(input: &[u8]) -> Result<Option<usize>, DecodeError> {
    let mut reader = Reader::new(input);
    let length = match reader.varint("message length") {
        Ok(length) => length,
        Err(DecodeError::Truncated(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let prefix = input.len() - reader.rest().len();
    let total = usize::try_from(length).ok().and_then(|length| length.checked_add(prefix));
    total.map(Some).ok_or(DecodeError::Overflow("message length"))
}

/// The messages of a frame, each with its length prefix. A frame that ends inside a message gives one error, last.
pub fn split(frame: &[u8]) -> impl Iterator<Item = Result<&[u8], DecodeError>> {
    let mut rest = frame;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let whole = |length| rest.split_at_checked(length);
        Some(match message_length(rest).map(|length| length.and_then(whole)) {
            Ok(Some((message, after))) => {
                rest = after;
                Ok(message)
            }
            failed => {
                rest = &[];
                Err(failed.err().unwrap_or(DecodeError::Truncated("a message")))
            }
        })
    })
}

/// Reads a client's frame. After [`BATCH_REQUESTS`] messages one failure without id ends the iteration.
pub fn decode_client_batch(frame: &[u8]) -> impl Iterator<Item = Result<ClientMessage, DecodeFailure>> {
    split(frame).take(BATCH_REQUESTS + 1).enumerate().map(|(index, message)| {
        if index == BATCH_REQUESTS {
            let error = DecodeError::TooLarge { what: "a batch of requests", limit: BATCH_REQUESTS };
            return Err(DecodeFailure::new(0, error));
        }
        super::decode_client(message.map_err(|error| DecodeFailure::new(0, error))?)
    })
}

/// What a single message holds behind its length prefix.
pub(super) fn body(message: &[u8]) -> Result<Reader<'_>, DecodeError> {
    let mut reader = Reader::new(message);
    let body = reader.item("a message")?;
    if !reader.is_empty() {
        return Err(DecodeError::Malformed("more than one message".into()));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_cut_at_its_lengths() {
        let pieces = |frame| split(frame).collect::<Vec<_>>();
        assert_eq!(pieces(&[]), []);
        assert_eq!(pieces(&[1, 9, 2, 8, 7]), [Ok(&[1, 9][..]), Ok(&[2, 8, 7])]);
        assert_eq!(pieces(&[1, 9, 2, 8]), [Ok(&[1, 9][..]), Err(DecodeError::Truncated("a message"))]);
        assert_eq!(pieces(&[0x80]), [Err(DecodeError::Truncated("a message"))]);
        assert_eq!(pieces(&[0xff; 11]), [Err(DecodeError::Overflow("message length"))]);
    }

    #[test]
    fn a_length_is_known_before_the_message_is_there() {
        assert_eq!(message_length(&[]), Ok(None));
        assert_eq!(message_length(&[0x80]), Ok(None));
        assert_eq!(message_length(&[0x80, 0x01]), Ok(Some(130)));
        assert!(message_length(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).is_err());
    }

    #[test]
    fn a_batch_beyond_the_limit_ends_in_one_failure() {
        let frame = [2, 0, 0].repeat(BATCH_REQUESTS + 10);
        let results: Vec<_> = decode_client_batch(&frame).collect();
        assert_eq!(results.len(), BATCH_REQUESTS + 1);
        assert!(results[..BATCH_REQUESTS].iter().all(Result::is_ok));
        assert!(results[BATCH_REQUESTS].is_err());
    }
}

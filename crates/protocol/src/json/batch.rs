//! Several messages in one frame, separated by newlines.
//!
//! A newline inside an object (somebody's pretty-printer) is white space, not a separator. One inside a string cannot
//! be JSON; it separates, so that a broken message does not swallow the ones after it.

use crate::decode::{DecodeError, DecodeFailure};
use crate::limits::BATCH_REQUESTS;
use crate::message::ClientMessage;

/// The messages of a frame; blank lines are skipped. Says nothing about their validity.
pub fn split(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = frame;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (message, after) = cut(rest);
            rest = after;
            let message = message.trim_ascii();
            if !message.is_empty() {
                return Some(message);
            }
        }
        None
    })
}

/// Reads a client's frame. After [`BATCH_REQUESTS`] messages one failure without id ends the iteration.
pub fn decode_client_batch(frame: &[u8]) -> impl Iterator<Item = Result<ClientMessage, DecodeFailure>> {
    split(frame).take(BATCH_REQUESTS + 1).enumerate().map(|(index, message)| {
        if index == BATCH_REQUESTS {
            let error = DecodeError::TooLarge { what: "a batch of requests", limit: BATCH_REQUESTS };
            return Err(DecodeFailure::new(0, error));
        }
        super::decode_client(message)
    })
}

/// The first message and what follows its newline.
fn cut(input: &[u8]) -> (&[u8], &[u8]) {
    if !input.contains(&b'\n') {
        return (input, &[]);
    }
    let mut depth = 0usize;
    let mut bytes = input.iter().enumerate();
    let mut in_string = false;
    while let Some((at, &byte)) = bytes.next() {
        match byte {
            b'\n' if in_string || depth == 0 => return (&input[..at], &input[at + 1..]),
            b'\\' if in_string => {
                bytes.next();
            }
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    (input, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(frame: &str) -> Vec<&str> {
        split(frame.as_bytes()).map(|piece| std::str::from_utf8(piece).unwrap()).collect()
    }

    #[test]
    fn newlines_separate_messages_but_not_inside_an_object() {
        assert_eq!(pieces("{}"), ["{}"]);
        assert_eq!(pieces("{}\n\n {\"id\":1} \r\n"), ["{}", "{\"id\":1}"]);
        assert_eq!(pieces("{\n \"a\": [\n1]\n}\n{}"), ["{\n \"a\": [\n1]\n}", "{}"]);
        assert_eq!(pieces("{\"a\":\"}\\\"\"}\n{}"), ["{\"a\":\"}\\\"\"}", "{}"]);
        assert_eq!(pieces("\n \n"), [""; 0]);
    }

    #[test]
    fn an_unterminated_string_does_not_swallow_the_next_message() {
        assert_eq!(pieces("{\"a\":\"x\n{}"), ["{\"a\":\"x", "{}"]);
    }

    #[test]
    fn a_batch_beyond_the_limit_ends_in_one_failure() {
        let frame = "{}\n".repeat(BATCH_REQUESTS + 10);
        let results: Vec<_> = decode_client_batch(frame.as_bytes()).collect();
        assert_eq!(results.len(), BATCH_REQUESTS + 1);
        assert!(results[..BATCH_REQUESTS].iter().all(Result::is_ok));
        assert_eq!(results[BATCH_REQUESTS].as_ref().unwrap_err().error.code, crate::ErrorCode::TooLarge);
    }
}

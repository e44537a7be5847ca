//! Payloads on their way in: checked once, then carried as they are.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde_json::value::RawValue;

use super::object::{Text, malformed, text};
use crate::decode::DecodeError;
use crate::limits::JSON_DEPTH;
use crate::publication::Payload;

/// Standard base64; padding is written, and not insisted on.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Payload {
    /// Takes JSON text: one value, UTF-8, nested at most [`JSON_DEPTH`] deep. White space around it is dropped, and
    /// if it holds line breaks all white space outside of strings is.
    pub fn from_json(json: &[u8]) -> Result<Self, DecodeError> {
        let invalid = |error: DecodeError| DecodeError::Payload(format!("the data is not JSON: {error}"));
        let json = text(json).map_err(invalid)?;
        let raw: &RawValue = serde_json::from_str(json).map_err(|error| invalid(malformed(&error)))?;
        checked(raw)
    }
}

/// The payload that a message's `data` or `data64` holds.
pub(super) fn from_fields(
    data: Option<&RawValue>,
    data64: Option<&Text<'_>>,
) -> Result<Payload, DecodeError> {
    match (data, data64) {
        (Some(json), None) => checked(json),
        (None, Some(base64)) => match BASE64.decode(base64.as_bytes()) {
            Ok(bytes) => Ok(Payload::Binary(bytes.into())),
            Err(error) => Err(DecodeError::Payload(format!("data64 is not base64: {error}"))),
        },
        (None, None) => Err(DecodeError::Payload("data or data64 is missing".into())),
        (Some(_), Some(_)) => Err(DecodeError::Payload("data and data64 exclude each other".into())),
    }
}

/// Valid JSON without white space around it becomes a payload, unless it is nested too deep.
fn checked(json: &RawValue) -> Result<Payload, DecodeError> {
    let json = json.get().as_bytes();
    let shape = Shape::of(json);
    if shape.depth > JSON_DEPTH {
        return Err(DecodeError::Payload(format!("data is nested deeper than {JSON_DEPTH}")));
    }
    Ok(Payload::Json(if shape.has_line_breaks { compact(json) } else { Bytes::copy_from_slice(json) }))
}

#[derive(Default)]
struct Shape {
    depth: usize,
    has_line_breaks: bool,
}

impl Shape {
    /// Looks at valid JSON once, without recursion. Line breaks can only stand outside of strings there.
    fn of(json: &[u8]) -> Self {
        let mut shape = Self::default();
        let mut depth = 0usize;
        let mut rest = json.iter();
        while let Some(&byte) = rest.next() {
            match byte {
                b'"' => skip_string(&mut rest),
                b'{' | b'[' => {
                    depth += 1;
                    shape.depth = shape.depth.max(depth);
                }
                b'}' | b']' => depth = depth.saturating_sub(1),
                b'\n' | b'\r' => shape.has_line_breaks = true,
                _ => {}
            }
        }
        shape
    }
}

/// Goes past the closing quote of a string whose opening quote has been taken.
fn skip_string(rest: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                rest.next();
            }
            _ => {}
        }
    }
}

/// Drops white space outside of strings.
fn compact(json: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(json.len());
    let mut rest = json.iter();
    while let Some(&byte) = rest.next() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {}
            b'"' => {
                let before = rest.as_slice();
                skip_string(&mut rest);
                out.push(b'"');
                out.extend_from_slice(&before[..before.len() - rest.len()]);
            }
            _ => out.push(byte),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_carried_as_it_came() {
        for text in ["null", " 1.50e3 ", "\"\\u00e9 é\"", "{ \"b\" : [1, 2], \"a\":\"x\\\"y \" }"] {
            let payload = Payload::from_json(text.as_bytes()).unwrap();
            assert_eq!(payload, Payload::Json(Bytes::copy_from_slice(text.trim().as_bytes())));
        }
    }

    #[test]
    fn line_breaks_are_taken_out_and_strings_left_alone() {
        let pretty = "{\n  \"a b\": [1,\r\n 2],\n\t\"c\": \"\\\" \\\\\"\n}\n";
        let payload = Payload::from_json(pretty.as_bytes()).unwrap();
        assert_eq!(payload.bytes(), &br#"{"a b":[1,2],"c":"\" \\"}"#[..]);
    }

    #[test]
    fn deep_data_is_refused_without_recursion() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Payload::from_json(nested(JSON_DEPTH).as_bytes()).is_ok());
        assert!(Payload::from_json(nested(JSON_DEPTH + 1).as_bytes()).is_err());
        assert!(Payload::from_json(nested(1_000_000).as_bytes()).is_err());
        assert!(Payload::from_json("[".repeat(1_000_000).as_bytes()).is_err());
    }

    #[test]
    fn what_is_not_one_json_value_is_refused() {
        for bad in [&b""[..], b"{", b"1 2", b"nul", b"\"\xff\"", b"'x'", b"{\"a\":1,}", b"\"a\nb\"", b"01"] {
            let error = Payload::from_json(bad).unwrap_err();
            assert_eq!(error.code(), crate::ErrorCode::InvalidData, "{bad:?}");
        }
    }
}

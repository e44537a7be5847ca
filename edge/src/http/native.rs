//! Requests of the native protocol that arrive in pieces: a body or a parameter holds what stands under the request's name.

use serde_json::value::RawValue;
use skywave_protocol::message::Request;
use skywave_protocol::{ErrorCode, WireError, json};

/// Reads the value that `{"<name>":…}` holds in the native protocol, with all its checks.
pub(crate) fn request(name: &'static str, value: &[u8]) -> Result<Request, WireError> {
    // One JSON value, so that what is put around it stays around it.
    let value: &RawValue = serde_json::from_slice(value)
        .map_err(|error| WireError::new(ErrorCode::BadRequest, format!("not JSON: {error}")))?;
    let message = format!(r#"{{"id":1,"{name}":{}}}"#, value.get());
    Ok(json::decode_client(message.as_bytes()).map_err(|failure| failure.error)?.request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_break_out_of_its_place() {
        assert!(matches!(request("publish", br#"{"channel":"a","data":1}"#), Ok(Request::Publish(_))));
        for bad in
            [r#"{"channel":"a","data":1}},{"x":{"#, r#"{"channel":"a","data":1},"id":7"#, "", "{", "[]", "7"]
        {
            assert!(request("publish", bad.as_bytes()).is_err(), "{bad}");
        }
    }
}

//! How answers look: replies of the native protocol without their envelope, errors as `{"error":{…}}`.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use skywave_protocol::message::Reply;
use skywave_protocol::{ErrorCode, WireError, json};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An error on its way out.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    error: WireError,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        WireError::new(code, message).into()
    }

    /// With a status that says more than the code's own.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        // Invariant: the table of codes holds valid statuses; a test checks it.
        let status =
            StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, error }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = respond(self.status, error_object(&self.error));
        let headers = response.headers_mut();
        if let Some(ms) = self.error.retry_after_ms {
            headers.insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// `{"error":{"code":…,"message":…,"retry_after_ms":…}}`
pub(super) fn error_object(error: &WireError) -> Vec<u8> {
    let mut out = br#"{"error":"#.to_vec();
    out.extend_from_slice(&reply_object(Reply::Error(error.clone())));
    out.push(b'}');
    out
}

/// A reply as the native protocol writes it, without id and name.
pub(super) fn reply_object(reply: Reply) -> Vec<u8> {
    let mut out = Vec::new();
    json::encode_reply(&reply, &mut out);
    out
}

pub(super) fn respond(status: StatusCode, json: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// 200 with a reply of the native protocol.
pub(super) fn reply(reply: Reply) -> Response {
    respond(StatusCode::OK, reply_object(reply))
}

/// Any JSON.
pub(super) fn value(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(json) => respond(status, json),
        Err(error) => Refusal::new(ErrorCode::Internal, error.to_string()).into_response(),
    }
}

pub(super) async fn not_found() -> Refusal {
    Refusal::new(ErrorCode::NotFound, "there is nothing at this path")
}

pub(super) async fn method_not_allowed() -> Refusal {
    Refusal::new(ErrorCode::BadRequest, "this path does not take this method")
        .with_status(StatusCode::METHOD_NOT_ALLOWED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skywave_protocol::message::Published;

    #[test]
    fn every_code_has_a_status_that_is_an_error() {
        for (code, ..) in ErrorCode::TABLE {
            let status = StatusCode::from_u16(code.http_status()).unwrap();
            assert!(status.is_client_error() || status.is_server_error(), "{code:?}");
        }
    }

    #[test]
    fn replies_lose_their_envelope_and_nothing_else() {
        let json = reply_object(Reply::Published(Published { position: None, duplicate: false }));
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["duplicate"], false);
        let error = WireError::new(ErrorCode::RateLimited, "a \"quoted\" word").retry_after_ms(1_500);
        let value: serde_json::Value = serde_json::from_slice(&error_object(&error)).unwrap();
        assert_eq!(value["error"]["code"], "rate_limited");
        assert_eq!(value["error"]["message"], "a \"quoted\" word");
        let response = Refusal::from(error).into_response();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["retry-after"]),
            (429, &HeaderValue::from(2))
        );
    }
}

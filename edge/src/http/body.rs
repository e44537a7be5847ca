//! Reading a request's body: bounded in size and in time.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use skywave_protocol::ErrorCode;

use super::answer::Refusal;

/// Reads at most `limit` bytes within `deadline`. A client that sends more slowly, or more, is answered and cut off.
pub(crate) async fn read(body: Body, limit: usize, deadline: Duration) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::new(ErrorCode::TooLarge, format!("the body has at most {limit} bytes"));
    // Known beforehand: nothing of it is read.
    if HttpBody::size_hint(&body).lower() > limit as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(deadline, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Refusal::new(ErrorCode::BadRequest, "the body could not be read")),
        Err(_) => Err(Refusal::new(ErrorCode::Timeout, "the body did not arrive in time")
            .with_status(StatusCode::REQUEST_TIMEOUT)),
    }
}

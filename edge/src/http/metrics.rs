//! `/metrics` in the OpenMetrics text format.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use prometheus_client::encoding::text::encode;
use skywave_protocol::ErrorCode;

use super::Api;
use super::answer::Refusal;

const TEXT: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

pub(super) async fn metrics(State(api): State<Api>) -> Response {
    let mut text = String::new();
    let encoded = encode(&mut text, &api.shared.ports.registry.lock());
    match encoded {
        Ok(()) => ([(CONTENT_TYPE, TEXT)], text).into_response(),
        Err(error) => Refusal::new(ErrorCode::Internal, error.to_string()).into_response(),
    }
}

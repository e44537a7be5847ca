//! `/metrics` in the OpenMetrics text format.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use skywave_protocol::ErrorCode;
use skywave_runtime::telemetry::metrics;

use super::Api;
use super::answer::Refusal;

const TEXT: HeaderValue = HeaderValue::from_static(metrics::CONTENT_TYPE);

pub(super) async fn metrics(State(api): State<Api>) -> Response {
    let rendered = metrics::render(&api.shared.ports.registry.lock());
    match rendered {
        Ok(text) => ([(CONTENT_TYPE, TEXT)], text).into_response(),
        Err(error) => Refusal::new(ErrorCode::Internal, error.to_string()).into_response(),
    }
}

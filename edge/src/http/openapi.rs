//! `GET /v1/openapi.json`: the description of this interface, the same file as in `docs/`.

use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

pub(super) const DESCRIPTION: &str = include_str!("../../../docs/openapi.json");

pub(super) async fn openapi() -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], DESCRIPTION).into_response()
}

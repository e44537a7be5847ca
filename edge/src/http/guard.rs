//! What every request passes: the origin check, CORS (Fetch standard, 3.2), and the headers every answer carries.
//!
//! A page that may not connect may not read either, so under `/v1/` a refused origin gets 403 before anything is done.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL,
    ORIGIN, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use skywave_protocol::ErrorCode;

use super::Api;
use super::answer::Refusal;
use crate::auth::Provenance;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST");
const HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, skywave-session");
const EXPOSED: HeaderValue = HeaderValue::from_static("retry-after");
/// Seconds a browser may remember a preflight.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

pub(super) async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    let ours = request.uri().path().starts_with("/v1/");
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = if !ours {
        next.run(request).await
    } else if let Err(error) = api.shared.ports.auth.origins().check(&Provenance::of(request.headers())) {
        Refusal::new(ErrorCode::Forbidden, error.to_string()).into_response()
    } else {
        let mut response = if is_preflight(&request) { preflight() } else { next.run(request).await };
        allow(response.headers_mut(), origin);
        response
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if ours {
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
    response
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    response
}

/// Lets the page of an allowed origin read the answer. Never with credentials: tokens are sent by scripts, not by cookies.
fn allow(headers: &mut HeaderMap, origin: Option<HeaderValue>) {
    let Some(origin) = origin else { return };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}

//! The files of the page at `/` and `/assets/`, handed in by the binary.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_FRAME_OPTIONS,
};
use http::{HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use super::{Api, answer};

/// Scripts and styles come from here alone; connections may go anywhere (WebTransport has another scheme, a drained client
/// moves to another node). No other site may frame the page.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self' http: https: ws: wss:; \
     object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);

/// One file.
#[derive(Debug, Clone, Copy)]
pub struct PageFile {
    /// Path it is served at: `/` or `/assets/…`.
    pub path: &'static str,
    pub content_type: &'static str,
    pub bytes: &'static [u8],
}

/// All of them; empty: there is no page.
#[derive(Debug, Clone, Copy, Default)]
pub struct PageAssets(pub &'static [PageFile]);

/// The files with their entity tags.
pub(super) struct Page(Vec<(PageFile, HeaderValue)>);

impl Page {
    pub(super) fn new(assets: PageAssets) -> Self {
        Self(assets.0.iter().map(|file| (*file, tag(file.bytes))).collect())
    }
}

fn tag(bytes: &[u8]) -> HeaderValue {
    let digest = URL_SAFE_NO_PAD.encode(&Sha256::digest(bytes)[..12]);
    // Invariant: base64url in quotes is a header value.
    HeaderValue::from_str(&format!("\"{digest}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

pub(super) async fn page(State(api): State<Api>, request: Request) -> Response {
    let path = request.uri().path();
    let Some((file, tag)) = api.page.0.iter().find(|(file, _)| file.path == path) else {
        return answer::not_found().await.into_response();
    };
    let known = request.headers().get(IF_NONE_MATCH).is_some_and(|known| known == tag);
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Bytes::from_static(file.bytes).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    headers.insert(ETAG, tag.clone());
    // Asked again each time, answered with 304 while it is the same: an update shows at once.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

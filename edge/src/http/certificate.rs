//! `GET /v1/webtransport/certificate`: what a browser needs to open WebTransport to this node.

use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use skywave_protocol::ErrorCode;

use super::answer::{self, Refusal};
use super::{Api, route};

#[derive(Serialize)]
struct Certificate {
    /// Where the sessions are opened.
    url: String,
    /// For `serverCertificateHashes`; empty when an authority vouches for the certificate.
    hashes: Vec<Hash>,
}

#[derive(Serialize)]
struct Hash {
    algorithm: &'static str,
    /// Base64 of the hash of the certificate in DER form.
    value: String,
}

pub(super) async fn certificate(State(api): State<Api>, headers: HeaderMap) -> Result<Response, Refusal> {
    let (Some(address), Some(tls)) = (api.shared.webtransport, &api.shared.ports.tls) else {
        return Err(Refusal::new(ErrorCode::NotFound, "this node does not serve WebTransport"));
    };
    let host = without_port(route::host(&headers)?);
    let identity = tls.borrow().clone();
    let hashes = if identity.is_self_signed() {
        vec![Hash { algorithm: "sha-256", value: STANDARD.encode(identity.hash()) }]
    } else {
        Vec::new()
    };
    let url = format!("https://{host}:{}/v1/wt", address.port());
    Ok(answer::value(StatusCode::OK, &Certificate { url, hashes }))
}

fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(at) if !host.ends_with(']') => &host[..at],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::without_port;

    #[test]
    fn ports_are_cut_off_and_addresses_are_not() {
        for (host, bare) in
            [("a.example:8080", "a.example"), ("[::1]:8080", "[::1]"), ("[::1]", "[::1]"), ("a", "a")]
        {
            assert_eq!(without_port(host), bare);
        }
    }
}

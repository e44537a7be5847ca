//! `/health/live`, `/health/ready` and `/metrics` over plain HTTP/1.1, for a process without clients. It belongs on an inner
//! address: everybody who reaches it may read it.
//!
//! Bounded: so many connections at a time, a deadline for each request head, no bodies.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{HealthCheck, Live, Ready};
use crate::telemetry::metrics;

/// Connections at a time; others wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// For a request head to arrive, and for a connection to be used again.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// After an accept that failed (no file descriptor).
const PAUSE: Duration = Duration::from_millis(100);

/// What is served.
#[derive(Clone)]
pub struct Probes {
    pub node: String,
    pub region: String,
    pub health: HealthCheck,
    pub registry: Arc<Mutex<Registry>>,
}

/// A bound listener that serves nothing yet.
pub struct ProbeListener(TcpListener);

impl ProbeListener {
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        Ok(Self(TcpListener::bind(address).await?))
    }

    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves for ever; ends when it is dropped, and its connections with it.
    pub async fn serve(self, probes: Probes) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            // The semaphore is never closed.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            while connections.try_join_next().is_some() {}
            match self.0.accept().await {
                Ok((stream, _)) => {
                    let probes = probes.clone();
                    connections.spawn(async move {
                        serve_connection(stream, probes).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "a health connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, probes: Probes) {
    let service = service_fn(|request| {
        let response = respond(&request, &probes);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(16 * 1024);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a health connection broke");
    }
}

fn respond(request: &Request<Incoming>, probes: &Probes) -> Response<Full<Bytes>> {
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    match request.uri().path() {
        "/health/live" => json(StatusCode::OK, &Live::new(&probes.node, &probes.region)),
        "/health/ready" => {
            let ready = Ready::new(&probes.node, (probes.health)());
            let status = StatusCode::from_u16(ready.http_status());
            json(status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE), &ready)
        }
        "/metrics" => match metrics::render(&probes.registry.lock()) {
            Ok(text) => answer(StatusCode::OK, metrics::CONTENT_TYPE, text.into()),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        },
        _ => plain(StatusCode::NOT_FOUND, "there are /health/live, /health/ready and /metrics\n"),
    }
}

fn json(status: StatusCode, body: &impl serde::Serialize) -> Response<Full<Bytes>> {
    // Names, flags and text always serialize.
    let body = serde_json::to_vec(body).unwrap_or_default();
    answer(status, "application/json", body)
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", text.into())
}

fn answer(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::Component;
    use super::*;

    async fn ask(address: SocketAddr, line: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn health_and_metrics_are_served_and_nothing_else() {
        let listener = ProbeListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.address().unwrap();
        let health: HealthCheck =
            Arc::new(|| vec![Component::essential("log", false, Some("no broker".into()))]);
        let registry = Arc::new(Mutex::new(metrics::registry("1.2.3")));
        let probes = Probes { node: "core-1".into(), region: "here".into(), health, registry };
        let serving = tokio::spawn(listener.serve(probes));
        let live = ask(address, "GET /health/live").await;
        assert!(live.starts_with("HTTP/1.1 200") && live.contains(r#""node":"core-1""#), "{live}");
        let ready = ask(address, "GET /health/ready").await;
        assert!(ready.starts_with("HTTP/1.1 503") && ready.contains(r#""detail":"no broker""#), "{ready}");
        let metrics = ask(address, "GET /metrics").await;
        assert!(metrics.contains("skywave_build_info") && metrics.ends_with("# EOF\n"), "{metrics}");
        assert!(ask(address, "GET /").await.starts_with("HTTP/1.1 404"));
        assert!(ask(address, "POST /metrics").await.starts_with("HTTP/1.1 405"));
        serving.abort();
    }
}

//! Everything that is not a WebSocket handshake at the beginning of a connection: hyper and the router.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;

use super::io::Io;
use crate::admission::Permit;
use crate::http::OverTls;
use crate::metrics::Refused;
use crate::transport::websocket::WebSocket;
use crate::transport::websocket::handshake::{self, Accepted, Refusal, Upgrade};
use crate::worker::Worker;

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>>>>;

/// Serves HTTP/1.1 on the connection until it ends, or until it turns out to be a WebSocket after all (a proxy that
/// reuses connections).
pub(crate) async fn serve(worker: &Rc<Worker>, io: Io, peer: SocketAddr, permit: Permit) {
    let config = &worker.shared().config;
    let service = Front {
        tls: io.is_tls(),
        worker: worker.clone(),
        router: TowerToHyperService::new(worker.router().clone()),
        peer,
        permit: Rc::new(std::cell::RefCell::new(Some(permit))),
    };
    // As for a WebSocket that answers no ping.
    let io = io.give_up_after(config.timing.ping + config.timing.pong);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.timing.head)
        .max_buf_size(config.limits.head_bytes.max(8 * 1024))
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut draining = worker.shared().draining();
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = draining.wait_for(|draining| *draining) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "an HTTP connection ended badly");
    }
}

struct Front {
    worker: Rc<Worker>,
    router: TowerToHyperService<axum::Router>,
    peer: SocketAddr,
    tls: bool,
    /// The connection's place; goes with it when it becomes a WebSocket.
    permit: Rc<std::cell::RefCell<Option<Permit>>>,
}

impl Service<Request<Incoming>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, mut request: Request<Incoming>) -> Answer {
        if let Some(upgrade) = handshake::from_request(&request, self.worker.shared().ports.auth.origins()) {
            let response = self.upgrade(request, upgrade);
            return Box::pin(std::future::ready(Ok(response)));
        }
        request.extensions_mut().insert(ConnectInfo(self.peer));
        if self.tls {
            request.extensions_mut().insert(OverTls);
        }
        Box::pin(self.router.call(request))
    }
}

impl Front {
    fn upgrade(&self, request: Request<Incoming>, upgrade: Upgrade) -> Response<Body> {
        let accepted = match upgrade {
            Ok(accepted) => accepted,
            Err(refusal) => {
                let reason = if refusal == Refusal::Origin { Refused::Origin } else { Refused::Handshake };
                self.worker.metrics().refuse(reason);
                let mut response = Response::new(Body::from(format!("{refusal}\n")));
                *response.status_mut() = refusal.status();
                return response;
            }
        };
        let mut response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("upgrade", "websocket")
            .header("connection", "upgrade");
        for (name, value) in accepted.headers(self.worker.shared().config.compression.enabled) {
            response = response.header(name, value);
        }
        let (worker, permit) = (self.worker.clone(), self.permit.take());
        tokio::task::spawn_local(async move {
            let Some(socket) = Box::pin(taken_back(worker, request, accepted, permit)).await else { return };
            socket.run().await;
        });
        // Only values we made ourselves are in there; if they were no header values, the client gets a 500.
        response.body(Body::empty()).unwrap_or_else(|_| {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        })
    }
}

/// The raw connection, once hyper has written its answer.
async fn taken_back(
    worker: Rc<Worker>,
    request: Request<Incoming>,
    accepted: Accepted,
    permit: Option<Permit>,
) -> Option<WebSocket> {
    let upgraded = hyper::upgrade::on(request).await.ok()?;
    let parts = upgraded.downcast::<TokioIo<Io>>().ok()?;
    let mut taken = parts.io.into_inner().into_parts();
    let mut rest = parts.read_buf.to_vec();
    rest.extend_from_slice(&taken.rest);
    taken.rest = rest.into();
    WebSocket::open(&worker, taken, &accepted, permit?)
}

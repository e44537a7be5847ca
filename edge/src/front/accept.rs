//! The accept loop of one listener on one worker, and the life of a connection up to its transport.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::net::{RecvFlags, SendFlags};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::head::{self, First, read_first};
use super::io::{Io, Parts};
use super::{http, refuse};
use crate::admission::Permit;
use crate::metrics::Refused;
use crate::tls::Identity;
use crate::transport::websocket::WebSocket;
use crate::transport::websocket::handshake::Refusal;
use crate::worker::Worker;

/// How long the loop rests when the process is out of file descriptors or memory.
const PAUSE: Duration = Duration::from_millis(50);

/// A listening socket of one worker.
pub(crate) struct Listener {
    pub(crate) socket: std::net::TcpListener,
    pub(crate) tls: Option<watch::Receiver<Arc<Identity>>>,
}

/// Accepts until the node drains or stops; then the socket closes, and the kernel refuses newcomers.
pub(crate) async fn accept(worker: Rc<Worker>, listener: Listener) -> std::io::Result<()> {
    let Listener { socket, tls } = listener;
    let socket = TcpListener::from_std(socket)?;
    let mut draining = worker.shared().draining();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = draining.wait_for(|draining| *draining) => return Ok(()),
        };
        match accepted {
            Ok((tcp, peer)) => admit(&worker, tcp, peer, tls.as_ref()),
            Err(error) if is_peers_fault(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The connection was already gone when it was accepted.
fn is_peers_fault(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

fn admit(
    worker: &Rc<Worker>,
    tcp: TcpStream,
    peer: SocketAddr,
    tls: Option<&watch::Receiver<Arc<Identity>>>,
) {
    let shared = worker.shared();
    let metrics = worker.metrics();
    metrics.accepted.add(1);
    match shared.admission.admit(shared.now_ms(), peer.ip()) {
        Ok(permit) => match tls {
            Some(config) => {
                let tls = Some(config.borrow().tcp());
                tokio::task::spawn_local(serve(worker.clone(), Io::plain(tcp), peer, tls, permit));
            }
            None => at_once(worker, tcp, peer, permit),
        },
        Err(refused) => {
            metrics.refuse(refused.reason);
            // On a TLS port the refusal could not be read: the connection is just closed.
            if tls.is_none() {
                refuse::busy(worker, tcp, refused);
            }
        }
    }
}

/// In a storm the request is there before the connection is accepted: a handshake is then answered on the spot, without
/// a wait, a timer or a box. Whatever else there is (also nothing) goes the usual way.
fn at_once(worker: &Rc<Worker>, tcp: TcpStream, peer: SocketAddr, permit: Permit) {
    let shared = worker.shared();
    let mut scratch = worker.scratch();
    // The runtime does not know yet that the socket is ready, so it is asked directly.
    let read = match rustix::net::recv(&tcp, &mut scratch[..], RecvFlags::DONTWAIT) {
        Ok((read, _)) if read > 0 => &scratch[..read],
        _ => &[],
    };
    let first = if read.is_empty() { None } else { head::classify(read, shared.ports.auth.origins()) };
    let mut io = Io::plain(tcp);
    if let Some(First::Upgrade { upgrade: Ok(accepted), rest }) = first {
        drop(scratch);
        let response = accepted.response(shared.config.compression.enabled);
        let parts = io.into_parts();
        let sent = rustix::net::send(&parts.tcp, &response, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        if sent == Ok(response.len())
            && let Some(socket) = WebSocket::open(worker, Parts { rest, ..parts }, &accepted, permit)
        {
            tokio::task::spawn_local(socket.run());
        }
        return;
    }
    io.unread(Bytes::copy_from_slice(read));
    drop(scratch);
    tokio::task::spawn_local(serve(worker.clone(), io, peer, None, permit));
}

/// The task of one connection. What comes before the WebSocket is boxed, so that an idle connection does not carry the
/// room its handshake needed.
async fn serve(worker: Rc<Worker>, io: Io, peer: SocketAddr, tls: Option<Arc<ServerConfig>>, permit: Permit) {
    let first = Box::pin(begin(worker, io, peer, tls, permit)).await;
    if let Some(socket) = first {
        socket.run().await;
    }
}

async fn begin(
    worker: Rc<Worker>,
    io: Io,
    peer: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    permit: Permit,
) -> Option<WebSocket> {
    let deadline = worker.shared().config.timing.head;
    let met = timeout(deadline, async {
        let mut io = match tls {
            None => io,
            Some(config) => match TlsAcceptor::from(config).accept(io.into_parts().tcp).await {
                Ok(stream) => Io::tls(stream),
                Err(error) => {
                    tracing::debug!(%error, %peer, "TLS handshake failed");
                    worker.metrics().refuse(Refused::Tls);
                    return None;
                }
            },
        };
        let first = read_first(&worker, &mut io).await.ok()?;
        Some((io, first))
    })
    .await;
    let Ok(met) = met else {
        worker.metrics().refuse(Refused::Head);
        return None;
    };
    let (mut io, first) = met?;
    match first {
        First::Nothing => None,
        First::TooLarge => {
            worker.metrics().refuse(Refused::Head);
            refuse::plainly(
                io,
                ::http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "the request head is too large",
            )
            .await;
            None
        }
        First::Upgrade { upgrade: Ok(accepted), rest } => {
            let mut parts = io.into_parts();
            parts.rest = rest;
            parts.response = Some(accepted.response(worker.shared().config.compression.enabled));
            WebSocket::open(&worker, parts, &accepted, permit)
        }
        First::Upgrade { upgrade: Err(refusal), .. } => {
            worker.metrics().refuse(if refusal == Refusal::Origin {
                Refused::Origin
            } else {
                Refused::Handshake
            });
            refuse::plainly(io, refusal.status(), &refusal.to_string()).await;
            None
        }
        First::Http(bytes) => {
            io.unread(bytes);
            http::serve(&worker, io, peer, permit).await;
            None
        }
    }
}

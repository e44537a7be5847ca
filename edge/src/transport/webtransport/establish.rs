//! From the handshake to the control stream: settings, the CONNECT request, its answer.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use http::Uri;
use quinn::{Connection, RecvStream, SendStream};
use wtransport_proto::session::SessionRequest;

use super::h3::{self, Bidirectional, H3Error, Unidirectional};
use super::limits::REQUEST_BYTES;
use crate::auth::Provenance;
use crate::metrics::Refused;
use crate::transport::Encoding;
use crate::worker::Worker;

/// A session whose control stream stands.
pub(super) struct Established {
    pub(super) connection: Connection,
    /// The CONNECT stream: its end is the session's.
    pub(super) request: (SendStream, RecvStream),
    pub(super) control: (SendStream, RecvStream),
    /// Bytes of the control stream that were read with its beginning.
    pub(super) begun: Vec<u8>,
    pub(super) encoding: Encoding,
    /// Looks after the client's unidirectional streams; ends only with a failure.
    pub(super) client_streams: ClientStreams,
    /// Ours with the settings: closing it would be an error.
    pub(super) settings: SendStream,
}

/// Holds HTTP/3's own streams as long as the connection stands: closing one of them, also before it has said what it is,
/// is an error that ends the connection.
pub(super) type ClientStreams = Pin<Box<dyn Future<Output = Failed>>>;

/// Why there is no session.
pub(super) enum Failed {
    /// The client has gone.
    Gone,
    /// The connection is closed with this error.
    Protocol(H3Error, &'static str),
    /// The request was answered with a status.
    Refused(Refused),
}

impl From<H3Error> for Failed {
    fn from(error: H3Error) -> Self {
        Self::Protocol(error, "")
    }
}

impl From<quinn::ConnectionError> for Failed {
    fn from(_: quinn::ConnectionError) -> Self {
        Self::Gone
    }
}

impl From<quinn::WriteError> for Failed {
    fn from(_: quinn::WriteError) -> Self {
        Self::Gone
    }
}

impl From<quinn::ReadError> for Failed {
    fn from(_: quinn::ReadError) -> Self {
        Self::Gone
    }
}

/// The caller sets the deadline.
pub(super) async fn establish(worker: &Rc<Worker>, connection: &Connection) -> Result<Established, Failed> {
    let mut settings = connection.open_uni().await?;
    settings.write_all(&h3::control_stream()).await?;
    let mut client_streams: ClientStreams = Box::pin(accept_unidirectional(connection.clone()));
    // The two sides of the client's beginning are not ordered among each other.
    let (request, encoding) = tokio::select! {
        biased;
        failed = &mut client_streams => return Err(failed),
        request = accept_request(worker, connection) => request?,
    };
    let (control, begun) = tokio::select! {
        biased;
        failed = &mut client_streams => return Err(failed),
        control = accept_control(connection) => control?,
    };
    Ok(Established {
        connection: connection.clone(),
        request,
        control,
        begun,
        encoding,
        client_streams,
        settings,
    })
}

/// One after the other: what waits behind a stream that says nothing waits at the client, which has few of them.
async fn accept_unidirectional(connection: Connection) -> Failed {
    let mut kept = Vec::new();
    loop {
        let Ok(mut stream) = connection.accept_uni().await else { return Failed::Gone };
        match identify(&mut stream).await {
            Ok(Unidirectional::Control | Unidirectional::Qpack) => kept.push(stream),
            // The session knows no unidirectional streams of a client.
            Ok(Unidirectional::Other) => drop(stream.stop(H3Error::StreamCreation.code())),
            Err(failed) => return failed,
        }
    }
}

async fn identify(stream: &mut RecvStream) -> Result<Unidirectional, Failed> {
    let mut bytes = Vec::new();
    let (kind, used) = loop {
        if let Some(kind) = h3::unidirectional(&bytes) {
            break kind;
        }
        if !more(stream, &mut bytes).await? {
            return Ok(Unidirectional::Other);
        }
    };
    if kind == Unidirectional::Control {
        while h3::begins_with_settings(&bytes[used..]).transpose()?.is_none() {
            if !more(stream, &mut bytes).await? {
                return Err(H3Error::MissingSettings.into());
            }
        }
    }
    Ok(kind)
}

/// The client's first bidirectional stream must be the CONNECT request for `/v1/wt`.
async fn accept_request(
    worker: &Rc<Worker>,
    connection: &Connection,
) -> Result<((SendStream, RecvStream), Encoding), Failed> {
    let (mut send, mut recv) = connection.accept_bi().await?;
    let mut bytes = Vec::new();
    let start = beginning(&mut recv, &mut bytes).await?;
    let Bidirectional::Request(headers) = start else {
        return Err(Failed::Protocol(H3Error::Id, "a stream of a session that does not exist"));
    };
    let request = h3::session_request(headers)?;
    match judge(worker, &request) {
        Ok(encoding) => {
            send.write_all(&h3::response(200)).await?;
            Ok(((send, recv), encoding))
        }
        Err((status, kind)) => {
            send.write_all(&h3::response(status)).await?;
            let _ = send.finish();
            Err(Failed::Refused(kind))
        }
    }
}

/// Path, origin and encoding of the request, or the status to refuse it with.
fn judge(worker: &Rc<Worker>, request: &SessionRequest) -> Result<Encoding, (u16, Refused)> {
    let uri: Uri = request.path().parse().map_err(|_| (400, Refused::Handshake))?;
    if uri.path() != "/v1/wt" {
        return Err((404, Refused::Handshake));
    }
    let from = Provenance {
        origin: request.origin(),
        host: Some(request.authority()),
        fetch_site: request.get("sec-fetch-site"),
        cookie: request.get("cookie").is_some(),
    };
    if worker.shared().ports.auth.origins().check(&from).is_err() {
        return Err((403, Refused::Origin));
    }
    match uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("encoding="))) {
        None | Some("json") => Ok(Encoding::StreamJson),
        Some("binary") => Ok(Encoding::StreamBinary),
        Some(_) => Err((400, Refused::Handshake)),
    }
}

/// The session's first bidirectional stream carries requests and replies.
async fn accept_control(connection: &Connection) -> Result<((SendStream, RecvStream), Vec<u8>), Failed> {
    let (send, mut recv) = connection.accept_bi().await?;
    let mut bytes = Vec::new();
    match beginning(&mut recv, &mut bytes).await? {
        Bidirectional::WebTransport { id: h3::SESSION } => Ok(((send, recv), bytes)),
        Bidirectional::WebTransport { .. } => Err(Failed::Protocol(H3Error::Id, "there is no such session")),
        Bidirectional::Request(_) => {
            Err(Failed::Protocol(H3Error::RequestRejected, "one session a connection"))
        }
    }
}

/// Reads until it is known what the stream is; leaves what follows in `bytes`.
async fn beginning(recv: &mut RecvStream, bytes: &mut Vec<u8>) -> Result<Bidirectional, Failed> {
    loop {
        if let Some((start, used)) = h3::bidirectional(bytes)? {
            bytes.drain(..used);
            return Ok(start);
        }
        if !more(recv, bytes).await? {
            return Err(Failed::Protocol(
                H3Error::GeneralProtocol,
                "a stream that ends before it says what it is",
            ));
        }
    }
}

/// `false` at the stream's end.
async fn more(recv: &mut RecvStream, bytes: &mut Vec<u8>) -> Result<bool, Failed> {
    // Twice the limit: a frame's header comes on top of its content.
    let room = (2 * REQUEST_BYTES).saturating_sub(bytes.len());
    if room == 0 {
        return Err(H3Error::ExcessiveLoad.into());
    }
    match recv.read_chunk(room, true).await? {
        Some(chunk) => {
            bytes.extend_from_slice(&chunk.bytes);
            Ok(true)
        }
        None => Ok(false),
    }
}

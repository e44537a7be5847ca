//! From the handshake to the control stream: settings, the CONNECT request, its answer.

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
    /// HTTP/3's own streams: closing one of them would be an error of either side.
    pub(super) critical: Vec<RecvStream>,
    pub(super) settings: SendStream,
}

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
    let mut critical = Vec::new();
    // The two sides of the client's beginning are not ordered among each other, but neither gets far without the other.
    let (request, encoding) = tokio::select! {
        biased;
        failed = client_streams(connection, &mut critical) => return Err(failed),
        request = accept_request(worker, connection) => request?,
    };
    let ((control_send, control_recv), begun) = tokio::select! {
        biased;
        failed = client_streams(connection, &mut critical) => return Err(failed),
        control = accept_control(connection) => control?,
    };
    Ok(Established {
        connection: connection.clone(),
        request,
        control: (control_send, control_recv),
        begun,
        encoding,
        critical,
        settings,
    })
}

/// Takes HTTP/3's own streams; ends only with a failure.
async fn client_streams(connection: &Connection, critical: &mut Vec<RecvStream>) -> Failed {
    loop {
        let stream = match connection.accept_uni().await {
            Ok(stream) => stream,
            Err(_) => return Failed::Gone,
        };
        match accept_unidirectional(stream).await {
            Ok(Some(stream)) => critical.push(stream),
            Ok(None) => {}
            Err(failed) => return failed,
        }
    }
}

/// Keeps the streams of HTTP/3 itself and refuses the others: the session knows no unidirectional streams of a client.
pub(super) async fn accept_unidirectional(mut stream: RecvStream) -> Result<Option<RecvStream>, Failed> {
    let mut bytes = Vec::new();
    let (kind, used) = loop {
        if let Some(kind) = h3::unidirectional(&bytes) {
            break kind;
        }
        if !more(&mut stream, &mut bytes).await? {
            return Ok(None);
        }
    };
    match kind {
        Unidirectional::Qpack => Ok(Some(stream)),
        Unidirectional::Control => loop {
            if let Some(outcome) = h3::begins_with_settings(&bytes[used..]) {
                outcome?;
                return Ok(Some(stream));
            }
            if !more(&mut stream, &mut bytes).await? {
                return Err(H3Error::MissingSettings.into());
            }
        },
        Unidirectional::Other => {
            let _ = stream.stop(H3Error::StreamCreation.code());
            Ok(None)
        }
    }
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

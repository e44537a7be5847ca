//! From the handshake to the control stream: settings, the CONNECT request, its answer.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::Uri;
use quinn_proto::{Dir, StreamId};
use wtransport_proto::session::SessionRequest;

use super::h3::{self, Bidirectional, H3Error};
use super::quic::{Quic, control_stream, request_stream};
use crate::auth::Provenance;
use crate::metrics::Refused;
use crate::transport::{Encoding, OutletClosed};
use crate::worker::Worker;

/// What a session's beginning needs; gone when the control stream stands.
pub(super) struct Beginning {
    /// By when it must be over.
    pub(super) until: Instant,
    /// Ours with the settings, and what of them has no credit yet. It stays open: closing it would be an error.
    settings: Option<(StreamId, Bytes)>,
    /// What has come of the request's, then of the control stream's beginning.
    bytes: Vec<u8>,
    /// Chosen by the request, which has been granted then.
    encoding: Option<Encoding>,
    /// What has no credit yet of the answer to the request.
    answer: Bytes,
}

/// Why there is no session.
pub(super) enum Failed {
    /// The client takes no more.
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

impl From<(H3Error, &'static str)> for Failed {
    fn from((error, reason): (H3Error, &'static str)) -> Self {
        Self::Protocol(error, reason)
    }
}

impl From<OutletClosed> for Failed {
    fn from(_: OutletClosed) -> Self {
        Self::Gone
    }
}

impl Beginning {
    pub(super) fn new(until: Instant) -> Self {
        Self { until, settings: None, bytes: Vec::new(), encoding: None, answer: Bytes::new() }
    }

    /// Goes as far as what has arrived allows. With the control stream comes the encoding, and what was read of it with its
    /// beginning.
    pub(super) fn advance(
        &mut self,
        quic: &mut Quic,
        worker: &Rc<Worker>,
    ) -> Result<Option<(Encoding, Vec<u8>)>, Failed> {
        if self.settings.is_none() {
            let stream = quic.protocol.streams().open(Dir::Uni);
            self.settings = stream.map(|stream| (stream, h3::control_stream().into()));
        }
        let Some((stream, settings)) = &mut self.settings else { return Ok(None) };
        quic.write(*stream, settings)?;
        if !settings.is_empty() {
            return Ok(None);
        }
        let encoding = match self.encoding {
            Some(encoding) => encoding,
            None => match self.accept_request(quic, worker)? {
                Some(encoding) => *self.encoding.insert(encoding),
                None => return Ok(None),
            },
        };
        quic.write(request_stream(), &mut self.answer)?;
        if !self.answer.is_empty() {
            return Ok(None);
        }
        // The session's first bidirectional stream carries requests and replies.
        match quic.bidirectional(control_stream(), &mut self.bytes)? {
            None => Ok(None),
            Some(Bidirectional::WebTransport { id: h3::SESSION }) => {
                Ok(Some((encoding, std::mem::take(&mut self.bytes))))
            }
            Some(Bidirectional::WebTransport { .. }) => {
                Err(Failed::Protocol(H3Error::Id, "there is no such session"))
            }
            Some(Bidirectional::Request(_)) => {
                Err(Failed::Protocol(H3Error::RequestRejected, "one session a connection"))
            }
        }
    }

    /// The client's first bidirectional stream must be the CONNECT request for `/v1/wt`.
    fn accept_request(&mut self, quic: &mut Quic, worker: &Rc<Worker>) -> Result<Option<Encoding>, Failed> {
        let headers = match quic.bidirectional(request_stream(), &mut self.bytes)? {
            None => return Ok(None),
            Some(Bidirectional::Request(headers)) => headers,
            Some(Bidirectional::WebTransport { .. }) => {
                return Err(Failed::Protocol(H3Error::Id, "a stream of a session that does not exist"));
            }
        };
        self.bytes = Vec::new();
        match judge(worker, &h3::session_request(headers)?) {
            Ok(encoding) => {
                self.answer = h3::response(200).into();
                Ok(Some(encoding))
            }
            Err((status, kind)) => {
                quic.write(request_stream(), &mut h3::response(status).into())?;
                quic.finish(request_stream());
                Err(Failed::Refused(kind))
            }
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

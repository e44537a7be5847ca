//! The little of HTTP/3 (RFC 9114) and WebTransport that a server of one resource needs, without I/O.

use std::borrow::Cow;

use skywave_protocol::CloseCode;
use wtransport_proto::bytes::{BytesReader as _, BytesWriter as _};
use wtransport_proto::frame::Frame;
use wtransport_proto::headers::Headers;
use wtransport_proto::ids::StatusCode;
use wtransport_proto::session::{SessionRequest, SessionResponse};
use wtransport_proto::settings::Settings;
use wtransport_proto::varint::VarInt;

use super::limits::{REASON_BYTES, REQUEST_BYTES};

/// Frame and stream types (RFC 9114, 11.2; draft-ietf-webtrans-http3, 9).
const FRAME_DATA: u64 = 0x00;
const FRAME_HEADERS: u64 = 0x01;
const FRAME_SETTINGS: u64 = 0x04;
const SIGNAL_BIDIRECTIONAL: u64 = 0x41;
const STREAM_CONTROL: u64 = 0x00;
const STREAM_QPACK_ENCODER: u64 = 0x02;
const STREAM_QPACK_DECODER: u64 = 0x03;
const STREAM_WEBTRANSPORT: u32 = 0x54;
/// CLOSE_WEBTRANSPORT_SESSION.
const CAPSULE_CLOSE: u32 = 0x2843;

/// The session's id: the stream of its CONNECT request, which here is always the client's first.
pub(super) const SESSION: u64 = 0;

/// Error codes on the wire (RFC 9114, 8.1; draft-ietf-webtrans-http3, 9.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum H3Error {
    NoError,
    GeneralProtocol,
    StreamCreation,
    FrameUnexpected,
    ExcessiveLoad,
    Id,
    MissingSettings,
    RequestRejected,
    Message,
    Decompression,
    BufferedStreamRejected,
    SessionGone,
}

impl H3Error {
    pub(super) fn code(self) -> quinn_proto::VarInt {
        quinn_proto::VarInt::from_u32(match self {
            Self::NoError => 0x100,
            Self::GeneralProtocol => 0x101,
            Self::StreamCreation => 0x103,
            Self::FrameUnexpected => 0x105,
            Self::ExcessiveLoad => 0x107,
            Self::Id => 0x108,
            Self::MissingSettings => 0x10a,
            Self::RequestRejected => 0x10b,
            Self::Message => 0x10e,
            Self::Decompression => 0x200,
            Self::BufferedStreamRejected => 0x3994_bd84,
            Self::SessionGone => 0x170d_7b68,
        })
    }
}

/// What we say first, on a unidirectional stream of ours: its type, and the settings. No dynamic table, so that neither
/// side keeps state for compression.
pub(super) fn control_stream() -> Vec<u8> {
    let settings = Settings::builder()
        .qpack_max_table_capacity(VarInt::from_u32(0))
        .qpack_blocked_streams(VarInt::from_u32(0))
        .enable_connect_protocol()
        .enable_h3_datagrams()
        .enable_webtransport()
        .webtransport_max_sessions(VarInt::from_u32(1))
        .build();
    let mut out = vec![STREAM_CONTROL as u8];
    // Invariant: a Vec takes everything.
    let _ = settings.generate_frame().write(&mut out);
    out
}

/// What a unidirectional stream of ours begins with when it belongs to the session.
pub(super) fn stream_prefix() -> Vec<u8> {
    let mut out = Vec::with_capacity(4);
    let _ = out.put_varint(VarInt::from_u32(STREAM_WEBTRANSPORT));
    let _ = out.put_varint(VarInt::from_u32(SESSION as u32));
    out
}

/// A datagram of the session: its quarter stream id, and the payload.
pub(super) fn datagram(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + payload.len());
    out.push((SESSION / 4) as u8);
    out.extend_from_slice(payload);
    out
}

/// The payload of a datagram, if it is one of the session.
pub(super) fn datagram_payload(datagram: &[u8]) -> Option<&[u8]> {
    let mut reader = datagram;
    let id = reader.get_varint()?;
    (id.into_inner() == SESSION / 4).then_some(reader)
}

/// Kinds of unidirectional streams a client opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unidirectional {
    Control,
    /// QPACK's: without a dynamic table nothing of meaning comes on them, but closing them is an error of the peer.
    Qpack,
    /// Of the session, or unknown: refused.
    Other,
}

/// `None`: the type has not arrived whole.
pub(super) fn unidirectional(bytes: &[u8]) -> Option<(Unidirectional, usize)> {
    let mut reader = bytes;
    let kind = reader.get_varint()?;
    let used = bytes.len() - reader.len();
    let kind = match kind.into_inner() {
        STREAM_CONTROL => Unidirectional::Control,
        STREAM_QPACK_ENCODER | STREAM_QPACK_DECODER => Unidirectional::Qpack,
        _ => Unidirectional::Other,
    };
    Some((kind, used))
}

/// Is this the beginning of a control stream? Its first frame must be SETTINGS. `None`: not enough has arrived.
pub(super) fn begins_with_settings(bytes: &[u8]) -> Option<Result<(), H3Error>> {
    let mut reader = bytes;
    let kind = reader.get_varint()?;
    if kind.into_inner() != FRAME_SETTINGS {
        return Some(Err(H3Error::MissingSettings));
    }
    let length = reader.get_varint()?.into_inner();
    if length > REQUEST_BYTES as u64 {
        return Some(Err(H3Error::ExcessiveLoad));
    }
    let payload = reader.get_bytes(length as usize)?;
    let frame = Frame::new_settings(Cow::Borrowed(payload));
    Some(Settings::with_frame(&frame).map(|_| ()).map_err(|_| H3Error::GeneralProtocol))
}

/// What a bidirectional stream begins with.
#[derive(Debug)]
pub(super) enum Bidirectional {
    /// A request; field section decoded.
    Request(Headers),
    /// A stream of the session `id`.
    WebTransport { id: u64 },
}

/// `Ok(None)`: not enough has arrived. With the beginning comes how many bytes it took.
pub(super) fn bidirectional(bytes: &[u8]) -> Result<Option<(Bidirectional, usize)>, H3Error> {
    let mut reader = bytes;
    loop {
        if bytes.len() - reader.len() > REQUEST_BYTES {
            return Err(H3Error::ExcessiveLoad);
        }
        let Some(kind) = reader.get_varint() else { return Ok(None) };
        let Some(length) = reader.get_varint() else { return Ok(None) };
        let (kind, length) = (kind.into_inner(), length.into_inner());
        if kind == SIGNAL_BIDIRECTIONAL {
            // Not a length, but the id of the session.
            return Ok(Some((Bidirectional::WebTransport { id: length }, bytes.len() - reader.len())));
        }
        if length > REQUEST_BYTES as u64 {
            return Err(H3Error::ExcessiveLoad);
        }
        let Some(payload) = reader.get_bytes(length as usize) else { return Ok(None) };
        match kind {
            FRAME_HEADERS => {
                let frame = Frame::new_headers(Cow::Borrowed(payload));
                let headers = Headers::with_frame(&frame).map_err(|_| H3Error::Decompression)?;
                return Ok(Some((Bidirectional::Request(headers), bytes.len() - reader.len())));
            }
            FRAME_DATA | FRAME_SETTINGS => return Err(H3Error::FrameUnexpected),
            // Unknown ones are to be skipped (RFC 9114, 9).
            _ => {}
        }
    }
}

/// An extended CONNECT for WebTransport (RFC 9220), or why it is none.
pub(super) fn session_request(headers: Headers) -> Result<SessionRequest, H3Error> {
    SessionRequest::try_from(headers).map_err(|_| H3Error::Message)
}

/// HEADERS frame that answers the request.
pub(super) fn response(status: u16) -> Vec<u8> {
    let mut out = Vec::new();
    // Invariant: the statuses we answer with are valid ones.
    let response = StatusCode::try_from_u32(status.into())
        .map_or_else(|_| SessionResponse::forbidden(), SessionResponse::with_status_code);
    let _ = response.headers().generate_frame().write(&mut out);
    out
}

/// DATA frame with the capsule that ends the session (draft-ietf-webtrans-http3, 6).
pub(super) fn close(code: CloseCode, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut capsule = Vec::new();
    let _ = capsule.put_varint(VarInt::from_u32(CAPSULE_CLOSE));
    let _ = capsule.put_varint(VarInt::from_u32((4 + end) as u32));
    capsule.extend_from_slice(&u32::from(code.number()).to_be_bytes());
    capsule.extend_from_slice(&reason.as_bytes()[..end]);
    let mut out = Vec::new();
    let _ = Frame::new_data(Cow::Owned(capsule)).write(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect() -> Vec<u8> {
        let request = SessionRequest::new("https://127.0.0.1:8080/v1/wt?encoding=binary").unwrap();
        let mut out = Vec::new();
        request.headers().generate_frame().write(&mut out).unwrap();
        out
    }

    #[test]
    fn a_request_is_read_whenever_it_is_whole() {
        // An unknown frame of three bytes stands before it.
        let mut bytes = vec![0x21, 3, 1, 2, 3];
        bytes.extend(connect());
        for cut in 0..bytes.len() {
            assert!(bidirectional(&bytes[..cut]).unwrap().is_none(), "{cut}");
        }
        bytes.push(b'x');
        let Some((Bidirectional::Request(headers), used)) = bidirectional(&bytes).unwrap() else { panic!() };
        assert_eq!(used, bytes.len() - 1);
        let request = session_request(headers).unwrap();
        assert_eq!((request.path(), request.authority()), ("/v1/wt?encoding=binary", "127.0.0.1:8080"));
    }

    #[test]
    fn a_stream_of_the_session_names_it() {
        let (start, used) = bidirectional(&[0x40, 0x41, 0, b'{']).unwrap().unwrap();
        assert!(matches!(start, Bidirectional::WebTransport { id: 0 }));
        assert_eq!(used, 3);
    }

    #[test]
    fn no_length_makes_us_wait_for_more_than_the_limit() {
        for bytes in
            [&[0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], &[0x21, 0xbf, 0xff, 0xff, 0xff]]
        {
            assert_eq!(bidirectional(bytes).unwrap_err(), H3Error::ExcessiveLoad);
        }
        assert_eq!(bidirectional(&[0x00, 1, 0]).unwrap_err(), H3Error::FrameUnexpected);
        assert_eq!(bidirectional(&[0x01, 3, 0xff, 0xff, 0xff]).unwrap_err(), H3Error::Decompression);
        let skipped = [0x21, 0x50, 0x00].into_iter().chain([0; 0x1000]).collect::<Vec<u8>>().repeat(3);
        assert_eq!(bidirectional(&skipped).unwrap_err(), H3Error::ExcessiveLoad);
    }

    #[test]
    fn our_own_control_stream_is_one() {
        let bytes = control_stream();
        let (kind, used) = unidirectional(&bytes).unwrap();
        assert_eq!(kind, Unidirectional::Control);
        assert_eq!(begins_with_settings(&bytes[used..]), Some(Ok(())));
        assert_eq!(begins_with_settings(&bytes[used..bytes.len() - 1]), None);
        assert_eq!(begins_with_settings(&[0x01, 0]), Some(Err(H3Error::MissingSettings)));
    }

    #[test]
    fn datagrams_of_other_sessions_are_not_ours() {
        assert_eq!(datagram_payload(&datagram(b"x")), Some(&b"x"[..]));
        assert_eq!(datagram_payload(&[1, b'x']), None);
        assert_eq!(datagram_payload(&[]), None);
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let bytes = close(CloseCode::Slow, &"é".repeat(1_000));
        assert!(bytes.len() < REASON_BYTES + 20);
        assert!(String::from_utf8_lossy(&bytes).ends_with('é'));
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_refused_or_waited_for_and_never_worse(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            let _ = bidirectional(&bytes);
            let _ = unidirectional(&bytes);
            let _ = begins_with_settings(&bytes);
            let _ = datagram_payload(&bytes);
        }
    }
}

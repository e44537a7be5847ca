//! What one WebTransport client may make the node hold, and QUIC's settings that follow from it.

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::{IdleTimeout, TransportConfig, VarInt};

use crate::config::EdgeConfig;

/// Streams a client may have open: CONNECT, control, and two that are refused.
const BIDIRECTIONAL_STREAMS: u32 = 4;
/// HTTP/3's control and QPACK streams, and a few that mean nothing (a client may grease).
const UNIDIRECTIONAL_STREAMS: u32 = 8;
/// Bytes a client may send ahead of our reading: on one stream, and on all together.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 128 * 1024;
/// Bytes that are sent and not acknowledged; what goes beyond waits in the outlet.
const SEND_WINDOW: u64 = 256 * 1024;
/// Datagrams that wait to be read or sent, in bytes; the oldest are dropped.
const DATAGRAMS_IN: usize = 16 * 1024;
const DATAGRAMS_OUT: usize = 64 * 1024;
/// Added to the time after which the session would have noticed a dead client.
const IDLE_MARGIN: Duration = Duration::from_secs(5);

/// Handshakes under way on one worker, without a proof of address. Beyond it clients must first show that they receive
/// what is sent to the address they claim (a Retry packet).
pub(super) const UNPROVEN_HANDSHAKES: usize = 64;
/// Handshakes under way on one worker. Beyond it new ones are ignored; the client tries again by itself.
pub(super) const HANDSHAKES: usize = 1_024;
/// Bytes before the field section of a CONNECT request (unknown frames), and of the section itself.
pub(super) const REQUEST_BYTES: usize = 8 * 1024;
/// Bytes of the close reason (draft-ietf-webtrans-http3, 6).
pub(super) const REASON_BYTES: usize = 1_024;

pub(super) fn transport(config: &EdgeConfig) -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    let idle = config.timing.ping + config.timing.pong + IDLE_MARGIN;
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(BIDIRECTIONAL_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(UNIDIRECTIONAL_STREAMS))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(Some(DATAGRAMS_IN))
        .datagram_send_buffer_size(DATAGRAMS_OUT)
        // Longer than QUIC can say is no limit at all.
        .max_idle_timeout(IdleTimeout::try_from(idle).ok());
    Arc::new(transport)
}

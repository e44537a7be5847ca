//! TLS of one connection, without what only its handshake needed.
//!
//! The session that `quinn-proto` brings along keeps rustls's whole state, with ciphers for TLS records that QUIC never
//! uses, as long as the connection lives: about 4 KB. All that is wanted of it afterwards are the keys of the next key
//! update (RFC 9001, 6), which come from two secrets.
//!
//! Owns: nothing of cryptography itself; that is rustls's. Never: accepts early data, or anything of TLS after the
//! handshake (RFC 9001, 6 and 8.3: neither key updates nor, from a client without a certificate, anything else).

use std::any::Any;
use std::sync::Arc;

use quinn_proto::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use quinn_proto::crypto::{
    self, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::ServerConfig;
use rustls::quic::{KeyChange, Secrets, ServerConnection, Version};

/// The one version of QUIC that is spoken (RFC 9000).
pub(super) const VERSION: u32 = 1;
/// TLS alerts (RFC 8446, 6).
const UNEXPECTED_MESSAGE: u8 = 10;
const INTERNAL_ERROR: u8 = 80;

/// A certificate's configuration, for QUIC.
pub(super) struct QuicTls {
    sessions: Arc<ServerConfig>,
    /// Keys that do not depend on the session.
    initial: QuicServerConfig,
}

impl QuicTls {
    /// Errors: the cryptography lacks the cipher of QUIC's first packets.
    pub(super) fn new(sessions: Arc<ServerConfig>) -> Result<Self, NoInitialCipherSuite> {
        Ok(Self { initial: QuicServerConfig::try_from(sessions.clone())?, sessions })
    }
}

impl crypto::ServerConfig for QuicTls {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.initial.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.initial.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn crypto::Session> {
        debug_assert_eq!(version, VERSION, "the endpoint speaks no other");
        let mut encoded = Vec::new();
        params.write(&mut encoded);
        let tls = ServerConnection::new(self.sessions.clone(), Version::V1, encoded)
            .inspect_err(|error| tracing::error!(%error, "WebTransport cannot use this certificate"));
        Box::new(Session { tls: tls.ok().map(Box::new), next: None, config: self })
    }
}

struct Session {
    config: Arc<QuicTls>,
    /// `None`: the handshake is over.
    tls: Option<Box<ServerConnection>>,
    /// Where the next keys come from; there with the first ones.
    next: Option<Secrets>,
}

impl crypto::Session for Session {
    fn initial_keys(&self, dst_cid: &ConnectionId, _: Side) -> Keys {
        crypto::ServerConfig::initial_keys(&self.config.initial, VERSION, dst_cid)
            .unwrap_or_else(|_| unreachable!("version 1 has keys"))
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        None
    }

    fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        let Some(tls) = &mut self.tls else {
            return Err(alert(UNEXPECTED_MESSAGE, "TLS goes on after the handshake".into()));
        };
        // Nobody waits for the handshake's data to be ready.
        tls.read_hs(buf)
            .map(|()| false)
            .map_err(|error| alert(tls.alert().map_or(INTERNAL_ERROR, u8::from), error.to_string()))
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let Some(mut encoded) = self.tls.as_ref().and_then(|tls| tls.quic_transport_parameters()) else {
            return Ok(None);
        };
        Ok(Some(TransportParameters::read(Side::Server, &mut encoded)?))
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        let tls = self.tls.as_mut()?;
        let Some(change) = tls.write_hs(buf) else {
            if buf.is_empty() && !tls.is_handshaking() {
                // Both sides have said everything.
                self.tls = None;
            }
            return None;
        };
        let keys = match change {
            KeyChange::Handshake { keys } => keys,
            KeyChange::OneRtt { keys, next } => {
                self.next = Some(next);
                keys
            }
        };
        let (local, remote) = (keys.local, keys.remote);
        Some(Keys {
            header: KeyPair { local: Box::new(local.header), remote: Box::new(remote.header) },
            packet: KeyPair { local: Box::new(local.packet), remote: Box::new(remote.packet) },
        })
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let keys = self.next.as_mut()?.next_packet_keys();
        Some(KeyPair { local: Box::new(keys.local), remote: Box::new(keys.remote) })
    }

    /// Servers receive none.
    fn is_valid_retry(&self, _: &ConnectionId, _: &[u8], _: &[u8]) -> bool {
        false
    }

    fn export_keying_material(
        &self,
        _: &mut [u8],
        _: &[u8],
        _: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        Err(ExportKeyingMaterialError)
    }
}

fn alert(code: u8, reason: String) -> TransportError {
    TransportError { code: TransportErrorCode::crypto(code), frame: None, reason }
}

//! Secure WebSocket connections that are opened, set up and then left alone: the client's half of the memory row.
//!
//! Only the socket is kept. The client's TLS state is dropped once the server has answered; nothing is sent or read
//! after that, so nobody misses it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, Stream};

use super::{fleet, frames};

pub(super) struct Secure {
    config: Arc<ClientConfig>,
}

impl Secure {
    pub(super) fn new() -> anyhow::Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(OwnServer(provider)))
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config) })
    }

    /// Connects, upgrades, and runs the script, each step after the answer to the one before.
    pub(super) fn open(&self, address: SocketAddr, script: &[Vec<u8>]) -> anyhow::Result<TcpStream> {
        let name = ServerName::IpAddress(address.ip().into());
        let mut connection = ClientConnection::new(self.config.clone(), name)?;
        let mut socket = TcpStream::connect(address).context("connecting to the server")?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut stream = Stream::new(&mut connection, &mut socket);
        stream.write_all(fleet::upgrade_request(address).as_bytes())?;
        let mut read = Vec::new();
        while !read.windows(4).any(|four| four == b"\r\n\r\n") {
            more(&mut stream, &mut read)?;
        }
        anyhow::ensure!(read.starts_with(b"HTTP/1.1 101"), "no upgrade: {}", String::from_utf8_lossy(&read));
        read.clear();
        for step in script {
            stream.write_all(step)?;
            let answer = loop {
                if let Some(frame) = frames::parse(&read) {
                    break read.drain(..frame.end).skip(frame.start).collect::<Vec<u8>>();
                }
                more(&mut stream, &mut read)?;
            };
            let text = String::from_utf8_lossy(&answer);
            anyhow::ensure!(text.contains("\"id\"") && !text.contains("\"error\""), "refused: {text}");
        }
        Ok(socket)
    }
}

fn more(stream: &mut impl Read, into: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut chunk = [0; 4096];
    let length = stream.read(&mut chunk).context("reading an answer")?;
    anyhow::ensure!(length > 0, "the server closed the connection");
    into.extend_from_slice(&chunk[..length]);
    Ok(())
}

/// Accepts any certificate: the server was started by this very process a moment ago. Signatures are checked all the
/// same, so that the server does its full share of the handshake.
#[derive(Debug)]
struct OwnServer(Arc<CryptoProvider>);

impl ServerCertVerifier for OwnServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

//! WebTransport over HTTP/3: requests and replies on one bidirectional stream, each channel's publications on a stream
//! of its own, ephemeral ones as datagrams.
//!
//! What comes on any stream is cut at the ends of messages and handed on; the machine copes with their disorder.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use skywave_protocol::binary;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wtransport::config::QuicTransportConfig;
use wtransport::error::ConnectionError;
use wtransport::{Connection, Endpoint, RecvStream, SendStream, VarInt};

use super::address::Address;
use super::{Dialer, LinkEvent, Report, broken, certificate, discover, hopeless};
use crate::config::Encoding;
use crate::machine::Broken;

/// Channel streams the server may open at once; beyond them publications come on the control stream.
const CHANNEL_STREAMS: u32 = 1_024;
/// A server that was killed says nothing: its silence is all there is, so it is noticed within [`IDLE`].
const KEEP_ALIVE: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(10);
/// Bytes read at a time.
const READ_BYTES: usize = 16 * 1024;
/// Largest message of the server: a page of history with large payloads.
const MESSAGE_BYTES: usize = 128 * 1024 * 1024;

/// Connects, serves the connection until it ends, and says how it ended.
pub(super) async fn run(
    dialer: &Dialer,
    url: &str,
    mut queue: mpsc::Receiver<Vec<u8>>,
    report: &Report,
) -> Broken {
    let opened = tokio::select! {
        opened = Box::pin(open(dialer, url)) => opened,
        // The writer was dropped before the connection stood.
        None = queue.recv() => return broken("given up"),
    };
    let (connection, control) = match opened {
        Ok(opened) => opened,
        Err(broken) => return broken,
    };
    report.send(LinkEvent::Opened).await;
    serve(&connection, control, dialer.encoding, queue, report).await
}

type Control = (SendStream, RecvStream);

async fn open(dialer: &Dialer, url: &str) -> Result<(Connection, Control), Broken> {
    let address = Address::parse(url).map_err(hopeless)?;
    let (target, hashes) = match (address.secure, address.is_this_machine()) {
        (true, _) => (address.url("https", "/v1/wt"), dialer.certificate_hashes.clone()),
        (false, true) => {
            let place = discover::ask(&address).await.map_err(broken)?;
            (place.url, place.hashes)
        }
        (false, false) => return Err(hopeless(format!("WebTransport needs an https:// address, not {url}"))),
    };
    let target = match dialer.encoding {
        Encoding::Json => format!("{target}?encoding=json"),
        Encoding::Binary => format!("{target}?encoding=binary"),
    };
    let endpoint =
        Endpoint::client(config(&hashes)?).map_err(|error| broken(format!("no UDP socket: {error}")))?;
    let refused = |error: &dyn std::fmt::Display| broken(format!("no WebTransport at {target}: {error}"));
    let connection = endpoint.connect(&target).await.map_err(|error| refused(&error))?;
    let opening = connection.open_bi().await.map_err(|error| refused(&error))?;
    let control = opening.await.map_err(|error| refused(&error))?;
    Ok((connection, control))
}

fn config(hashes: &[[u8; 32]]) -> Result<wtransport::ClientConfig, Broken> {
    let builder = wtransport::ClientConfig::builder().with_bind_default();
    let mut config = if hashes.is_empty() {
        builder.with_native_certs().build()
    } else {
        let mut tls = certificate::pinned(hashes).map_err(|error| hopeless(error.to_string()))?;
        tls.alpn_protocols = vec![b"h3".to_vec()];
        builder.with_custom_tls(tls).build()
    };
    let mut transport = QuicTransportConfig::default();
    transport.max_concurrent_uni_streams(CHANNEL_STREAMS.into());
    transport.keep_alive_interval(Some(KEEP_ALIVE));
    transport.max_idle_timeout(IDLE.try_into().ok());
    config.quic_config_mut().transport_config(Arc::new(transport));
    Ok(config)
}

async fn serve(
    connection: &Connection,
    (mut send, receive): Control,
    encoding: Encoding,
    mut queue: mpsc::Receiver<Vec<u8>>,
    report: &Report,
) -> Broken {
    let writing = async {
        while let Some(mut frame) = queue.recv().await {
            if encoding == Encoding::Json {
                frame.push(b'\n');
            }
            if send.write_all(&frame).await.is_err() {
                // The connection knows why.
                std::future::pending::<()>().await;
            }
        }
    };
    let channels = async {
        // One small task per channel stream; they end with the connection.
        let mut streams = JoinSet::new();
        loop {
            tokio::select! {
                stream = connection.accept_uni() => match stream {
                    Ok(stream) => {
                        let report = report.clone();
                        streams.spawn(async move { read(stream, encoding, &report).await });
                    }
                    Err(error) => return ended(&error),
                },
                Some(_) = streams.join_next() => {}
            }
        }
    };
    let datagrams = async {
        while let Ok(datagram) = connection.receive_datagram().await {
            report.send(LinkEvent::Frame(datagram.payload())).await;
        }
        std::future::pending::<()>().await;
    };
    let control = async {
        read(receive, encoding, report).await;
        // The end of the control stream is the end of the session.
        tokio::time::timeout(Duration::from_secs(1), connection.closed()).await
    };
    tokio::select! {
        () = writing => {
            // Nobody is told: the writer was dropped.
            connection.close(VarInt::from_u32(1_000), b"bye");
            Broken::default()
        }
        broken = channels => broken,
        () = datagrams => Broken::default(),
        closed = control => match closed {
            Ok(error) => ended(&error),
            Err(_) => broken("the server closed the session"),
        },
    }
}

/// Hands on what a stream brings, message by message, until it ends.
async fn read(mut stream: RecvStream, encoding: Encoding, report: &Report) {
    let mut buffer = BytesMut::new();
    let mut chunk = vec![0; READ_BYTES];
    while let Ok(Some(count)) = stream.read(&mut chunk).await {
        buffer.extend_from_slice(&chunk[..count]);
        match whole_messages(&buffer, encoding) {
            Some(0) if buffer.len() <= MESSAGE_BYTES => {}
            Some(whole) if whole > 0 => {
                report.send(LinkEvent::Frame(buffer.split_to(whole).freeze())).await;
            }
            _ => {
                // Not of the protocol: the machine sees it as such and leaves.
                report.send(LinkEvent::Frame(Bytes::from_static(b"\xff"))).await;
                return;
            }
        }
    }
}

/// How many bytes at the front are whole messages; `None`: not of the protocol.
fn whole_messages(buffer: &[u8], encoding: Encoding) -> Option<usize> {
    match encoding {
        Encoding::Json => Some(buffer.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)),
        Encoding::Binary => {
            let mut whole = 0;
            while let Some(length) = binary::message_length(&buffer[whole..]).ok()? {
                if buffer.len() - whole < length {
                    break;
                }
                whole += length;
            }
            Some(whole)
        }
    }
}

fn ended(error: &ConnectionError) -> Broken {
    match error {
        ConnectionError::ApplicationClosed(close) => Broken {
            code: u16::try_from(close.code().into_inner()).ok(),
            reason: error.to_string(),
            ..Broken::default()
        },
        _ => broken(format!("the connection was lost: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use skywave_protocol::{Reply, ServerMessage};

    use super::*;

    #[test]
    fn streams_are_cut_at_the_ends_of_messages() {
        let mut bytes = Vec::new();
        for id in [1, 2] {
            binary::encode_server(&ServerMessage::Reply { id, reply: Reply::Pong }, &mut bytes);
        }
        let one = bytes.len() / 2;
        for cut in 0..=bytes.len() {
            assert_eq!(whole_messages(&bytes[..cut], Encoding::Binary), Some(cut / one * one), "{cut}");
        }
        assert_eq!(whole_messages(b"{}\n{\"a\"", Encoding::Json), Some(3));
        assert_eq!(whole_messages(b"{", Encoding::Json), Some(0));
    }
}

//! WebSocket, plain or over TLS.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::{HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::address::Address;
use super::{Dialer, LinkEvent, Report, broken, certificate, hopeless};
use crate::config::Encoding;
use crate::machine::Broken;

/// The library's own default is 128 KiB for reading, allocated per connection.
const READ_BUFFER: usize = 8 * 1024;
const WRITE_BUFFER: usize = 16 * 1024;
/// Largest message of the server: a page of history with large payloads.
const MESSAGE_BYTES: usize = 128 * 1024 * 1024;
/// For our close frame to be written and answered.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Connects, serves the connection until it ends, and says how it ended.
pub(super) async fn run(
    dialer: &Dialer,
    url: &str,
    mut queue: mpsc::Receiver<Vec<u8>>,
    report: &Report,
) -> Broken {
    let socket = tokio::select! {
        socket = Box::pin(connect(dialer, url)) => socket,
        // The writer was dropped before the connection stood.
        None = queue.recv() => return broken("given up"),
    };
    let socket = match socket {
        Ok(socket) => socket,
        Err(broken) => return broken,
    };
    report.send(LinkEvent::Opened).await;
    serve(socket, dialer.encoding, queue, report).await
}

async fn connect(dialer: &Dialer, url: &str) -> Result<Socket, Broken> {
    let address = Address::parse(url).map_err(hopeless)?;
    let stream = TcpStream::connect((address.host_name(), address.port))
        .await
        .map_err(|error| broken(format!("cannot reach {}:{}: {error}", address.host, address.port)))?;
    // Requests are batched before they get here: waiting for more would only add delay.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "could not set TCP_NODELAY");
    }
    let scheme = if address.secure { "wss" } else { "ws" };
    let mut request =
        address.url(scheme, "/v1/ws").into_client_request().map_err(|error| hopeless(error.to_string()))?;
    let protocol = HeaderValue::from_static(dialer.encoding.subprotocol());
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    let connector = match (address.secure, dialer.certificate_hashes.as_slice()) {
        (false, _) => Connector::Plain,
        (true, []) => {
            // Fails only if the application has chosen a provider already, which then counts.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            return handshake(request, stream, None, &address).await;
        }
        (true, hashes) => {
            let config = certificate::pinned(hashes).map_err(|error| hopeless(error.to_string()))?;
            Connector::Rustls(Arc::new(config))
        }
    };
    handshake(request, stream, Some(connector), &address).await
}

async fn handshake(
    request: http::Request<()>,
    stream: TcpStream,
    connector: Option<Connector>,
    address: &Address,
) -> Result<Socket, Broken> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(MESSAGE_BYTES))
        .max_frame_size(Some(MESSAGE_BYTES));
    match client_async_tls_with_config(request, stream, Some(config), connector).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(refused(&response, address)),
        Err(error) => Err(broken(format!("no WebSocket at {}:{}: {error}", address.host, address.port))),
    }
}

/// A handshake that was answered with something else than an upgrade.
fn refused(response: &http::Response<Option<Vec<u8>>>, address: &Address) -> Broken {
    let status = response.status();
    let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    let said: String = body.chars().filter(|c| !c.is_control()).take(200).collect();
    let reason = match said.is_empty() {
        true => format!("{}:{} answered {status}", address.host, address.port),
        false => format!("{}:{} answered {status}: {said}", address.host, address.port),
    };
    let seconds =
        response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    // 408, 425 and 429 pass; what else is the client's fault stays it.
    let temporary = matches!(status.as_u16(), 408 | 425 | 429) || !status.is_client_error();
    Broken { code: None, reason, retry_after_ms: seconds.map(|s| s * 1_000), hopeless: !temporary }
}

async fn serve(
    socket: Socket,
    encoding: Encoding,
    mut queue: mpsc::Receiver<Vec<u8>>,
    report: &Report,
) -> Broken {
    let (mut sink, mut stream) = socket.split();
    let reading = async {
        let mut farewell = None;
        loop {
            let event = match stream.next().await {
                Some(Ok(Message::Text(text))) => LinkEvent::Frame(Bytes::from(text)),
                Some(Ok(Message::Binary(bytes))) => LinkEvent::Frame(bytes),
                Some(Ok(Message::Close(frame))) => {
                    farewell = Some(said(frame.as_ref()));
                    continue;
                }
                Some(Ok(_)) => LinkEvent::Received,
                Some(Err(error)) => {
                    return farewell.unwrap_or_else(|| broken(format!("the connection was lost: {error}")));
                }
                None => return farewell.unwrap_or_else(|| broken("the connection was closed")),
            };
            report.send(event).await;
        }
    };
    let writing = async {
        while let Some(frame) = queue.recv().await {
            let mut next = Some(frame);
            while let Some(frame) = next {
                sink.feed(message(encoding, frame)?).await?;
                next = queue.try_recv().ok();
            }
            sink.flush().await?;
        }
        let farewell = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::from_static("bye") };
        sink.send(Message::Close(Some(farewell))).await?;
        Ok::<(), Error>(())
    };
    let (mut reading, mut writing) = (Box::pin(reading), Box::pin(writing));
    tokio::select! {
        broken = &mut reading => broken,
        written = &mut writing => match written {
            // Our close frame is out; the server's answer ends the reading. Nobody is told: the writer was dropped.
            Ok(()) => tokio::time::timeout(CLOSE_TIMEOUT, reading).await.unwrap_or_default(),
            // The reading side knows why.
            Err(error) => match tokio::time::timeout(CLOSE_TIMEOUT, reading).await {
                Ok(broken) => broken,
                Err(_) => broken(format!("the connection was lost: {error}")),
            },
        },
    }
}

fn message(encoding: Encoding, frame: Vec<u8>) -> Result<Message, Error> {
    match encoding {
        Encoding::Json => {
            Ok(Message::Text(Utf8Bytes::try_from(frame).map_err(|error| Error::Utf8(error.to_string()))?))
        }
        Encoding::Binary => Ok(Message::Binary(frame.into())),
    }
}

fn said(frame: Option<&CloseFrame>) -> Broken {
    match frame {
        Some(frame) => {
            Broken { code: Some(frame.code.into()), reason: frame.reason.to_string(), ..Broken::default() }
        }
        None => broken("the server closed the connection"),
    }
}

//! A WebTransport client on `wtransport`, with a certificate check by hash as browsers do it.

use std::net::SocketAddr;

use serde_json::{Value, json};
use skywave_edge::tls::self_signed::SelfSigned;
use skywave_edge::{EdgeConfig, EdgePorts};
use tokio::sync::mpsc;
use tokio::time::timeout;
use wtransport::error::{ConnectingError, ConnectionError, StreamWriteError};
use wtransport::tls::Sha256Digest;
use wtransport::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};

use super::TestEdge;
use super::http::PATIENCE;

/// Where a message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Control,
    /// The n-th stream the server opened.
    Stream(usize),
    Datagram,
}

pub fn config(config: &mut EdgeConfig) {
    config.webtransport = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
}

/// Gives the edge a self-signed certificate.
pub fn ports(ports: &mut EdgePorts) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (self_signed, identity) = SelfSigned::new(vec!["127.0.0.1".into()], now).unwrap();
    tokio::spawn(self_signed.follow(move || now));
    ports.tls = Some(identity);
}

pub async fn edge() -> TestEdge {
    TestEdge::with_ports(config, ports).await
}

pub fn url(edge: &TestEdge) -> String {
    format!("https://{}/v1/wt", edge.handle.webtransport().unwrap())
}

pub async fn endpoint(edge: &TestEdge) -> ClientEndpoint {
    endpoint_with(edge, quinn::TransportConfig::default()).await
}

pub async fn endpoint_with(edge: &TestEdge, transport: quinn::TransportConfig) -> ClientEndpoint {
    let answer = super::http::get(edge.address(), "/v1/webtransport/certificate").await.json();
    assert_eq!(answer["url"], url(edge));
    let hash = answer["hashes"][0]["value"].as_str().unwrap().to_owned();
    let hash: [u8; 32] = decode_base64(&hash).try_into().unwrap();
    let mut config = ClientConfig::builder()
        .with_bind_address(SocketAddr::from(([127, 0, 0, 1], 0)))
        .with_server_certificate_hashes([Sha256Digest::new(hash)])
        .build();
    config.quic_config_mut().transport_config(std::sync::Arc::new(transport));
    Endpoint::client(config).unwrap()
}

fn decode_base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

pub type ClientEndpoint = Endpoint<wtransport::endpoint::endpoint_side::Client>;

pub async fn dial(
    edge: &TestEdge,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Connection, ConnectingError> {
    dial_from(&endpoint(edge).await, edge, path, headers).await
}

pub async fn dial_from(
    endpoint: &ClientEndpoint,
    edge: &TestEdge,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Connection, ConnectingError> {
    let mut options = wtransport::endpoint::ConnectOptions::builder(url(edge).replace("/v1/wt", path));
    for (name, value) in headers {
        options = options.add_header(name, value);
    }
    timeout(PATIENCE, endpoint.connect(options.build())).await.expect("no answer to CONNECT")
}

pub struct WtClient {
    pub connection: Connection,
    control: SendStream,
    messages: mpsc::UnboundedReceiver<(Source, Value)>,
    kept: Vec<(Source, Value)>,
    next: u32,
}

impl WtClient {
    /// A session with a control stream, before its `connect`.
    pub async fn open(edge: &TestEdge) -> Self {
        Self::over(dial(edge, "/v1/wt", &[]).await.unwrap()).await
    }

    pub async fn over(connection: Connection) -> Self {
        let (control, answers) = connection.open_bi().await.unwrap().await.unwrap();
        let (sender, messages) = mpsc::unbounded_channel();
        tokio::spawn(read(answers, Source::Control, sender.clone()));
        let streams = connection.clone();
        let from_streams = sender.clone();
        tokio::spawn(async move {
            let mut count = 0;
            while let Ok(stream) = streams.accept_uni().await {
                tokio::spawn(read(stream, Source::Stream(count), from_streams.clone()));
                count += 1;
            }
        });
        let datagrams = connection.clone();
        tokio::spawn(async move {
            while let Ok(datagram) = datagrams.receive_datagram().await {
                let _ = sender.send((Source::Datagram, serde_json::from_slice(&datagram).unwrap()));
            }
        });
        Self { connection, control, messages, kept: Vec::new(), next: 1 }
    }

    pub async fn connected(edge: &TestEdge) -> Self {
        let mut client = Self::open(edge).await;
        let reply = client.request("connect", json!({})).await;
        assert!(reply["connected"]["client"].is_string(), "{reply}");
        client
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).await.unwrap();
    }

    /// For a session that may have ended.
    pub async fn try_write(&mut self, bytes: &[u8]) -> Result<(), StreamWriteError> {
        self.control.write_all(bytes).await
    }

    pub async fn request(&mut self, name: &str, body: Value) -> Value {
        let id = self.next;
        self.next += 1;
        let message = json!({"id": id, name: body});
        self.write(format!("{message}\n").as_bytes()).await;
        self.until(|_, message| message["id"] == id).await.1
    }

    pub async fn subscribe(&mut self, channel: &str) {
        let reply = self.request("subscribe", json!({"channel": channel})).await;
        assert!(reply.get("subscribed").is_some(), "{reply}");
    }

    /// The next publication, and by which way it came.
    pub async fn publication(&mut self) -> (Source, Value) {
        let (source, message) = self.until(|_, message| message.get("pub").is_some()).await;
        (source, message["pub"].clone())
    }

    /// The first message that fits; the others are kept.
    pub async fn until(&mut self, fits: impl Fn(Source, &Value) -> bool) -> (Source, Value) {
        if let Some(at) = self.kept.iter().position(|(source, message)| fits(*source, message)) {
            return self.kept.remove(at);
        }
        loop {
            let (source, message) = timeout(PATIENCE, self.messages.recv())
                .await
                .expect("no such message")
                .expect("the session has ended");
            if fits(source, &message) {
                return (source, message);
            }
            self.kept.push((source, message));
        }
    }

    /// Code and reason with which the server ended the session.
    pub async fn closed(&mut self) -> (u32, String) {
        // The library shows them where a stream is awaited.
        let ended = timeout(PATIENCE, self.connection.accept_bi()).await.expect("the session goes on");
        match ended.expect_err("the server opens no bidirectional streams") {
            ConnectionError::ApplicationClosed(close) => {
                (close.code().into_inner() as u32, String::from_utf8_lossy(close.reason()).into_owned())
            }
            other => panic!("{other}"),
        }
    }
}

async fn read(mut stream: RecvStream, source: Source, messages: mpsc::UnboundedSender<(Source, Value)>) {
    let mut kept = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(Some(n)) = stream.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..n]);
        while let Some(end) = kept.iter().position(|byte| *byte == b'\n') {
            let message = serde_json::from_slice(&kept[..end]).unwrap();
            kept.drain(..=end);
            if messages.send((source, message)).is_err() {
                return;
            }
        }
    }
}

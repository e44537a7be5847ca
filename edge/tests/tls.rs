//! The same relay behind TLS: writes go straight from the worker through rustls into the socket.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use skywave_edge::tls::Identity;
use skywave_engine::Rate;
use support::client::Received;
use support::{Client, TestEdge};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

struct Tls {
    edge: TestEdge,
    connector: TlsConnector,
    certificate: watch::Sender<Arc<Identity>>,
}

fn made() -> (Arc<Identity>, rustls::pki_types::CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    (Arc::new(Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()), made.cert.der().clone())
}

fn connector(trusted: rustls::pki_types::CertificateDer<'static>) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

impl Tls {
    async fn start() -> Self {
        let (identity, trusted) = made();
        let (certificate, following) = watch::channel(identity);
        let change = |config: &mut skywave_edge::EdgeConfig| {
            config.listeners[0].tls = true;
            config.limits.outbox_bytes = 4 * 1024 * 1024;
            config.limits.publishes = Rate::per_second(1_000_000, 1_000_000);
        };
        let edge = TestEdge::with_ports(change, |ports| ports.tls = Some(following)).await;
        Self { edge, connector: connector(trusted), certificate }
    }

    async fn client(&self) -> Client {
        let mut client = open(self.edge.address(), &self.connector).await.unwrap();
        client.connect().await;
        client
    }
}

async fn open(address: SocketAddr, connector: &TlsConnector) -> std::io::Result<Client> {
    let tcp = TcpStream::connect(address).await?;
    let stream = connector.connect("localhost".try_into().unwrap(), tcp).await?;
    let client = Client::handshake_over(stream, address, &[]).await;
    assert!(client.head.starts_with("HTTP/1.1 101"), "{}", client.head);
    Ok(client)
}

#[tokio::test]
async fn publications_larger_than_any_tls_buffer_arrive_whole_and_in_order() {
    let tls = Tls::start().await;
    let mut subscriber = tls.client().await;
    subscriber.subscribe("chat:1").await;
    let mut publisher = tls.client().await;
    let data = "x".repeat(60_000);
    // Nobody reads meanwhile: socket and TLS buffers fill up, and what is left waits in the outbox.
    for n in 1..=60 {
        publisher.publish("chat:1", json!([n, data])).await;
    }
    for n in 1..=60 {
        let publication = subscriber.publication().await;
        assert_eq!((&publication["offset"], &publication["data"][0]), (&json!(n), &json!(n)));
    }
    tls.edge.until("skywave_edge_blocked_connections", |n| n == 0.0).await;
    publisher.publish("chat:1", json!("small")).await;
    assert_eq!(subscriber.publication().await["data"], "small");
}

#[tokio::test]
async fn a_close_is_complete_below_as_well() {
    let tls = Tls::start().await;
    let mut client = tls.client().await;
    client.frame(skywave_protocol::websocket::Opcode::Close, &1_000u16.to_be_bytes()).await;
    assert_eq!(client.next().await, Received::Close(Some((1_000, String::new()))));
    // Without close_notify the client would read an error here, not an end.
    let mut rest = Vec::new();
    client.tcp.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    drop(client);
    tls.edge.until("skywave_edge_connections", |n| n == 0.0).await;
}

#[tokio::test]
async fn plain_bytes_on_a_tls_port_are_refused() {
    let tls = Tls::start().await;
    let mut tcp = TcpStream::connect(tls.edge.address()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut tcp, b"GET /v1/ws HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // An alert, or nothing before a reset.
    let _ = tcp.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1"), "{}", String::from_utf8_lossy(&answer));
    tls.edge.until("skywave_edge_refused", |n| n >= 1.0).await;
    tls.client().await;
}

#[tokio::test]
async fn a_new_certificate_serves_the_connections_that_follow() {
    let tls = Tls::start().await;
    let mut old = tls.client().await;
    let (identity, trusted) = made();
    tls.certificate.send(identity).unwrap();
    assert!(
        open(tls.edge.address(), &tls.connector).await.is_err(),
        "the old certificate is not served any more"
    );
    let mut new = open(tls.edge.address(), &connector(trusted)).await.unwrap();
    new.connect().await;
    new.subscribe("live:a").await;
    old.publish("live:a", json!("across")).await;
    assert_eq!(new.publication().await["data"], "across");
}

//! The first connection: who is let in, and what those are told who are not.

use std::time::Duration;

use prometheus_client::registry::Registry;
use skywave_nats::{NatsAuth, NatsBus, NatsConfig, NatsError, NatsTls};
use skywave_servers::certificates::Certificates;
use skywave_servers::nats::{Authorization, Permissions, Tls, User};

use crate::support::{Node, Server, config, live};

async fn refused(config: NatsConfig) -> NatsError {
    match NatsBus::connect(config, &mut Registry::default()).await {
        Ok(_) => panic!("let in"),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_and_a_wrong_one_is_named_as_the_reason() {
    let server = Server::start_with(|options| options.authorization = Authorization::Token("right".into()));
    let config = |auth| NatsConfig { auth, ..server.config() };
    Node::connect(config(NatsAuth::Token("right".into()))).await;
    for auth in [NatsAuth::Token("wrong".into()), NatsAuth::Anonymous] {
        let error = refused(config(auth)).await;
        assert!(matches!(error, NatsError::Unauthorized { .. }), "{error:?}");
        assert!(!error.to_string().contains("wrong"), "secrets are not shown: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_reaches_what_it_may_and_a_violation_is_counted() {
    let permissions = Permissions {
        publish: vec!["sw.live.*.*".into(), "sw.sync.>".into()],
        subscribe: vec!["sw.live.*.*".into(), "sw.sync.>".into()],
    };
    let user = User { name: "edge".into(), password: "pass".into(), permissions: Some(permissions) };
    let server = Server::start_with(|options| options.authorization = Authorization::Users(vec![user]));
    let auth = NatsAuth::Password { user: "edge".into(), password: "pass".into() };
    let node = Node::connect(NatsConfig { auth, ..server.config() }).await;
    let mut listener = node.listen(&live("chat:1")).await;
    node.publish(&live("chat:1"), "hi").await;
    assert_eq!(listener.next().await, "hi");
    assert_eq!(node.server_errors(), 0);
    node.publish(&skywave_protocol::Subject::ingest("main"), "not mine").await;
    node.until_metric("skywave_nats_server_errors_total{reason=\"permissions\"}", |errors| errors == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_may_not_do_what_every_node_does_is_told_at_the_start() {
    let permissions = Permissions { publish: vec!["sw.live.>".into()], subscribe: vec!["sw.live.>".into()] };
    let user = User { name: "edge".into(), password: "pass".into(), permissions: Some(permissions) };
    let server = Server::start_with(|options| options.authorization = Authorization::Users(vec![user]));
    let auth = NatsAuth::Password { user: "edge".into(), password: "pass".into() };
    // Time enough for the server to refuse.
    let start_timeout = Duration::from_secs(3);
    let error = refused(NatsConfig { auth, start_timeout, ..server.config() }).await;
    assert!(matches!(error, NatsError::Forbidden { .. }), "{error:?}");
    assert!(error.to_string().contains("sw.sync.>"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_made_with_the_right_authority_only() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(&folder.path().join("ours"), &[]).unwrap();
    let others = Certificates::make(&folder.path().join("theirs"), &[]).unwrap();
    let tls = Tls { certificates: certificates.clone(), verify_clients: true };
    let server = Server::start_with(|options| options.tls = Some(tls));
    let with = |authorities: &Certificates, client: Option<&Certificates>| NatsConfig {
        tls: Some(NatsTls {
            authorities: Some(authorities.authority.clone()),
            client: client.map(|of| (of.client.clone(), of.client_key.clone())),
            handshake_first: false,
        }),
        ..server.config()
    };
    let node = Node::connect(with(&certificates, Some(&certificates))).await;
    let mut listener = node.listen(&live("chat:1")).await;
    node.publish(&live("chat:1"), "secret").await;
    assert_eq!(listener.next().await, "secret");

    let error = refused(with(&others, Some(&certificates))).await;
    assert!(matches!(error, NatsError::Tls { .. }), "another authority: {error:?}");
    for client in [None, Some(&others)] {
        let error = refused(with(&certificates, client)).await;
        assert!(matches!(error, NatsError::Tls { .. }), "the server wants a certificate: {error:?}");
    }
    let error = refused(NatsConfig { tls: None, ..with(&certificates, None) }).await;
    assert!(matches!(error, NatsError::Tls { .. }), "the system's authorities do not know it: {error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_not_talked_to_when_tls_is_demanded() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path(), &[]).unwrap();
    let server = Server::start();
    let tls = NatsTls { authorities: Some(certificates.authority.clone()), ..NatsTls::default() };
    let error = refused(NatsConfig { tls: Some(tls), ..server.config() }).await;
    assert!(matches!(error, NatsError::Tls { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_be_right_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "nothing").unwrap();
    let missing = folder.path().join("missing");
    let tls = |tls| NatsConfig { tls: Some(tls), ..config() };
    let servers = |server: &str| NatsConfig { servers: vec![server.to_owned()], ..config() };
    let wrong = [
        (NatsConfig { servers: Vec::new(), ..config() }, "none"),
        (servers("http://127.0.0.1"), "http"),
        (servers("wss://127.0.0.1"), "tls://"),
        (servers("nats://user:secret@127.0.0.1"), "settings of their own"),
        (NatsConfig { auth: NatsAuth::Credentials(missing.clone()), ..config() }, "missing"),
        (NatsConfig { auth: NatsAuth::Credentials(empty.clone()), ..config() }, "empty"),
        (tls(NatsTls { authorities: Some(missing.clone()), ..NatsTls::default() }), "missing"),
        (tls(NatsTls { authorities: Some(empty.clone()), ..NatsTls::default() }), "no certificate"),
        (
            tls(NatsTls { client: Some((empty.clone(), empty.clone())), ..NatsTls::default() }),
            "no certificate",
        ),
    ];
    for (config, hint) in wrong {
        let error = refused(config).await;
        assert!(matches!(error, NatsError::Setting { .. }), "{error:?}");
        assert!(error.to_string().contains(hint) && !error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_an_error_after_the_time_for_the_start() {
    let nowhere = skywave_servers::ports::free().unwrap();
    let start_timeout = Duration::from_millis(200);
    let servers = vec![format!("nats://{nowhere}")];
    let error = refused(NatsConfig { servers, start_timeout, ..config() }).await;
    assert!(matches!(error, NatsError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&nowhere.to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_up_late_is_waited_for() {
    let mut server = Server::start();
    server.nats.kill9().unwrap();
    let config = server.config();
    let connecting = tokio::spawn(async move { Node::connect(config).await.bus.connected() });
    server.nats.restart().unwrap();
    assert!(connecting.await.unwrap());
}

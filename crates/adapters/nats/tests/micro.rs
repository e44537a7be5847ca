//! The micro service on a real nats-server: discovered, shared, scoped, and refusing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_nats::Client;
use futures_util::{FutureExt, StreamExt};
use skywave_nats::micro::{Answerer, MicroConfig, MicroEndpoint, MicroService, Question};
use skywave_protocol::{ErrorCode, WireError};
use skywave_servers::nats::{Authorization, NatsOptions, NatsServer, Permissions, User};
use tempfile::TempDir;
use tokio::sync::Semaphore;

fn server(folder: &TempDir) -> NatsServer {
    NatsServer::start(NatsOptions::new("n1", folder.path()).unwrap()).unwrap()
}

fn config(in_flight: usize) -> MicroConfig {
    let endpoint = |name, scoped| MicroEndpoint { name, description: "does it", scoped };
    MicroConfig {
        name: "relay",
        version: "0.1.0",
        description: "for tests".into(),
        endpoints: vec![endpoint("publish", true), endpoint("info", false)],
        in_flight,
    }
}

/// Says what was asked; `refuse` as a body is refused.
fn echo(count: Arc<AtomicUsize>) -> Answerer {
    Arc::new(move |question: Question| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            if question.body == "refuse" {
                let error = WireError::new(ErrorCode::RateLimited, "not\r\nnow").retry_after_ms(1_200);
                return Err(error);
            }
            Ok(format!("{} {:?} {}", question.endpoint, question.scope, question.body.len()).into_bytes())
        }
        .boxed()
    })
}

async fn ask(client: &Client, subject: &str, body: &'static str) -> async_nats::Message {
    client.request(subject.to_owned(), body.into()).await.unwrap()
}

#[tokio::test]
async fn every_question_is_answered_by_one_instance() {
    let folder = TempDir::new().unwrap();
    let server = server(&folder);
    let counts = [Arc::<AtomicUsize>::default(), Arc::default()];
    let mut services = Vec::new();
    for count in &counts {
        let client = async_nats::connect(server.url()).await.unwrap();
        services.push(MicroService::start(&client, config(8), echo(count.clone())).await.unwrap());
    }
    let client = async_nats::connect(server.url()).await.unwrap();
    for _ in 0..100 {
        assert_eq!(ask(&client, "relay.publish", "1234").await.payload, "publish None 4");
    }
    let [first, second] = counts.map(|count| count.load(Ordering::Relaxed));
    assert_eq!(first + second, 100);
    assert!(first > 0 && second > 0, "{first} and {second}");
    // One instance leaves: the other one answers everything.
    services.remove(0).stop().await;
    for _ in 0..20 {
        assert_eq!(ask(&client, "relay.info", "").await.payload, "info None 0");
    }
}

#[tokio::test]
async fn a_service_is_found_with_its_endpoints() {
    let folder = TempDir::new().unwrap();
    let server = server(&folder);
    let client = async_nats::connect(server.url()).await.unwrap();
    let _service = MicroService::start(&client, config(8), echo(Arc::default())).await.unwrap();
    let info = ask(&client, "$SRV.INFO.relay", "").await.payload;
    let info = String::from_utf8(info.to_vec()).unwrap();
    for subject in
        [r#""subject":"relay.publish""#, r#""subject":"relay.publish.*""#, r#""subject":"relay.info""#]
    {
        assert!(info.contains(subject), "{info}");
    }
}

#[tokio::test]
async fn errors_come_as_headers_of_one_line_each() {
    let folder = TempDir::new().unwrap();
    let server = server(&folder);
    let client = async_nats::connect(server.url()).await.unwrap();
    let _service = MicroService::start(&client, config(8), echo(Arc::default())).await.unwrap();
    let refused = ask(&client, "relay.publish", "refuse").await;
    let headers = refused.headers.unwrap();
    let header = |name: &str| headers.get(name).unwrap().as_str().to_owned();
    assert_eq!(header("Nats-Service-Error"), "rate_limited: not  now");
    assert_eq!(
        (header("Nats-Service-Error-Code"), header("Skywave-Error")),
        ("429".into(), "rate_limited".into())
    );
    assert_eq!(header("Skywave-Retry-After-Ms"), "1200");
}

#[tokio::test]
async fn permissions_hold_a_service_to_its_scope() {
    let folder = TempDir::new().unwrap();
    let mut options = NatsOptions::new("n1", folder.path()).unwrap();
    let user = |name: &str, publish: &[&str]| User {
        name: name.into(),
        password: "secret".into(),
        permissions: Some(Permissions {
            publish: publish.iter().map(|subject| (*subject).to_owned()).collect(),
            subscribe: vec![">".into()],
        }),
    };
    options.authorization =
        Authorization::Users(vec![user("relay", &[">"]), user("chat", &["relay.publish.chat"])]);
    let server = NatsServer::start(options).unwrap();
    let connect = |name: &'static str| {
        let url = server.url();
        async move {
            let options = async_nats::ConnectOptions::with_user_and_password(name.into(), "secret".into());
            options.connect(url).await.unwrap()
        }
    };
    let count = Arc::<AtomicUsize>::default();
    let relay = connect("relay").await;
    let _service = MicroService::start(&relay, config(8), echo(count.clone())).await.unwrap();
    let chat = connect("chat").await;
    assert_eq!(ask(&chat, "relay.publish.chat", "1").await.payload, r#"publish Some("chat") 1"#);
    for subject in ["relay.publish", "relay.publish.live", "relay.info"] {
        chat.publish(subject, "1".into()).await.unwrap();
    }
    // What the connection published before this has been seen by the server.
    assert_eq!(ask(&chat, "relay.publish.chat", "1").await.payload, r#"publish Some("chat") 1"#);
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn beyond_what_it_bears_a_service_refuses_at_once_and_finishes_what_it_has() {
    let folder = TempDir::new().unwrap();
    let server = server(&folder);
    let client = async_nats::connect(server.url()).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let waiting = gate.clone();
    let slow: Answerer = Arc::new(move |_| {
        let gate = waiting.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(b"late".to_vec())
        }
        .boxed()
    });
    let service = MicroService::start(&client, config(1), slow).await.unwrap();
    let mut answers = client.subscribe("answers").await.unwrap();
    for _ in 0..2 {
        client.publish_with_reply("relay.publish", "answers", "".into()).await.unwrap();
    }
    let refused = answers.next().await.unwrap();
    assert_eq!(refused.headers.unwrap().get("Skywave-Error").unwrap().as_str(), "rate_limited");
    let stopped = tokio::spawn(service.stop());
    gate.add_permits(1);
    assert_eq!(answers.next().await.unwrap().payload, "late");
    stopped.await.unwrap();
}

//! The users of `deploy/nats-users.conf` may do what their service does, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use skywave_nats::micro::{Answerer, MicroConfig, MicroEndpoint, MicroService};
use skywave_nats::{NatsAuth, NatsConfig};
use skywave_protocol::{ChannelName, NodeId, Subject, SubjectKind};
use skywave_servers::nats::NatsOptions;

use crate::support::{Node, Server, live, until};

const USERS: &str = include_str!("../../../../../deploy/nats-users.conf");

/// Who takes part in a kind of subject, and how. There is no right without a row, and no kind without one.
struct Rights {
    examples: Vec<Subject>,
    publish: &'static [&'static str],
    subscribe: &'static [&'static str],
}

fn rights(kind: SubjectKind) -> Rights {
    let node = |name: &str| NodeId::parse(name).unwrap();
    let both: &[&str] = &["edge", "core"];
    let (edge, core, backend): (&[&str], &[&str], &[&str]) = (&["edge"], &["core"], &["backend"]);
    let channel = |name: &str| ChannelName::parse(name).unwrap();
    let (examples, publish, subscribe) = match kind {
        SubjectKind::Live => (vec![live("chat:1"), live("a.b/c")], both, edge),
        SubjectKind::Json => {
            (vec![Subject::json(&channel("chat:1")), Subject::json(&channel("a.b"))], both, backend)
        }
        SubjectKind::JsonHead => (vec![Subject::json_head(&channel("chat:1"))], core, backend),
        SubjectKind::Ingest => (vec![Subject::ingest("main")], edge, core),
        SubjectKind::CoreIngest => (vec![Subject::core_ingest("main", &node("eu-core-1"))], edge, core),
        SubjectKind::Cores => (vec![Subject::cores("main")], core, edge),
        SubjectKind::History => (vec![Subject::history("main")], edge, core),
        SubjectKind::PartitionHistory => (vec![Subject::partition_history("main", 3)], core, core),
        SubjectKind::Cell => (vec![Subject::cell("main")], core, core),
        SubjectKind::Events => (vec![Subject::events("main")], edge, core),
        SubjectKind::Reply => (vec![Subject::reply(&node("eu-1"), 0)], core, edge),
        SubjectKind::Node => (vec![Subject::node("eu")], edge, edge),
        SubjectKind::Control => (vec![Subject::control()], edge, edge),
    };
    Rights { examples, publish, subscribe }
}

/// What the code builds, what the adapter adds (its marks), and what nobody has heard of.
fn all() -> Vec<Rights> {
    let sync = Subject::from_wire("sw.sync.1").unwrap();
    let (both, nobody): (&[&str], &[&str]) = (&["edge", "core"], &[]);
    let mut all: Vec<Rights> = SubjectKind::ALL.iter().copied().map(rights).collect();
    all.push(Rights { examples: vec![sync], publish: both, subscribe: both });
    let unknown = ["sw.new", "sw.control.eu", "sw.cell.main.1"].map(|text| Subject::from_wire(text).unwrap());
    all.push(Rights { examples: unknown.into(), publish: nobody, subscribe: nobody });
    all
}

/// The users as delivered, and one that may do everything.
fn start() -> Server {
    start_with(|_| {})
}

pub(crate) fn start_with(change: impl FnOnce(&mut NatsOptions)) -> Server {
    let root = "{ user = \"root\", password = \"root\" }\n  ]";
    let mut text = USERS.to_owned();
    let end = text.rfind(']').unwrap();
    text.replace_range(end..=end, root);
    for user in ["EDGE", "CORE", "BACKEND"] {
        text = text.replace(&format!("$SKYWAVE_NATS_{user}_PASSWORD"), "\"pass\"");
    }
    Server::start_with(|options| {
        options.text = text;
        change(options);
    })
}

pub(crate) async fn node(server: &Server, user: &str, password: &str) -> Node {
    let auth = NatsAuth::Password { user: user.into(), password: password.into() };
    Node::connect(NatsConfig { auth, ..server.config() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_reaches_its_subjects_and_no_others() {
    let server = start();
    let root = node(&server, "root", "root").await;
    for name in ["edge", "core", "backend"] {
        let user = User::connect(&server, name).await;
        let mut refused = 0;
        for Rights { examples, publish, subscribe } in all() {
            for subject in examples {
                let mut witness = root.listen(&subject).await;
                user.client.publish(subject.to_string(), "out".into()).await.unwrap();
                if publish.contains(&name) {
                    assert_eq!(witness.next().await, "out");
                } else {
                    refused += 1;
                    user.until_refused(refused, &subject).await;
                    root.publish(&subject, "nothing came before").await;
                    assert_eq!(witness.next().await, "nothing came before");
                }
                let mut listener = user.client.subscribe(subject.to_string()).await.unwrap();
                if subscribe.contains(&name) {
                    user.client.flush().await.unwrap();
                    let heard = until_heard(&root, &subject, &mut listener).await;
                    assert_eq!(heard, "in");
                } else {
                    refused += 1;
                    user.until_refused(refused, &subject).await;
                }
                assert_eq!(user.refused(), refused, "{name}, {subject}");
            }
        }
    }
}

/// A user of the file, with no more of the relay around it than its rights.
pub(crate) struct User {
    pub(crate) client: async_nats::Client,
    refused: Arc<AtomicU64>,
}

impl User {
    pub(crate) async fn connect(server: &Server, name: &str) -> Self {
        let refused = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&refused);
        let options = async_nats::ConnectOptions::with_user_and_password(name.into(), "pass".into())
            .event_callback(move |event| {
                if matches!(event, async_nats::Event::ServerError(_)) {
                    count.fetch_add(1, Ordering::SeqCst);
                }
                std::future::ready(())
            });
        Self { client: options.connect(server.nats.url()).await.unwrap(), refused }
    }

    fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }

    pub(crate) async fn until_refused(&self, count: u64, what: &impl std::fmt::Display) {
        until(&format!("{what} to be refused"), || self.refused() >= count).await;
    }
}

/// Publishes until the subscription, which may not have reached the server yet, hears it.
async fn until_heard(root: &Node, subject: &Subject, listener: &mut async_nats::Subscriber) -> Bytes {
    for _ in 0..200 {
        root.publish(subject, "in").await;
        let heard = tokio::time::timeout(Duration::from_millis(100), listener.next()).await;
        if let Ok(Some(message)) = heard {
            return message.payload;
        }
    }
    panic!("{subject} is not heard");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_for_subscriptions_may_be_short_under_the_same_rights() {
    let server = start();
    let auth = NatsAuth::Password { user: "edge".into(), password: "pass".into() };
    let edge = Node::connect(NatsConfig { auth, exact_subscriptions: 0, ..server.config() }).await;
    let mut listeners = Vec::new();
    let mut subjects = vec![live("chat:1")];
    subjects.extend(crate::support::neighbours(&subjects[0], 3));
    for subject in &subjects {
        listeners.push(edge.listen(subject).await);
    }
    edge.until_metric("skywave_nats_subscriptions{kind=\"wildcard\"}", |count| count == 1).await;
    for (subject, listener) in subjects.iter().zip(&mut listeners) {
        edge.publish(subject, "hi").await;
        assert_eq!(listener.next().await, "hi");
    }
    assert_eq!(edge.server_errors(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_asks_but_cannot_forge_a_publication() {
    let server = start();
    let root = node(&server, "root", "root").await;
    let backend = User::connect(&server, "backend").await;
    let edge = node(&server, "edge", "pass").await;
    let config = MicroConfig {
        name: "skywave",
        version: "1.0.0",
        description: String::new(),
        endpoints: vec![MicroEndpoint { name: "history", description: "", scoped: true }],
        in_flight: 8,
    };
    let answerer: Answerer = Arc::new(|question| Box::pin(async move { Ok(question.body.to_vec()) }));
    let service = MicroService::start(edge.bus.client(), config, answerer).await.unwrap();
    for subject in ["skywave.history", "skywave.history.chat"] {
        let answer = backend.client.request(subject, "question".into()).await.unwrap();
        assert_eq!(answer.payload, "question", "{subject}");
    }
    // As `nats micro info skywave` asks.
    for subject in ["$SRV.PING.skywave", "$SRV.INFO.skywave", "$SRV.STATS.skywave"] {
        let answer = backend.client.request(subject, "".into()).await.unwrap();
        assert!(answer.payload.starts_with(b"{"), "{subject}");
    }
    assert_eq!((backend.refused(), edge.server_errors()), (0, 0));
    // It answers nobody in the relay's place.
    let _thief = backend.client.queue_subscribe("skywave.>", "skywave".into()).await.unwrap();
    until("stealing questions to be refused", || backend.refused() == 1).await;
    service.stop().await;

    let mut witness = root.listen(&live("chat:1")).await;
    backend.client.publish(live("chat:1").to_string(), "forged".into()).await.unwrap();
    backend.client.flush().await.unwrap();
    until("forging to be refused", || backend.refused() == 2).await;
    root.publish(&live("chat:1"), "real").await;
    assert_eq!(witness.next().await, "real");
}

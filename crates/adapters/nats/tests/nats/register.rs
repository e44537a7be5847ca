//! The register on real servers: its contract, and what it does when they die, freeze, or do not want it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::registry::Registry;
use skywave_nats::{NatsConfig, NatsError, NatsRegister, RegisterConfig};
use skywave_ports::{Held, Register, RegisterError, RegisterKey, Revision};
use skywave_servers::nats::{JetStream, NatsCluster};

use crate::support::{Node, PATIENCE, Server, config, until, watchful};

fn start() -> Server {
    Server::start_with(|options| options.jetstream = Some(JetStream { sync_always: true, domain: None }))
}

/// A test's patience, so that a busy machine's server is not taken for one that is away.
fn patient() -> RegisterConfig {
    RegisterConfig { timeout: PATIENCE, open_timeout: PATIENCE, ..RegisterConfig::default() }
}

async fn open(config: NatsConfig, register: RegisterConfig) -> NatsRegister {
    let node = Node::connect(config).await;
    NatsRegister::open(&node.bus, register, &mut Registry::default()).await.unwrap()
}

fn key() -> RegisterKey {
    RegisterKey::parse("cell.main").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let server = start();
    let open = async |name: &str| {
        open(server.config(), RegisterConfig { bucket: name.to_owned(), ..patient() }).await
    };
    Box::pin(skywave_ports::conformance::register::suite(open)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_outlives_a_killed_server_and_is_followed_on() {
    let mut server = start();
    // A request that is under way when the server dies waits for so long.
    let short = RegisterConfig { timeout: Duration::from_secs(2), ..patient() };
    let register = open(server.config(), short).await;
    let mut follow = register.follow(&key());
    assert_eq!(follow.next().await, Held::default());
    let first = register.write(&key(), "one".into(), 0).await.unwrap();
    assert_eq!(follow.next().await, Held { revision: first, value: Some("one".into()) });
    for round in 0..2 {
        server.nats.kill9().unwrap();
        until_refused(&register).await;
        server.nats.restart().unwrap();
        let value = format!("after {round}");
        let next = until_written(&register, &value).await;
        assert_eq!(follow.next().await, Held { revision: next, value: Some(value.into()) });
    }
}

/// What is asked for while there is no connection is refused at once, and not done later.
async fn until_refused(register: &NatsRegister) {
    let refused = loop {
        match register.read(&key()).await {
            Err(error) => break error,
            Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert!(matches!(refused, RegisterError::Unavailable(_)), "{refused}");
    let write = register.write(&key(), "lost".into(), 0).await;
    assert!(matches!(write, Err(RegisterError::Unavailable(_))), "{write:?}");
}

async fn until_read(register: &NatsRegister) -> Held {
    loop {
        match register.read(&key()).await {
            Ok(held) => return held,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Writes until the value is there: of a write without an answer, what is read then says what became of it.
async fn until_written(register: &NatsRegister, value: &str) -> Revision {
    let value = Bytes::copy_from_slice(value.as_bytes());
    loop {
        let held = until_read(register).await;
        if held.value.as_ref() == Some(&value) {
            return held.revision;
        }
        if let Ok(revision) = register.write(&key(), value.clone(), held.revision).await {
            return revision;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_costs_no_more_than_the_timeout_and_is_followed_again() {
    let server = start();
    let short = RegisterConfig { timeout: Duration::from_millis(200), ..patient() };
    let register = open(watchful(server.config()), short).await;
    let other = open(server.config(), patient()).await;
    let mut follow = register.follow(&key());
    assert_eq!(follow.next().await, Held::default());
    server.nats.pause().unwrap();
    let read = register.read(&key()).await;
    assert!(matches!(read, Err(RegisterError::Unavailable(_))), "{read:?}");
    server.nats.resume().unwrap();
    let written = until_written(&other, "thawed").await;
    while follow.next().await.revision < written {}
}

/// Three servers decide together. Two writers count, each behind what it has read, while the servers are killed in turn: no
/// revision has two successors, none that was confirmed is lost, and the count goes on each time.
#[tokio::test(flavor = "multi_thread")]
async fn writers_agree_while_servers_are_killed_in_turn() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = NatsCluster::options("control", 3, folder.path()).unwrap();
    for options in &mut options {
        options.jetstream = Some(JetStream { sync_always: true, domain: None });
    }
    let mut cluster = NatsCluster::start(options).unwrap();
    let settings = RegisterConfig { replicas: 3, timeout: Duration::from_secs(5), ..patient() };
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicUsize::new(0));
    let mut writers = Vec::new();
    let mut registers = Vec::new();
    for _ in 0..2 {
        let servers = cluster.urls();
        let register = open(NatsConfig { servers, ..watchful(config()) }, settings.clone()).await;
        registers.push(register.clone());
        let (stop, written) = (Arc::clone(&stop), Arc::clone(&written));
        writers.push(tokio::spawn(async move { count(&register, &stop, &written).await }));
    }
    let mut follow = registers[0].follow(&key());
    let moves_on = async || {
        let before = written.load(Ordering::SeqCst);
        until("writers to go on", || written.load(Ordering::SeqCst) >= before + 20).await;
    };
    moves_on().await;
    for at in 0..3 {
        cluster.servers[at].kill9().unwrap();
        moves_on().await;
        cluster.servers[at].restart().unwrap();
        moves_on().await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut confirmed = Vec::new();
    for writer in writers {
        confirmed.extend(writer.await.unwrap());
    }
    let followed: BTreeSet<Revision> = confirmed.iter().map(|(after, _)| *after).collect();
    assert_eq!(followed.len(), confirmed.len(), "two writes follow one revision");
    assert!(confirmed.iter().all(|(after, revision)| after < revision));
    let last = confirmed.iter().map(|(_, revision)| *revision).max().unwrap();
    let mut seen = follow.next().await;
    while seen.revision < last {
        let next = follow.next().await;
        assert!(next.revision > seen.revision);
        seen = next;
    }
    // What had no answer may have been written too; what had one must be.
    let count: usize = std::str::from_utf8(&seen.value.unwrap()).unwrap().parse().unwrap();
    assert!(count >= confirmed.len(), "{count} of {} are there", confirmed.len());
}

/// Writes one more than it has read, over and over. What was confirmed: which revision it follows, and its own.
async fn count(
    register: &NatsRegister,
    stop: &AtomicBool,
    written: &AtomicUsize,
) -> Vec<(Revision, Revision)> {
    let mut confirmed = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let Ok(Held { revision, value }) = register.read(&key()).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let count = value.map_or(0, |value| std::str::from_utf8(&value).unwrap().parse::<u64>().unwrap());
        if let Ok(next) = register.write(&key(), (count + 1).to_string().into(), revision).await {
            confirmed.push((revision, next));
            written.fetch_add(1, Ordering::SeqCst);
        }
    }
    confirmed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_an_operator_has_removed_is_none_and_can_be_written_again() {
    let server = start();
    let register = open(server.config(), patient()).await;
    let mut follow = register.follow(&key());
    let first = register.write(&key(), "one".into(), 0).await.unwrap();
    while follow.next().await.revision < first {}
    let operator = async_nats::connect(server.nats.url()).await.unwrap();
    let bucket = async_nats::jetstream::new(operator).get_key_value("skywave").await.unwrap();
    bucket.delete(key().as_str()).await.unwrap();
    let removed = follow.next().await;
    assert!(removed.revision > first && removed.value.is_none(), "{removed:?}");
    assert_eq!(register.write(&key(), "two".into(), first).await, Err(RegisterError::Conflict));
    let second = register.write(&key(), "two".into(), removed.revision).await.unwrap();
    assert_eq!(follow.next().await, Held { revision: second, value: Some("two".into()) });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_says_why() {
    let plain = Server::start();
    let node = Node::connect(plain.config()).await;
    let open = async |bucket: &str| {
        let config = RegisterConfig {
            bucket: bucket.to_owned(),
            timeout: Duration::from_secs(1),
            open_timeout: Duration::from_secs(1),
            ..RegisterConfig::default()
        };
        NatsRegister::open(&node.bus, config, &mut Registry::default()).await.err().map(|why| why.to_string())
    };
    let why = open("skywave").await.unwrap();
    assert!(why.starts_with("no register in the bucket skywave within 1s: "), "{why}");
    for name in ["", "a.b", "a b", "*", "$KV.x"] {
        let why = open(name).await.unwrap();
        assert!(why.starts_with("bucket: ") && why.contains("is no name of a bucket"), "{why}");
    }
}

/// Nodes have no rights in JetStream: whoever takes one over cannot touch what all regions agree on.
#[tokio::test(flavor = "multi_thread")]
async fn the_users_of_edges_cores_and_backends_may_not_touch_it() {
    let server = crate::permissions::start_with(|options| {
        options.jetstream = Some(JetStream { sync_always: true, domain: None });
    });
    let root = crate::permissions::node(&server, "root", "root").await;
    let register = NatsRegister::open(&root.bus, patient(), &mut Registry::default()).await.unwrap();
    let first = register.write(&key(), "home".into(), 0).await.unwrap();
    for user in ["edge", "core"] {
        let node = crate::permissions::node(&server, user, "pass").await;
        let config = RegisterConfig {
            timeout: Duration::from_millis(200),
            open_timeout: Duration::from_millis(500),
            ..RegisterConfig::default()
        };
        let opened = NatsRegister::open(&node.bus, config, &mut Registry::default()).await;
        assert!(matches!(opened, Err(NatsError::Register { .. })), "{user}");
    }
    for user in ["edge", "core", "backend"] {
        let client = crate::permissions::User::connect(&server, user).await;
        let subjects = [
            "$KV.skywave.cell.main",
            "$JS.API.STREAM.DELETE.KV_skywave",
            "$JS.API.STREAM.PURGE.KV_skywave",
            "$JS.API.DIRECT.GET.KV_skywave.$KV.skywave.cell.main",
        ];
        for (at, subject) in subjects.into_iter().enumerate() {
            client.client.publish(subject, "mine".into()).await.unwrap();
            client.until_refused(at as u64 + 1, &subject).await;
        }
        let _watch = client.client.subscribe("$KV.skywave.>").await.unwrap();
        client.until_refused(subjects.len() as u64 + 1, &"following the bucket").await;
    }
    let held = Held { revision: first, value: Some("home".into()) };
    assert_eq!(register.read(&key()).await, Ok(held));
}

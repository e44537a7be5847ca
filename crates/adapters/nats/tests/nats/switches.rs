//! Shards change between exact subscriptions and a wildcard under traffic, and nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use skywave_nats::NatsConfig;
use skywave_ports::Bus;
use skywave_protocol::Subject;
use tokio::task::JoinHandle;

use crate::support::{Listener, Node, Server, live, neighbours, until};

const END: u64 = u64::MAX;
const PUBLISHERS: usize = 2;
/// How far a publisher may be ahead of the slowest witness: the test is about order, not about overflow.
const AHEAD: u64 = 200;

/// How far a witness has come with each publisher.
type Progress = Arc<[AtomicU64; PUBLISHERS]>;

/// Publishes 1, 2, 3 … on each subject, and an end mark when told to stop; gives how many there were.
fn publish(
    node: Node,
    publisher: usize,
    subjects: Vec<Subject>,
    witnesses: Vec<Progress>,
    stop: Arc<AtomicBool>,
) -> JoinHandle<u64> {
    let message = move |n: u64| Bytes::from([&[publisher as u8][..], &n.to_be_bytes()].concat());
    let send = async move |node: &Node, subject: &Subject, n: u64| {
        until("room", || node.bus.publish(subject, message(n)).is_ok()).await;
    };
    tokio::spawn(async move {
        let mut last = 0;
        while !stop.load(Ordering::Relaxed) {
            last += 1;
            for subject in &subjects {
                send(&node, subject, last).await;
            }
            let slowest =
                || witnesses.iter().map(|progress| progress[publisher].load(Ordering::Relaxed)).min();
            until("the witnesses", || slowest().is_none_or(|slowest| slowest + AHEAD > last)).await;
        }
        for subject in &subjects {
            send(&node, subject, END).await;
        }
        node.bus.flush().await;
        last
    })
}

/// Everything a listener gets until every publisher has ended: per publisher each number once, in order. Gives the last
/// ones.
fn witness(mut listener: Listener, progress: Progress) -> JoinHandle<[u64; PUBLISHERS]> {
    tokio::spawn(async move {
        let (mut last, mut ended) = ([0; PUBLISHERS], 0);
        while ended < PUBLISHERS {
            let message = listener.next().await;
            let publisher = usize::from(message[0]);
            let number = u64::from_be_bytes(message[1..].try_into().unwrap());
            if number == END {
                ended += 1;
                continue;
            }
            assert_eq!(
                number,
                last[publisher] + 1,
                "publisher {publisher}: nothing lost, doubled or overtaken"
            );
            last[publisher] = number;
            progress[publisher].store(number, Ordering::Relaxed);
        }
        assert_eq!(listener.inbox.dropped(), 0);
        last
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_doubled_or_overtaken_while_a_shard_goes_to_and_fro() {
    let server = Server::start();
    // During a switch the witnesses get on by one of the two ways: they do not keep the other one's queue from filling up.
    let config = NatsConfig { exact_subscriptions: 8, subscription_queue: 1 << 20, ..server.config() };
    let node = Node::connect(config).await;
    // All in one shard.
    let mut subjects = vec![live("chat:1")];
    subjects.extend(neighbours(&subjects[0], 11));
    let stop = Arc::new(AtomicBool::new(false));
    let (mut staying, mut progress) = (Vec::new(), Vec::new());
    for subject in &subjects[..4] {
        let come: Progress = Arc::default();
        staying.push(witness(node.listen(subject).await, Arc::clone(&come)));
        progress.push(come);
    }
    let mut publishers = Vec::new();
    for publisher in 0..PUBLISHERS {
        let other = Node::connect(server.config()).await;
        publishers.push(publish(other, publisher, subjects.clone(), progress.clone(), Arc::clone(&stop)));
    }
    let switches = "skywave_nats_switches_total";
    let wildcards = "skywave_nats_subscriptions{kind=\"wildcard\"}";
    let exact = "skywave_nats_subscriptions{kind=\"exact\"}";
    for round in 1..=3 {
        let mut passing = Vec::new();
        for subject in &subjects[4..] {
            passing.push(node.listen(subject).await);
        }
        node.until_metric(switches, |count| count == 2 * round - 1).await;
        node.until_metric(exact, |count| count == 0).await;
        for listener in &mut passing {
            listener.next().await;
        }
        drop(passing);
        node.until_metric(switches, |count| count == 2 * round).await;
        node.until_metric(wildcards, |count| count == 0).await;
        node.until_metric(exact, |count| count == 4).await;
    }
    assert_eq!(node.metric("skywave_nats_overflowed_total"), 0);
    assert!(node.metric("skywave_nats_twins_total") > 0, "there was traffic during the switches");
    stop.store(true, Ordering::Relaxed);
    let mut sent = [0; PUBLISHERS];
    for (sent, task) in sent.iter_mut().zip(publishers) {
        *sent = task.await.unwrap();
    }
    for witness in staying {
        assert_eq!(witness.await.unwrap(), sent, "up to the last one");
    }
}

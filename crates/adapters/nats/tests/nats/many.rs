//! Very many subjects come and go, and leave nothing behind.

use futures_util::future::join_all;
use skywave_nats::NatsConfig;
use skywave_protocol::subject::LIVE_SHARDS;

use crate::support::{Node, Server, live, until};

const SUBJECTS: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_subjects_come_and_go_without_a_trace() {
    for exact_subscriptions in [2 * SUBJECTS, 1_000] {
        let server = Server::start();
        let node = Node::connect(NatsConfig { exact_subscriptions, ..server.config() }).await;
        node.bus.flush().await;
        let idle = server.nats.count("subscriptions").unwrap();
        let subjects: Vec<_> = (0..SUBJECTS).map(|n| live(&format!("room:{n}"))).collect();
        for round in 0..2 {
            let mut listeners = join_all(subjects.iter().map(|subject| node.listen(subject))).await;
            assert_eq!(node.metric("skywave_nats_subjects"), SUBJECTS as u64);
            for subject in &subjects {
                node.publish(subject, "hi").await;
            }
            for listener in &mut listeners {
                assert_eq!(listener.next().await, "hi", "round {round}");
            }
            if exact_subscriptions < SUBJECTS {
                // So many that most messages come in any case: one subscription for each shard.
                node.until_metric("skywave_nats_subscriptions{kind=\"wildcard\"}", |wide| {
                    wide == u64::from(LIVE_SHARDS)
                })
                .await;
                node.until_metric("skywave_nats_subscriptions{kind=\"exact\"}", |exact| exact == 0).await;
            }
            drop(listeners);
            node.until_metric("skywave_nats_subjects", |count| count == 0).await;
            for kind in ["exact", "wildcard"] {
                let name = format!("skywave_nats_subscriptions{{kind=\"{kind}\"}}");
                node.until_metric(&name, |count| count == 0).await;
            }
            until("the server to have forgotten them", || {
                server.nats.count("subscriptions").unwrap() == idle
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_is_dropped_leaves_the_server() {
    let server = Server::start();
    let node = Node::connect(server.config()).await;
    let _outlives_the_bus = node.listen(&live("chat:1")).await;
    assert_eq!(server.nats.count("connections").unwrap(), 1);
    drop(node);
    until("the connection to be closed", || server.nats.count("connections").unwrap() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_that_comes_and_goes_all_the_time_is_always_live_when_it_says_so() {
    let server = Server::start();
    let node = Node::connect(NatsConfig { exact_subscriptions: 4, ..server.config() }).await;
    let subjects: Vec<_> = (0..8).map(|n| live(&format!("room:{n}"))).collect();
    join_all(subjects.iter().map(async |subject| {
        for round in 0..300 {
            let mut listener = node.listen(subject).await;
            node.publish(subject, "hi").await;
            assert_eq!(listener.next().await, "hi", "round {round} of {subject}");
        }
    }))
    .await;
}

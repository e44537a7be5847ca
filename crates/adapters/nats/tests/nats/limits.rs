//! What is refused, what is dropped and counted, and what no name can do.

use bytes::Bytes;
use skywave_nats::NatsConfig;
use skywave_ports::{Bus, BusError};
use skywave_protocol::{ChannelName, Subject};

use crate::support::{Node, Server, live, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_beyond_the_servers_limit_is_refused_and_harms_nobody() {
    let server = Server::start_with(|options| options.max_payload = Some(64 * 1024));
    let node = Node::connect(server.config()).await;
    let mut listener = node.listen(&live("chat:1")).await;
    let publish = |size| node.bus.publish(&live("chat:1"), Bytes::from(vec![b'x'; size]));
    assert_eq!(publish(64 * 1024 + 1), Err(BusError::TooLarge(64 * 1024 + 1)));
    assert_eq!(publish(64 * 1024), Ok(()));
    assert_eq!(listener.next().await.len(), 64 * 1024);
    assert_eq!(node.metric("skywave_nats_refused_total{reason=\"too_large\"}"), 1);
    assert_eq!(node.metric("skywave_nats_reconnects_total"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_never_waits_and_says_so_when_the_queue_is_full() {
    let server = Server::start();
    let config = NatsConfig { publish_queue: 64, publish_queue_bytes: 256 * 1024, ..server.config() };
    let node = Node::connect(config).await;
    let mut listener = node.listen(&live("chat:1")).await;
    server.nats.pause().unwrap();
    // The kernel takes some; then it takes none, and the queue fills. Nothing here waits.
    for size in [1_000, 32 * 1024] {
        until("a full queue", || {
            let refused = node.metric("skywave_nats_refused_total{reason=\"queue_full\"}");
            for _ in 0..1_000 {
                let _ = node.bus.publish(&live("chat:1"), Bytes::from(vec![b'x'; size]));
            }
            node.metric("skywave_nats_refused_total{reason=\"queue_full\"}") > refused
        })
        .await;
    }
    server.nats.resume().unwrap();
    until("an empty queue", || {
        while listener.messages.try_recv().is_ok() {}
        node.bus.publish(&live("chat:1"), Bytes::from(vec![b'y'; 40_000])).is_ok()
    })
    .await;
    while !listener.next().await.starts_with(b"y") {}
}

#[test]
fn a_burst_beyond_a_subscriptions_queue_is_dropped_and_counted() {
    let server = Server::start();
    let config = NatsConfig { subscription_queue: 4, ..server.config() };
    // One thread: the connection reads many messages before the subscription's task gets its turn.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let node = Node::connect(config).await;
        let mut listener = node.listen(&live("chat:1")).await;
        until("a burst to overflow", || {
            for _ in 0..1_000 {
                let _ = node.bus.publish(&live("chat:1"), Bytes::from_static(b"burst"));
            }
            node.metric("skywave_nats_overflowed_total") > 0
        })
        .await;
        node.bus.flush().await;
        node.publish(&live("chat:1"), "later").await;
        while listener.next().await != "later" {}
        assert_eq!(node.metric("skywave_nats_reconnects_total"), 0);
    });
}

/// Every character a channel name may hold, and the characters of subjects where they are refused.
#[tokio::test(flavor = "multi_thread")]
async fn no_channel_name_reaches_a_subject_that_is_not_its_own() {
    let server = Server::start();
    let node = Node::connect(server.config()).await;
    let hostile = [
        "*",
        ">",
        "a.*",
        "a.>",
        "$SYS.>",
        "$JS.API.>",
        "_INBOX.x",
        "a..b",
        "a.",
        ".a",
        "chat:y",
        "chat:1 ",
        "a b",
        "x\r\nPUB sw.live.1.chat:y 1\r\nx",
        "a\tb",
        "a\0b",
        "",
        "chat:1/x",
        "=2E",
        "a=2Eb",
        "a.b",
        "sw.control",
    ];
    let known = "chat:known";
    let mut witness = node.listen(&live(known)).await;
    let mut accepted = Vec::new();
    for name in hostile {
        let Ok(channel) = ChannelName::parse(name) else { continue };
        let listener = node.listen(&Subject::live(&channel)).await;
        accepted.push((Subject::live(&channel), listener));
    }
    assert!(accepted.len() >= 8, "{}", accepted.len());
    for (at, (subject, _)) in accepted.iter().enumerate() {
        node.bus.publish(subject, Bytes::from(at.to_string())).unwrap();
    }
    node.publish(&live(known), "end").await;
    assert_eq!(witness.next().await, "end", "nothing of theirs came here");
    for (at, (subject, listener)) in accepted.iter_mut().enumerate() {
        assert_eq!(listener.next().await, at.to_string(), "{subject}");
        assert!(listener.messages.try_recv().is_err(), "{subject}: its own message only");
    }
    assert_eq!(node.server_errors(), 0, "the server found nothing wrong");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_names_arrive_one_by_one_and_through_a_wildcard() {
    let server = Server::start();
    for exact_subscriptions in [8, 0] {
        let node = Node::connect(NatsConfig { exact_subscriptions, ..server.config() }).await;
        let longest = live(&"/".repeat(skywave_protocol::limits::CHANNEL_NAME_BYTES));
        let neighbour = crate::support::neighbours(&longest, 1).remove(0);
        let mut first = node.listen(&longest).await;
        let mut second = node.listen(&neighbour).await;
        node.publish(&longest, "long").await;
        node.publish(&neighbour, "short").await;
        assert_eq!((first.next().await, second.next().await), ("long".into(), "short".into()));
    }
}

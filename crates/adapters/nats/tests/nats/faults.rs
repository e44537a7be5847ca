//! What the bus does when the server dies, freezes, or is too fast for us.

use std::sync::mpsc;

use bytes::Bytes;
use skywave_nats::NatsConfig;
use skywave_ports::{Bus, BusError};
use skywave_protocol::Subject;
use skywave_servers::nats::{NatsCluster, NatsServer};

use crate::support::{Listener, Node, Server, config, live, until, watchful};

/// Publishes until something of it arrives: interest needs a moment to spread in a cluster.
async fn reaches(from: &Node, subject: &Subject, listener: &mut Listener) {
    until("a message to come through", || {
        let _ = from.bus.publish(subject, Bytes::from_static(b"probe"));
        listener.messages.try_recv().is_ok()
    })
    .await;
    while listener.messages.try_recv().is_ok() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_outlive_a_killed_server_and_nothing_old_is_sent() {
    let mut server = Server::start();
    let (one, two) = (Node::connect(server.config()).await, Node::connect(server.config()).await);
    let subjects = [live("chat:1"), live("chat:2"), Subject::control()];
    let mut listeners = Vec::new();
    for subject in &subjects {
        listeners.push(one.listen(subject).await);
    }
    server.nats.kill9().unwrap();
    until("the loss to be noticed", || !one.bus.connected() && !two.bus.connected()).await;
    assert_eq!(one.metric("skywave_nats_connected"), 0);
    let refused = two.bus.publish(&subjects[0], Bytes::from_static(b"old"));
    assert_eq!(refused, Err(BusError::Disconnected));
    assert_eq!(two.metric("skywave_nats_refused_total{reason=\"disconnected\"}"), 1);

    server.nats.restart().unwrap();
    until("the connection to be back", || one.bus.connected() && two.bus.connected()).await;
    one.bus.flush().await;
    for (subject, listener) in subjects.iter().zip(&mut listeners) {
        two.publish(subject, "new").await;
        assert_eq!(listener.next().await, "new", "and not the old one before it");
    }
    assert_eq!((one.metric("skywave_nats_connected"), one.metric("skywave_nats_reconnects_total")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_made_without_a_connection_waits_for_it() {
    let mut server = Server::start();
    let node = Node::connect(server.config()).await;
    server.nats.kill9().unwrap();
    until("the loss to be noticed", || !node.bus.connected()).await;
    let subscribing = async { node.listen(&live("chat:1")).await };
    let restarting = async { server.nats.restart().unwrap() };
    let (mut listener, ()) = tokio::join!(subscribing, restarting);
    node.publish(&live("chat:1"), "hi").await;
    assert_eq!(listener.next().await, "hi");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_takes_too_long_is_given_up_and_leaves_nothing() {
    let mut server = Server::start();
    let subscribe_timeout = std::time::Duration::from_millis(100);
    let node = Node::connect(NatsConfig { subscribe_timeout, ..server.config() }).await;
    server.nats.pause().unwrap();
    let (inbox, _messages) = skywave_ports::Inbox::new(8);
    let given_up = node.bus.subscribe(&live("chat:1"), None, &inbox).await;
    assert_eq!(given_up.map(|_| ()), Err(BusError::Disconnected));
    server.nats.resume().unwrap();
    node.until_metric("skywave_nats_subjects", |subjects| subjects == 0).await;
    node.until_metric("skywave_nats_subscriptions{kind=\"exact\"}", |count| count == 0).await;
    server.nats.kill9().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_is_noticed_and_taken_back_when_it_thaws() {
    let server = Server::start();
    let node = Node::connect(watchful(server.config())).await;
    let mut listener = node.listen(&live("chat:1")).await;
    server.nats.pause().unwrap();
    until("the silence to be noticed", || !node.bus.connected()).await;
    server.nats.resume().unwrap();
    reaches(&node, &live("chat:1"), &mut listener).await;
    assert!(node.metric("skywave_nats_reconnects_total") >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_of_the_cluster_takes_over_from_a_killed_and_from_a_frozen_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = NatsCluster::start(NatsCluster::options("c", 2, folder.path()).unwrap()).unwrap();
    // Each knows one server and learns of the other when it connects.
    let known =
        |server: &NatsServer| server.monitor("/varz").unwrap()["connect_urls"].as_array().map_or(0, Vec::len);
    until("the servers to tell of each other", || cluster.servers.iter().all(|server| known(server) == 2))
        .await;
    let node = async |at: usize| {
        Node::connect(watchful(NatsConfig { servers: vec![cluster.urls()[at].clone()], ..config() })).await
    };
    let (one, two) = (node(0).await, node(1).await);
    let subject = live("chat:1");
    let mut listener = one.listen(&subject).await;
    reaches(&two, &subject, &mut listener).await;

    cluster.servers[0].kill9().unwrap();
    until("the loss to be noticed", || one.metric("skywave_nats_reconnects_total") >= 1).await;
    reaches(&two, &subject, &mut listener).await;

    cluster.servers[0].restart().unwrap();
    cluster.servers[1].wait_routes(1).unwrap();
    cluster.servers[1].pause().unwrap();
    let both = || {
        [&one, &two]
            .iter()
            .all(|node| node.metric("skywave_nats_reconnects_total") > 0 && node.bus.connected())
    };
    until("both to have moved", both).await;
    reaches(&two, &subject, &mut listener).await;
    until("no other connections", || cluster.servers[0].count("connections").unwrap() == 2).await;
    cluster.servers[1].resume().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_reading_is_dropped_by_the_server_and_comes_back() {
    let server = Server::start_with(|options| options.max_pending = Some(1024 * 1024));
    let subject = live("chat:1");
    let publisher = Node::connect(server.config()).await;
    let (frozen, is_frozen) = mpsc::channel::<()>();
    let (thaw, thawed) = mpsc::channel::<()>();
    let (config, heard) = (server.config(), subject.clone());
    let slow = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let node = Node::connect(config).await;
            let mut listener = node.listen(&heard).await;
            frozen.send(()).unwrap();
            // The only thread of its runtime: nothing is read meanwhile.
            thawed.recv().unwrap();
            while listener.next().await != "last" {}
            node.metric("skywave_nats_reconnects_total")
        })
    });
    is_frozen.recv().unwrap();
    let large = Bytes::from(vec![b'x'; 64 * 1024]);
    // Until the kernel's buffers and the server's bound are full.
    until("the server to lose patience", || {
        let _ = publisher.bus.publish(&subject, large.clone());
        server.nats.count("slow_consumers").unwrap() > 0
    })
    .await;
    thaw.send(()).unwrap();
    until("the node to be back", || {
        let _ = publisher.bus.publish(&subject, Bytes::from_static(b"last"));
        slow.is_finished()
    })
    .await;
    assert!(slow.join().unwrap() >= 1);
    assert!(publisher.bus.connected(), "the publisher did not suffer");
}

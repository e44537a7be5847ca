//! The contract of the bus, on a real server, for each way of following live subjects.

use crate::support::{Node, Server};
use skywave_nats::NatsConfig;

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let server = Server::start();
    skywave_ports::conformance::bus::suite(async |_name: &str| Node::connect(server.config()).await.bus)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms_when_memory_for_subscriptions_is_short() {
    let server = Server::start();
    let config = NatsConfig { exact_subscriptions: 0, ..server.config() };
    skywave_ports::conformance::bus::suite(async |_name: &str| Node::connect(config.clone()).await.bus).await;
}

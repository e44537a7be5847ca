//! A super-cluster: one bus over several regions.

use bytes::Bytes;
use skywave_nats::NatsConfig;
use skywave_ports::{Bus, Inbox};
use skywave_protocol::Subject;
use skywave_servers::nats::SuperCluster;

use crate::support::{Node, config, live, neighbours, until};

fn start(folder: &tempfile::TempDir) -> SuperCluster {
    let options = SuperCluster::options(&[("eu", 1), ("us", 1)], folder.path()).unwrap();
    SuperCluster::start(options).unwrap()
}

async fn node(regions: &SuperCluster, region: usize, exact_subscriptions: usize) -> Node {
    let servers = regions.clusters[region].urls();
    Node::connect(NatsConfig { servers, exact_subscriptions, ..config() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_reaches_every_region_once_and_in_order_also_after_a_region_was_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut regions = start(&folder);
    for exact_subscriptions in [8, 0] {
        let (eu, us) = (node(&regions, 0, 8).await, node(&regions, 1, exact_subscriptions).await);
        let subject = live("chat:1");
        let mut listener = us.listen(&subject).await;
        let _neighbour = us.listen(&neighbours(&subject, 1)[0]).await;
        // Interest spreads behind the subscription.
        until("interest to spread", || {
            eu.bus.publish(&subject, Bytes::from_static(b"probe")).unwrap();
            listener.messages.try_recv().is_ok()
        })
        .await;
        for n in 0..500u32 {
            eu.bus.publish(&subject, Bytes::copy_from_slice(&n.to_be_bytes())).unwrap();
        }
        let mut next = 0u32;
        while next < 500 {
            let message = listener.next().await;
            if message != "probe" {
                assert_eq!(message, next.to_be_bytes().as_slice());
                next += 1;
            }
        }
        regions.clusters[1].servers[0].restart().unwrap();
        regions.clusters[0].servers[0].wait_gateways(&["us".to_owned()]).unwrap();
        until("the region to be back", || {
            let _ = eu.bus.publish(&subject, Bytes::from_static(b"again"));
            listener.messages.try_recv().is_ok_and(|message| message.payload == "again")
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_finds_the_one_region_that_serves_it() {
    let folder = tempfile::tempdir().unwrap();
    let regions = start(&folder);
    let (eu, us) = (node(&regions, 0, 8).await, node(&regions, 1, 8).await);
    let (inbox, mut requests) = Inbox::new(64);
    let _core = us.bus.subscribe(&Subject::ingest("main"), Some("core"), &inbox).await.unwrap();
    let _other = us.bus.subscribe(&Subject::ingest("main"), Some("core"), &inbox).await.unwrap();
    until("interest to spread", || {
        eu.bus.publish(&Subject::ingest("main"), Bytes::from_static(b"probe")).unwrap();
        requests.try_recv().is_ok()
    })
    .await;
    eu.publish(&Subject::ingest("main"), "request").await;
    eu.publish(&Subject::ingest("main"), "end").await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| *last != "end") {
        seen.push(requests.recv().await.unwrap().payload);
    }
    assert_eq!(seen.iter().filter(|payload| **payload == "request").count(), 1, "one of the group got it");
}

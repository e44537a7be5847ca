//! Three regions whole: one order everywhere, also after a link was cut, and nothing left at the end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use futures_util::StreamExt;
use serde_json::{Value, json};
use skywave_cluster::{Cluster, ClusterOptions, Kind};
use skywave_harness::Socket;
use skywave_servers::wait::{PATIENCE, until};
use skywave_servers::{Identity, State};

const CHANNEL: &str = "chat:three-regions";

fn connect(cluster: &Cluster, region: &str) -> Socket {
    let edge = cluster.of_kind(region, Kind::Edge).unwrap().remove(0);
    Socket::connect(edge.address("http").unwrap(), None).unwrap()
}

fn subscriber(cluster: &Cluster, region: &str) -> Socket {
    let mut socket = connect(cluster, region);
    let answer = socket.request("subscribe", json!({ "channel": CHANNEL })).unwrap();
    assert!(answer.get("subscribed").is_some(), "{answer}");
    socket
}

/// The offset at which it was published; asked again under the same id while the answer is a time to wait.
fn publish(socket: &mut Socket, id: &str) -> u64 {
    let body = json!({ "channel": CHANNEL, "id": id, "data": id });
    until(&format!("{id} to be acknowledged"), || {
        let answer = socket.request("publish", body.clone()).unwrap();
        answer["published"]["offset"].as_u64()
    })
    .unwrap()
}

/// The next publications, as (offset, id).
fn hear(socket: &mut Socket, count: usize) -> Vec<(u64, String)> {
    let mut heard = Vec::new();
    while heard.len() < count {
        let push: Value = socket.push().unwrap();
        assert!(push.get("gap").is_none(), "{push}");
        if let Some(publication) = push.get("pub") {
            let id = publication["id"].as_str().unwrap().to_owned();
            heard.push((publication["offset"].as_u64().unwrap(), id));
        }
    }
    heard
}

/// Publishes on NATS, twice under one id, and has a question refused; the offset it was published at.
#[tokio::main(flavor = "current_thread")]
async fn ask_as_a_backend(cluster: &Cluster, region: &str) -> u64 {
    let nats = cluster.of_kind(region, Kind::Nats).unwrap().remove(0);
    let client = async_nats::connect(nats.address("url").unwrap().to_string()).await.unwrap();
    let body =
        json!({ "channel": CHANNEL, "id": "from-a-backend", "from": "billing", "data": 1 }).to_string();
    let mut offsets = Vec::new();
    for _ in 0..2 {
        let answer = client.request("skywave.publish", body.clone().into()).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        offsets.push(answer["offset"].as_u64().unwrap());
    }
    assert_eq!(offsets[0], offsets[1]);
    // Under a namespace there are rights in that one only.
    let refused = client.request("skywave.publish.live", body.into()).await.unwrap();
    assert_eq!(refused.headers.unwrap().get("Skywave-Error").unwrap().as_str(), "forbidden");
    offsets[0]
}

/// Hears a channel as JSON.
struct Backend {
    messages: async_nats::Subscriber,
    /// Ends last.
    runtime: tokio::runtime::Runtime,
}

impl Backend {
    fn listen(cluster: &Cluster, region: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let nats = cluster.of_kind(region, Kind::Nats).unwrap().remove(0);
        let url = nats.address("url").unwrap().to_string();
        let messages = runtime.block_on(async {
            let client = async_nats::connect(url).await.unwrap();
            let messages = client.subscribe("sw.json.chat.*").await.unwrap();
            client.flush().await.unwrap();
            messages
        });
        Self { messages, runtime }
    }

    fn offsets_until(&mut self, last: u64) -> Vec<u64> {
        let mut heard = Vec::new();
        while heard.last() != Some(&last) {
            let next = async { tokio::time::timeout(PATIENCE, self.messages.next()).await };
            let message = self.runtime.block_on(next).unwrap().unwrap();
            let publication: Value = serde_json::from_slice(&message.payload).unwrap();
            assert_eq!(publication["channel"], CHANNEL);
            heard.push(publication["offset"].as_u64().unwrap());
        }
        heard
    }
}

#[test]
fn three_regions_see_one_order_also_after_a_link_was_cut_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    // Where another user than root gets to: Postgres refuses to be root.
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let options = ClusterOptions {
        core_settings: toml::from_str("[namespaces.chat]\nlive_json = true").unwrap(),
        ..ClusterOptions::new(folder.path())
    };
    let cluster = Cluster::up(&options).unwrap();
    let processes: Vec<Identity> = cluster
        .members()
        .unwrap()
        .iter()
        .map(|member| Identity::of(member.pid().unwrap()).unwrap())
        .collect();
    assert_eq!(processes.len(), 17);

    let mut backends = ["eu", "us", "asia"].map(|region| Backend::listen(&cluster, region));
    let mut readers = ["eu", "us", "asia"].map(|region| subscriber(&cluster, region));
    let mut asia = connect(&cluster, "asia");
    let mut eu = connect(&cluster, "eu");
    assert_eq!(publish(&mut asia, "from-asia"), 1);
    assert_eq!(publish(&mut eu, "from-eu"), 2);
    let expected = vec![(1, "from-asia".to_owned()), (2, "from-eu".to_owned())];
    for reader in &mut readers {
        assert_eq!(hear(reader, 2), expected);
    }

    // us is cut from the cell. What is published meanwhile reaches the others at once, and us when it is back.
    let mut links = cluster.links().unwrap();
    links.cut("eu", "us").unwrap();
    let held = links.status().unwrap().way("eu", "us").unwrap().counters.held;
    assert_eq!(publish(&mut asia, "while-cut"), 3);
    let [in_eu, in_us, in_asia] = &mut readers;
    for reader in [in_eu, in_asia] {
        assert_eq!(hear(reader, 1), [(3, "while-cut".to_owned())]);
    }
    until("the link to have held something", || {
        (links.status().unwrap().way("eu", "us").unwrap().counters.held > held).then_some(())
    })
    .unwrap();
    links.heal("eu", "us").unwrap();
    assert_eq!(hear(in_us, 1), [(3, "while-cut".to_owned())]);
    let mut us = connect(&cluster, "us");
    assert_eq!(publish(&mut us, "from-us"), 4);
    for reader in &mut readers {
        assert_eq!(hear(reader, 1), [(4, "from-us".to_owned())]);
    }

    let sequenced = ask_as_a_backend(&cluster, "us");
    assert_eq!(sequenced, 5);
    for reader in &mut readers {
        assert_eq!(hear(reader, 1), [(5, "from-a-backend".to_owned())]);
    }

    // The one core that has a publication tells it; gateways take it to every region, once.
    assert_eq!(publish(&mut us, "last"), 6);
    let [in_eu, in_us, in_asia] = &mut backends;
    for backend in [in_eu, in_asia] {
        assert_eq!(backend.offsets_until(6), [1, 2, 3, 4, 5, 6]);
    }
    // Over the link that was cut, something may be lost: if the gateways gave their connection up before it was healed.
    let heard = in_us.offsets_until(6);
    assert!(heard.starts_with(&[1, 2]) && heard.is_sorted_by(|one, next| one < next), "{heard:?}");

    cluster.down().unwrap();
    for process in &processes {
        assert_eq!(process.state(), State::Gone);
    }
}

//! Fifty thousand members of one channel at one node, told to another one over a real NATS: more than one message takes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use prometheus_client::registry::Registry;
use skywave_engine::presence::{Presence, PresenceConfig, PresenceOutput};
use skywave_nats::{NatsBus, NatsConfig};
use skywave_ports::{Bus, Inbox};
use skywave_protocol::inner::Live;
use skywave_protocol::message::Member;
use skywave_protocol::{ChannelName, ClientId, NodeId, Subject, UserId};
use skywave_servers::nats::{NatsOptions, NatsServer};

const CROWD: usize = 50_000;

struct Node {
    presence: Presence,
    bus: NatsBus,
    heard: tokio::sync::mpsc::Receiver<skywave_ports::BusMessage>,
    _listening: skywave_ports::Subscription,
}

impl Node {
    async fn start(name: &str, server: &NatsServer) -> Self {
        let config = NatsConfig { servers: vec![server.url()], ..NatsConfig::default() };
        let bus = NatsBus::connect(config, &mut Registry::default()).await.unwrap();
        let (inbox, heard) = Inbox::new(1_000);
        let listening = bus.subscribe(&Subject::live(&channel()), None, &inbox).await.unwrap();
        let presence = Presence::new(NodeId::parse(name).unwrap(), PresenceConfig::default());
        Self { presence, bus, heard, _listening: listening }
    }

    /// Publishes what the machine has decided.
    fn speak(&mut self) {
        while let Some(output) = self.presence.poll_output() {
            if let PresenceOutput::Publish { channel, delta } = output {
                let live = Live::Presence { channel: channel.clone(), delta };
                self.bus.publish(&Subject::live(&channel), live.encode()).unwrap();
            }
        }
    }

    async fn hear(&mut self) {
        let message = self.heard.recv().await.unwrap();
        if let Live::Presence { channel, delta } = Live::decode(message.payload).unwrap() {
            self.presence.handle_delta(1_000, &channel, delta);
        }
    }
}

fn channel() -> ChannelName {
    ChannelName::parse("room:stadium").unwrap()
}

fn member(number: usize) -> Member {
    let client = ClientId::parse(&format!("eu-edge-1-abcdef12-{number}")).unwrap();
    Member { client, user: Some(UserId::parse(&format!("visitor-{number}")).unwrap()) }
}

#[tokio::test]
async fn fifty_thousand_members_of_a_channel_are_told_over_nats() {
    let folder = tempfile::tempdir().unwrap();
    let server = NatsServer::start(NatsOptions::new("one", folder.path()).unwrap()).unwrap();
    let mut full = Node::start("full", &server).await;
    for number in 0..CROWD {
        full.presence.enter(0, &channel(), member(number));
        // What it says now has nobody to hear it.
        while full.presence.poll_output().is_some() {}
    }
    let everything = skywave_protocol::inner::PresenceDelta {
        node: NodeId::parse("full").unwrap(),
        version: CROWD as u64,
        change: skywave_protocol::inner::PresenceChange::All((0..CROWD).map(member).collect()),
    };
    let whole = Live::Presence { channel: channel(), delta: everything }.encode();
    let refused = full.bus.publish(&Subject::live(&channel()), whole);
    assert!(matches!(refused, Err(skywave_ports::BusError::TooLarge(_))), "it would be one message");

    let mut fresh = Node::start("fresh", &server).await;
    fresh.presence.watch(1_000, &channel());
    fresh.speak();
    let told = async {
        while fresh.presence.members(&channel()).len() < CROWD {
            tokio::select! {
                () = full.hear() => full.speak(),
                () = fresh.hear() => fresh.speak(),
            }
        }
    };
    tokio::time::timeout(skywave_servers::wait::PATIENCE, told).await.expect("all of them to be told");
    assert_eq!(fresh.presence.members(&channel()), full.presence.members(&channel()));
}

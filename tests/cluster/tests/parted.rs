//! Regions without a cell: that their links are the only way between them, and that nothing is left behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use skywave_cluster::{Cluster, ClusterOptions, Kind, Member};
use skywave_servers::wait::{PATIENCE, until};
use skywave_servers::{Identity, State, http};

/// NATS and Redis in three regions, and the links between them.
fn regions(folder: &std::path::Path) -> ClusterOptions {
    ClusterOptions { cell: false, edges: 0, ..ClusterOptions::new(folder) }
}

/// A connection to a NATS server that speaks as little of its protocol as these tests need.
struct Nats(BufReader<TcpStream>);

impl Nats {
    fn connect(server: &Member) -> Self {
        let stream = TcpStream::connect(server.address("url").unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut nats = Self(BufReader::new(stream));
        nats.say("CONNECT {\"verbose\":false}\r\n");
        nats.settle();
        nats
    }

    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// Waits until the server has done all that was said.
    fn settle(&mut self) {
        self.say("PING\r\n");
        while self.line() != "PONG" {}
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn publish(&mut self, text: &str) {
        self.say(&format!("PUB news {}\r\n{text}\r\n", text.len()));
        self.settle();
    }

    /// Whether a message has come by now; it is taken.
    fn has_heard(&mut self) -> bool {
        self.say("PING\r\n");
        let mut heard = false;
        loop {
            match self.line() {
                line if line == "PONG" => return heard,
                line => heard |= line.starts_with("MSG "),
            }
        }
    }

    /// The payload of the next message.
    fn hear(&mut self) -> String {
        loop {
            match self.line() {
                head if head.starts_with("MSG ") => return self.line(),
                ping if ping == "PING" => self.say("PONG\r\n"),
                _ => {}
            }
        }
    }
}

fn nats(cluster: &Cluster, region: &str) -> Member {
    cluster.of_kind(region, Kind::Nats).unwrap().remove(0)
}

#[test]
fn nothing_passes_between_two_regions_but_over_their_link() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::up(&regions(folder.path())).unwrap();
    let mut links = cluster.links().unwrap();

    // Every gateway leads to a link's near end, also those that servers have heard of from each other.
    let near: BTreeSet<u16> =
        links.status().unwrap().forwards.iter().map(|forward| forward.spec.listen.port()).collect();
    for region in ["eu", "us", "asia"] {
        let monitor = nats(&cluster, region).address("monitor").unwrap();
        let page: serde_json::Value =
            serde_json::from_str(&http::get(monitor, "/gatewayz").unwrap().1).unwrap();
        let outbound = page["outbound_gateways"].as_object().unwrap();
        assert_eq!(outbound.len(), 2);
        for gateway in outbound.values() {
            let port = gateway["connection"]["port"].as_u64().unwrap();
            assert!(near.contains(&u16::try_from(port).unwrap()), "{region}: {port} is no link's");
        }
    }

    let mut eu = Nats::connect(&nats(&cluster, "eu"));
    eu.say("SUB news 1\r\n");
    eu.settle();
    let mut us = Nats::connect(&nats(&cluster, "us"));
    let mut asia = Nats::connect(&nats(&cluster, "asia"));
    us.publish("whole");
    assert_eq!(eu.hear(), "whole");

    links.cut("eu", "us").unwrap();
    let before = links.status().unwrap();
    let passed = |status: &skywave_wan::Status| status.way("us", "eu").unwrap().counters.stream_bytes;
    us.publish("parted");
    until("the link to hold it", || {
        let status = links.status().unwrap();
        (status.way("us", "eu").unwrap().counters.held > before.way("us", "eu").unwrap().counters.held)
            .then_some(())
    })
    .unwrap();
    // Neither directly nor by way of asia, over which this comes.
    asia.publish("detour");
    assert_eq!(eu.hear(), "detour");
    assert_eq!(passed(&links.status().unwrap()), passed(&before));

    links.heal("eu", "us").unwrap();
    until("the regions to be joined again", || {
        let joined = |from: &str, to: &str| {
            cluster.gateways(&format!("{from}-nats-1")).unwrap().iter().any(|region| region == to)
        };
        (joined("eu", "us") && joined("us", "eu")).then_some(())
    })
    .unwrap();
    // What was held arrives if its connection lived long enough; what comes later does for certain.
    until("something from over there", || {
        us.publish("healed");
        eu.has_heard().then_some(())
    })
    .unwrap();
    cluster.down().unwrap();
}

#[test]
fn processes_are_found_again_killed_frozen_and_brought_back_and_none_is_left() {
    let folder = tempfile::tempdir().unwrap();
    Cluster::up(&regions(folder.path())).unwrap().keep();
    // As another program would.
    let cluster = Cluster::open(folder.path()).unwrap().own();
    let started: Vec<Identity> = cluster
        .members()
        .unwrap()
        .iter()
        .map(|member| Identity::of(member.pid().unwrap()).unwrap())
        .collect();
    assert_eq!(started.len(), 7);

    let again = Cluster::up(&regions(folder.path())).map(drop).unwrap_err().to_string();
    assert!(again.contains("runs in") && again.contains("already (7 processes)"), "{again}");
    let unknown = cluster.kill9("eu-redis").unwrap_err().to_string();
    assert!(unknown.starts_with("no process eu-redis; there are wan, eu-nats-1, "), "{unknown}");

    cluster.pause("us-redis-1").unwrap();
    let frozen = cluster.member("us-redis-1").unwrap();
    until("it to be frozen", || (frozen.standing().state == State::Stopped).then_some(())).unwrap();
    assert!(!frozen.standing().ready);
    cluster.resume("us-redis-1").unwrap();
    cluster.wait_ready("us-redis-1").unwrap();

    let url = cluster.member("eu-redis-1").unwrap().addresses["url"].clone();
    cluster.kill9("eu-redis-1").unwrap();
    assert_eq!(cluster.member("eu-redis-1").unwrap().standing().state, State::Gone);
    assert!(cluster.kill9("eu-redis-1").unwrap_err().to_string().contains("not running"));
    cluster.restart("eu-redis-1").unwrap();
    cluster.restart("wan").unwrap();
    let back = cluster.member("eu-redis-1").unwrap();
    assert_eq!(back.addresses["url"], url);
    let document: serde_json::Value =
        serde_json::from_slice(&std::fs::read(cluster.document()).unwrap()).unwrap();
    let entry = &document["regions"]["eu"]["redis"][0];
    assert_eq!(
        (entry["pid"].as_u64(), entry["url"].as_str()),
        (back.pid().map(u64::from), Some(url.as_str()))
    );
    assert!(document["regions"]["asia"]["edges"].as_array().unwrap().is_empty());

    let last: Vec<Identity> = cluster
        .members()
        .unwrap()
        .iter()
        .map(|member| Identity::of(member.pid().unwrap()).unwrap())
        .collect();
    cluster.down().unwrap();
    for process in started.iter().chain(&last) {
        assert_eq!(process.state(), State::Gone);
    }
    assert!(Cluster::open(folder.path()).is_err());
}

#[test]
fn a_cluster_that_does_not_come_up_whole_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("broken");
    std::fs::write(&program, "#!/bin/sh\necho this will not do >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let folder = folder.path().join("cluster");
    let options = ClusterOptions { edges: 1, binary: Some(program), ..regions(&folder) };
    let error = format!("{:#}", Cluster::up(&options).map(drop).unwrap_err());
    assert!(error.contains("-edge-1 ended") && error.contains("this will not do"), "{error}");
    assert!(!Cluster::is_in(&folder).unwrap());
    // Ended, not forgotten: the socket of the links answers nobody.
    assert!(skywave_wan::Control::connect(&folder.join("wan.sock")).is_err());
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.txt"), "years of work").unwrap();
    let refused = |options: ClusterOptions| Cluster::up(&options).map(drop).unwrap_err().to_string();
    assert!(refused(regions(folder.path())).contains("choose another folder"));
    let inner = regions(&folder.path().join("cluster"));
    let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(
        refused(ClusterOptions { regions: of(&["eu", "eu"]), ..inner.clone() }),
        "region eu is named twice"
    );
    assert!(
        refused(ClusterOptions { regions: of(&["../eu"]), ..inner.clone() }).starts_with("region \"../eu\"")
    );
    assert!(refused(ClusterOptions { nats: 0, ..inner }).contains("not between 1 and 9"));
    assert!(!folder.path().join("cluster").exists());
}

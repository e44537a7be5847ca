//! Two regions of two edges each, and clients that come and go: whatever is killed, frozen, emptied or cut, every edge answers
//! who is there, and nobody is told what is not so (I12).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;

use serde_json::json;
use skywave_cluster::{Cluster, ClusterOptions, Kind};
use skywave_harness::participant::Places;
use skywave_harness::presence::{Answer, Audit, Member, Roll, Snapshot, judge};
use skywave_harness::token;
use skywave_servers::redis;
use skywave_servers::wait::{PATIENCE, until};

/// In the second one is nobody of us.
const CHANNELS: [&str; 2] = ["room:1", "room:2"];
/// Ephemeral, because there is no cell; a heartbeat of a second, so that leases are waited for in a test's time.
const SETTINGS: &str = "
[timing]
presence_beat_seconds = 1
presence_lease_seconds = 4
[namespaces.room]
durability = 'ephemeral'
presence = true
history_size = 0
";

struct Regions {
    cluster: Cluster,
    secret: String,
    roll: Roll,
    members: Vec<(&'static str, Member)>,
}

impl Regions {
    /// Four users of each region with two tabs in each channel, a tab at each edge.
    fn up(folder: &std::path::Path) -> Self {
        let options = ClusterOptions {
            cell: false,
            regions: ["eu", "us"].map(str::to_owned).into(),
            edge_settings: toml_of(SETTINGS),
            ..ClusterOptions::new(folder)
        };
        let cluster = Cluster::up(&options).unwrap();
        let secret = std::fs::read_to_string(cluster.secret_file()).unwrap().trim_end().to_owned();
        let mut regions = Self { cluster, secret, roll: Roll::default(), members: Vec::new() };
        for region in ["eu", "us"] {
            for tab in 0..2 {
                for channel in CHANNELS.into_iter().take(if region == "eu" { 2 } else { 1 }) {
                    for number in 0..4 {
                        let user = format!("{region}-{number}");
                        let member = regions.member(region, tab, &user, channel);
                        regions.members.push((region, member));
                    }
                }
            }
        }
        regions
    }

    fn member(&self, region: &str, edge: usize, user: &str, channel: &str) -> Member {
        let mut edges = self.edges(region);
        edges.rotate_left(edge);
        let token = token::signed(&json!({ "sub": user, "exp": token::now() + 3_600 }), &self.secret);
        Member::start(Places::new(edges), &self.roll, user, channel, Some(token))
    }

    fn edges(&self, region: &str) -> Vec<SocketAddr> {
        let edges = self.cluster.of_kind(region, Kind::Edge).unwrap();
        edges.iter().map(|edge| edge.address("http").unwrap()).collect()
    }

    /// Every third one of a region's clients (of all, without) goes or comes, from the `from`th on.
    fn want(&self, region: Option<&str>, from: usize, wanted: bool) {
        let theirs = self.members.iter().filter(|(of, _)| region.is_none_or(|region| region == *of));
        theirs.skip(from).step_by(3).for_each(|(_, member)| member.want(wanted));
    }

    fn audit<T>(&self, ask: impl FnOnce(Audit<'_>) -> T) -> T {
        let edges = ["eu", "us"].into_iter().flat_map(|region| self.edges(region)).collect();
        let channels = CHANNELS.map(str::to_owned);
        ask(Audit { roll: &self.roll, edges, channels: &channels, secret: &self.secret })
    }

    fn ask(&self, edge: SocketAddr, channel: &str) -> Option<Answer> {
        self.audit(|audit| audit.ask(edge, channel))
    }

    /// Waits until every edge of both regions tells the truth of both channels.
    fn agree(&self, when: &str) {
        let found = self.audit(|audit| audit.agree(PATIENCE, || self.settled().is_some()));
        assert_eq!(found, [], "{when}");
    }

    /// Every single answer is right, also of an edge that has nobody in the channel and is asked again and again.
    fn answers_at_once(&self) {
        let snapshot = self.settled().unwrap();
        for edge in ["us", "eu"].into_iter().flat_map(|region| self.edges(region)).cycle().take(16) {
            let answers = CHANNELS.map(|channel| self.ask(edge, channel).unwrap());
            assert_eq!(judge(&snapshot, &[edge], &answers), []);
        }
    }

    fn settled(&self) -> Option<Snapshot> {
        self.members.iter().all(|(_, member)| member.is_settled()).then(|| self.roll.snapshot())
    }

    /// Waits until an edge sees so many of another region's clients, or of another edge's.
    fn sees(&self, edge: SocketAddr, prefix: &str, holds: impl Fn(usize) -> bool) {
        until(&format!("{edge} to see fewer, or more, of {prefix}"), || {
            let answer = self.ask(edge, CHANNELS[0])?;
            let count = answer.members.iter().filter(|(client, _)| client.starts_with(prefix)).count();
            holds(count).then_some(())
        })
        .unwrap();
    }
}

fn toml_of(text: &str) -> toml::Table {
    text.parse().unwrap()
}

#[test]
fn every_edge_answers_who_is_there_after_whatever_happened() {
    let folder = tempfile::tempdir().unwrap();
    let regions = Regions::up(folder.path());
    let cluster = &regions.cluster;
    let eu = regions.edges("eu");
    regions.agree("all have come");
    assert_eq!(regions.roll.snapshot().standing().len(), 24);
    regions.answers_at_once();
    regions.want(None, 0, false);
    regions.agree("some have gone");
    regions.want(None, 0, true);
    regions.want(None, 1, false);
    regions.agree("some have come again, others gone");

    cluster.kill9("eu-edge-1").unwrap();
    regions.want(None, 1, true);
    cluster.restart("eu-edge-1").unwrap();
    regions.agree("an edge was killed");

    // Frozen for longer than its lease: the others give its clients up, and take them back.
    cluster.pause("us-edge-1").unwrap();
    regions.want(Some("eu"), 0, false);
    regions.sees(eu[0], "us-edge-1-", |count| count == 0);
    regions.want(Some("eu"), 2, false);
    cluster.resume("us-edge-1").unwrap();
    regions.agree("an edge was frozen");

    for region in ["eu", "us"] {
        let redis = format!("{region}-redis-1");
        redis::flush(cluster.member(&redis).unwrap().address("url").unwrap()).unwrap();
        regions.want(Some(region), 0, true);
        cluster.kill9(&redis).unwrap();
        regions.want(Some(region), 1, false);
    }
    regions.agree("Redis was emptied and is away");
    for region in ["eu", "us"] {
        cluster.restart(&format!("{region}-redis-1")).unwrap();
    }

    // Those who leave now leave unheard.
    cluster.kill9("us-nats-1").unwrap();
    regions.want(Some("us"), 0, false);
    regions.want(Some("eu"), 1, true);
    regions.sees(eu[1], "us-", |count| count == 0);
    cluster.restart("us-nats-1").unwrap();
    regions.agree("a region had no NATS");

    let mut links = cluster.links().unwrap();
    links.cut("eu", "us").unwrap();
    regions.want(None, 0, true);
    regions.want(None, 1, false);
    regions.sees(eu[0], "us-", |count| count == 0);
    links.heal("eu", "us").unwrap();
    regions.agree("two regions were parted");

    regions.answers_at_once();

    // Everything there was to be told was told to somebody.
    let snapshot = regions.roll.snapshot();
    let told = |came: bool| snapshot.news.iter().filter(|news| news.came == came).count();
    assert!(told(true) > 50 && told(false) > 50, "{} came, {} went", told(true), told(false));
    drop(regions);
}

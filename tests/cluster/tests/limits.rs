//! One user at two edges of a region: one rate with the region's Redis, one for each edge without it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use serde_json::json;
use skywave_cluster::{Cluster, ClusterOptions, Kind};
use skywave_harness::{Socket, http, token};
use skywave_servers::wait::until;

const BURST: u32 = 40;
/// A token in half a minute: what comes by itself while the test runs is next to nothing.
const SETTINGS: &str = "
[limits]
user_publishes_per_minute = 2
user_publish_burst = 40
";
/// A refusal that asks for more than this is one for want of tokens, not for a loan that is under way.
const EMPTY_MS: u64 = 1_000;
/// Users that are tried until Redis answers one's loans in time, which it may not on a machine that is taken away meanwhile.
const ATTEMPTS: u32 = 10;
/// Between two publishes, so that what was borrowed meanwhile is known.
const PACE: Duration = Duration::from_millis(20);

/// Publishes as a user at each edge in turn until it refuses; how often each let it through.
fn exhaust(cluster: &Cluster, user: &str) -> [u32; 2] {
    let secret = std::fs::read_to_string(cluster.secret_file()).unwrap();
    let claims = json!({ "sub": user, "exp": token::now() + 3_600 });
    let token = token::signed(&claims, secret.trim_end());
    ["eu-edge-1", "eu-edge-2"].map(|edge| {
        let edge = cluster.member(edge).unwrap().address("http").unwrap();
        let mut socket = Socket::connect(edge, Some(&token)).unwrap();
        let mut published = 0;
        loop {
            let answer = socket.request("publish", json!({ "channel": "live:x", "data": 1 })).unwrap();
            if answer.get("published").is_some() {
                published += 1;
            } else {
                assert_eq!(answer["error"]["code"], "rate_limited");
                if answer["error"]["retry_after_ms"].as_u64().unwrap() > EMPTY_MS {
                    return published;
                }
            }
            std::thread::sleep(PACE);
        }
    })
}

/// The sum over the edges.
fn metric(cluster: &Cluster, name: &str) -> f64 {
    let edges = cluster.of_kind("eu", Kind::Edge).unwrap();
    let value = |edge: &skywave_cluster::Member| {
        let page = http::get(edge.address("http").unwrap(), "/metrics").unwrap().text();
        let lines = page.lines().filter(|line| line.starts_with(name));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>()
    };
    edges.iter().map(value).sum()
}

/// Publishes that an edge let through without Redis.
fn alone(cluster: &Cluster) -> f64 {
    metric(cluster, "skywave_edge_limit_alone_total{limit=\"publishes\"}")
}

/// A user, new to both edges, whom they give one burst together.
fn assert_one_rate(cluster: &Cluster, name: &str) {
    for attempt in 0..ATTEMPTS {
        let before = alone(cluster);
        let [first, second] = exhaust(cluster, &format!("{name}-{attempt}"));
        if alone(cluster) > before {
            continue;
        }
        // What an edge lets through before its first loan is answered is a few on credit, not a burst.
        assert!((BURST..BURST + BURST / 2).contains(&first) && second < BURST / 2, "{first}, {second}");
        return;
    }
    panic!("no user's loans were answered");
}

#[test]
fn a_users_rate_holds_over_two_edges_and_on_each_while_redis_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let options = ClusterOptions {
        cell: false,
        regions: vec!["eu".to_owned()],
        edge_settings: SETTINGS.parse().unwrap(),
        ..ClusterOptions::new(folder.path())
    };
    let cluster = Cluster::up(&options).unwrap();
    assert_one_rate(&cluster, "ada");

    let before = alone(&cluster);
    cluster.kill9("eu-redis-1").unwrap();
    let [first, second] = exhaust(&cluster, "bob");
    assert!(first >= BURST && second >= BURST, "{first}, {second}");
    assert!(alone(&cluster) > before);

    cluster.restart("eu-redis-1").unwrap();
    until("both edges to be back at Redis", || {
        (metric(&cluster, "skywave_redis_breaker_open ") == 0.0).then_some(())
    })
    .unwrap();
    assert_one_rate(&cluster, "eve");
}

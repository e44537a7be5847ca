//! The contract of the shared state, on real servers.

mod support;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use skywave_ports::conformance::state;
use skywave_ports::{SharedState, TokenGrant};
use skywave_redis::{RedisConfig, RedisState, RedisTls};
use skywave_servers::redis::{Redis, RedisOptions, RedisUser};
use support::{config, connect, start};

#[tokio::test(flavor = "multi_thread")]
async fn one_server_conforms() {
    let server = start(|options| options);
    state::suite(async |_| connect(config(&server)).await.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_tls_and_a_user_of_few_rights_conforms() {
    let server = start(|options| {
        let user = RedisUser { name: "edge".into(), password: "pass word".into(), rules: rights() };
        RedisOptions { users: vec![user], password: Some("other".into()), ..options }.with_tls().unwrap()
    });
    let (url, certificates) = server.redis.tls().unwrap();
    let config = RedisConfig {
        url,
        username: Some("edge".into()),
        password: Some("pass word".into()),
        tls: RedisTls { authority: Some(certificates.authority.clone()), client: None },
        prefix: "sw-eu".into(),
        ..config(&server)
    };
    state::suite(async |_| connect(config.clone()).await.0).await;
    let keys = server.redis.ask(&["KEYS", "*"]).unwrap();
    assert!(!keys.is_empty() && keys.lines().all(|key| key.starts_with("sw-eu:")), "{keys}");
}

/// The rights that `docs/redis.md` names.
fn rights() -> String {
    let page = include_str!("../../../../docs/redis.md");
    let rule = page.lines().find_map(|line| line.trim().strip_prefix("user skywave on >PASSWORD "));
    rule.expect("docs/redis.md names the rights").replace("~skywave:*", "~sw-eu:*")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let node = |name: &str| {
        let options = RedisOptions::new(folder.path().join(name)).unwrap();
        Redis::start(RedisOptions { extra: vec!["cluster-enabled yes".into()], ..options }).unwrap()
    };
    let nodes = [node("a"), node("b"), node("c")];
    for (node, slots) in nodes.iter().zip([("0", "5000"), ("5001", "11000"), ("11001", "16383")]) {
        node.ask(&["CLUSTER", "ADDSLOTSRANGE", slots.0, slots.1]).unwrap();
        let port = nodes[0].address().port().to_string();
        node.ask(&["CLUSTER", "MEET", "127.0.0.1", &port]).unwrap();
    }
    for node in &nodes {
        skywave_servers::wait::until("the cluster", || {
            node.ask(&["CLUSTER", "INFO"]).unwrap().contains("cluster_state:ok").then_some(())
        })
        .unwrap();
    }
    let url = format!("redis-cluster://{}", nodes[1].address());
    let rights = format!("{} +cluster|slots +cluster|info", rights().replace("~sw-eu:*", "~skywave:*"));
    for node in &nodes {
        let user = ["ACL", "SETUSER", "edge", "on", ">secret"];
        let rights: Vec<&str> = rights.split(' ').collect();
        node.ask(&[&user[..], &rights].concat()).unwrap();
    }
    let (username, password) = (Some("edge".into()), Some("secret".into()));
    let config =
        RedisConfig { url, username, password, timeout: Duration::from_secs(5), ..RedisConfig::default() };
    state::suite(async |_| connect(config.clone()).await.0).await;
    let spread = nodes.iter().filter(|node| node.ask(&["DBSIZE"]).unwrap() != "0").count();
    assert_eq!(spread, 3, "keys are on every node");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_exact_under_pipelined_load_from_several_nodes() {
    const CALLS: u32 = 2_000;
    const BURST: u32 = 1_500;
    let server = start(|options| options);
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Arc::new(connect(config(&server)).await.0));
    }
    let mut calls = tokio::task::JoinSet::new();
    for call in 0..CALLS {
        let node = nodes[call as usize % nodes.len()].clone();
        calls.spawn(async move { node.take_tokens("busy", 1, BURST, 0.000_1).await.unwrap() });
    }
    let granted = calls.join_all().await.into_iter().filter(|grant| *grant == TokenGrant::Granted).count();
    assert_eq!(granted, BURST as usize);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_behind_for_long() {
    let server = start(|options| options);
    let state = RedisState::connect(config(&server), &mut Registry::default()).await.unwrap();
    state.take_tokens("full again in a moment", 1, 10, 1_000.0).await.unwrap();
    state.borrow_tokens("full again in a moment too", 5, 10, 1_000.0).await.unwrap();
    state.remember("short", Duration::from_millis(10)).await.unwrap();
    skywave_servers::wait::until("the keys to go", || {
        (server.redis.ask(&["DBSIZE"]).unwrap() == "0").then_some(())
    })
    .unwrap();
    state.take_tokens("slow", 1, 10, 0.000_001).await.unwrap();
    let key = server.redis.ask(&["KEYS", "*"]).unwrap();
    let ttl: i64 = server.redis.ask(&["TTL", &key]).unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&ttl), "{ttl}");
}

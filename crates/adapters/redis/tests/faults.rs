//! Redis killed, frozen, emptied, demoted, never there; and configurations that can never work.

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use skywave_ports::{FeedPosition, SharedState, StateError, TokenGrant};
use skywave_redis::{RedisConfig, RedisError, RedisState, RedisTls};
use skywave_servers::redis::{Redis, RedisOptions, RedisUser};
use skywave_servers::{Process, ports};
use support::{back, config, connect, gone, hasty, metric, start, wrote};

const LONG: Duration = Duration::from_secs(600);
/// How long an operation waits for a server that is frozen.
const LIMIT: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_is_noticed_and_found_again_with_what_it_kept() {
    let mut server = start(|options| RedisOptions { appendonly: true, ..options });
    let (state, registry) = connect(hasty(&server)).await;
    state.remember("revoked", LONG).await.unwrap();
    state.take_tokens("bucket", 3, 3, 0.001).await.unwrap();
    state.append_notice("feed", Bytes::from_static(b"a"), LONG).await.unwrap();
    let read = state.read_notices("feed", FeedPosition::default()).await.unwrap();
    for round in 1..=3 {
        server.redis.kill9().unwrap();
        gone(&state).await;
        assert!(metric(&registry, "skywave_redis_breaker_open") == 1.0);
        server.redis.restart().unwrap();
        back(&state).await;
        assert_eq!(metric(&registry, "skywave_redis_breaker_opened_total"), f64::from(round));
    }
    assert!(state.is_remembered("revoked").await.unwrap());
    assert!(matches!(state.take_tokens("bucket", 1, 3, 0.001).await.unwrap(), TokenGrant::Wait(_)));
    let again = state.read_notices("feed", read.position).await.unwrap();
    assert!(again.notices.is_empty() && !again.missed, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_holds_nobody_up() {
    let server = start(|options| options);
    let (state, registry) = connect(RedisConfig { timeout: LIMIT, ..hasty(&server) }).await;
    back(&state).await;
    server.redis.pause().unwrap();
    let frozen = Instant::now();
    let mut slowest = Duration::ZERO;
    let (mut calls, mut refused) = (0, 0);
    // Ten seconds of a caller that never stops asking.
    while frozen.elapsed() < Duration::from_secs(10) {
        let asked = Instant::now();
        let answer = state.take_tokens("bucket", 1, 1_000_000, 1_000.0).await;
        assert!(matches!(answer, Err(StateError::Unavailable(_))), "{answer:?}");
        slowest = slowest.max(asked.elapsed());
        calls += 1;
        refused += u32::from(!state.is_available());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Generous: it says that there is a limit, not how quick the machine is.
    assert!(slowest < 10 * LIMIT, "one waited {slowest:?}; its limit is {LIMIT:?}");
    assert!(refused * 2 > calls, "most are refused at once: {refused} of {calls}");
    server.redis.resume().unwrap();
    back(&state).await;
    assert_eq!(metric(&registry, "skywave_redis_breaker_open"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flushed_server_costs_what_it_held_and_readers_of_a_feed_are_told() {
    let server = start(|options| options);
    let (state, _) = connect(config(&server)).await;
    state.remember("revoked", LONG).await.unwrap();
    state.take_tokens("bucket", 3, 3, 0.001).await.unwrap();
    for notice in ["a", "b"] {
        state.append_notice("feed", Bytes::from_static(notice.as_bytes()), LONG).await.unwrap();
    }
    let read = state.read_notices("feed", FeedPosition::default()).await.unwrap();
    assert_eq!(read.notices.len(), 2);
    // Scripts go as well.
    server.redis.ask(&["FLUSHALL"]).unwrap();
    server.redis.ask(&["SCRIPT", "FLUSH"]).unwrap();
    assert!(!state.is_remembered("revoked").await.unwrap());
    assert_eq!(state.take_tokens("bucket", 3, 3, 0.001).await.unwrap(), TokenGrant::Granted);
    let empty = state.read_notices("feed", read.position).await.unwrap();
    assert!(empty.missed && empty.notices.is_empty(), "{empty:?}");
    state.append_notice("feed", Bytes::from_static(b"c"), LONG).await.unwrap();
    for (after, missed) in [(read.position, true), (empty.position, false)] {
        let found = state.read_notices("feed", after).await.unwrap();
        assert_eq!((found.notices.len(), found.missed), (1, missed), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_becomes_a_replica_is_left_for_the_one_that_took_its_place() {
    let primary = start(|options| options);
    let replica = start(|options| RedisOptions { replica_of: Some(primary.redis.address()), ..options });
    replica.redis.wait_synced().unwrap();
    let (state, _) = connect(hasty(&primary)).await;
    state.remember("revoked", LONG).await.unwrap();
    skywave_servers::wait::until("the replica", || {
        (replica.redis.ask(&["DBSIZE"]).unwrap() == "1").then_some(())
    })
    .unwrap();
    // The address of the primary leads to a replica now: nothing can be written there.
    let heir = replica.redis.address();
    replica.redis.ask(&["REPLICAOF", "NO", "ONE"]).unwrap();
    primary.redis.ask(&["REPLICAOF", &heir.ip().to_string(), &heir.port().to_string()]).unwrap();
    skywave_servers::wait::until("writes to fail", || {
        primary.redis.ask(&["SET", "x", "y"]).unwrap_err().to_string().contains("READONLY").then_some(())
    })
    .unwrap();
    for _ in 0..5 {
        assert!(state.remember("other", LONG).await.is_err());
    }
    assert!(!state.is_available());
    // … and to a primary again, as an address does that follows it.
    primary.redis.ask(&["REPLICAOF", "NO", "ONE"]).unwrap();
    back(&state).await;
    state.remember("other", LONG).await.unwrap();
    assert!(state.is_remembered("revoked").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_that_sentinels_name_is_followed_through_a_failover() {
    let mut primary = start(|options| options);
    let replica = start(|options| RedisOptions { replica_of: Some(primary.redis.address()), ..options });
    replica.redis.wait_synced().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (file, log) = (folder.path().join("sentinel.conf"), folder.path().join("sentinel.log"));
    let (address, watched) = (ports::free().unwrap(), primary.redis.address());
    let port = address.port();
    let text = format!(
        "port {port}\nsentinel monitor main {} {} 1\nsentinel down-after-milliseconds main 300\n\
         sentinel failover-timeout main 2000\n",
        watched.ip(),
        watched.port()
    );
    std::fs::write(&file, text).unwrap();
    let program = skywave_servers::install::redis::redis_server().unwrap();
    let mut sentinel = Process::new("sentinel", program, log).args([file.as_os_str(), "--sentinel".as_ref()]);
    sentinel.start().unwrap();
    sentinel.wait_ready(|| std::net::TcpStream::connect(address).is_ok()).unwrap();
    let url = format!("redis-sentinel://{address}?sentinelServiceName=main");
    let (state, _) = connect(RedisConfig { url, ..hasty(&primary) }).await;
    back(&state).await;
    state.remember("revoked", LONG).await.unwrap();
    let copied = || (replica.redis.ask(&["DBSIZE"]).unwrap() == "1").then_some(());
    skywave_servers::wait::until("the replica", copied).unwrap();
    // The sentinel finds replicas by asking the primary, now and then.
    let found = || std::fs::read_to_string(folder.path().join("sentinel.log")).unwrap().contains("+slave");
    skywave_servers::wait::until("the sentinel to know the replica", || found().then_some(())).unwrap();
    primary.redis.kill9().unwrap();
    // The sentinel may be so fast that nobody notices.
    wrote(&state, "other").await;
    assert!(state.is_remembered("revoked").await.unwrap());
    assert!(replica.redis.ask(&["INFO", "replication"]).unwrap().contains("role:master"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_at_first_is_found_when_it_comes() {
    let mut server = start(|options| options);
    server.redis.kill9().unwrap();
    let (state, registry) = connect(hasty(&server)).await;
    assert!(!state.is_available());
    assert!(matches!(state.remember("x", LONG).await, Err(StateError::Unavailable(_))));
    assert_eq!(metric(&registry, "skywave_redis_breaker_open"), 1.0);
    server.redis.restart().unwrap();
    back(&state).await;
    state.remember("x", LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_frozen_at_first_is_found_when_it_thaws() {
    let server = start(|options| options);
    server.redis.pause().unwrap();
    let (state, _) = connect(hasty(&server)).await;
    assert!(!state.is_available());
    server.redis.resume().unwrap();
    back(&state).await;
}

async fn refused(config: RedisConfig) -> RedisError {
    match RedisState::connect(config, &mut Registry::default()).await {
        Ok(_) => panic!("connected"),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_said_at_once_and_not_shown() {
    let server = start(|options| RedisOptions { password: Some("right".into()), ..options });
    for password in [Some("hidden".into()), None] {
        let error = refused(RedisConfig { password, ..config(&server) }).await;
        assert!(matches!(error, RedisError::Refused { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&server.redis.address().to_string()) && !text.contains("hidden"), "{text}");
    }
    connect(RedisConfig { password: Some("right".into()), ..config(&server) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_are_named() {
    let server = start(|options| {
        let rules = "~skywave:* +@read +@write +eval".into();
        let user = RedisUser { name: "edge".into(), password: "p".into(), rules };
        RedisOptions { users: vec![user], ..options }
    });
    let login = |prefix: &str| RedisConfig {
        username: Some("edge".into()),
        password: Some("p".into()),
        prefix: prefix.into(),
        ..config(&server)
    };
    let error = refused(login("skywave")).await;
    assert!(
        matches!(error, RedisError::Forbidden { .. }) && error.to_string().contains("evalsha"),
        "{error}"
    );
    let user = ["ACL", "SETUSER", "edge", "+evalsha", "+time"];
    server.redis.ask(&user).unwrap();
    let error = refused(login("other")).await;
    assert!(matches!(error, RedisError::Forbidden { .. }), "keys of others: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let server = start(|options| options.with_tls().unwrap());
    let (url, certificates) = server.redis.tls().unwrap();
    let error = refused(RedisConfig { url: url.clone(), ..config(&server) }).await;
    assert!(matches!(error, RedisError::Untrusted { .. }), "{error}");
    let missing = RedisTls { authority: Some("/nowhere/ca.pem".into()), client: None };
    let error = refused(RedisConfig { url: url.clone(), tls: missing, ..config(&server) }).await;
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    let tls = RedisTls { authority: Some(certificates.authority.clone()), client: None };
    connect(RedisConfig { url, tls, ..config(&server) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_end_with_the_state() {
    let server = start(|options| options);
    let clients = |redis: &Redis| redis.count("connected_clients").unwrap();
    let before = clients(&server.redis);
    let (state, registry) = connect(RedisConfig { connections: 5, ..config(&server) }).await;
    skywave_servers::wait::until("connections", || (clients(&server.redis) >= before + 5).then_some(()))
        .unwrap();
    drop(state);
    skywave_servers::wait::until("none", || (clients(&server.redis) <= before).then_some(())).unwrap();
    drop(registry);
}

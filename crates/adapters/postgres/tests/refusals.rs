//! What keeps a store from being opened: each says clearly what is wrong, and none takes for ever.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use prometheus_client::registry::Registry;
use skywave_ports::Store;
use skywave_postgres::{ConnectError, PostgresConfig, PostgresStore, SCHEMA_VERSION, TlsMode, migrate};
use skywave_servers::certificates::Certificates;
use skywave_servers::{Postgres, PostgresOptions, ports};
use support::{batch, config, epoch, open, row, shared};

async fn refusal(config: PostgresConfig) -> ConnectError {
    let connected = PostgresStore::connect(config, "main", epoch(), &mut Registry::default()).await;
    connected.err().expect("a refusal")
}

#[tokio::test]
async fn a_wrong_password_is_refused_without_showing_it() {
    let server = shared();
    let url = server.url().replace(server.password(), "s3cret");
    let error = refusal(config(&url)).await;
    assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(text.contains("password authentication failed") && !text.contains("s3cret"), "{text}");
    let right = PostgresConfig {
        password: Some(server.password().into()),
        schema: "by_password".into(),
        ..config(&url)
    };
    open(right).await;
}

#[tokio::test]
async fn a_missing_database_is_named() {
    let server = shared();
    let error = refusal(config(&server.url_of("nowhere"))).await.to_string();
    assert!(error.contains("\"nowhere\" does not exist"), "{error}");
}

#[tokio::test]
async fn a_server_without_encryption_is_refused_where_it_is_required() {
    let server = shared();
    for tls in [TlsMode::Require, TlsMode::VerifyFull] {
        let error = refusal(PostgresConfig { tls: Some(tls), ..config(&server.url()) }).await.to_string();
        assert!(error.contains("does not support TLS"), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_is_checked_as_far_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Certificates::make(&folder.path().join("ours"), &[]).unwrap();
    let theirs = Certificates::make(&folder.path().join("theirs"), &[]).unwrap();
    let data = tempfile::tempdir().unwrap();
    fs::set_permissions(data.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let options = PostgresOptions {
        folder: Some(data.path().join("server")),
        // Not what the certificate is for.
        address: Some((Ipv4Addr::new(127, 0, 0, 2), ports::free().unwrap().port()).into()),
        unsynced: true,
        ..PostgresOptions::default()
    };
    let mut server = Postgres::start_with(options).unwrap();
    server.stop().unwrap();
    let inside = data.path().join("server/data");
    let owner = fs::metadata(inside.join("PG_VERSION")).unwrap();
    for (name, from) in [("server.crt", &ours.server), ("server.key", &ours.server_key)] {
        // Made by us, read by the server's user.
        let file = inside.join(name);
        fs::copy(from, &file).unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    fs::write(inside.join("postgresql.auto.conf"), "ssl = on\n").unwrap();
    server.restart().unwrap();

    let with = |tls, authority: &Path| PostgresConfig {
        tls: Some(tls),
        ca_file: Some(authority.to_owned()),
        ..config(&server.url())
    };
    open(PostgresConfig { tls: Some(TlsMode::Require), ..config(&server.url()) }).await;
    open(with(TlsMode::VerifyCa, &ours.authority)).await;
    for bad in [with(TlsMode::VerifyCa, &theirs.authority), with(TlsMode::VerifyFull, &ours.authority)] {
        let error = refusal(bad).await;
        assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}

#[tokio::test]
async fn where_nobody_listens_the_start_ends_in_time() {
    let nobody = ports::free().unwrap();
    let url = format!("postgres://a:b@{nobody}/c");
    let error = refusal(PostgresConfig { start_timeout: Duration::from_millis(600), ..config(&url) }).await;
    let ConnectError::Unreachable { server, reason, .. } = &error else { panic!("{error:?}") };
    assert!(server.contains(&nobody.to_string()) && reason.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_starting_is_waited_for() {
    let mut server =
        Postgres::start_with(PostgresOptions { unsynced: true, ..PostgresOptions::default() }).unwrap();
    server.kill9().unwrap();
    let opening = tokio::spawn(open(config(&server.url())));
    let server = tokio::task::spawn_blocking(move || {
        server.restart().unwrap();
        server
    });
    let (store, _server) = (opening.await.unwrap(), server.await.unwrap());
    store.commit(0, batch(0, vec![row("c:1", 1)])).await.unwrap();
}

#[tokio::test]
async fn a_replica_is_refused_as_a_primary() {
    let unsynced = || PostgresOptions { unsynced: true, ..PostgresOptions::default() };
    let primary = Postgres::start_with(unsynced()).unwrap();
    let replica = primary.replica(unsynced()).unwrap();
    let error = refusal(config(&replica.url())).await.to_string();
    assert!(error.contains("it is a replica"), "{error}");
}

#[tokio::test]
async fn another_cells_tables_are_refused() {
    let server = shared();
    let url = server.create_database("cells").unwrap();
    open(config(&url)).await;
    let other = PostgresStore::connect(config(&url), "other", epoch(), &mut Registry::default()).await;
    let error = other.err().unwrap().to_string();
    assert!(error.contains("holds the store of cell main, not of other"), "{error}");
    let beside = PostgresConfig { schema: "other".into(), ..config(&url) };
    PostgresStore::connect(beside, "other", epoch(), &mut Registry::default()).await.unwrap();
}

#[tokio::test]
async fn tables_of_a_newer_version_are_refused() {
    let server = shared();
    let url = server.create_database("newer").unwrap();
    open(config(&url)).await;
    server.sql("newer", "INSERT INTO skywave.versions (version) VALUES (77)").unwrap();
    let error = refusal(config(&url)).await;
    assert!(matches!(error, ConnectError::NewerSchema { found: 77, known: SCHEMA_VERSION, .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_cores_may_start_at_once_on_an_empty_database() {
    let server = shared();
    let url = server.create_database("crowd").unwrap();
    let starts: Vec<_> = (0..8).map(|_| tokio::spawn(open(config(&url)))).collect();
    let mut epochs = Vec::new();
    for start in starts {
        epochs.push(start.await.unwrap().load(0, 0).await.unwrap().epoch);
    }
    assert!(epochs.windows(2).all(|pair| pair[0] == pair[1]), "{epochs:?}");
}

/// The role that serves reads and writes rows; another one makes the tables.
#[tokio::test]
async fn a_role_without_ownership_serves_and_makes_nothing() {
    let server = shared();
    let owner = server.create_database("roles").unwrap();
    server.sql("roles", "CREATE ROLE relay LOGIN PASSWORD 'relay'").unwrap();
    let served = owner.replace(&format!("postgres:{}@", server.password()), "relay:relay@");
    let error = refusal(config(&served)).await;
    assert!(matches!(error, ConnectError::Migration { .. }), "{error:?}");
    let careful = PostgresConfig { migrate: false, ..config(&served) };
    let error = refusal(careful.clone()).await;
    assert!(matches!(error, ConnectError::OlderSchema { found: 0, .. }), "{error:?}");

    migrate(&config(&owner)).await.unwrap();
    migrate(&config(&owner)).await.unwrap();
    server.sql("roles", include_str!("../grants.sql")).unwrap();
    for config in [careful, config(&served)] {
        let store = open(config).await;
        let checkpoint = store.load(0, 0).await.unwrap().checkpoint;
        store.commit(0, batch(checkpoint, vec![row("c:1", checkpoint + 1)])).await.unwrap();
        store.history(&support::query("c:1", 0, 0, 10)).await.unwrap();
        let retention = skywave_ports::Retention { size: 0, not_before_ms: 0 };
        assert_eq!(store.retain("c", retention).await.unwrap().removed, 1);
    }
    let drop = "SET ROLE relay; DROP TABLE skywave.publications";
    assert!(server.sql("roles", drop).is_err());
}

//! Real nats-servers come up in every shape that the other tests need.

use skywave_servers::certificates::Certificates;
use skywave_servers::nats::{
    Authorization, JetStream, NatsCluster, NatsOptions, NatsServer, SuperCluster, Tls,
};

#[test]
fn a_server_comes_back_on_the_same_ports_and_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = NatsOptions::new("one", folder.path()).unwrap();
    options.jetstream = Some(JetStream { sync_always: true, domain: None });
    options.authorization = Authorization::Token("a \"quoted\" token".into());
    let mut server = NatsServer::start(options).unwrap();
    let first = server.monitor("/varz").unwrap();
    assert_eq!(first["jetstream"]["config"]["sync_always"], true, "{first}");
    assert_eq!(first["auth_required"], true);
    server.kill9().unwrap();
    assert!(server.monitor("/varz").is_err(), "killed");
    server.restart().unwrap();
    let second = server.monitor("/varz").unwrap();
    assert_eq!(first["port"], second["port"]);
    assert_ne!(first["server_id"], second["server_id"], "another life");
}

#[test]
fn clusters_find_their_members_and_super_clusters_their_clusters() {
    let folder = tempfile::tempdir().unwrap();
    let options = SuperCluster::options(&[("eu", 2), ("us", 1), ("ap", 1)], folder.path()).unwrap();
    let regions = SuperCluster::start(options).unwrap();
    assert_eq!(regions.clusters[0].urls().len(), 2);
    assert_eq!(regions.clusters[0].servers[1].routes().unwrap(), 1);
    assert_eq!(regions.clusters[1].servers[0].gateways().unwrap(), ["ap", "eu"].map(String::from).into());
}

#[test]
fn a_server_of_a_cluster_may_ask_for_tls() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(&folder.path().join("tls"), &[]).unwrap();
    let mut members = NatsCluster::options("c", 2, folder.path()).unwrap();
    for member in &mut members {
        member.tls = Some(Tls { certificates: certificates.clone(), verify_clients: true });
    }
    let cluster = NatsCluster::start(members).unwrap();
    assert_eq!(cluster.servers[0].monitor("/varz").unwrap()["tls_required"], true);
}

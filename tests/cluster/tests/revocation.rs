//! Two regions whose only bond is a link: a revoked token and a disconnected user are out everywhere, whatever was cut, killed
//! or emptied meanwhile (I11).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;

use serde_json::{Value, json};
use skywave_cluster::{Cluster, ClusterOptions, Kind};
use skywave_harness::{Socket, http, token};
use skywave_servers::redis;
use skywave_servers::wait::until;

const REVOKED: Option<u16> = Some(4501);

struct Regions {
    cluster: Cluster,
    secret: String,
}

impl Regions {
    fn up(folder: &std::path::Path) -> Self {
        let regions = ["eu", "us"].map(str::to_owned).into();
        let cluster = Cluster::up(&ClusterOptions { cell: false, regions, ..ClusterOptions::new(folder) });
        let cluster = cluster.unwrap();
        let secret = std::fs::read_to_string(cluster.secret_file()).unwrap().trim_end().to_owned();
        Self { cluster, secret }
    }

    fn edge(&self, name: &str) -> SocketAddr {
        self.cluster.member(name).unwrap().address("http").unwrap()
    }

    fn edges(&self) -> Vec<SocketAddr> {
        let of = |region| self.cluster.of_kind(region, Kind::Edge).unwrap();
        ["eu", "us"].into_iter().flat_map(of).map(|edge| edge.address("http").unwrap()).collect()
    }

    fn token(&self, user: &str, id: &str) -> String {
        token::signed(&json!({ "sub": user, "jti": id, "exp": token::now() + 3_600 }), &self.secret)
    }

    fn connect(&self, edge: &str, user: &str, id: &str) -> Socket {
        Socket::connect(self.edge(edge), Some(&self.token(user, id))).unwrap()
    }

    fn everywhere(&self, user: &str, id: &str) -> Vec<Socket> {
        let token = self.token(user, id);
        self.edges().into_iter().map(|edge| Socket::connect(edge, Some(&token)).unwrap()).collect()
    }

    fn is_refused(&self, edge: SocketAddr, id: &str) -> bool {
        let mut socket = Socket::open(edge).unwrap();
        let answer = socket.request("connect", json!({ "token": self.token("ada", id) })).unwrap();
        answer["error"]["code"] == "unauthorized"
    }

    fn ask(&self, edge: &str, operation: &str, body: &Value) -> u16 {
        let claims = json!({ "sub": "billing", "admin": true, "exp": token::now() + 3_600 });
        let bearer = format!("Bearer {}", token::signed(&claims, &self.secret));
        let path = format!("/v1/{operation}");
        http::post(self.edge(edge), &path, &[("Authorization", &bearer)], body).unwrap().status
    }

    fn revoke(&self, edge: &str, id: &str) -> u16 {
        self.ask(edge, "revoke", &json!({ "token_id": id, "until": token::now() + 3_600 }))
    }
}

fn all_closed(sockets: Vec<Socket>) {
    for mut socket in sockets {
        assert_eq!(socket.wait_close().unwrap(), REVOKED);
    }
}

fn lives(socket: &mut Socket) {
    let answer = socket.request("ping", json!({})).unwrap();
    assert!(answer.get("pong").is_some(), "{answer}");
}

#[test]
fn who_is_revoked_or_disconnected_is_out_in_every_region_whatever_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let regions = Regions::up(folder.path());
    let cluster = &regions.cluster;
    let mut others = regions.everywhere("bob", "others");

    // Everything is up.
    let sockets = regions.everywhere("ada", "whole");
    assert_eq!(regions.revoke("eu-edge-1", "whole"), 200);
    all_closed(sockets);
    assert!(regions.edges().into_iter().all(|edge| regions.is_refused(edge, "whole")));
    let sockets = regions.everywhere("eve", "user");
    assert_eq!(regions.ask("us-edge-2", "disconnect", &json!({ "user": "eve" })), 200);
    all_closed(sockets);
    regions.everywhere("eve", "user").iter_mut().for_each(lives);

    // The regions are parted, and the edge that was asked is gone before they are joined.
    let mut links = cluster.links().unwrap();
    links.cut("eu", "us").unwrap();
    let [mut near, mut far] = ["eu-edge-2", "us-edge-1"].map(|edge| regions.connect(edge, "ada", "parted"));
    let [mut near_user, mut far_user] =
        ["eu-edge-2", "us-edge-1"].map(|edge| regions.connect(edge, "eve", "e"));
    assert_eq!(regions.revoke("eu-edge-1", "parted"), 200);
    assert_eq!(regions.ask("eu-edge-1", "disconnect", &json!({ "user": "eve" })), 200);
    assert_eq!(near.wait_close().unwrap(), REVOKED);
    assert_eq!(near_user.wait_close().unwrap(), REVOKED);
    cluster.kill9("eu-edge-1").unwrap();
    // What was under way is lost with the connections it was on.
    links.sweep("eu", "us").unwrap();
    lives(&mut far);
    links.heal("eu", "us").unwrap();
    assert_eq!(far.wait_close().unwrap(), REVOKED);
    assert_eq!(far_user.wait_close().unwrap(), REVOKED);
    assert!(regions.is_refused(regions.edge("us-edge-2"), "parted"));
    cluster.restart("eu-edge-1").unwrap();
    assert!(regions.is_refused(regions.edge("eu-edge-1"), "parted"), "one that starts later");

    // A region without NATS: what its edges tell each other goes by Redis, and leaves when NATS is back.
    cluster.kill9("us-nats-1").unwrap();
    let mut sockets = Vec::new();
    for edge in ["us-edge-2", "eu-edge-1"] {
        sockets.push(regions.connect(edge, "ada", "mute"));
    }
    let mut far = sockets.pop().unwrap();
    assert_eq!(regions.revoke("us-edge-1", "mute"), 200);
    all_closed(sockets);
    lives(&mut far);
    cluster.restart("us-nats-1").unwrap();
    assert_eq!(far.wait_close().unwrap(), REVOKED);

    // A region whose Redis is emptied, then dead: by NATS, and the rest is put back.
    let redis = cluster.member("us-redis-1").unwrap().address("url").unwrap();
    redis::flush(redis).unwrap();
    cluster.kill9("us-redis-1").unwrap();
    let sockets = regions.everywhere("ada", "alone");
    assert_eq!(regions.revoke("eu-edge-1", "alone"), 200);
    all_closed(sockets);
    let late = regions.connect("us-edge-1", "ada", "late");
    assert_eq!(regions.revoke("us-edge-2", "late"), 503, "nobody who starts now would know");
    all_closed(vec![late]);
    cluster.restart("us-redis-1").unwrap();
    cluster.kill9("us-edge-1").unwrap();
    cluster.restart("us-edge-1").unwrap();
    for id in ["whole", "parted", "mute", "alone", "late"] {
        until(&format!("a new edge to refuse {id}"), || {
            regions.is_refused(regions.edge("us-edge-1"), id).then_some(())
        })
        .unwrap();
    }

    // Of those who were connected all the time, at edges that were not killed, nobody was touched.
    for at in [1, 3] {
        lives(&mut others[at]);
    }
    regions.cluster.down().unwrap();
}

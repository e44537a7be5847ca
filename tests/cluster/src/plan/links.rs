//! The links of the plan, with the addresses that lead over them.

use std::net::SocketAddr;

use skywave_servers::{Process, ports};
use skywave_wan::{Change, ForwardSpec, Protocol, Request};

use super::Place;
use crate::member::{Kind, Member};
use crate::ready::Ready;

/// One way between two regions, in milliseconds: half of what round trips between the big providers' regions of these names
/// usually are.
const DISTANCES: [(&str, &str, f64); 3] = [("eu", "us", 45.0), ("eu", "asia", 115.0), ("us", "asia", 80.0)];

/// Between regions of other names.
const DISTANCE: f64 = 50.0;

/// How much of a delay jitters.
const JITTER: f64 = 0.04;

pub(super) struct Links {
    /// What `skywave-wan` does before anything else.
    requests: Vec<Request>,
}

impl Links {
    /// A link between every two regions.
    pub(super) fn between(regions: &[String], distances: bool) -> Self {
        let mut links = Self { requests: Vec::new() };
        for (at, a) in regions.iter().enumerate() {
            for b in &regions[at + 1..] {
                links.link(a, b);
                if distances {
                    let named = |(x, y, _): &&(&str, &str, f64)| {
                        (x, y) == (&a.as_str(), &b.as_str()) || (y, x) == (&a.as_str(), &b.as_str())
                    };
                    let delay = DISTANCES.iter().find(named).map_or(DISTANCE, |(_, _, delay)| *delay);
                    let change = Change {
                        delay_ms: Some(delay),
                        jitter_ms: Some((delay * JITTER).round()),
                        ..Change::default()
                    };
                    links.requests.push(Request::Shape {
                        from: a.clone(),
                        to: b.clone(),
                        one_way: false,
                        change,
                    });
                }
            }
        }
        links
    }

    fn link(&mut self, a: &str, b: &str) {
        self.requests.push(Request::Link { a: a.to_owned(), b: b.to_owned() });
    }

    /// An address in `from` that leads to `target` in `to`, over the link between the two.
    pub(super) fn tcp(
        &mut self,
        name: String,
        from: &str,
        to: &str,
        target: SocketAddr,
    ) -> anyhow::Result<SocketAddr> {
        let listen = ports::free()?;
        self.tcp_at(name, from, to, listen, target);
        Ok(listen)
    }

    fn tcp_at(&mut self, name: String, from: &str, to: &str, listen: SocketAddr, target: SocketAddr) {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.requests.push(Request::Forward(ForwardSpec {
            name,
            protocol: Protocol::Tcp,
            from,
            to,
            listen,
            target,
        }));
    }

    /// As [`Self::tcp`], over a link of its own between two processes.
    pub(super) fn inner(
        &mut self,
        client: &str,
        server: &str,
        target: SocketAddr,
    ) -> anyhow::Result<SocketAddr> {
        self.link(client, server);
        self.tcp(format!("{client} to {server}"), client, server, target)
    }

    /// As [`Self::inner`], at an address that was chosen before.
    pub(super) fn inner_at(&mut self, client: &str, server: &str, listen: SocketAddr, target: SocketAddr) {
        self.link(client, server);
        self.tcp_at(format!("{client} to {server}"), client, server, listen, target);
    }

    /// The process that serves them.
    pub(super) fn member(self, place: &Place<'_>) -> anyhow::Result<Member> {
        let plan = place.folder.configuration().join("links.jsonl");
        let lines: Result<Vec<String>, _> = self.requests.iter().map(serde_json::to_string).collect();
        std::fs::write(&plan, lines?.join("\n"))?;
        let socket = place.folder.socket();
        let process = Process::new("wan", place.options.program("skywave-wan")?, place.folder.log("wan"))
            .args(["--control".as_ref(), socket.as_os_str(), "--plan".as_ref(), plan.as_os_str()])
            .args(["--seed".to_owned(), place.options.seed.to_string()]);
        let control = ("control", socket.display().to_string());
        place.member(None, Kind::Wan, "wan".into(), &process, Ready::Wan(socket), &[control])
    }
}

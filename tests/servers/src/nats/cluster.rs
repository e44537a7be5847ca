//! Several servers on this machine that form a cluster, and clusters that form a super-cluster.

use std::path::Path;

use super::options::{Gateway, NatsOptions, RemoteGateway, Routes};
use super::server::NatsServer;
use crate::ports;

/// A full mesh of servers.
pub struct NatsCluster {
    pub servers: Vec<NatsServer>,
}

/// Clusters joined by gateways.
pub struct SuperCluster {
    pub clusters: Vec<NatsCluster>,
}

impl NatsCluster {
    /// Options of `count` servers that form the cluster `name`; to be changed as one likes and then started.
    pub fn options(name: &str, count: usize, folder: &Path) -> anyhow::Result<Vec<NatsOptions>> {
        let listens = (0..count).map(|_| ports::free()).collect::<anyhow::Result<Vec<_>>>()?;
        let member = |(at, listen)| {
            let mut options = NatsOptions::new(format!("{name}-{at}"), folder.join(format!("{name}-{at}")))?;
            options.routes = Some(Routes {
                cluster: name.to_owned(),
                listen,
                advertise: None,
                members: listens.clone(),
                no_advertise: false,
            });
            Ok(options)
        };
        listens.iter().copied().enumerate().map(member).collect()
    }

    /// Starts the members and waits until each has a route to every other one.
    pub fn start(members: Vec<NatsOptions>) -> anyhow::Result<Self> {
        let cluster = Self::launch(members)?;
        cluster.joined()
    }

    fn launch(members: Vec<NatsOptions>) -> anyhow::Result<Self> {
        let servers = members.into_iter().map(NatsServer::launch).collect::<anyhow::Result<_>>()?;
        Ok(Self { servers })
    }

    fn joined(mut self) -> anyhow::Result<Self> {
        for server in &mut self.servers {
            server.wait_ready()?;
        }
        for server in &self.servers {
            server.wait_routes(self.servers.len() - 1)?;
        }
        Ok(self)
    }

    /// The client addresses of all members.
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(NatsServer::url).collect()
    }
}

impl SuperCluster {
    /// Options of one cluster per entry (name and number of servers), joined by gateways; to be changed as one likes.
    pub fn options(clusters: &[(&str, usize)], folder: &Path) -> anyhow::Result<Vec<Vec<NatsOptions>>> {
        let mut all = Vec::new();
        let mut remotes = Vec::new();
        for (name, count) in clusters {
            let mut members = NatsCluster::options(name, *count, folder)?;
            let mut addresses = Vec::new();
            for member in &mut members {
                let listen = ports::free()?;
                addresses.push(listen);
                let name = (*name).to_owned();
                member.gateway = Some(Gateway { name, listen, advertise: None, remotes: Vec::new() });
            }
            remotes.push(RemoteGateway { name: (*name).to_owned(), addresses });
            all.push(members);
        }
        for gateway in all.iter_mut().flatten().filter_map(|member| member.gateway.as_mut()) {
            gateway.remotes = remotes.iter().filter(|remote| remote.name != gateway.name).cloned().collect();
        }
        Ok(all)
    }

    /// Starts everything and waits until each server can send to every other cluster.
    pub fn start(clusters: Vec<Vec<NatsOptions>>) -> anyhow::Result<Self> {
        // All are started before any is waited for: a gateway is up only when its remotes are.
        let launched = clusters.into_iter().map(NatsCluster::launch).collect::<anyhow::Result<Vec<_>>>()?;
        let clusters = launched.into_iter().map(NatsCluster::joined).collect::<anyhow::Result<Vec<_>>>()?;
        for server in clusters.iter().flat_map(|cluster| &cluster.servers) {
            let remotes = server.options().gateway.iter().flat_map(|gateway| &gateway.remotes);
            server.wait_gateways(&remotes.map(|remote| remote.name.clone()).collect::<Vec<_>>())?;
        }
        Ok(Self { clusters })
    }
}

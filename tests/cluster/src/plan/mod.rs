//! From options to everything that is to be started: ports are chosen, configurations written and data formatted; nothing
//! runs yet.

mod links;
mod nats;
mod secret;
mod servers;
mod services;

use std::net::SocketAddr;

use anyhow::Context;
use skywave_servers::{Process, ports};

use crate::folder::Folder;
use crate::member::{Kind, Line, Member};
use crate::options::ClusterOptions;
use crate::ready::Ready;
use links::Links;

/// What is started together, wave after wave; each waits for the one before to be ready.
pub(crate) type Waves = Vec<Vec<Member>>;

/// What every part of the plan looks at.
struct Place<'a> {
    options: &'a ClusterOptions,
    folder: &'a Folder,
}

/// The whole cluster. What must be installed is; that, and formatting data, may take a while.
pub(crate) fn make(options: &ClusterOptions, folder: &Folder) -> anyhow::Result<Waves> {
    let place = Place { options, folder };
    secret::make(&folder.secret())?;
    let mut links = Links::between(&options.regions, options.distances);

    let home = options.home();
    let cell = if options.cell { Some(servers::cell(&place)?) } else { None };
    let nats = nats::super_cluster(&place, &mut links).context("preparing NATS")?;
    let redis = servers::redis(&place).context("preparing Redis")?;

    let mut edges = Vec::new();
    for (at, region) in options.regions.iter().enumerate() {
        let numbers = 1..=options.edges;
        let all: Vec<_> = numbers
            .clone()
            .map(|it| services::edge_address(options, at, it))
            .collect::<anyhow::Result<_>>()?;
        for number in numbers {
            edges.push(services::edge(&place, &mut links, region, number, &all, &nats, &redis)?);
        }
    }
    let mut cores = Vec::new();
    for number in 1..=options.cores {
        if let Some(cell) = &cell {
            cores.push(services::core(&place, &mut links, home, number, cell, &nats)?);
        }
    }

    let wan = links.member(&place)?;
    let cell = cell.map(|cell| cell.kafka.into_iter().chain([cell.postgres]));
    let servers = nats.into_iter().chain(redis).chain(cell.into_iter().flatten()).collect();
    let mut waves = vec![vec![wan], servers, cores, edges];
    waves.retain(|wave| !wave.is_empty());
    Ok(waves)
}

impl Place<'_> {
    /// Where a process's data lies, if the caller has said so.
    fn wished(&self, name: &str) -> Option<std::path::PathBuf> {
        self.options.elsewhere.get(name).cloned()
    }

    /// A member that others have prepared the process of.
    fn member(
        &self,
        region: Option<&str>,
        kind: Kind,
        name: String,
        process: &Process,
        ready: Ready,
        addresses: &[(&str, String)],
    ) -> anyhow::Result<Member> {
        Ok(Member {
            line: Line::of(process, self.folder.log(&name))?,
            name,
            region: region.map(str::to_owned),
            kind,
            ready,
            addresses: addresses.iter().map(|(key, address)| ((*key).to_owned(), address.clone())).collect(),
            identity: None,
        })
    }
}

/// A port that is free; the wished one if that is.
fn port(wished: Option<u16>) -> anyhow::Result<SocketAddr> {
    let free = |port: u16| {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let both = std::net::TcpListener::bind(address).is_ok() && std::net::UdpSocket::bind(address).is_ok();
        both.then_some(address)
    };
    wished.and_then(free).map_or_else(ports::free, Ok)
}

/// The name of a region's `number`th process of a kind (from 1).
fn name(region: &str, kind: &str, number: usize) -> String {
    format!("{region}-{kind}-{number}")
}

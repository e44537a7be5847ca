//! Edges and cores: their settings, as files, and their command lines.

use std::net::SocketAddr;

use anyhow::Context;
use skywave_servers::postgres::SUPERUSER;
use skywave_servers::{Process, ports};
use toml::{Table, Value};

use super::links::Links;
use super::servers::Cell;
use super::{Place, name, port};
use crate::member::{Kind, Member};
use crate::options::ClusterOptions;
use crate::ready::Ready;

/// The name of the one cell.
const CELL: &str = "main";

/// Ports of a region begin ten after those of the one before.
pub(super) fn edge_address(
    options: &ClusterOptions,
    region: usize,
    number: usize,
) -> anyhow::Result<SocketAddr> {
    let wished = usize::from(options.port) + 10 * region + number - 1;
    port(u16::try_from(wished).ok().filter(|_| options.port > 0))
}

pub(super) fn edge(
    place: &Place<'_>,
    links: &mut Links,
    region: &str,
    number: usize,
    neighbours: &[SocketAddr],
    nats: &[Member],
    redis: &[Member],
) -> anyhow::Result<Member> {
    let address = neighbours[number - 1];
    let name = name(region, "edge", number);
    let mut settings = node(&name, region);
    set(&mut settings, "edge", "listen", address.to_string());
    set(&mut settings, "data", "folder", place.folder.data_of(&name).display().to_string());
    set(&mut settings, "auth", "anonymous", true);
    // The region's edges send clients to each other, and pages of one may then talk to another.
    set(&mut settings, "edge", "advertise", format!("http://{address}"));
    let origins: Vec<String> = neighbours.iter().flat_map(origins).collect();
    set(&mut settings, "auth", "allowed_origins", origins);
    let key = Table::from_iter([
        ("algorithm".to_owned(), Value::from("HS256")),
        ("secret_file".to_owned(), Value::from(place.folder.secret().display().to_string())),
    ]);
    set(&mut settings, "auth", "keys", vec![key]);
    reach_nats(place, links, &mut settings, &name, region, nats)?;
    let redis = redis.iter().find(|redis| redis.region.as_deref() == Some(region));
    let redis = redis.context("a region without Redis")?;
    let redis = reach(place, links, &name, redis, redis.address("url")?)?;
    set(&mut settings, "redis", "url", format!("redis://{redis}"));
    merge(&mut settings, place.options.edge_settings.clone());
    let addresses = [
        ("http", format!("http://{address}")),
        ("ws", format!("ws://{address}/v1/ws")),
        ("webtransport", format!("https://{address}/v1/wt")),
    ];
    let process = process(place, "edge", &name, &settings)?;
    place.member(Some(region), Kind::Edge, name, &process, Ready::Skywave(address), &addresses)
}

/// A page of this edge may have been opened under either name.
fn origins(edge: &SocketAddr) -> [String; 2] {
    [format!("http://{edge}"), format!("http://localhost:{}", edge.port())]
}

pub(super) fn core(
    place: &Place<'_>,
    links: &mut Links,
    region: &str,
    number: usize,
    cell: &Cell,
    nats: &[Member],
) -> anyhow::Result<Member> {
    let name = name(region, "core", number);
    let address = ports::free()?;
    let mut settings = node(&name, region);
    set(&mut settings, "core", "listen", address.to_string());
    reach_nats(place, links, &mut settings, &name, region, nats)?;

    let mut brokers = Vec::new();
    for (at, broker) in cell.kafka.iter().enumerate() {
        let own = cell.listeners.get(number - 1).and_then(|listener| listener.addresses.get(at));
        brokers.push(match own {
            Some((listen, told)) => {
                links.inner_at(&name, &broker.name, *told, *listen);
                told.to_string()
            }
            None => broker.address("url")?.to_string(),
        });
    }
    let copies = brokers.len().min(3) as i64;
    set(&mut settings, "kafka", "brokers", brokers);
    set(&mut settings, "kafka", "replication", copies);
    set(&mut settings, "kafka", "min_insync", copies / 2 + 1);
    let postgres = reach(place, links, &name, &cell.postgres, cell.postgres.address("url")?)?;
    // Addresses hold no passwords: they have a setting of their own.
    set(&mut settings, "postgres", "url", format!("postgres://{SUPERUSER}@{postgres}/{SUPERUSER}"));
    set(&mut settings, "postgres", "password", cell.password.clone());

    merge(&mut settings, place.options.core_settings.clone());
    let process = process(place, "core", &name, &settings)?;
    let addresses = [("http", format!("http://{address}"))];
    place.member(Some(region), Kind::Core, name, &process, Ready::Skywave(address), &addresses)
}

/// What edges and cores have in common.
fn node(name: &str, region: &str) -> Table {
    let mut settings = Table::new();
    set(&mut settings, "node", "name", name.to_owned());
    set(&mut settings, "node", "region", region.to_owned());
    set(&mut settings, "node", "cell", CELL.to_owned());
    set(&mut settings, "log", "format", "json".to_owned());
    settings
}

/// The region's NATS.
fn reach_nats(
    place: &Place<'_>,
    links: &mut Links,
    settings: &mut Table,
    name: &str,
    region: &str,
    nats: &[Member],
) -> anyhow::Result<()> {
    let mut servers = Vec::new();
    for server in nats.iter().filter(|server| server.region.as_deref() == Some(region)) {
        servers.push(format!("nats://{}", reach(place, links, name, server, server.address("url")?)?));
    }
    set(settings, "nats", "servers", servers);
    // What servers tell of each other leads past the links.
    set(settings, "nats", "discover_servers", !place.options.inner_links);
    Ok(())
}

/// Where a process reaches a server of its region: directly, or over a link of the two.
fn reach(
    place: &Place<'_>,
    links: &mut Links,
    name: &str,
    server: &Member,
    direct: SocketAddr,
) -> anyhow::Result<SocketAddr> {
    if place.options.inner_links { links.inner(name, &server.name, direct) } else { Ok(direct) }
}

fn process(place: &Place<'_>, service: &str, name: &str, settings: &Table) -> anyhow::Result<Process> {
    let file = place.folder.configuration().join(format!("{name}.toml"));
    std::fs::write(&file, toml::to_string_pretty(settings)?)
        .with_context(|| format!("writing {}", file.display()))?;
    let program = place.options.program("skywave")?;
    Ok(Process::new(name, program, place.folder.log(name))
        .args([service.as_ref(), "--config".as_ref(), file.as_os_str()])
        .hide("SKYWAVE_"))
}

fn set(settings: &mut Table, section: &str, key: &str, value: impl Into<Value>) {
    let section = settings.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        section.insert(key.to_owned(), value.into());
    }
}

/// Puts `over` over `under`, table by table, key by key.
fn merge(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => merge(under, over),
            (_, value) => _ = under.insert(key, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_caller_go_over_those_of_the_cluster_key_by_key() {
        let mut settings: Table =
            toml::from_str("[node]\nname = 'a'\nregion = 'eu'\n[edge]\nworkers = 1").unwrap();
        merge(&mut settings, toml::from_str("[node]\nname = 'b'\n[limits]\nconnections = 5").unwrap());
        let expected = "[node]\nname = 'b'\nregion = 'eu'\n[edge]\nworkers = 1\n[limits]\nconnections = 5";
        assert_eq!(settings, toml::from_str(expected).unwrap());
    }
}

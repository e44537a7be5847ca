//! Redis in each region; Kafka and Postgres at home.

use std::thread;

use anyhow::Context;
use skywave_servers::kafka::Listener;
use skywave_servers::redis::{Redis, RedisOptions};
use skywave_servers::{Kafka, KafkaOptions, Postgres, PostgresOptions, ports};

use super::{Place, name};
use crate::member::{Kind, Member};
use crate::ready::Ready;

pub(super) fn redis(place: &Place<'_>) -> anyhow::Result<Vec<Member>> {
    let region = |region: &String| {
        let name = name(region, "redis", 1);
        let redis = Redis::prepare(RedisOptions::new(place.folder.data_of(&name))?)?;
        let (ready, addresses) = (Ready::Redis(redis.address()), [("url", redis.url())]);
        place.member(Some(region), Kind::Redis, name, redis.process(), ready, &addresses)
    };
    place.options.regions.iter().map(region).collect()
}

/// What cores alone speak to.
pub(super) struct Cell {
    pub(super) kafka: Vec<Member>,
    /// One for each core, if there are links between cores and brokers.
    pub(super) listeners: Vec<Listener>,
    pub(super) postgres: Member,
    /// Of Postgres's superuser.
    pub(super) password: String,
}

/// Both at the same time: each takes seconds to format its data.
pub(super) fn cell(place: &Place<'_>) -> anyhow::Result<Cell> {
    let (kafka, postgres) = thread::scope(|scope| {
        let kafka = scope.spawn(|| kafka(place));
        let postgres = postgres(place);
        (kafka.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a panic"))), postgres)
    });
    let (kafka, listeners) = kafka.context("preparing Kafka")?;
    let (postgres, password) = postgres.context("preparing Postgres")?;
    Ok(Cell { kafka, listeners, postgres, password })
}

/// The brokers. Brokers tell their clients where to connect, so that each core needs a listener of its own when there are
/// links between the two: those are returned too, one for each core.
fn kafka(place: &Place<'_>) -> anyhow::Result<(Vec<Member>, Vec<Listener>)> {
    let (options, region) = (place.options, place.options.home());
    let mut listeners = Vec::new();
    for core in 1..=if options.inner_links { options.cores } else { 0 } {
        let pair = || Ok((ports::free()?, ports::free()?));
        let addresses = (0..options.brokers).map(|_| pair()).collect::<anyhow::Result<_>>()?;
        listeners.push(Listener { name: format!("CORE{core}"), addresses });
    }
    let addresses = (0..options.brokers).map(|_| ports::free()).collect::<anyhow::Result<Vec<_>>>()?;
    let settings = KafkaOptions {
        brokers: options.brokers,
        addresses: addresses.clone(),
        listeners: listeners.clone(),
        flush_each: options.flush_each,
        optimised: options.optimised_brokers,
        heap_mb: if options.optimised_brokers { 1_024 } else { KafkaOptions::default().heap_mb },
        ..KafkaOptions::default()
    };
    let all = format!("{region}-kafka");
    let data = place.wished(&all).unwrap_or_else(|| place.folder.data_of(&all));
    let mut kafka = Kafka::prepare(&data, &settings)?;
    let mut members = Vec::new();
    for (at, address) in addresses.iter().enumerate() {
        let (name, ready) = (name(region, "kafka", at + 1), Ready::Kafka(*address));
        let reached = [("url", address.to_string())];
        members.push(place.member(Some(region), Kind::Kafka, name, kafka.process(at)?, ready, &reached)?);
    }
    Ok((members, listeners))
}

fn postgres(place: &Place<'_>) -> anyhow::Result<(Member, String)> {
    let region = place.options.home();
    let name = name(region, "postgres", 1);
    let options = PostgresOptions {
        folder: Some(place.wished(&name).unwrap_or_else(|| place.folder.data_of_stranger(&name))),
        address: Some(ports::free()?),
        ..PostgresOptions::default()
    };
    let postgres = Postgres::prepare(options)?;
    let (ready, addresses) = (Ready::Postgres(postgres.address()), [("url", postgres.url())]);
    let member = place.member(Some(region), Kind::Postgres, name, postgres.process(), ready, &addresses)?;
    Ok((member, postgres.password().to_owned()))
}

//! Bringing a cluster up: wave by wave, each process recorded the moment it runs, so that whoever interrupts this finds all
//! that there is to end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use skywave_servers::{Identity, State as Life, http};

use crate::interrupt;
use crate::member::{Kind, Member};
use crate::options::ClusterOptions;
use crate::plan;
use crate::store::{State, Store};

/// Longest wait for one process on a machine that is busy starting all of them.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts everything; when it fails, the caller ends what there is.
pub(crate) fn up(options: &ClusterOptions, store: &Store, say: &dyn Fn(&str)) -> anyhow::Result<()> {
    store.folder.clean(options.keep_data)?;
    say("preparing (the first time, servers are installed)");
    let waves = plan::make(options, &store.folder)?;
    let members: Vec<Member> = waves.iter().flatten().cloned().collect();
    store.create(&State { regions: options.regions.clone(), members })?;
    if options.end_on_interrupt {
        interrupt::ends(store.folder.path());
    }
    for wave in &waves {
        let names: Vec<&str> = wave.iter().map(|member| member.name.as_str()).collect();
        say(&format!("starting {}", names.join(", ")));
        for name in &names {
            start(store, name)?;
        }
        for name in &names {
            wait_ready(store, name)?;
        }
        if wave.iter().any(|member| member.kind == Kind::Nats) {
            wait_for_gateways(wave, &options.regions)?;
        }
    }
    Ok(())
}

/// Starts a process that does not run, and records it.
pub(crate) fn start(store: &Store, name: &str) -> anyhow::Result<Identity> {
    let started = store.locked(|state| {
        let member = state.member_mut(name)?;
        anyhow::ensure!(member.state() == Life::Gone, "{name} is running already");
        member.start()
    });
    started.with_context(|| format!("starting {name}"))
}

pub(crate) fn wait_ready(store: &Store, name: &str) -> anyhow::Result<()> {
    let member = store.read()?.member(name)?.clone();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let standing = member.standing();
        if standing.ready {
            return Ok(());
        }
        anyhow::ensure!(
            standing.state != Life::Gone,
            "{name} ended before it was ready; {}",
            member.last_words()
        );
        anyhow::ensure!(
            Instant::now() < deadline,
            "{name} is not ready after {PATIENCE:?}; {}",
            member.last_words()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Until every server can send to every other region.
fn wait_for_gateways(wave: &[Member], regions: &[String]) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for server in wave.iter().filter(|member| member.kind == Kind::Nats) {
        let own = server.region.as_ref();
        let wanted: BTreeSet<&String> = regions.iter().filter(|region| Some(*region) != own).collect();
        while !wanted.iter().all(|region| gateways(server).contains(*region)) {
            anyhow::ensure!(
                Instant::now() < deadline,
                "{} has no gateways to {wanted:?} after {PATIENCE:?}; {}",
                server.name,
                server.last_words()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

/// The regions that a NATS server has a connection to for sending.
pub(crate) fn gateways(server: &Member) -> BTreeSet<String> {
    let ask = || -> anyhow::Result<BTreeSet<String>> {
        let (_, body) = http::get(server.address("monitor")?, "/gatewayz")?;
        let page: Value = serde_json::from_str(&body)?;
        Ok(page["outbound_gateways"].as_object().map(|all| all.keys().cloned().collect()).unwrap_or_default())
    };
    ask().unwrap_or_default()
}

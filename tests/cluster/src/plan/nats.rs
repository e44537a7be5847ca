//! NATS: a cluster in each region, all of them joined by gateways, every connection between two regions over their link.
//!
//! Gateways tell each other where they listen and dial that too, past any link. So each names an address at which nobody
//! listens, and what is left to dial are the configured ones, which are the links'.

use serde_json::json;
use skywave_servers::nats::{Gateway, NatsOptions, NatsServer, RemoteGateway, Routes};
use skywave_servers::ports;

use super::links::Links;
use super::{Place, name};
use crate::member::{Kind, Member};
use crate::ready::Ready;

/// Refuses at once: the discard service that no machine runs any more.
const NOWHERE: &str = "127.0.0.1:9";

pub(super) fn super_cluster(place: &Place<'_>, links: &mut Links) -> anyhow::Result<Vec<Member>> {
    let mut all = Vec::new();
    for region in &place.options.regions {
        all.extend(cluster(place, region)?);
    }
    let gateways: Vec<_> = all
        .iter()
        .filter_map(|(region, options)| {
            Some((region.clone(), options.name.clone(), options.gateway.as_ref()?.listen))
        })
        .collect();
    for here in &place.options.regions {
        // All servers of a region dial another region's gateways at the same addresses.
        let mut remotes = Vec::new();
        for there in place.options.regions.iter().filter(|there| *there != here) {
            let mut addresses = Vec::new();
            for (_, server, listen) in gateways.iter().filter(|(region, _, _)| region == there) {
                addresses.push(links.tcp(format!("{here} to {server}"), here, there, *listen)?);
            }
            remotes.push(RemoteGateway { name: there.clone(), addresses });
        }
        for (_, options) in all.iter_mut().filter(|(region, _)| region == here) {
            if let Some(gateway) = &mut options.gateway {
                gateway.remotes.clone_from(&remotes);
            }
        }
    }
    all.into_iter().map(|(region, options)| member(place, &region, options)).collect()
}

/// The servers of one region, without remotes.
fn cluster(place: &Place<'_>, region: &str) -> anyhow::Result<Vec<(String, NatsOptions)>> {
    let count = place.options.nats;
    let listens = (0..count).map(|_| ports::free()).collect::<anyhow::Result<Vec<_>>>()?;
    let server = |number: usize| {
        let name = name(region, "nats", number);
        let mut options = NatsOptions::new(&name, place.folder.data_of(&name))?;
        options.routes = (count > 1).then(|| Routes {
            cluster: region.to_owned(),
            listen: listens[number - 1],
            advertise: None,
            members: listens.clone(),
            no_advertise: place.options.inner_links,
        });
        options.gateway = Some(Gateway {
            name: region.to_owned(),
            listen: ports::free()?,
            advertise: Some(NOWHERE.to_owned()),
            remotes: Vec::new(),
        });
        options.text.clone_from(&place.options.nats_text);
        // A peer that fell silent is given up within 3 seconds, not minutes: until then a frozen core is asked in vain.
        options.extra.insert("ping_interval".into(), json!("1s"));
        options.extra.insert("ping_max".into(), json!(2));
        Ok((region.to_owned(), options))
    };
    (1..=count).map(server).collect()
}

fn member(place: &Place<'_>, region: &str, options: NatsOptions) -> anyhow::Result<Member> {
    let (name, monitor) = (options.name.clone(), options.monitor);
    let server = NatsServer::prepare(options)?;
    let addresses = [("url", server.url()), ("monitor", format!("http://{monitor}"))];
    place.member(Some(region), Kind::Nats, name, server.process(), Ready::Nats(monitor), &addresses)
}

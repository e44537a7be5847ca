//! `cluster up`: starts a cluster, shows where it is, and leaves it running.

use std::path::PathBuf;

use anyhow::Context;
use skywave_cluster::{Cluster, ClusterOptions, Kind};

use crate::arguments::Up;
use crate::tell;

pub(crate) fn run(folder: PathBuf, wishes: Up) -> anyhow::Result<()> {
    let binary = if wishes.release { Some(optimised()?) } else { wishes.binary };
    let options = ClusterOptions {
        regions: wishes.regions,
        edges: wishes.edges,
        cores: wishes.cores,
        nats: wishes.nats,
        brokers: wishes.brokers,
        distances: wishes.distances,
        inner_links: wishes.inner_links,
        keep_data: wishes.keep_data,
        port: wishes.port,
        binary,
        edge_settings: settings(&wishes.edge_settings)?,
        core_settings: settings(&wishes.core_settings)?,
        seed: wishes.seed,
        end_on_interrupt: true,
        ..ClusterOptions::new(&folder)
    };
    let cluster = Cluster::up_telling(&options, &|text| tell(text))?;
    show(&cluster)?;
    cluster.keep();
    Ok(())
}

/// The optimised build's folder lies beside that of this program.
fn optimised() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().context("a program without a folder")?;
    Ok(folder.with_file_name("release").join("skywave"))
}

/// `a.b=c` lines as a table; values are TOML, or else text.
fn settings(assignments: &[String]) -> anyhow::Result<toml::Table> {
    let mut settings = toml::Table::new();
    for assignment in assignments {
        let (key, value) =
            assignment.split_once('=').with_context(|| format!("{assignment:?} is not KEY=VALUE"))?;
        let value = toml::from_str::<toml::Table>(&format!("value = {value}"))
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| value.into());
        let mut table = &mut settings;
        let (folders, name) = key.rsplit_once('.').unwrap_or(("", key));
        for part in folders.split('.').filter(|part| !part.is_empty()) {
            let entry = table.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            table = entry.as_table_mut().with_context(|| format!("{key}: {part} is no section"))?;
        }
        table.insert(name.to_owned(), value);
    }
    Ok(settings)
}

fn show(cluster: &Cluster) -> anyhow::Result<()> {
    tell("\nThe cluster is up.\n");
    for region in cluster.regions()? {
        let edges = cluster.of_kind(&region, Kind::Edge)?;
        let pages: Vec<String> =
            edges.iter().filter_map(|edge| edge.addresses.get("http")).map(|url| format!("{url}/")).collect();
        tell(&format!("  {region:<8} {}", pages.join("   ")));
    }
    let (document, secret) = (cluster.document(), cluster.secret_file());
    tell(&format!("\n  Where    {}", document.display()));
    tell(&format!("  Tokens   skywave token --user ada --secret-file {}", secret.display()));
    tell(&format!("  Play     {}", cluster.command("--help")));
    tell(&format!("  Stop     {}\n", cluster.command("down")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::settings;

    #[test]
    fn assignments_become_sections() {
        let given = ["limits.connections=5", "log.level=debug", "nats.servers=['a']"].map(str::to_owned);
        let expected = "[limits]\nconnections = 5\n[log]\nlevel = 'debug'\n[nats]\nservers = ['a']";
        assert_eq!(settings(&given).unwrap(), toml::from_str(expected).unwrap());
        assert!(settings(&["nothing".to_owned()]).is_err());
    }
}

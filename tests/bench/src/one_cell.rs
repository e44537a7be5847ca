//! One region, two edges, one core or as many as asked for, one broker: everything on the cores of this machine, the generator too.

use skywave_cluster::{Cluster, ClusterOptions, Kind};

use crate::table::Table;
use crate::{Arguments, Rows, generator};

pub(crate) fn run(arguments: &Arguments, options: &ClusterOptions, table: &mut Table) -> anyhow::Result<()> {
    let cluster = Cluster::up_telling(options, &|what| println!("{what}"))?;
    let edges = cluster.of_kind("eu", Kind::Edge)?;
    let cores = cluster.of_kind("eu", Kind::Core)?;
    let addresses = |members: &[skywave_cluster::Member]| -> anyhow::Result<Vec<String>> {
        members.iter().map(|member| Ok(member.address("http")?.to_string())).collect()
    };
    if arguments.wants(Rows::Publish) {
        let mut words = vec!["cell".to_owned()];
        words.extend(addresses(&edges)?);
        words.extend(arguments.load.iter().flat_map(|rate| ["--load".to_owned(), rate.to_string()]));
        words.extend(["--warm-up".to_owned(), arguments.warm_up.to_string()]);
        table.add_all(generator::rows(arguments, &words)?);
    }
    if arguments.wants(Rows::Store) {
        let mut words = vec!["storing".to_owned()];
        words.extend(addresses(&cores)?);
        let config = cluster.folder().join("config").join(format!("{}.toml", cores[0].name));
        words.extend(["--config".to_owned(), config.display().to_string()]);
        table.add_all(generator::rows(arguments, &words)?);
    }
    if arguments.wants(Rows::Channels) {
        let pid = edges[1].pid().unwrap_or_default().to_string();
        let words = ["channels".to_owned(), edges[1].address("http")?.to_string(), "--pid".into(), pid];
        table.add_all(generator::rows(arguments, &words)?);
    }
    cluster.down()
}

//! Two regions with a slow link between them; two edges in each, two cores at home.

use skywave_cluster::{Cluster, ClusterOptions, Kind};
use skywave_wan::Change;

use crate::generator::Row;
use crate::table::{Table, median};
use crate::{Arguments, Rows, core_death, generator};

/// Of the link, each way.
const DELAY_MS: f64 = 45.0;

pub(crate) fn run(arguments: &Arguments, options: &ClusterOptions, table: &mut Table) -> anyhow::Result<()> {
    let cluster = Cluster::up_telling(options, &|what| println!("{what}"))?;
    let home = cluster.of_kind("eu", Kind::Edge)?;
    if arguments.wants(Rows::Between) {
        let away = cluster.of_kind("us", Kind::Edge)?;
        let mut links = cluster.links()?;
        let delay = |ms| Change { delay_ms: Some(ms), jitter_ms: Some(0.0), ..Change::default() };
        links.shape("eu", "us", delay(DELAY_MS))?;
        let mut words = vec!["between".to_owned()];
        for edge in [&home[0], &home[1], &away[0]] {
            words.push(edge.address("http")?.to_string());
        }
        words.extend(["--one-way-ms".to_owned(), DELAY_MS.to_string()]);
        let rows = generator::rows(arguments, &words);
        links.shape("eu", "us", delay(0.0))?;
        table.add_all(rows?);
    }
    if arguments.wants(Rows::Edge) {
        table.add(edge_death(arguments, &cluster)?);
    }
    if arguments.wants(Rows::Core) {
        table.add(core_death::row(arguments, &cluster)?);
    }
    cluster.down()
}

/// Each round kills the edge and brings it back.
fn edge_death(arguments: &Arguments, cluster: &Cluster) -> anyhow::Result<Row> {
    let edges = cluster.of_kind("eu", Kind::Edge)?;
    let addresses = [edges[1].address("http")?.to_string(), edges[0].address("http")?.to_string()];
    let words: Vec<String> = std::iter::once("moving".to_owned()).chain(addresses).collect();
    let mut rounds = Vec::new();
    for _ in 0..arguments.rounds {
        let running = generator::start(arguments, &words, Some("kill it"))?;
        cluster.kill9(&edges[1].name)?;
        let row = running.rows()?.remove(0);
        println!("{} s, {:?}", row.measured, row.details);
        rounds.push(row);
        cluster.restart(&edges[1].name)?;
    }
    let figures = |name: &str| -> Vec<f64> {
        let found =
            |row: &Row| row.details.iter().find(|(detail, _)| detail == name).map(|(_, figure)| *figure);
        rounds.iter().filter_map(found).collect()
    };
    let p99s: Vec<f64> = rounds.iter().map(|row| row.measured).collect();
    let wrong: f64 = figures("lost or doubled").iter().sum();
    let mut row = rounds[0].clone();
    row.details = vec![
        ("p50".into(), median(figures("p50"))),
        ("slowest of all rounds".into(), figures("slowest").into_iter().fold(0.0, f64::max)),
        ("lost or doubled".into(), wrong),
        ("rounds".into(), rounds.len() as f64),
    ];
    row.measured = median(p99s);
    row.reached = row.measured <= 5.0 && wrong == 0.0;
    Ok(row)
}

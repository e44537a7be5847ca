//! `skywave-faults`: plays faults on a cluster of its own and tells what held. `cargo xtask faults` builds and calls it.
#![allow(clippy::print_stdout, reason = "a command line tool speaks on standard output")]

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use skywave_cluster::Cluster;
use skywave_faults::report::{self, Judged, Outcome};
use skywave_faults::setting::{Ground, sweep};
use skywave_faults::{SCENARIOS, Scenario, Stage, Strength, trouble};

/// Play faults on three regions of real processes, and judge what clients saw
#[derive(Debug, Parser)]
#[command(max_term_width = 110)]
struct Arguments {
    /// Only these faults (may be repeated); see --list
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// The most important ones, for seconds each
    #[arg(long)]
    short: bool,
    /// Name the faults, and end
    #[arg(long)]
    list: bool,
    /// End the cluster in the folder if its runner was ended, and nothing else
    #[arg(long, requires = "folder", hide = true)]
    sweep: bool,
    /// Write the table into this document; rows of faults that were not played stay
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Where the cluster's logs and data lie (a temporary folder without this)
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// The skywave program; else the one beside this program
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("skywave-faults: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    if arguments.list {
        for Scenario { name, fault, .. } in SCENARIOS {
            println!("{name:16} {fault}");
        }
        return Ok(true);
    }
    if let Some(folder) = arguments.folder.as_ref().filter(|_| arguments.sweep) {
        // Whoever plays there ends his cluster himself.
        if let Some(_ours) = take(folder)? {
            sweep(folder)?;
        }
        return Ok(true);
    }
    let chosen = chosen(arguments)?;
    let temporary = tempfile::Builder::new().prefix("skywave-faults-").tempdir()?;
    let folder = arguments.folder.clone().unwrap_or_else(|| temporary.path().to_owned());
    let ours =
        take(&folder)?.with_context(|| format!("faults are played in {} already", folder.display()))?;
    sweep(&folder)?;
    let strength = if arguments.short { Strength::Short } else { Strength::Full };
    let all: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.fault).collect();
    let mut outcomes = Vec::new();
    for faults in chosen.chunk_by(|one, next| one.setting == next.setting) {
        let say = |what: &str| println!("{what}");
        let up = || faults[0].setting.up(&folder, arguments.binary.clone(), &say);
        let Some(mut ground) = up()? else { continue };
        for scenario in faults {
            outcomes.push(outcome(&ground, scenario, strength));
            if let Some(document) = &arguments.report {
                // Now: whatever becomes of the rest.
                report::write(document, &report::table(&outcomes), &all)?;
            }
            // The next fault needs a whole cluster, whatever this one has left of it.
            if let Err(error) = mend(&ground.cluster) {
                println!("the cluster cannot be mended, and is made anew: {error:#}");
                end(ground, &folder)?;
                match up()? {
                    Some(fresh) => ground = fresh,
                    None => anyhow::bail!("no second cluster can be made"),
                }
            }
        }
        end(ground, &folder)?;
    }
    drop(ours);
    let table = report::table(&outcomes);
    println!("\n{table}");
    let failed = outcomes.iter().filter(|outcome| outcome.result.is_err()).count();
    println!("{} faults, {failed} did not hold", outcomes.len());
    Ok(failed == 0)
}

/// Makes the folder ours until the answer is dropped; `None` when somebody else plays there.
fn take(folder: &Path) -> anyhow::Result<Option<File>> {
    let beside = folder.with_extension("lock");
    if let Some(parent) = beside.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let lock = File::create(&beside).with_context(|| format!("making {}", beside.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Ends a cluster, and then what it stood on.
fn end(ground: Ground, folder: &Path) -> anyhow::Result<()> {
    ground.cluster.down()?;
    drop(ground.volume);
    sweep(folder)
}

fn chosen(arguments: &Arguments) -> anyhow::Result<Vec<&'static Scenario>> {
    for name in &arguments.only {
        anyhow::ensure!(
            SCENARIOS.iter().any(|scenario| scenario.name == name),
            "there is no fault {name:?}; --list names them"
        );
    }
    let wanted = |scenario: &&Scenario| match arguments.only.is_empty() {
        true => !arguments.short || scenario.short,
        false => arguments.only.iter().any(|name| name == scenario.name),
    };
    Ok(SCENARIOS.iter().filter(wanted).collect())
}

/// Plays one fault, and tells how it went.
fn outcome(ground: &Ground, scenario: &'static Scenario, strength: Strength) -> Outcome {
    println!("\n=== {}: {}", scenario.name, scenario.fault);
    let result = play(ground, scenario, strength);
    match &result {
        Ok(judged) => println!(
            "held: {} acknowledged; {}; served again {:.1} s after healing; clients saw {}",
            judged.figures.acknowledged,
            judged.evidence,
            judged.recovered.as_secs_f64(),
            judged.figures.seen()
        ),
        Err(error) => println!("DID NOT HOLD: {error:#}\n{}", trouble::processes(&ground.cluster)),
    }
    Outcome { scenario, result: result.map_err(|error| format!("{error:#}")) }
}

fn play(ground: &Ground, scenario: &'static Scenario, strength: Strength) -> anyhow::Result<Judged> {
    let mut stage = Stage::begin(&ground.cluster, scenario.name)?;
    stage.volume = ground.volume.as_ref();
    let evidence = (scenario.play)(&stage, strength)?;
    let recovered = stage.goes_on("everybody to be served again")?;
    let (figures, _) = stage.judge()?;
    Ok(Judged { evidence, recovered, figures })
}

/// Brings back whatever is not there.
fn mend(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.links()?.heal("eu", "us")?;
    for member in cluster.members()? {
        if !member.standing().ready {
            cluster.restart(&member.name)?;
        }
    }
    Ok(())
}

//! `cargo xtask cluster`: the command line over [`skywave_cluster`].

mod arguments;
mod link;
mod logs;
mod report;
mod up;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use skywave_cluster::Cluster;

use arguments::{Arguments, Command};

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let folder = arguments.folder;
    let open = || Cluster::open(&folder);
    match arguments.command {
        Command::Up(wishes) => up::run(folder, wishes),
        Command::Down => down(&folder),
        Command::Status => report::status(&open()?),
        Command::Kill { names } => each(&open()?, &names, "killed", Cluster::kill9),
        Command::Stop { names } => each(&open()?, &names, "frozen", Cluster::pause),
        Command::Continue { names } => each(&open()?, &names, "goes on", Cluster::resume),
        Command::Terminate { names } => each(&open()?, &names, "has left", Cluster::terminate),
        Command::Restart { names } => each(&open()?, &names, "is back", Cluster::restart),
        Command::Link(wish) => link::run(&open()?, &wish),
        Command::Logs { name, lines, follow } => logs::show(&open()?, &name, lines, follow),
    }
}

/// Says it on standard output. Nobody may listen any more (`… | head`), which is no reason to end a cluster.
fn tell(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Ending nothing is no failure: what is wanted is that nothing runs.
fn down(folder: &Path) -> anyhow::Result<()> {
    if Cluster::is_in(folder)? {
        Cluster::open(folder)?.down()?;
        tell(&format!("the cluster has ended; its logs are in {}", folder.join("logs").display()));
    } else {
        tell(&format!("no cluster in {}", folder.display()));
    }
    Ok(())
}

/// One after the other; all names are looked up before anything is done.
fn each(
    cluster: &Cluster,
    names: &[String],
    done: &str,
    act: impl Fn(&Cluster, &str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for name in names {
        all.extend(cluster.named(name)?);
    }
    for name in all {
        act(cluster, &name)?;
        tell(&format!("{name} {done}"));
    }
    Ok(())
}

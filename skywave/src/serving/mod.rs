//! What every kind of node needs around its services: its id, its files and ports, its runtime, and how it ends.
//!
//! Used by `dev`, `edge` and `core`, which say what is put together and in which order. Never: names an adapter.

mod edge;
mod files;
mod identity;
mod page;
pub(crate) mod probe;
mod trouble;

use std::process::ExitCode;
use std::time::Duration;

use skywave_protocol::NodeId;
use skywave_runtime::config::FlagValue;

use crate::settings::{self, ConfigArgs, Role, Settings};

pub(crate) use edge::{EdgeParts, authenticator, identity, start_edge, try_ports};
pub(crate) use trouble::port;

/// Why a node did not run to an orderly end.
pub(crate) enum Failed {
    /// Before it served anybody.
    CannotBegin(String),
    Broke(String),
}

pub(crate) fn cannot_begin(problem: impl ToString) -> Failed {
    Failed::CannotBegin(problem.to_string())
}

pub(crate) fn broke(problem: impl ToString) -> Failed {
    Failed::Broke(problem.to_string())
}

/// Reads the configuration, and runs a node of this role to its end. `threads`: of the runtime beside an edge's workers; 0:
/// one per core that this process may use.
pub(crate) fn run<F>(
    role: Role,
    args: &ConfigArgs,
    flags: Vec<FlagValue>,
    threads: usize,
    serve: impl FnOnce(Settings) -> F,
) -> anyhow::Result<ExitCode>
where
    F: Future<Output = Result<(), Failed>>,
{
    let loaded = match settings::load(role, args, flags) {
        Ok(loaded) => loaded,
        Err(error) => return Ok(trouble::cannot_begin(&error.to_string())),
    };
    loaded.value.log.init()?;
    files::raise_limit();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if threads > 0 {
        runtime.worker_threads(threads);
    }
    let runtime = runtime.enable_all().build()?;
    let outcome = runtime.block_on(serve(loaded.value));
    // Whatever still blocks (a slow disk) must not hold the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match outcome {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Failed::CannotBegin(trouble)) => Ok(trouble::cannot_begin(&trouble)),
        Err(Failed::Broke(reason)) => Err(anyhow::anyhow!(reason)),
    }
}

/// A new id at every start: clients and presence tell one life of a process from the next.
pub(crate) fn node_id(name: &str) -> NodeId {
    let random = ulid::Ulid::generate().to_string().to_lowercase();
    let id = format!("{name}-{}", &random[random.len() - 8..]);
    // A ULID's letters make an id; a name that is none was refused by the settings' check.
    NodeId::parse(&id).unwrap_or_else(|_| unreachable!("{id:?} is a node id"))
}

//! Wires the embedded adapters, the core and the edge, and ends them in order.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use skywave_core::{Core, Ports};
use skywave_edge::auth::Authenticator;
use skywave_edge::http::Component;
use skywave_edge::{Edge, EdgeError, EdgePorts, SystemClock};
use skywave_embedded::{
    InProcessBus, InProcessState, LogOptions, SqliteLog, SqliteStore, StateLimits, StoreOptions, random_epoch,
};
use skywave_ports::Bus;
use skywave_protocol::NodeId;
use skywave_runtime::shutdown::{self, on_signals};
use skywave_runtime::telemetry::metrics;

use super::{banner, identity, page, trouble};
use crate::settings::Settings;

/// Why a relay did not run to an orderly end.
pub(super) enum Failed {
    /// Before it served anybody.
    CannotBegin(String),
    Broke(String),
}

fn cannot_begin(problem: impl ToString) -> Failed {
    Failed::CannotBegin(problem.to_string())
}

fn broke(problem: impl ToString) -> Failed {
    Failed::Broke(problem.to_string())
}

/// Runs until SIGTERM or SIGINT, then ends gracefully.
pub(super) async fn serve(settings: Settings) -> Result<(), Failed> {
    let (_trigger, shutdown) = on_signals().map_err(cannot_begin)?;
    for address in [Some(settings.edge.listen), settings.edge.tls_listen].into_iter().flatten() {
        try_port(address)?;
    }
    let state = Arc::new(InProcessState::new(StateLimits::default()));
    let auth = Authenticator::new(&settings.auth, state.clone());
    let auth = Arc::new(auth.map_err(|error| cannot_begin(format!("auth: {error}")))?);

    let folder = &settings.data.folder;
    let unusable = |error| Failed::CannotBegin(trouble::data(folder, &error));
    let log = SqliteLog::open(folder, LogOptions::default()).await.map_err(unusable)?;
    let fresh = random_epoch(&mut rand::rng());
    let store = SqliteStore::open(folder, StoreOptions::default(), fresh).await.map_err(unusable)?;
    // After the folder is known to be ours: a certificate that had to be made is kept in it.
    let identity = identity::obtain(&settings).map_err(|error| cannot_begin(format!("tls: {error}")))?;
    let bus: Arc<dyn Bus> = Arc::new(InProcessBus::new());
    let mut registry = metrics::registry(env!("CARGO_PKG_VERSION"));

    // The core is told to end only after the edge has, so that it answers what the edge still asks.
    let (end_core, core_end) = shutdown::channel();
    let mut core_config = settings.core.clone();
    core_config.cell = settings.node.cell.clone();
    core_config.namespaces = settings.namespaces_by_prefix();
    let ports = Ports { log: Arc::new(log), store: Arc::new(store), bus: bus.clone() };
    let mut core = Core::start(core_config, ports, &mut registry, core_end).await.map_err(cannot_begin)?;
    let mut core_ready = core.ready();
    tokio::select! {
        _ = core_ready.wait_for(|ready| *ready) => {}
        () = shutdown.requested() => {
            end_core.graceful();
            return core.ended().await.map_err(broke);
        }
    }

    tokio::spawn(keep_keys_fresh(auth.clone()));
    let edge_ports = EdgePorts {
        bus,
        state,
        auth,
        tls: identity,
        clock: Arc::new(SystemClock),
        registry: Arc::new(Mutex::new(registry)),
        page: page::assets(),
        health: Arc::new(move || vec![Component { name: "core", ok: *core_ready.borrow(), detail: None }]),
    };
    let config = settings.edge(node_id(&settings.node.name));
    let webtransport = config.webtransport;
    let edge = Edge::start(config, edge_ports, shutdown.clone()).await.map_err(|error| match error {
        EdgeError::Listen { address, source } => Failed::CannotBegin(trouble::port(address, &source)),
        other => cannot_begin(other),
    })?;
    banner::print(&settings, edge.addresses(), webtransport.map(|asked| same_port(asked, edge.addresses())));

    let ended = tokio::select! {
        ended = edge.finished() => ended,
        // A relay whose core has died must not look alive.
        core = core.ended() => return core.map_err(broke),
    };
    if shutdown.phase() == shutdown::Phase::Immediate {
        end_core.immediate();
    } else {
        end_core.graceful();
    }
    core.ended().await.map_err(broke)?;
    ended.map_err(broke)
}

/// Tries a port before the data is touched. (The edge binds it again; in between somebody else may take it.)
fn try_port(address: SocketAddr) -> Result<(), Failed> {
    let refused = |error: std::io::Error| Failed::CannotBegin(trouble::port(address, &error));
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).map_err(refused)?;
    // As the edge does: connections of a predecessor that linger are no obstacle, a listener is.
    socket.set_reuse_address(true).map_err(refused)?;
    // Not listening: a client that tries just now is refused at once, instead of waiting in a queue that nobody serves.
    socket.bind(&address.into()).map_err(refused)
}

async fn keep_keys_fresh(auth: Arc<Authenticator>) {
    auth.keep_keys_fresh().await;
}

/// A free port that was asked for WebTransport is the one the TCP listener got.
fn same_port(asked: SocketAddr, bound: &[SocketAddr]) -> SocketAddr {
    match (asked.port(), bound.last()) {
        (0, Some(bound)) => SocketAddr::new(asked.ip(), bound.port()),
        _ => asked,
    }
}

/// A new id at every start: clients and presence tell one life of a process from the next.
fn node_id(name: &str) -> NodeId {
    let random = ulid::Ulid::generate().to_string().to_lowercase();
    let id = format!("{name}-{}", &random[random.len() - 8..]);
    // A ULID's letters make an id; a name that is none was refused by the settings' check.
    NodeId::parse(&id).unwrap_or_else(|_| unreachable!("{id:?} is a node id"))
}

//! An edge with everything it is given, whatever the bus and the state are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use skywave_edge::auth::Authenticator;
use skywave_edge::tls::Identity;
use skywave_edge::{Edge, EdgeConfig, EdgeError, EdgeHandle, EdgePorts, SystemClock};
use skywave_ports::{Bus, SharedState};
use skywave_protocol::NodeId;
use skywave_runtime::Shutdown;
use skywave_runtime::health::HealthCheck;
use tokio::sync::watch;

use super::{Failed, cannot_begin, page, trouble};
use crate::settings::Settings;

/// What the kind of node decides about its edge.
pub(crate) struct EdgeParts {
    pub(crate) node: NodeId,
    /// There are no other nodes, and never will be.
    pub(crate) alone: bool,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) state: Arc<dyn SharedState>,
    pub(crate) auth: Arc<Authenticator>,
    pub(crate) identity: Option<watch::Receiver<Arc<Identity>>>,
    pub(crate) registry: Arc<Mutex<Registry>>,
    pub(crate) health: HealthCheck,
}

/// Who may connect.
pub(crate) fn authenticator(
    settings: &Settings,
    state: Arc<dyn SharedState>,
) -> Result<Arc<Authenticator>, Failed> {
    let auth = Authenticator::new(&settings.auth, state);
    Ok(Arc::new(auth.map_err(|error| cannot_begin(format!("auth: {error}")))?))
}

/// The certificate in force.
pub(crate) fn identity(settings: &Settings) -> Result<Option<watch::Receiver<Arc<Identity>>>, Failed> {
    super::identity::obtain(settings).map_err(|error| cannot_begin(format!("tls: {error}")))
}

/// Lets clients in.
pub(crate) async fn start_edge(
    settings: &Settings,
    parts: EdgeParts,
    shutdown: Shutdown,
) -> Result<EdgeHandle, Failed> {
    let EdgeParts { node, alone, bus, state, auth, identity, registry, health } = parts;
    tokio::spawn(keep_keys_fresh(auth.clone()));
    let ports = EdgePorts {
        bus,
        state,
        auth,
        tls: identity,
        clock: Arc::new(SystemClock),
        registry,
        page: page::assets(),
        health,
    };
    let mut config = EdgeConfig { announced_cores: !alone, ..settings.edge(node) };
    if alone {
        config.timing.presence_listen = Duration::ZERO;
        // The state is this node's own memory, and the store is as near.
        config.history_cache = None;
    }
    Edge::start(config, ports, shutdown).await.map_err(|error| match error {
        EdgeError::Listen { address, source } => Failed::CannotBegin(trouble::port(address, &source)),
        other => cannot_begin(other),
    })
}

async fn keep_keys_fresh(auth: Arc<Authenticator>) {
    auth.keep_keys_fresh().await;
}

/// Tries the edge's ports before anything else is touched. (The edge binds them again; in between somebody else may take
/// them.)
pub(crate) fn try_ports(settings: &Settings) -> Result<(), Failed> {
    [Some(settings.edge.listen), settings.edge.tls_listen].into_iter().flatten().try_for_each(try_port)
}

fn try_port(address: SocketAddr) -> Result<(), Failed> {
    let refused = |error: std::io::Error| Failed::CannotBegin(trouble::port(address, &error));
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).map_err(refused)?;
    // As the edge does: connections of a predecessor that linger are no obstacle, a listener is.
    socket.set_reuse_address(true).map_err(refused)?;
    // Not listening: a client that tries just now is refused at once, instead of waiting in a queue that nobody serves.
    socket.bind(&address.into()).map_err(refused)
}

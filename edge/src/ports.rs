//! What the edge is given from outside: bus, shared state, who may come in, TLS, time, and where its metrics go.
//!
//! Owns: the seams, so that tests can put anything behind them. Never: names an adapter.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use skywave_ports::{Bus, SharedState};
use skywave_runtime::health::HealthCheck;
use tokio::sync::watch;

use crate::auth::Authenticator;
use crate::http::PageAssets;
use crate::tls::Identity;

/// Everything [`crate::Edge::start`] needs besides its configuration.
#[derive(Clone)]
pub struct EdgePorts {
    pub bus: Arc<dyn Bus>,
    pub state: Arc<dyn SharedState>,
    /// Who may connect, with which rights, and from which pages.
    pub auth: Arc<Authenticator>,
    /// The certificate in force, for TLS listeners and WebTransport; connections that follow a change get the new one.
    pub tls: Option<watch::Receiver<Arc<Identity>>>,
    pub clock: Arc<dyn WallClock>,
    pub registry: Arc<Mutex<Registry>>,
    /// Files served at `/` and `/assets/`.
    pub page: PageAssets,
    /// State of what the node depends on, for `/health/ready`.
    pub health: HealthCheck,
}

/// Time of day, for token expiry and the stamp of ephemeral publications. Deadlines use the monotonic clock instead.
pub trait WallClock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn unix_ms(&self) -> u64;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl WallClock for SystemClock {
    fn unix_ms(&self) -> u64 {
        // A clock before 1970 counts as 1970: every token with an expiry is then still valid, none is not yet valid.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }
}

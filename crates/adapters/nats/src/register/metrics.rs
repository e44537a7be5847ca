//! What the register counts.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use skywave_ports::RegisterError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Request {
    Read,
    Write,
    /// A look at a key that somebody follows.
    Follow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Outcome {
    Done,
    Conflict,
    Unavailable,
}

impl Outcome {
    pub(super) fn of<T>(result: &Result<T, RegisterError>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(RegisterError::Conflict) => Self::Conflict,
            Err(RegisterError::Unavailable(_) | RegisterError::TooLarge(_)) => Self::Unavailable,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    request: Request,
    outcome: Outcome,
}

/// Cheap to clone: every clone counts into the same numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct RegisterMetrics {
    requests: Family<Labels, Counter>,
    pub(super) follows_again: Counter,
}

impl RegisterMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Requests to the register, and what became of them";
        registry.register("skywave_nats_register_requests", help, metrics.requests.clone());
        let help = "Times that following a key had to begin anew";
        registry.register("skywave_nats_register_follows_again", help, metrics.follows_again.clone());
        metrics
    }

    pub(super) fn count(&self, request: Request, outcome: Outcome) {
        self.requests.get_or_create(&Labels { request, outcome }).inc();
    }
}

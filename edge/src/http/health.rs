//! `/health/live` (the process answers) and `/health/ready` (it can do its work).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

use super::{Api, answer};

/// The state of something the node depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Component {
    pub name: &'static str,
    pub ok: bool,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Asks the components; called for each request, so it must answer at once and from memory.
pub type HealthCheck = Arc<dyn Fn() -> Vec<Component> + Send + Sync>;

#[derive(Serialize)]
struct Live<'a> {
    status: &'static str,
    node: &'a str,
    region: &'a str,
}

#[derive(Serialize)]
struct Ready<'a> {
    status: &'static str,
    node: &'a str,
    components: Vec<Component>,
}

pub(super) async fn live(State(api): State<Api>) -> Response {
    let config = &api.shared.config;
    answer::value(
        StatusCode::OK,
        &Live { status: "live", node: config.node.as_str(), region: &config.region },
    )
}

pub(super) async fn ready(State(api): State<Api>) -> Response {
    let draining = api.shared.is_draining();
    let detail = draining.then(|| "the node is draining".to_owned());
    let mut components = vec![Component { name: "edge", ok: !draining, detail }];
    components.extend((api.shared.ports.health)());
    let ready = components.iter().all(|component| component.ok);
    let (status, word) =
        if ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") };
    answer::value(status, &Ready { status: word, node: api.shared.config.node.as_str(), components })
}

//! `/health/live` (the process answers) and `/health/ready` (it can do its work).

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use skywave_runtime::health::{Component, Live, Ready};

use super::{Api, answer};

pub(super) async fn live(State(api): State<Api>) -> Response {
    let config = &api.shared.config;
    answer::value(StatusCode::OK, &Live::new(config.node.as_str(), &config.region))
}

pub(super) async fn ready(State(api): State<Api>) -> Response {
    let draining = api.shared.is_draining();
    let detail = draining.then(|| "the node is draining".to_owned());
    let mut components = vec![Component::essential("edge", !draining, detail)];
    components.extend((api.shared.ports.health)());
    let ready = Ready::new(api.shared.config.node.as_str(), components);
    let status = StatusCode::from_u16(ready.http_status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    answer::value(status, &ready)
}

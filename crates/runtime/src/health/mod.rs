//! Whether a process can do its work: the components it depends on, and how `/health/live` and `/health/ready` say so.
//!
//! A component that fails makes the process *not ready*; one that is not essential only makes it *degraded*: it serves, but
//! something is slower or less precise than it should be.
//!
//! [`probes`] serves health and metrics on a listener of their own, for processes that no client talks to.

pub mod probes;

use std::sync::Arc;

use serde::Serialize;

/// The state of something a process depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Component {
    pub name: &'static str,
    pub ok: bool,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Without it the process cannot do its work.
    #[serde(skip)]
    pub essential: bool,
}

impl Component {
    pub fn essential(name: &'static str, ok: bool, detail: Option<String>) -> Self {
        Self { name, ok, detail, essential: true }
    }

    /// One whose failure only makes the process worse.
    pub fn helpful(name: &'static str, ok: bool, detail: Option<String>) -> Self {
        Self { name, ok, detail, essential: false }
    }
}

/// Asks the components; called for each request, so it must answer at once and from memory.
pub type HealthCheck = Arc<dyn Fn() -> Vec<Component> + Send + Sync>;

/// The body of `/health/live`: the process answers.
#[derive(Debug, Serialize)]
pub struct Live<'a> {
    status: &'static str,
    node: &'a str,
    region: &'a str,
}

impl<'a> Live<'a> {
    pub fn new(node: &'a str, region: &'a str) -> Self {
        Self { status: "live", node, region }
    }
}

/// The body of `/health/ready`.
#[derive(Debug, Serialize)]
pub struct Ready<'a> {
    status: &'static str,
    node: &'a str,
    components: Vec<Component>,
}

impl<'a> Ready<'a> {
    pub fn new(node: &'a str, components: Vec<Component>) -> Self {
        let fails = |essential| components.iter().any(|it| !it.ok && it.essential == essential);
        let status = match (fails(true), fails(false)) {
            (true, _) => "not_ready",
            (false, true) => "degraded",
            (false, false) => "ready",
        };
        Self { status, node, components }
    }

    /// 200, or 503 when work should go elsewhere.
    pub fn http_status(&self) -> u16 {
        if self.status == "not_ready" { 503 } else { 200 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_component_decides() {
        let ready = |log, state| {
            let components =
                vec![Component::essential("log", log, None), Component::helpful("state", state, None)];
            let ready = Ready::new("n", components);
            (ready.status, ready.http_status())
        };
        assert_eq!(ready(true, true), ("ready", 200));
        assert_eq!(ready(true, false), ("degraded", 200));
        assert_eq!(ready(false, true), ("not_ready", 503));
        assert_eq!(ready(false, false), ("not_ready", 503));
    }
}

//! What the types cannot say: values that do not go together, files that must be there.

use skywave_edge::auth::Verifier;
use skywave_protocol::limits::{MESSAGE_BYTES_MAX, NODE_ID_BYTES};
use skywave_runtime::config::{ConfigError, Loaded};

use skywave_edge::Redirect;

use super::{EdgeSettings, LimitSettings, Problem, Role, Settings, TimingSettings, TlsSettings};

/// Refuses settings that cannot work in this role, naming the key and its source. Reads key and certificate files, binds
/// nothing.
pub(super) fn check(role: Role, loaded: &Loaded<Settings>) -> Result<(), ConfigError> {
    loaded.value.check(role).map_err(|Problem { key, problem }| loaded.error(&key, problem))
}

impl Settings {
    fn check(&self, role: Role) -> Result<(), Problem> {
        self.log.filter().map_err(|error| Problem::new("log.level", error.to_string()))?;
        self.check_node(role)?;
        self.check_namespaces()?;
        if role.has_edge() {
            self.limits.check()?;
            self.timing.check()?;
            self.edge.check()?;
            self.tls.check()?;
            Verifier::new(&self.auth).map_err(|error| Problem::new("auth", error.to_string()))?;
        }
        if role.has_core() {
            self.core.check().map_err(|error| {
                Problem::new(&format!("core.{}", error.field), format!("must be {}", error.must))
            })?;
        }
        match role {
            Role::Dev => Ok(()),
            Role::Edge => self.nats(&self.node.name).map(drop).and_then(|()| self.redis().map(drop)),
            Role::Core => {
                self.nats(&self.node.name)?;
                self.kafka()?;
                self.postgres()?;
                self.topics()?;
                self.outbox().map(drop)
            }
        }
    }

    fn check_node(&self, role: Role) -> Result<(), Problem> {
        // The node's id is this and nine characters more.
        let name = &self.node.name;
        if name.len() > NODE_ID_BYTES - 9 || skywave_protocol::NodeId::parse(name).is_err() {
            let most = NODE_ID_BYTES - 9;
            return Err(Problem::new(
                "node.name",
                format!("must be 1 to {most} printable ASCII characters without spaces"),
            ));
        }
        if role != Role::Dev && !(1..=3_600).contains(&self.node.start_seconds) {
            return Err(Problem::new("node.start_seconds", "must lie between 1 and 3600"));
        }
        Ok(())
    }

    fn check_namespaces(&self) -> Result<(), Problem> {
        for name in self.namespaces.keys() {
            let channel = skywave_protocol::ChannelName::parse(&format!("{name}:x"));
            if name.contains(':') || channel.is_err() {
                return Err(Problem::new(
                    &format!("namespaces.{name}"),
                    "a namespace name has letters, digits and _ - . @ / = + , ~ # only",
                ));
            }
        }
        Ok(())
    }
}

impl LimitSettings {
    fn check(&self) -> Result<(), Problem> {
        let positive = [
            ("connections", self.connections),
            ("subscriptions", self.subscriptions),
            ("outbox_bytes", self.outbox_bytes),
            ("pending_requests", self.pending_requests),
            ("core_requests", self.core_requests),
            ("queue", self.queue),
            ("publishes_per_second", self.publishes_per_second as usize),
            ("publish_burst", self.publish_burst as usize),
            ("requests_per_second", self.requests_per_second as usize),
            ("request_burst", self.request_burst as usize),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(Problem::new(&format!("limits.{key}"), "must be at least 1"));
        }
        if !(1_024..=MESSAGE_BYTES_MAX).contains(&self.message_bytes) {
            let problem = format!("must lie between 1024 and {MESSAGE_BYTES_MAX}");
            return Err(Problem::new("limits.message_bytes", problem));
        }
        if !(1_024..=1024 * 1024).contains(&self.head_bytes) {
            return Err(Problem::new("limits.head_bytes", "must lie between 1024 and 1048576"));
        }
        Ok(())
    }
}

impl TimingSettings {
    fn check(&self) -> Result<(), Problem> {
        if self.ping_seconds == 0 || self.pong_seconds == 0 {
            let key = if self.ping_seconds == 0 { "timing.ping_seconds" } else { "timing.pong_seconds" };
            return Err(Problem::new(key, "must be at least 1"));
        }
        if self.presence_lease_seconds <= self.presence_beat_seconds {
            return Err(Problem::new(
                "timing.presence_lease_seconds",
                "must be longer than timing.presence_beat_seconds",
            ));
        }
        if self.node_beat_seconds == 0 || self.node_lease_seconds < 3 * self.node_beat_seconds {
            return Err(Problem::new(
                "timing.node_lease_seconds",
                "must be at least three times timing.node_beat_seconds, which is at least 1",
            ));
        }
        Ok(())
    }
}

impl EdgeSettings {
    fn check(&self) -> Result<(), Problem> {
        let Some(url) = &self.advertise else {
            return match self.redirect {
                Redirect::Off => Ok(()),
                Redirect::Route => {
                    let problem = "needs edge.advertise: nodes send clients to each other's addresses";
                    Err(Problem::new("edge.redirect", problem))
                }
            };
        };
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let plain =
            |rest: &str| rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#@\"<>".contains(&byte));
        if !rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && plain(rest)) {
            let problem = "must be the base URL of this very node, like https://node-1.example.com";
            return Err(Problem::new("edge.advertise", problem));
        }
        Ok(())
    }
}

impl TlsSettings {
    fn check(&self) -> Result<(), Problem> {
        match (&self.certificate, &self.key) {
            (Some(_), None) => {
                return Err(Problem::new("tls.key", "is missing: a certificate needs its private key"));
            }
            (None, Some(_)) => {
                return Err(Problem::new(
                    "tls.certificate",
                    "is missing: a private key needs its certificate",
                ));
            }
            _ => {}
        }
        Problem::unless_readable("tls.certificate", self.certificate.as_deref())?;
        Problem::unless_readable("tls.key", self.key.as_deref())
    }
}

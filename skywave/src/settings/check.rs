//! What the types cannot say: values that do not go together, files that must be there.

use skywave_edge::auth::Verifier;
use skywave_protocol::limits::{MESSAGE_BYTES_MAX, NODE_ID_BYTES};
use skywave_runtime::config::{ConfigError, Loaded};

use super::Settings;

/// Refuses settings that cannot work, naming the key and its source. Reads key and certificate files, binds nothing.
pub(super) fn check(loaded: &Loaded<Settings>) -> Result<(), ConfigError> {
    let settings = &loaded.value;
    let wrong = |path: &str, problem: String| Err(loaded.error(path, problem));
    settings.log.filter().map_err(|error| loaded.error("log.level", error.to_string()))?;
    settings
        .core
        .check()
        .map_err(|error| loaded.error(&format!("core.{}", error.field), format!("must be {}", error.must)))?;

    // The node's id is this and nine characters more.
    let name = &settings.node.name;
    if name.len() > NODE_ID_BYTES - 9 || skywave_protocol::NodeId::parse(name).is_err() {
        let problem = format!("must be 1 to {} printable ASCII characters without spaces", NODE_ID_BYTES - 9);
        return wrong("node.name", problem);
    }

    let limits = &settings.limits;
    let positive = [
        ("connections", limits.connections),
        ("subscriptions", limits.subscriptions),
        ("outbox_bytes", limits.outbox_bytes),
        ("pending_requests", limits.pending_requests),
        ("core_requests", limits.core_requests),
        ("queue", limits.queue),
        ("publishes_per_second", limits.publishes_per_second as usize),
        ("publish_burst", limits.publish_burst as usize),
        ("requests_per_second", limits.requests_per_second as usize),
        ("request_burst", limits.request_burst as usize),
    ];
    if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
        return wrong(&format!("limits.{key}"), "must be at least 1".into());
    }
    if !(1_024..=MESSAGE_BYTES_MAX).contains(&limits.message_bytes) {
        return wrong("limits.message_bytes", format!("must lie between 1024 and {MESSAGE_BYTES_MAX}"));
    }
    if !(1_024..=1024 * 1024).contains(&limits.head_bytes) {
        return wrong("limits.head_bytes", "must lie between 1024 and 1048576".into());
    }
    let timing = &settings.timing;
    if timing.ping_seconds == 0 || timing.pong_seconds == 0 {
        let key = if timing.ping_seconds == 0 { "ping_seconds" } else { "pong_seconds" };
        return wrong(&format!("timing.{key}"), "must be at least 1".into());
    }
    if timing.presence_lease_seconds <= timing.presence_beat_seconds {
        return wrong(
            "timing.presence_lease_seconds",
            "must be longer than timing.presence_beat_seconds".into(),
        );
    }
    let (certificate, key) = (&settings.tls.certificate, &settings.tls.key);
    match (certificate, key) {
        (Some(_), None) => return wrong("tls.key", "is missing: a certificate needs its private key".into()),
        (None, Some(_)) => {
            return wrong("tls.certificate", "is missing: a private key needs its certificate".into());
        }
        _ => {}
    }
    for (path, file) in [("tls.certificate", certificate), ("tls.key", key)] {
        if let Some(file) = file
            && let Err(error) = std::fs::File::open(file)
        {
            return wrong(path, format!("cannot read {}: {error}", file.display()));
        }
    }
    for name in settings.namespaces.keys() {
        let channel = skywave_protocol::ChannelName::parse(&format!("{name}:x"));
        if name.contains(':') || channel.is_err() {
            return wrong(
                &format!("namespaces.{name}"),
                "a namespace name has letters, digits and _ - . @ / = + , ~ # only".into(),
            );
        }
    }
    Verifier::new(&settings.auth).map_err(|error| loaded.error("auth", error.to_string()))?;
    Ok(())
}

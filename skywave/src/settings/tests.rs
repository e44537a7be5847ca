//! The configuration and its documentation are one.

use skywave_core::TopicSettings;
use skywave_edge::auth::config::{JwksConfig, KeyConfig};
use skywave_runtime::config::keys;

use super::*;

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    std::fs::read_to_string(path).unwrap()
}

/// Every key with its default (`None`: unset, or inside a list), as the document writes them.
fn documented_keys() -> Vec<(String, Option<String>)> {
    let namespaces = [("NAME".to_owned(), NamespaceOptions::default())].into();
    let settings = Settings { namespaces, ..Settings::default() };
    let json = serde_json::to_value(&settings).unwrap();
    let mut all: Vec<(String, Option<String>)> = keys::paths(&settings)
        .into_iter()
        .map(|path| {
            let value = json.pointer(&format!("/{}", path.replace('.', "/"))).unwrap();
            let default = (!value.is_null()).then(|| value.to_string());
            (path, default)
        })
        .collect();
    let key: KeyConfig = serde_json::from_str(r#"{"algorithm":"HS256"}"#).unwrap();
    all.extend(keys::paths(&key).into_iter().map(|path| (format!("auth.keys[].{path}"), None)));
    let topic: TopicSettings = serde_json::from_str(r#"{"topic":"t","channel":"c"}"#).unwrap();
    all.extend(keys::paths(&topic).into_iter().map(|path| (format!("events.topics[].{path}"), None)));
    let jwks: JwksConfig = serde_json::from_str("{}").unwrap();
    all.extend(keys::paths(&jwks).into_iter().map(|path| (format!("auth.jwks.{path}"), None)));
    all
}

#[test]
fn every_key_is_documented_with_its_default_and_variable() {
    let document = document();
    let keys = documented_keys();
    assert!(keys.len() > 80, "{}", keys.len());
    for (key, default) in &keys {
        let row = document.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/configuration.md does not document {key}"));
        if let Some(default) = default {
            assert!(row.contains(&format!("| `{default}` |")), "the default of {key} is {default}: {row}");
        }
        if !key.contains("[]") {
            let variable = keys::variable(key);
            assert!(row.contains(&format!("`{variable}`")), "the variable of {key} is {variable}: {row}");
        }
    }
}

#[test]
fn nothing_else_is_documented() {
    let document = document();
    let keys = documented_keys();
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let keys_in_rows: Vec<&str> = rows.filter(|text| text.contains('.')).collect();
    assert!(keys_in_rows.len() >= keys.len());
    for key in keys_in_rows {
        assert!(keys.iter().any(|(known, _)| known == key), "{key} is documented, but does not exist");
    }
}

#[test]
fn a_rate_without_a_burst_still_lets_somebody_in() {
    let mut settings = Settings::default();
    settings.limits.user_publishes_per_minute = 30;
    settings.limits.handshakes_per_second = 10;
    let edge = settings.edge(skywave_protocol::NodeId::parse("n").unwrap());
    assert_eq!(edge.limits.handshakes.map(|rate| rate.burst), Some(10));
    assert_eq!(edge.limits.address_handshakes, None);
    assert_eq!(edge.limits.user_publishes, Some(skywave_engine::Rate::per_minute(30, 30)));
    assert!(edge.namespaces.contains_key(""), "the default namespace has no prefix");
}

#[test]
fn a_node_that_advertises_itself_takes_part_in_its_region() {
    let mut settings = Settings::default();
    let edge = |settings: &Settings| settings.edge(skywave_protocol::NodeId::parse("n").unwrap());
    assert_eq!(edge(&settings).placement, None);
    settings.edge.advertise = Some("https://n1.example.com".into());
    let placement = edge(&settings).placement.unwrap();
    assert_eq!(placement, skywave_edge::PlacementConfig::new("https://n1.example.com"));
}

#[test]
fn webtransport_takes_the_secure_port_if_there_is_one() {
    let mut settings = Settings::default();
    assert_eq!(settings.webtransport_address(), Some(settings.edge.listen));
    settings.edge.tls_listen = Some("127.0.0.1:443".parse().unwrap());
    assert_eq!(settings.webtransport_address(), settings.edge.tls_listen);
    settings.edge.webtransport = false;
    assert_eq!(settings.webtransport_address(), None);
}

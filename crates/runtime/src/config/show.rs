//! A configuration as TOML text, each line with the source of its value.

use serde::Serialize;
use serde_json::{Map, Value};

use super::secret;
use super::tree::Node;

pub(super) fn render<T: Serialize>(config: &T, tree: &Node) -> String {
    let mut out = String::new();
    // See `keys::paths`: configuration types always serialize to a table.
    if let Ok(Value::Object(table)) = serde_json::to_value(config) {
        section(&table, "", tree, &mut out);
    }
    out
}

fn section(table: &Map<String, Value>, path: &str, tree: &Node, out: &mut String) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let (tables, leaves): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| value.is_object());
    if !leaves.is_empty() && !path.is_empty() {
        out.push_str(&format!("\n[{path}]\n"));
    }
    for (key, value) in leaves {
        let source =
            tree.at(&below(key)).map_or_else(|| "default".to_owned(), |node| node.source.to_string());
        match literal_of(key, value) {
            Some(value) => out.push_str(&format!("{key} = {value}  # {source}\n")),
            None => out.push_str(&format!("# {key} is not set  # {source}\n")),
        }
    }
    for (key, value) in tables {
        if let Value::Object(table) = value {
            section(table, &below(key), tree, out);
        }
    }
}

/// TOML for the value of a key, unless it is a secret.
fn literal_of(key: &str, value: &Value) -> Option<String> {
    match value {
        Value::String(_) if secret::is_secret(key) => literal(&Value::String(secret::REDACTED.into())),
        value => literal(value),
    }
}

/// TOML for a value; `None` for null, which TOML does not have.
fn literal(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Array(items) => {
            Some(format!("[{}]", items.iter().filter_map(literal).collect::<Vec<_>>().join(", ")))
        }
        // An object inside a list: an inline table.
        Value::Object(table) => {
            let entries =
                table.iter().filter_map(|(key, value)| Some(format!("{key} = {}", literal_of(key, value)?)));
            Some(format!("{{ {} }}", entries.collect::<Vec<_>>().join(", ")))
        }
        Value::String(text) => Some(toml::Value::String(text.clone()).to_string()),
        other => Some(other.to_string()),
    }
}

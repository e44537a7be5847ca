//! All keys of a configuration type, listed from its default value.
//!
//! A type shows all its keys here when it serializes every field, `None` included, and when its default holds at least
//! one entry of each table that maps names to options.

use serde::Serialize;
use serde_json::Value;

/// Dotted paths of all leaves.
pub fn paths<T: Serialize>(defaults: &T) -> Vec<String> {
    let mut found = Vec::new();
    // A configuration type holds maps with string keys and plain values only, which always serialize.
    if let Ok(value) = serde_json::to_value(defaults) {
        walk(&value, String::new(), &mut found);
    }
    found
}

/// The environment variable that sets a path.
pub fn variable(path: &str) -> String {
    super::environment::variable(path)
}

fn walk(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(value, below, found);
            }
        }
        _ => found.push(path),
    }
}

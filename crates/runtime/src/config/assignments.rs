//! One key set from outside a file: by a variable or a flag.

use super::error::ConfigError;
use super::tree::{Node, Source, Value};

/// A tree that holds only `path = text`.
pub(super) fn node(path: &str, text: &str, source: Source) -> Result<Node, ConfigError> {
    if path.is_empty() || path.split('.').any(str::is_empty) {
        return Err(ConfigError::at(source, path, "not a dotted path such as edge.listen"));
    }
    let leaf = Node { value: Value::Text(text.into()), source: source.clone() };
    Ok(path.rsplit('.').fold(leaf, |inner, key| Node {
        value: Value::Table([(key.to_owned(), inner)].into()),
        source: source.clone(),
    }))
}

//! The lowest layer: the values of the type's `Default`.

use serde::Serialize;
use serde_json::Value as Json;

use super::tree::{Node, Source, Value};

/// Every key that has a default; what is `None` is absent.
pub(super) fn layer<T: Serialize>(defaults: &T) -> Node {
    // See `keys::paths`: configuration types always serialize to a table.
    serde_json::to_value(defaults).ok().and_then(node).unwrap_or_else(Node::empty_table)
}

fn node(json: Json) -> Option<Node> {
    let value = match json {
        Json::Null => return None,
        Json::Bool(truth) => Value::Boolean(truth),
        Json::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Value::Integer(number.into()),
            (None, Some(number)) => Value::Integer(number.into()),
            (None, None) => Value::Float(number.as_f64()?),
        },
        Json::String(text) => Value::String(text),
        Json::Array(items) => Value::Array(items.into_iter().filter_map(node).collect()),
        Json::Object(table) => {
            Value::Table(table.into_iter().filter_map(|(key, value)| Some((key, node(value)?))).collect())
        }
    };
    Some(Node { value, source: Source::Default })
}

//! The TOML layer: every value with the line it stands in.

use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::tree::{Node, Source, Value};

/// Largest configuration file that is read, in bytes.
const FILE_BYTES: u64 = 1024 * 1024;

pub(super) fn read(path: &Path) -> Result<Node, ConfigError> {
    let name = path.display().to_string();
    let unreadable = |error: std::io::Error| {
        ConfigError::unplaced(format!("cannot read the configuration file {name}: {error}"))
    };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_BYTES {
        return Err(ConfigError::unplaced(format!(
            "the configuration file {name} has {size} bytes; at most {FILE_BYTES} are read"
        )));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(&text, &name)
}

/// Parses a document; `name` stands for the file in messages.
pub(super) fn parse(text: &str, name: &str) -> Result<Node, ConfigError> {
    let lines = Lines { text, name: name.into() };
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        ConfigError::at(lines.source(at), "", error.message())
    })?;
    Ok(lines.table(table.get_ref(), 0))
}

struct Lines<'t> {
    text: &'t str,
    name: Arc<str>,
}

impl Lines<'_> {
    fn source(&self, byte: usize) -> Source {
        let before = self.text.as_bytes().get(..byte).unwrap_or(self.text.as_bytes());
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Source::File { name: self.name.clone(), line }
    }

    fn table(&self, table: &DeTable<'_>, at: usize) -> Node {
        let entries = table.iter().map(|(key, value)| {
            // A key's own line, not its value's: that is where a mistyped key is looked for.
            let mut node = self.value(value);
            node.source = self.source(key.span().start);
            (key.get_ref().to_string(), node)
        });
        Node { value: Value::Table(entries.collect()), source: self.source(at) }
    }

    fn value(&self, spanned: &Spanned<DeValue<'_>>) -> Node {
        let at = spanned.span().start;
        let value = match spanned.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            // A number too long for 128 bits stays as it was written and fits no type.
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| Value::String(number.to_string()), Value::Integer),
            DeValue::Float(number) => {
                number.as_str().parse().map_or_else(|_| Value::String(number.as_str().into()), Value::Float)
            }
            DeValue::Boolean(truth) => Value::Boolean(*truth),
            DeValue::Datetime(time) => Value::Datetime(time.to_string()),
            DeValue::Array(items) => Value::Array(items.iter().map(|item| self.value(item)).collect()),
            DeValue::Table(table) => return self.table(table, at),
        };
        Node { value, source: self.source(at) }
    }
}

//! Settings before they have types: a tree whose every node knows its source.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Default,
    File { name: Arc<str>, line: usize },
    Variable(Arc<str>),
    Flag(Arc<str>),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Variable(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Node {
    pub(super) value: Value,
    pub(super) source: Source,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    /// From a variable or a flag: the type of the key decides how it is read.
    Text(String),
    String(String),
    Integer(i128),
    Float(f64),
    Boolean(bool),
    /// A TOML date or time; no setting takes one.
    Datetime(String),
    Array(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

impl Node {
    pub(super) fn empty_table() -> Self {
        Self { value: Value::Table(BTreeMap::new()), source: Source::Default }
    }

    /// Lays `over` above this node: tables are merged, anything else is replaced.
    pub(super) fn merge(&mut self, over: Self) {
        match (&mut self.value, over.value) {
            (Value::Table(below), Value::Table(above)) => {
                for (key, node) in above {
                    match below.get_mut(&key) {
                        Some(existing) => existing.merge(node),
                        None => {
                            below.insert(key, node);
                        }
                    }
                }
            }
            (_, value) => *self = Self { value, source: over.source },
        }
    }

    /// The node at a dotted path.
    pub(super) fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |node, key| match &node.value {
            Value::Table(table) => table.get(key),
            _ => None,
        })
    }

    /// The source of a path, or of the nearest table above it.
    pub(super) fn source_of(&self, path: &str) -> Source {
        let mut rest = Some(path);
        while let Some(path) = rest {
            if let Some(node) = self.at(path) {
                return node.source.clone();
            }
            rest = path.rsplit_once('.').map(|(above, _)| above);
        }
        Source::Default
    }
}

impl Value {
    /// What it is, for messages; text of secrets is never shown because only the reader calls this, which knows them.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Text(text) | Self::String(text) => format!("{text:?}"),
            Self::Integer(number) => format!("the number {number}"),
            Self::Float(number) => format!("the number {number}"),
            Self::Boolean(truth) => format!("{truth}"),
            Self::Datetime(time) => format!("the time {time}"),
            Self::Array(_) => "a list".into(),
            Self::Table(_) => "a table".into(),
        }
    }
}

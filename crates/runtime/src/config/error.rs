//! The one error of configuration loading: where, which key, what is wrong.

use std::fmt;

use super::tree::Source;

/// Something in the configuration cannot be used. Its `Display` is one line, complete for the person who must fix it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// `None`: the file itself cannot be read.
    pub source: Option<Source>,
    /// Dotted path of the key; empty when the text could not even be parsed.
    pub path: String,
    pub problem: String,
}

impl ConfigError {
    pub(super) fn at(source: Source, path: &str, problem: impl Into<String>) -> Self {
        Self { source: Some(source), path: path.into(), problem: problem.into() }
    }

    pub(super) fn unplaced(problem: impl Into<String>) -> Self {
        Self { source: None, path: String::new(), problem: problem.into() }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(f, "{source}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.problem)
    }
}

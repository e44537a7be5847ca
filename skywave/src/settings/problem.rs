//! What is wrong with the configuration, before its source is known.

use std::path::Path;

use skywave_runtime::config::keys;

use super::Settings;

/// A key and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) key: String,
    pub(crate) problem: String,
}

impl Problem {
    pub(crate) fn new(key: &str, problem: impl Into<String>) -> Self {
        Self { key: key.to_owned(), problem: problem.into() }
    }

    /// An adapter complains about a field of its configuration: here it has the same name in its section, with its unit.
    pub(super) fn of_field(section: &str, field: &str, problem: String) -> Self {
        let known = keys::paths(&Settings::default());
        let names = ["", "_ms", "_seconds"].map(|unit| format!("{section}.{field}{unit}"));
        let key = names.into_iter().find(|name| known.contains(name));
        Self { key: key.unwrap_or_else(|| section.to_owned()), problem }
    }

    pub(super) fn unless_readable(key: &str, file: Option<&Path>) -> Result<(), Self> {
        let Some(file) = file else { return Ok(()) };
        match std::fs::File::open(file) {
            Ok(_) => Ok(()),
            Err(error) => Err(Self::new(key, format!("cannot read {}: {error}", file.display()))),
        }
    }
}

impl From<(String, String)> for Problem {
    fn from((key, problem): (String, String)) -> Self {
        Self { key, problem }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)
    }
}

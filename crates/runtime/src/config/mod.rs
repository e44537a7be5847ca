//! Settings from defaults, a TOML file, `SKYWAVE_*` variables and flags into one typed value, checked before anything
//! binds.
//!
//! - Each layer becomes a [`tree::Node`] whose every value remembers its source (`file:line`, variable, flag).
//! - Later layers win, table by table, key by key: defaults < file < environment < flags.
//! - One deserializer (`read`) turns the merged tree into the type; every error names source, path and what was
//!   expected, and an unknown key the known one that reads most like it.
//!
//! Owns: layering, sources, error texts. Never: knows a single key. The keys are the fields of the type.

mod assignments;
mod defaults;
mod environment;
mod error;
mod file;
pub mod keys;
mod read;
mod secret;
mod show;
mod suggest;
pub mod tree;

use std::ffi::OsString;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::ConfigError;
pub use secret::Secret;
pub use tree::Source;

use tree::Node;

/// Where settings come from, weakest first. Below them lie the values of the type's `Default`, key by key: a table that maps
/// names to options keeps its built-in entries unless a layer changes them.
#[derive(Debug, Default, Clone)]
pub struct Sources {
    pub file: Option<PathBuf>,
    /// All variables of the process; those that do not begin with `SKYWAVE_` are ignored.
    pub environment: Vec<(OsString, OsString)>,
    /// Variables that begin with `SKYWAVE_` but are no settings (`SKYWAVE_TOKEN` of the client commands …).
    pub reserved: &'static [&'static str],
    pub flags: Vec<FlagValue>,
}

/// A flag that sets one key.
#[derive(Debug, Clone)]
pub struct FlagValue {
    /// As the user wrote it, e.g. `--listen`.
    pub flag: String,
    /// Dotted path of the key, e.g. `edge.listen`.
    pub path: String,
    /// Read as the key's type demands, like a variable.
    pub value: String,
}

/// A checked configuration that still knows where each value came from.
pub struct Loaded<T> {
    pub value: T,
    /// Holds secrets as they were written: never shown.
    tree: Node,
}

impl<T: std::fmt::Debug> std::fmt::Debug for Loaded<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.value.fmt(f)
    }
}

/// Reads, merges and types all sources. The first thing that is wrong is the error.
pub fn load<T>(sources: &Sources) -> Result<Loaded<T>, ConfigError>
where
    T: DeserializeOwned + Serialize + Default,
{
    let mut tree = defaults::layer(&T::default());
    if let Some(path) = &sources.file {
        tree.merge(file::read(path)?);
    }
    let known = keys::paths(&T::default());
    tree.merge(environment::read(&sources.environment, sources.reserved, &known)?);
    for flag in &sources.flags {
        tree.merge(assignments::node(&flag.path, &flag.value, Source::Flag(flag.flag.as_str().into()))?);
    }
    let value = read::typed(&tree)?;
    Ok(Loaded { value, tree })
}

impl<T: Serialize> Loaded<T> {
    /// The source of the value at a dotted path, or of the nearest table above it that some source mentions.
    pub fn source(&self, path: &str) -> Source {
        self.tree.source_of(path)
    }

    /// An error about a value that has the right type but cannot be used.
    pub fn error(&self, path: &str, problem: impl Into<String>) -> ConfigError {
        ConfigError::at(self.source(path), path, problem)
    }

    /// The whole configuration as TOML, each value with its source; secrets are redacted.
    pub fn show(&self) -> String {
        show::render(&self.value, &self.tree)
    }
}

#[cfg(test)]
mod tests;

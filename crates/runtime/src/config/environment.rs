//! The environment layer: `SKYWAVE_EDGE__LISTEN` sets `edge.listen`.

use std::ffi::OsString;

use super::assignments;
use super::error::ConfigError;
use super::suggest;
use super::tree::{Node, Source};

const PREFIX: &str = "SKYWAVE_";
const NEST: &str = "__";

/// Variables Kubernetes sets in every pod when a service is called `skywave`; they are nobody's mistake.
fn is_service_link(name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_")
}

/// A tree of all settings among `variables`. `known` are the paths of all keys, for suggestions.
pub(super) fn read(
    variables: &[(OsString, OsString)],
    reserved: &[&str],
    known: &[String],
) -> Result<Node, ConfigError> {
    let mut tree = Node::empty_table();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        if reserved.contains(&name) {
            continue;
        }
        let source = Source::Variable(name.into());
        let rest = &name[PREFIX.len()..];
        if !rest.contains(NEST) {
            if is_service_link(name) {
                continue;
            }
            return Err(ConfigError::at(source, "", not_nested(rest, known)));
        }
        let path = rest.to_lowercase().replace(NEST, ".");
        let Some(text) = value.to_str() else {
            return Err(ConfigError::at(source, &path, "the value is not UTF-8"));
        };
        tree.merge(assignments::node(&path, text, source)?);
    }
    Ok(tree)
}

/// The message for a variable with single underscores only.
fn not_nested(rest: &str, known: &[String]) -> String {
    let flat = |path: &str| path.replace('.', "_");
    let wanted = rest.to_lowercase();
    let names: Vec<String> = known.iter().map(|path| flat(path)).collect();
    let near = suggest::nearest(&wanted, names.iter().map(String::as_str))
        .and_then(|near| known.iter().find(|path| flat(path) == near));
    match near {
        Some(path) => format!("no such setting; did you mean {}?", variable(path)),
        None => "no such setting (tables and keys are joined by two underscores, e.g. SKYWAVE_EDGE__LISTEN)"
            .into(),
    }
}

/// The variable that sets a path.
pub(super) fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.to_uppercase().replace('.', NEST))
}

//! Where things are: the workspace's root, its packages, its Rust sources.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

/// The folder that holds the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    // Invariant: xtask is a direct child of the root.
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// One workspace member as `cargo metadata` tells it.
pub(crate) struct Package {
    pub(crate) name: String,
    /// Folder relative to the root, e.g. `crates/engine`.
    pub(crate) folder: String,
    pub(crate) dependencies: Vec<Dependency>,
}

pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Only tests and benches use it.
    pub(crate) development: bool,
}

/// Every member with its direct dependencies.
pub(crate) fn packages() -> anyhow::Result<Vec<Package>> {
    let output = crate::step::cargo(&["metadata", "--format-version", "1", "--no-deps"])
        .output()
        .context("cargo metadata does not start")?;
    anyhow::ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    let list = metadata["packages"].as_array().context("cargo metadata without packages")?;
    list.iter().map(package).collect()
}

fn package(value: &Value) -> anyhow::Result<Package> {
    let manifest = Path::new(value["manifest_path"].as_str().context("package without manifest_path")?);
    let folder = manifest.parent().unwrap_or(manifest);
    let dependencies = value["dependencies"].as_array().context("package without dependencies")?;
    Ok(Package {
        name: value["name"].as_str().context("package without name")?.to_owned(),
        folder: folder.strip_prefix(root()).unwrap_or(folder).to_string_lossy().into_owned(),
        dependencies: dependencies
            .iter()
            .map(|dependency| Dependency {
                name: dependency["name"].as_str().unwrap_or_default().to_owned(),
                development: dependency["kind"].as_str() == Some("dev"),
            })
            .collect(),
    })
}

/// One Rust file: path relative to the root, and its text.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// Every `.rs` file of the workspace, sorted by path; build output, packages of others and hidden folders left out.
pub(crate) fn sources() -> anyhow::Result<Vec<Source>> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                if !name.starts_with('.') && !matches!(name.as_str(), "target" | "node_modules" | "data") {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                let text =
                    std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
                found.push(Source { path: path.strip_prefix(&root).unwrap_or(&path).to_path_buf(), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

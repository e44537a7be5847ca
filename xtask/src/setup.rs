//! What the tests need beyond a Rust toolchain: found, installed where that is possible, or named clearly.
//!
//! Only Debian's packages and npm's are installed, and Debian's only when running as root.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use skywave_servers::install;

use crate::{step, workspace};

/// Folders with a `package.json` whose packages the tests need.
const NPM_FOLDERS: &[&str] = &["clients/js", "tests/browser"];

const INSTALL_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Makes sure of everything; one error names all that is missing.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut packages: Vec<&str> = Vec::new();
    if on_path(&["cc", "gcc", "clang"]).is_none() {
        packages.push("build-essential");
    }
    if on_path(&["node"]).is_none() {
        packages.push("nodejs");
    }
    if on_path(&["npm"]).is_none() {
        packages.push("npm");
    }
    if chromium().is_none() {
        packages.push("chromium");
    }
    // Kafka is a Java program whose parts Maven brings.
    if on_path(&["java"]).is_none() {
        packages.push("default-jre-headless");
    }
    if on_path(&["mvn"]).is_none() {
        packages.push("maven");
    }
    if !packages.is_empty() {
        install_packages(&packages)?;
    }
    servers()?;
    NPM_FOLDERS.iter().try_for_each(|folder| npm_packages(&workspace::root().join(folder)))
}

/// The servers that the adapters and the cluster are tested against; each is found, or installed.
fn servers() -> anyhow::Result<()> {
    let found = [
        install::nats::nats_server().context("nats-server")?,
        install::kafka::jars().context("Kafka")?,
        install::postgres::binaries().context("Postgres")?,
        install::redis::redis_server().context("Redis")?,
    ];
    for path in found {
        println!("setup: {}", path.display());
    }
    Ok(())
}

/// The browser of the browser tests: `$SKYWAVE_CHROMIUM`, or the first one on the path.
pub(crate) fn chromium() -> Option<PathBuf> {
    match std::env::var_os("SKYWAVE_CHROMIUM") {
        Some(path) => Some(path.into()),
        None => on_path(&["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]),
    }
}

fn install_packages(packages: &[&str]) -> anyhow::Result<()> {
    let list = packages.join(" ");
    let possible = rustix::process::geteuid().is_root() && on_path(&["apt-get"]).is_some();
    anyhow::ensure!(
        possible,
        "the tests need: {list}. Install them (Debian, Ubuntu: `sudo apt-get install {list}`), or run this as root \
         where apt-get exists"
    );
    println!("setup: installing {list}");
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        step::run(&mut command, INSTALL_LIMIT)
    };
    apt(&["-qq", "update"])?;
    apt(&[&["-qq", "install", "-y", "--no-install-recommends"], packages].concat())
}

/// Installs a folder's locked npm packages, unless they are there and no older than the lock file.
fn npm_packages(folder: &Path) -> anyhow::Result<()> {
    if !folder.join("package.json").exists() {
        return Ok(());
    }
    let lock = folder.join("package-lock.json");
    let installed = modified(&folder.join("node_modules/.package-lock.json"));
    if installed.is_some() && installed >= modified(&lock) {
        return Ok(());
    }
    println!("setup: npm packages of {}", folder.display());
    let verb = if lock.exists() { "ci" } else { "install" };
    let mut command = Command::new("npm");
    command.args([verb, "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(folder);
    step::run(&mut command, INSTALL_LIMIT)
        .context("npm packages cannot be installed (is the registry reachable?)")
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|metadata| metadata.modified()).ok()
}

fn on_path(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|file| file.is_file())
}

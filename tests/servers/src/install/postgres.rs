//! Finds Postgres: on `PATH`, or where the distributions put the binaries of each version. Where there is none, Debian's
//! package is installed (as root only), without the cluster that it would start by itself.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::apt;

/// Folders of one version each, by the parent that holds them and what stands below the version.
const VERSIONED: [(&str, &str); 2] = [("/usr/lib/postgresql", "bin"), ("/usr", "bin")];
const COMMON: &str = "/etc/postgresql-common/createcluster.conf";

/// The folder with `initdb`, `postgres`, `psql` and `pg_basebackup`, all of one version: the newest found.
pub fn binaries() -> anyhow::Result<PathBuf> {
    if let Some(found) = find() {
        return Ok(found);
    }
    anyhow::ensure!(
        rustix::process::geteuid().is_root() && Path::new("/usr/bin/apt-get").exists(),
        "Postgres is needed and was not found on PATH or in /usr/lib/postgresql/*/bin: install it \
         (on Debian and Ubuntu: apt-get install postgresql)"
    );
    install()?;
    find().context("Postgres was installed, but its binaries are not where they should be")
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).find(|folder| complete(folder)).or_else(newest_versioned)
}

fn newest_versioned() -> Option<PathBuf> {
    let folders = VERSIONED.iter().flat_map(|(parent, below)| {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        entries.filter_map(move |entry| {
            let name = entry.file_name().into_string().ok()?;
            let version: u32 = name.strip_prefix("pgsql-").unwrap_or(&name).parse().ok()?;
            Some((version, entry.path().join(below)))
        })
    });
    folders.filter(|(_, folder)| complete(folder)).max().map(|(_, folder)| folder)
}

fn complete(folder: &Path) -> bool {
    ["initdb", "postgres", "psql", "pg_basebackup"].iter().all(|name| folder.join(name).is_file())
}

/// In two steps: the first brings the file that says whether the second starts a cluster on port 5432.
fn install() -> anyhow::Result<()> {
    apt(&["update", "-qq"])?;
    apt(&["install", "-y", "-qq", "--no-install-recommends", "postgresql-common"])?;
    let settings = fs::read_to_string(COMMON).unwrap_or_default();
    if !settings.lines().any(|line| line.trim_start().starts_with("create_main_cluster")) {
        fs::write(COMMON, format!("{settings}\ncreate_main_cluster = false\n"))?;
    }
    apt(&["install", "-y", "-qq", "--no-install-recommends", "postgresql"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_holds_every_program() {
        assert!(complete(&binaries().unwrap()));
    }
}

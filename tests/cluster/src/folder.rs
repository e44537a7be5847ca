//! Where the cluster's files lie.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Longest path of a Unix socket that every system takes.
const SOCKET_PATH: usize = 100;

/// The cluster's folder. `cluster.json` and `state.json` are there while the cluster is.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(path: &Path) -> anyhow::Result<Self> {
        Ok(Self(std::path::absolute(path)?))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// How the command line is called for this folder.
    pub(crate) fn command(&self, words: &str) -> String {
        if self.0.file_name().is_some_and(|name| name == ".cluster") {
            return format!("cargo xtask cluster {words}");
        }
        format!("cargo xtask cluster --folder {} {words}", self.0.display())
    }

    /// Made by us, or empty: never somebody else's.
    pub(crate) fn take(&self) -> anyhow::Result<()> {
        fs::create_dir_all(&self.0).with_context(|| format!("making {}", self.0.display()))?;
        let mut entries = fs::read_dir(&self.0)?;
        anyhow::ensure!(
            self.lock().exists() || entries.next().is_none(),
            "{} holds something else than a cluster: choose another folder",
            self.0.display()
        );
        fs::OpenOptions::new().create(true).append(true).open(self.lock())?;
        Ok(())
    }

    /// Removes what an earlier cluster has left, its data only if told so.
    pub(crate) fn clean(&self, keep_data: bool) -> anyhow::Result<()> {
        let mut old = vec![self.configuration(), self.logs()];
        if !keep_data {
            old.extend([self.data(), self.elsewhere()]);
        }
        for folder in old {
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("removing {}", folder.display()));
                }
                _ => {}
            }
        }
        for folder in [self.configuration(), self.logs(), self.data()] {
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        }
        Ok(())
    }

    /// Held while the state is read or changed.
    pub(crate) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.0.join("state.json")
    }

    pub(crate) fn document(&self) -> PathBuf {
        self.0.join("cluster.json")
    }

    pub(crate) fn secret(&self) -> PathBuf {
        self.0.join("secret")
    }

    pub(crate) fn configuration(&self) -> PathBuf {
        self.0.join("config")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    pub(crate) fn data_of(&self, name: &str) -> PathBuf {
        self.data().join(name)
    }

    /// Data of a server that runs as another user than root: where that user gets to.
    pub(crate) fn data_of_stranger(&self, name: &str) -> PathBuf {
        let passable = |folder: &Path| {
            fs::metadata(folder).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
        };
        let root = rustix::process::geteuid().is_root();
        if root && !self.0.ancestors().filter(|folder| folder.exists()).all(passable) {
            self.elsewhere().join(name)
        } else {
            self.data_of(name)
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        let here = self.0.join("wan.sock");
        if here.as_os_str().len() <= SOCKET_PATH { here } else { self.elsewhere().with_extension("sock") }
    }

    /// For what cannot lie in the folder itself; as peculiar to it as its path.
    fn elsewhere(&self) -> PathBuf {
        let mut hash = DefaultHasher::new();
        self.0.hash(&mut hash);
        std::env::temp_dir().join(format!("skywave-cluster-{:016x}", hash.finish()))
    }
}

//! What is known about a cluster between two commands: `state.json`, with everything, and `cluster.json`, for others to
//! read. Both are written together, under a lock, and each by renaming.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::document;
use crate::folder::Folder;
use crate::member::Member;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) regions: Vec<String>,
    /// In the order of their start.
    pub(crate) members: Vec<Member>,
}

impl State {
    pub(crate) fn member(&self, name: &str) -> anyhow::Result<&Member> {
        self.members.iter().find(|member| member.name == name).with_context(|| self.unknown(name))
    }

    pub(crate) fn member_mut(&mut self, name: &str) -> anyhow::Result<&mut Member> {
        let unknown = self.unknown(name);
        self.members.iter_mut().find(|member| member.name == name).context(unknown)
    }

    /// The members that a name stands for: one, or all of a region.
    pub(crate) fn named(&self, name: &str) -> anyhow::Result<Vec<String>> {
        let whole = self.regions.iter().any(|region| region == name);
        let fits = |member: &&Member| {
            if whole { member.region.as_deref() == Some(name) } else { member.name == name }
        };
        let names: Vec<String> = self.members.iter().filter(fits).map(|member| member.name.clone()).collect();
        anyhow::ensure!(!names.is_empty(), self.unknown(name));
        Ok(names)
    }

    fn unknown(&self, name: &str) -> String {
        let names: Vec<&str> = self.members.iter().map(|member| member.name.as_str()).collect();
        format!(
            "no process {name}; there are {}; or a whole region: {}",
            names.join(", "),
            self.regions.join(", ")
        )
    }
}

/// The state of the cluster in one folder.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) folder: Folder,
}

impl Store {
    /// The state as it is; an error when no cluster is there.
    pub(crate) fn read(&self) -> anyhow::Result<State> {
        self.locked(|state| Ok(state.clone()))
    }

    pub(crate) fn is_there(&self) -> bool {
        self.folder.state().exists()
    }

    /// The first state of a new cluster.
    pub(crate) fn create(&self, state: &State) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        self.write(state)
    }

    /// Changes the state, alone; not at all when `change` fails.
    pub(crate) fn locked<T>(
        &self,
        change: impl FnOnce(&mut State) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let none = || {
            let (folder, up) = (self.folder.path().display(), self.folder.command("up"));
            format!("no cluster in {folder}: `{up}` starts one")
        };
        anyhow::ensure!(self.is_there(), none());
        let _lock = self.lock()?;
        let file = self.folder.state();
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => anyhow::bail!(none()),
            text => text.with_context(|| format!("reading {}", file.display()))?,
        };
        let mut state: State =
            serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))?;
        let before = state.clone();
        let outcome = change(&mut state)?;
        if state != before {
            self.write(&state)?;
        }
        Ok(outcome)
    }

    /// The cluster is no more.
    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        for file in [self.folder.socket(), self.folder.document(), self.folder.state()] {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("removing {}", file.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn write(&self, state: &State) -> anyhow::Result<()> {
        replace(&self.folder.state(), &serde_json::to_vec_pretty(state)?)?;
        let document = document::of(state, &self.folder);
        replace(&self.folder.document(), &serde_json::to_vec_pretty(&document)?)
    }

    /// Let go of when the file is dropped. Held for moments only.
    fn lock(&self) -> anyhow::Result<File> {
        let path = self.folder.lock();
        let open = || -> anyhow::Result<File> {
            let file = OpenOptions::new().create(true).write(true).truncate(false).open(&path)?;
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        };
        open().with_context(|| format!("locking {}", path.display()))
    }
}

/// Readers see the old file or the new one.
fn replace(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let fresh = file.with_extension("new");
    fs::write(&fresh, bytes).with_context(|| format!("writing {}", fresh.display()))?;
    fs::rename(&fresh, file).with_context(|| format!("writing {}", file.display()))
}

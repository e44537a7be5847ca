//! Whom the server runs as: Postgres refuses to be root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl User {
    /// `None`: whoever we are will do.
    pub(super) fn for_server() -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd")?;
        let user = ["postgres", "nobody"].iter().find_map(|name| Self::named(&users, name));
        Ok(Some(user.context("Postgres refuses to run as root, and there is no user postgres or nobody")?))
    }

    fn named(users: &str, name: &str) -> Option<Self> {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some(Self { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    }

    /// Makes the folder the user's own, and checks that the user can get there.
    pub(super) fn take(&self, folder: &Path) -> anyhow::Result<()> {
        for above in folder.ancestors().skip(1) {
            let metadata = fs::metadata(above)?;
            let mode = metadata.permissions().mode();
            let passable = mode & 0o001 != 0 || (metadata.uid() == self.uid && mode & 0o100 != 0);
            anyhow::ensure!(
                passable,
                "Postgres has to run as another user than root, who cannot get past {}: choose another folder",
                above.display()
            );
        }
        Ok(chown(folder, Some(self.uid), Some(self.gid))?)
    }

    pub(super) fn run(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_the_whole_name() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\npostgres2:x:7:8::/:\npostgres:x:101:104:,,:/var:/bin/sh\n";
        assert_eq!(User::named(users, "postgres"), Some(User { uid: 101, gid: 104 }));
        assert_eq!(User::named(users, "nobody"), None);
    }
}

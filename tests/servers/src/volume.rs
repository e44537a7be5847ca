//! A small file system of its own, for disks that get full or lose power. Mounting needs root; where it may not be done,
//! a test says so and passes.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

/// Unmounted and removed when dropped.
pub struct Volume {
    folder: PathBuf,
    kind: Kind,
    /// Removed last.
    _temporary: Option<tempfile::TempDir>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// In memory: exactly so many bytes.
    Tmpfs,
    /// On a loop device.
    Ext4,
}

impl Volume {
    /// `None`, with the reason printed, where mounting is not possible.
    pub fn mount(kind: Kind, kilobytes: u32) -> Option<Self> {
        Self::or_reason(kind, Self::in_temporary(kind, kilobytes))
    }

    /// In a folder where it is found again ([`Self::sweep`]) by whoever comes after a program that was ended.
    pub fn mount_in(folder: &Path, kind: Kind, kilobytes: u32) -> Option<Self> {
        let made = std::fs::create_dir_all(folder).map_err(anyhow::Error::from);
        Self::or_reason(kind, made.and_then(|()| Self::try_mount(folder.to_owned(), None, kind, kilobytes)))
    }

    /// Unmounts and removes what is in a folder of [`Self::mount_in`], if there is anything.
    pub fn sweep(folder: &Path) -> anyhow::Result<()> {
        if !folder.is_dir() {
            return Ok(());
        }
        let root = text(&folder.join("volume"))?;
        if run("mountpoint", &["-q", &root]).is_ok() {
            run("umount", &[&root])?;
        }
        Ok(std::fs::remove_dir_all(folder)?)
    }

    fn or_reason(kind: Kind, mounted: anyhow::Result<Self>) -> Option<Self> {
        match mounted {
            Ok(volume) => Some(volume),
            Err(reason) => {
                eprintln!("SKIPPED: a {kind:?} volume cannot be mounted here: {reason:#}");
                None
            }
        }
    }

    fn in_temporary(kind: Kind, kilobytes: u32) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        Self::try_mount(folder.path().to_owned(), Some(folder), kind, kilobytes)
    }

    fn try_mount(
        folder: PathBuf,
        temporary: Option<tempfile::TempDir>,
        kind: Kind,
        kilobytes: u32,
    ) -> anyhow::Result<Self> {
        let volume = Self { folder, kind, _temporary: temporary };
        // A server may run as another user.
        std::fs::set_permissions(&volume.folder, PermissionsExt::from_mode(0o755))?;
        std::fs::create_dir(volume.root())?;
        if kind == Kind::Ext4 {
            let (image, size) = (text(&volume.image())?, format!("{kilobytes}K"));
            run("truncate", &["-s", &size, &image])?;
            run("mkfs.ext4", &["-q", "-m", "0", "-J", "size=1", &image])?;
        }
        volume.attach(kilobytes)?;
        Ok(volume)
    }

    fn attach(&self, kilobytes: u32) -> anyhow::Result<()> {
        let root = text(&self.root())?;
        match self.kind {
            Kind::Tmpfs => {
                run("mount", &["-t", "tmpfs", "-o", &format!("size={kilobytes}K"), "skywave-test", &root])
            }
            Kind::Ext4 => run("mount", &["-o", "loop", &text(&self.image())?, &root]),
        }
    }

    fn image(&self) -> PathBuf {
        self.folder.join("image")
    }

    pub fn root(&self) -> PathBuf {
        self.folder.join("volume")
    }

    /// A folder in it; not made yet.
    pub fn data(&self) -> PathBuf {
        self.root().join("data")
    }

    /// Ends the file system (of kind `Ext4`) as a loss of power does: what was not synced is gone. Needs python3.
    pub fn cut_power(&self) -> anyhow::Result<()> {
        // EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH.
        const CUT: &str = "import fcntl,os,struct,sys; fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), \
                           0x8004587D, struct.pack('I', 2))";
        run("python3", &["-c", CUT, &text(&self.root())?])
    }

    /// Writes out what was written so far.
    pub fn sync(&self) -> anyhow::Result<()> {
        run("sync", &["-f", &text(&self.root())?])
    }

    pub fn remount(&self) -> anyhow::Result<()> {
        run("umount", &[&text(&self.root())?])?;
        self.attach(0)
    }

    /// Fills what is left, but for `spare` bytes; the file can be removed again.
    pub fn fill(&self, spare: u64) -> anyhow::Result<PathBuf> {
        let ballast = self.root().join("ballast");
        let mut file = File::create(&ballast)?;
        while file.write_all(&[1; 4096]).is_ok() {}
        let length = file.metadata()?.len().saturating_sub(spare);
        file.set_len(length)?;
        // A full disk may refuse this, too.
        let _ = file.sync_all();
        Ok(ballast)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let root = self.root();
        let Some(root) = root.to_str() else { return };
        for _ in 0..50 {
            // A process may need a moment to close its files.
            if run("mountpoint", &["-q", root]).is_err() || run("umount", &[root]).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = run("umount", &["-l", root]);
    }
}

fn text(path: &Path) -> anyhow::Result<String> {
    Ok(path.to_str().context("temporary folders have plain names")?.to_owned())
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{program}: {}", said.trim());
    Ok(())
}

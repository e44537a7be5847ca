//! A small disk that can be filled: a tmpfs mounted for one test.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

/// Mounted while it lives.
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts a file system of so many bytes; `None` (with the reason on standard error) where that is not permitted.
    pub fn mount(bytes: usize) -> anyhow::Result<Option<Self>> {
        let folder = tempfile::Builder::new().prefix("skywave-disk-").tempdir()?;
        let options = std::ffi::CString::new(format!("size={bytes}"))?;
        match mount("tmpfs", folder.path(), "tmpfs", MountFlags::empty(), Some(options.as_c_str())) {
            Ok(()) => Ok(Some(Self { folder })),
            Err(error) => {
                eprintln!("skipped: mounting a tmpfs is not permitted here ({error})");
                Ok(None)
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all the space that is left; [`Self::free`] gives it back.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut file = fs::File::create(self.ballast())?;
        let mut size = 64 * 1024;
        while size > 0 {
            if file.write_all(&vec![0; size]).is_err() {
                size /= 2;
            }
        }
        Ok(())
    }

    pub fn free(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The server may still hold files while it ends: detach, and let the kernel finish.
        if let Err(error) = unmount(self.folder.path(), UnmountFlags::DETACH) {
            eprintln!("the test disk stays mounted at {}: {error}", self.folder.path().display());
        }
    }
}

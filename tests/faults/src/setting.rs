//! Where a fault is played: most on one ordinary cluster, some on one of their own, with a server on a small disk, or on a disk
//! that can lose its power.

use std::path::{Path, PathBuf};

use skywave_cluster::{Cluster, ClusterOptions};
use skywave_servers::volume::{Kind, Volume};

/// What kind of cluster a fault needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    Ordinary,
    /// Postgres on a disk of `SMALL` kilobytes.
    SmallStore,
    /// The one broker on a file system of its own, syncing each batch: what a lone broker needs to be relied upon.
    LogOnDisk,
    /// Three brokers, each record on two of them before it is acknowledged, none of which syncs; the second one on a file
    /// system of its own.
    LogInCopies,
    /// Edges that take `CROWD` connections.
    Crowded,
}

/// Postgres's own files are some 60 MB.
const SMALL: u32 = 256 * 1024;
/// Kilobytes of the brokers' disk, of which little is ever used.
const DISK: u32 = 400 * 1024;
/// More than the clients of the crowd.
const CROWD: i64 = 15_000;

/// A cluster that is up, and what it stands on.
pub struct Ground {
    pub cluster: Cluster,
    /// After the cluster: it is unmounted when nobody uses it any more.
    pub volume: Option<Volume>,
}

/// Ends what a run has left in a folder whose runner was ended.
pub fn sweep(folder: &Path) -> anyhow::Result<()> {
    if folder.is_dir() && Cluster::is_in(folder)? {
        Cluster::open(folder)?.down()?;
    }
    Volume::sweep(&disk(folder))
}

/// A folder for three brokers, of which the second one's is on the volume.
fn brokers_with_one_on(volume: &Volume, disk: &Path) -> anyhow::Result<PathBuf> {
    let folder = disk.join("brokers");
    std::fs::create_dir_all(&folder)?;
    std::fs::create_dir_all(volume.data())?;
    std::os::unix::fs::symlink(volume.data(), folder.join("broker-2"))?;
    Ok(folder)
}

/// Beside the cluster's folder, which the cluster clears.
fn disk(folder: &Path) -> PathBuf {
    folder.with_extension("disk")
}

impl Setting {
    /// `None`, with the reason printed, where the machine does not allow it.
    pub fn up(
        self,
        folder: &Path,
        binary: Option<PathBuf>,
        say: &dyn Fn(&str),
    ) -> anyhow::Result<Option<Ground>> {
        let mut options = ClusterOptions {
            regions: ["eu", "us"].map(str::to_owned).into(),
            binary,
            end_on_interrupt: true,
            ..ClusterOptions::new(folder)
        };
        // A member of a dead edge is gone within seconds.
        let timing = [("presence_beat_seconds", 1), ("presence_lease_seconds", 3)];
        let timing = timing.map(|(key, seconds)| (key.to_owned(), toml::Value::from(seconds)));
        options.edge_settings.insert("timing".into(), toml::Table::from_iter(timing).into());
        let disk = std::path::absolute(disk(folder))?;
        let volume = match self {
            Self::Ordinary | Self::Crowded => None,
            Self::SmallStore => Volume::mount_in(&disk, Kind::Tmpfs, SMALL),
            Self::LogOnDisk | Self::LogInCopies => Volume::mount_in(&disk, Kind::Ext4, DISK),
        };
        match (self, &volume) {
            (Self::SmallStore, Some(volume)) => {
                options.elsewhere.insert("eu-postgres-1".into(), volume.data());
            }
            (Self::LogOnDisk, Some(volume)) => {
                options.elsewhere.insert("eu-kafka".into(), volume.data());
                options.flush_each = true;
            }
            (Self::LogInCopies, Some(volume)) => {
                options.brokers = 3;
                options.elsewhere.insert("eu-kafka".into(), brokers_with_one_on(volume, &disk)?);
            }
            (Self::SmallStore | Self::LogOnDisk | Self::LogInCopies, None) => return Ok(None),
            (Self::Ordinary, _) => {}
            (Self::Crowded, _) => {
                let limits = toml::Table::from_iter([("connections".to_owned(), CROWD.into())]);
                options.edge_settings.insert("limits".into(), limits.into());
            }
        }
        let cluster = Cluster::up_telling(&options, say)?;
        Ok(Some(Ground { cluster, volume }))
    }
}

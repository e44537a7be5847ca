//! What is said about a data folder that cannot be used.

use std::path::Path;

use skywave_embedded::OpenError;

/// A data folder that cannot be used.
pub(super) fn data(folder: &Path, error: &OpenError) -> String {
    let remedy = match error {
        OpenError::Folder { .. } => {
            return format!(
                "cannot write the data folder {} ({}); make it writable, or choose another one with --data DIR",
                folder.display(),
                cause(error)
            );
        }
        OpenError::Locked { .. } => {
            return format!(
                "the data folder {} is in use by another process; stop that one, or choose another folder with --data DIR",
                folder.display()
            );
        }
        OpenError::Damaged { .. } => "restore it from a backup, or choose another folder with --data DIR",
        OpenError::Newer { .. } => "nothing was changed",
        OpenError::Unavailable { .. } => "see to the disk, or choose another folder with --data DIR",
    };
    format!("{error}; {remedy}")
}

fn cause(error: &OpenError) -> String {
    match error {
        OpenError::Folder { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

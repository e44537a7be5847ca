//! What is said when a relay cannot begin: one line, with a remedy, and exit code 2.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use skywave_embedded::OpenError;

/// Exit code of "could not begin", as for wrong usage.
const CANNOT_BEGIN: u8 = 2;

pub(super) fn cannot_begin(problem: &str) -> ExitCode {
    eprintln!("skywave: {problem}");
    ExitCode::from(CANNOT_BEGIN)
}

/// A port that cannot be had.
pub(super) fn port(address: SocketAddr, error: &io::Error) -> String {
    let remedy = match error.kind() {
        ErrorKind::AddrInUse => {
            let other = SocketAddr::new(address.ip(), address.port().checked_add(1).unwrap_or(8081));
            format!("another process uses it: stop that one, or choose another address with --listen {other}")
        }
        ErrorKind::PermissionDenied => {
            "ports below 1024 need privileges: choose a higher one with --listen".into()
        }
        ErrorKind::AddrNotAvailable => {
            "this machine does not have that address: choose one it has with --listen".into()
        }
        _ => "choose another address with --listen".into(),
    };
    format!("cannot listen on {address} ({error}); {remedy}")
}

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

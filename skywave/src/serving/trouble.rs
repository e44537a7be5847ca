//! What is said when a node cannot begin: one line, with a remedy, and exit code 2.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::process::ExitCode;

/// Exit code of "could not begin", as for wrong usage.
const CANNOT_BEGIN: u8 = 2;

pub(crate) fn cannot_begin(problem: &str) -> ExitCode {
    eprintln!("skywave: {problem}");
    ExitCode::from(CANNOT_BEGIN)
}

/// A port that cannot be had.
pub(crate) fn port(address: SocketAddr, error: &io::Error) -> String {
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

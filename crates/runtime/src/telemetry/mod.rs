//! Logs and metrics of a process.
//!
//! Owns: how a log line looks and that nobody outside can forge one; the metrics every process has. Never: decides what
//! is worth a line, or serves `/metrics` itself.

pub mod escape;
pub mod log;
pub mod metrics;

pub use log::{LogFormat, LogSettings};

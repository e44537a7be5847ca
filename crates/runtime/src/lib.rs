//! What every Skywave process needs around its services: configuration (`config`), logs and metrics (`telemetry`), health
//! (`health`), and an orderly end (`shutdown`).
//!
//! Owns: how a setting gets from a file, a variable or a flag into a typed value; how a log line and a metric look; what
//! health means and how a process without clients shows it; how a process learns that it shall end. Never: knows what the
//! services do with any of it.

pub mod config;
pub mod health;
pub mod shutdown;
pub mod telemetry;

pub use shutdown::{Shutdown, ShutdownTrigger};

//! The bus on real nats-servers: its contract, its faults, its names, its switches.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;
mod connecting;
mod faults;
mod limits;
mod many;
mod permissions;
mod regions;
mod support;
mod switches;

//! The bus on real nats-servers: its contract, its faults, its names, its switches; and the register.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;
mod connecting;
mod faults;
mod limits;
mod many;
mod permissions;
mod regions;
mod register;
mod support;
mod switches;

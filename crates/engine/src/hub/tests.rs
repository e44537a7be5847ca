//! The hub against a scripted bus and core.

mod catch_up;
mod copies;
mod ephemeral;
mod law;
mod live;
mod recovery;
mod support;

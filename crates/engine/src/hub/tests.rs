//! The hub against a scripted bus and core.

mod ephemeral;
mod law;
mod live;
mod recovery;
mod support;

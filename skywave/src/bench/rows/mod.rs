//! One module for each kind of row.

pub(super) mod connect;
pub(super) mod fanout;
pub(super) mod memory;
pub(super) mod publish;
pub(super) mod recover;
mod relay;

//! One module for each kind of row.

pub(super) mod between;
pub(super) mod cell;
pub(super) mod channels;
pub(super) mod connect;
pub(super) mod fanout;
pub(super) mod memory;
pub(super) mod moving;
pub(super) mod publish;
pub(super) mod recover;
mod relay;
pub(super) mod storing;

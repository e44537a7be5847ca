//! A worker's hub shard: the channels whose names hash to it, driven by `skywave_engine::hub` and `…::presence`.
//!
//! Owns: the bus interests of its channels, the tickets of joins under way, the order in which everything reaches the
//! workers. Never: knows a socket, or lets a connection wait on it (commands are queued by the connection's worker).

mod command;
mod copies;
mod enquiry;
mod interest;
mod presence;
mod recent;
mod shard;

pub(crate) use command::{HubCommand, JoinCommand};
pub(crate) use shard::{Queues, run};

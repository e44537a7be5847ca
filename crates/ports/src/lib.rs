//! The four things the services need from outside, as traits: what carries (`Bus`), what keeps order (`Log`), what keeps
//! history (`Store`), what a region shares for a while (`SharedState`).
//!
//! Each trait's documentation is a contract about ordering, atomicity and delivery; `conformance` holds one suite per
//! contract, which every adapter runs; `memory` holds in-memory versions. Never: names a server.

pub mod bus;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod groups;
pub mod log;
pub mod memory;
pub mod state;
pub mod store;

pub use bus::{Bus, BusError, BusMessage, Inbox, Subscription};
pub use log::{Assignment, Assignments, Log, LogEntry, LogError, LogPosition, LogReader, Partition};
pub use state::{SharedState, StateError, TokenGrant};
pub use store::{
    Checkpoint, Commit, DedupEntry, DedupKeep, HistoryRows, Retained, Retention, Snapshot, Store, StoreError,
    StoredPublication,
};

//! What the services need from outside, as traits: what carries (`Bus`), what keeps order (`Log`), what keeps history
//! (`Store`), what a region shares for a while (`SharedState`), where an application leaves what is to be published (`Outbox`),
//! what services tell each other and backends (`Events`), what all regions agree on (`Register`).
//!
//! Each trait's documentation is a contract about ordering, atomicity and delivery; `conformance` holds one suite per
//! contract, which every adapter runs; `memory` holds in-memory versions. Never: names a server.

pub mod bus;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod dedup;
pub mod events;
pub mod groups;
pub mod listeners;
pub mod log;
pub mod memory;
pub mod outbox;
pub mod register;
pub mod state;
pub mod store;

pub use bus::{Bus, BusError, BusMessage, Inbox, Subscription};
pub use dedup::DedupEntry;
pub use events::{Event, EventStream, Events, EventsError, NewEvent};
pub use log::{Assignment, Assignments, Log, LogEntry, LogError, LogPosition, LogReader, Partition};
pub use outbox::{Mark, Outbox, OutboxError, OutboxRow, OutboxTurn, RowId, Settlement};
pub use register::{Follow, Held, Register, RegisterError, RegisterKey, Revision};
pub use state::{FeedPosition, Notice, Notices, SharedState, StateError, TokenGrant, TokenLoan};
pub use store::{
    Checkpoint, Commit, DedupKeep, HistoryRows, Retained, Retention, Snapshot, Store, StoreError,
    StoredPublication,
};

//! The adapter that needs no server: SQLite as log and store, and a bus and shared state inside the process.
//!
//! What a single node runs on: durable across `kill -9` and power loss (as far as the disk keeps what it has synced).
//! Never: shares a data folder with another process; a second one is refused.

mod folder;
mod journal;
mod log;
mod sqlite;
mod store;

pub use folder::OpenError;
pub use log::{LogOptions, SqliteLog};
pub use store::{SqliteStore, StoreOptions, random_epoch};

// One process's bus and state are plain tables: the ports' in-memory versions are the real thing here.
pub use skywave_ports::memory::{MemoryBus as InProcessBus, MemoryState as InProcessState, StateLimits};

//! The adapter that needs no server: SQLite as log and store, and a bus and shared state inside the process.
//!
//! What a single node runs on. Never: shares a data folder with another process (a second one is refused).

// One process's bus and state are plain tables: the ports' in-memory versions are the real thing here.
pub use skywave_ports::memory::{MemoryBus as InProcessBus, MemoryState as InProcessState, StateLimits};

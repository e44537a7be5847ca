//! In-memory versions of the ports.
//!
//! [`MemoryBus`] and [`MemoryState`] are what a single process really uses (the embedded adapter names them); [`MemoryLog`],
//! [`MemoryStore`], [`MemoryOutbox`], [`MemoryEvents`] and [`MemoryRegister`] are for tests: they keep what they were given for as
//! long as any clone lives, so that dropping and cloning stands for a restart, and some can be told to fail. Never: touches a disk
//! or a socket.

mod bus;
mod events;
mod log;
mod outbox;
mod register;
mod state;
mod store;

pub use bus::MemoryBus;
pub use events::MemoryEvents;
pub use log::MemoryLog;
pub use outbox::MemoryOutbox;
pub use register::MemoryRegister;
pub use state::{MemoryState, StateLimits};
pub use store::{Failure, MemoryStore};

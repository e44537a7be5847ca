//! Core: the process beside the log. A durable publication's way through it:
//!
//! 1. `ingest` appends the request to the log;
//! 2. `partition` owns partitions of the log: each owner reads its partition and has
//! 3. `sequencer` give the record its offset, emit it on the channel's live subject and answer the publisher;
//! 4. `tail` holds what is sequenced until
//! 5. `persister` has committed it to the store, and trimmed the log behind it;
//! 6. `history` answers reads from store and tail; `heads` announces the newest offsets; `retention` forgets.
//!
//! Owns: the order of publications, and when they count as published. Never: talks to a client, or decides by clock,
//! arrival or chance what a record becomes.

mod backoff;
mod config;
mod heads;
mod history;
mod ingest;
mod metrics;
mod partition;
mod persister;
mod retention;
mod sequencer;
mod service;
mod stop;
mod tail;

pub use config::{ConfigError, CoreConfig};
pub use service::{Core, CoreError, CoreFailed, Ports};

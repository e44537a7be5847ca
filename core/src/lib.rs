//! Core: the process beside the log. A durable publication's way through it:
//!
//! 1. `ingest` appends the request to the log (`announcing` tells the edges where it takes them);
//! 2. `assigned` follows which partitions of the log belong to this core; `partition` is the owner of one, which reads it
//!    and has
//! 3. `sequencer` give the record its offset, emit it on the channel's live subject (and, through `backends`, as JSON) and answer
//!    the publisher;
//! 4. `tail` holds what is sequenced until
//! 5. `persister` has committed it to the store, and trimmed the log behind it;
//! 6. `history` answers reads from store and tail, or passes them on to the core that owns the partition; `heads` announces
//!    the newest offsets; `retention` forgets; `news` goes from core to core; `dead_letters` keeps what cannot be read.
//!
//! Owns: the order of publications, and when they count as published. Never: talks to a client, or decides by clock,
//! arrival or chance what a record becomes.

mod announcing;
mod assigned;
mod backends;
mod backoff;
mod config;
mod dead_letters;
mod drained;
mod freshness;
mod heads;
mod history;
mod ingest;
mod metrics;
mod news;
mod outbox;
mod owned;
mod partition;
mod passing;
mod persister;
mod publishable;
mod relay_events;
mod retention;
mod sequencer;
mod service;
mod standing;
mod stop;
#[cfg(test)]
mod stored;
mod tail;
mod topics;

pub use config::{ConfigError, CoreConfig};
pub use outbox::{OutboxRelay, RelayConfig, RelayPorts};
pub use relay_events::EventRelay;
pub use service::{Core, CoreError, CoreFailed, Ports};
pub use standing::Standing;
pub use topics::{
    BackendTopics, Mapping, MappingError, TopicFormat, TopicSettings, TopicsConfig, TopicsPorts,
};

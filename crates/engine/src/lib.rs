//! The thinking of Skywave, without I/O: every part that decides about order, recovery, presence or access is a state
//! machine here, which takes time and events in (`handle_*`) and gives decisions out (`poll_output`, `poll_timeout`).
//!
//! - [`sequencer`]: log records in, publications with offsets out; a deterministic function of the log.
//! - [`hub`]: the channels of one shard: interest, gaps, recovery, what to deliver.
//! - [`presence`]: who is in a channel, converging over a bus that loses and reorders.
//! - [`session`]: one connection: requests, rights, limits, keep-alive, token expiry.
//! - [`outbox`], [`bucket`], [`capability`], [`partition`]: the small parts they share with the services.
//!
//! Never: reads a clock, draws randomness, waits, logs, or lets the iteration order of a hash map reach an output; so one
//! seed replays a whole cluster (`tests/simulation`).

pub mod bucket;
pub mod capability;
pub mod hub;
pub mod outbox;
pub mod partition;
pub mod presence;
pub mod sequencer;
pub mod session;
pub mod time;

pub use bucket::{Rate, TokenBucket};
pub use capability::{Capabilities, Operation};
pub use hub::{Hub, HubConfig, HubOutput};
pub use outbox::{Outbox, Pushed};
pub use presence::{Presence, PresenceConfig, PresenceOutput};
pub use sequencer::{DedupRecord, Sequenced, Sequencer, SequencerConfig};
pub use session::{Authorization, Session, SessionConfig, SessionOutput};
pub use time::Millis;

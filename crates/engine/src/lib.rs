//! The thinking of Skywave, without I/O: every part that decides about order, recovery, presence or access is a state
//! machine here, which takes time and events in (`handle_*`) and gives decisions out (`poll_output`, `poll_timeout`).
//!
//! - [`sequencer`]: log records in, publications with offsets out; a deterministic function of the log.
//! - [`hub`]: the channels of one shard: interest, gaps, recovery, what to deliver.
//! - [`lanes`]: which core each publish goes to, so that those of one channel stay in order.
//! - [`presence`]: who is in a channel, converging over a bus that loses and reorders.
//! - [`region`]: which nodes there are, and which of them serves a key best.
//! - [`session`]: one connection: requests, rights, limits, keep-alive, token expiry.
//! - [`past`]: which pieces of a channel's past the nodes of a region keep for each other.
//! - [`allowance`]: one node's part in a rate that many nodes keep together.
//! - [`outbox`], [`bucket`], [`capability`], [`partition`], [`storm`]: the small parts they share with the services.
//!
//! Never: reads a clock, draws randomness, waits, logs, or lets the iteration order of a hash map reach an output; so one
//! seed replays a whole cluster (`tests/simulation`).

pub mod allowance;
pub mod bucket;
pub mod capability;
pub mod hub;
pub mod lanes;
pub mod outbox;
pub mod partition;
pub mod past;
pub mod presence;
pub mod region;
pub mod sequencer;
pub mod session;
pub mod storm;
pub mod time;

pub use allowance::Allowance;
pub use bucket::{Rate, TokenBucket};
pub use capability::{Capabilities, Operation};
pub use hub::{Hub, HubConfig, HubOutput};
pub use lanes::{Lanes, LanesConfig, LanesOutput};
pub use outbox::{Outbox, Pushed};
pub use past::Blocks;
pub use presence::{Presence, PresenceConfig, PresenceOutput};
pub use region::{KeyDigest, Region, RegionConfig, RegionOutput};
pub use sequencer::{DedupRecord, Sequenced, Sequencer, SequencerConfig};
pub use session::{Authorization, Session, SessionConfig, SessionOutput};
pub use time::Millis;

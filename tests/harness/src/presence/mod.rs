//! Presence under faults: clients that come and go, what they were told, what edges answer, and the judge of all that (I12).
//!
//! - [`Member`]: a client that is in a channel, or not, as it is told; it goes to the next place when a connection ends.
//! - [`Roll`] is the record: who stood where from when to when, and the news each connection got.
//! - [`Audit`] asks the edges, again and again while it is not settled.
//! - [`judge`] compares. It knows nothing of how the run was made.

mod audit;
mod judge;
mod member;
mod roll;

pub use audit::Audit;
pub use judge::{Answer, judge};
pub use member::Member;
pub use roll::{News, Roll, Snapshot, Stay};

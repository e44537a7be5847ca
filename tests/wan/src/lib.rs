//! Wide-area links between regions, in user space: what passes from one region to another is delayed, jittered, lost,
//! doubled, throttled or cut, each way by itself, and changed while it runs.
//!
//! - A *link* joins two places by name; each of its two ways has [`Conditions`] and [`Counters`] of its own.
//! - A *forward* is an address in one place behind which a server in the other is reached, over TCP or UDP. A link
//!   carries any number of them, and they share its throughput.
//! - All of it is told over a Unix socket, a JSON object a line: [`Request`] and [`Answer`]. [`Control`] is the client.
//!
//! A stream is carried as TCP over such a line would carry it: bytes are late, never missing and never out of order; a lost
//! segment stalls what follows until it has been sent again; on a cut line everything hangs, old connections and
//! new ones, and nobody is told. A datagram that is lost is gone.
//!
//! Owns its sockets and the bytes under way, bounded. Never looks into them, and never adds what it was not told to add
//! (tens of microseconds aside: `docs/cluster.md` has the figures).

mod clock;
mod conditions;
mod control;
mod counters;
mod direction;
mod forward;
mod network;
mod serve;
mod tcp;
mod udp;

pub use conditions::{Change, Conditions};
pub use control::{Answer, Control, ForwardSpec, ForwardStatus, Protocol, Request, Status, WayStatus};
pub use counters::Counters;
pub use serve::{LocalWan, serve};

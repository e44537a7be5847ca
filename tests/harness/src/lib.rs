//! What end-to-end tests are made of: real servers as processes of their own, hostile and honest raw clients, a recorded
//! history of everything published, acknowledged and delivered, and one checker for each invariant.
//!
//! - [`server`] starts the debug build of `skywave` on free ports with a data folder of its own, and can kill, pause,
//!   resume and restart it; its log is shown when a test fails; nothing is left behind.
//! - [`socket`] speaks WebSocket by hand, right or deliberately wrong; [`http`] does the same for plain requests.
//! - [`history`] records, [`checkers`] judge. A checker that cannot fail is a defect: their tests feed them histories
//!   with one event dropped, doubled, swapped or cut off. [`presence`] does both for who is there.
//!
//! Never: waits for a fixed time instead of a state, or shares a codec with the product.

pub mod checkers;
pub mod disk;
pub mod history;
pub mod http;
pub mod intruder;
pub mod participant;
pub mod presence;
pub mod server;
pub mod socket;
pub mod token;

pub use history::{Event, History, Kind, Part, Recorder};
pub use server::{Options, Server};
pub use skywave_servers::wait;
pub use socket::Socket;

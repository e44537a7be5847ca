//! How a running set of links is asked and changed: a Unix socket, one JSON object a line each way.

mod client;
mod message;
mod server;

pub use client::Control;
pub use message::{Answer, ForwardSpec, ForwardStatus, Protocol, Request, Status, WayStatus};
pub(crate) use server::listen;

//! Where a connection comes in: accept, admission, TLS, the first request head, and from there to its transport.
//!
//! `/v1/ws` handshakes are answered here and cost nothing of HTTP afterwards; everything else is given to hyper and the
//! router. Owns: deadlines and limits until a transport takes over. Never: reads a message.

mod accept;
mod head;
mod http;
mod io;
mod refuse;

pub(crate) use accept::{Listener, accept};
pub(crate) use io::Parts;

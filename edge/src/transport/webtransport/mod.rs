//! WebTransport over HTTP/3 (draft-ietf-webtrans-http3), on quinn.
//!
//! - [`endpoint`]: one UDP socket per worker; who may shake hands.
//! - [`connection`]: one client from handshake to close, as one task on its worker; in it
//!   [`establish`]: the CONNECT request, up to the control stream, and [`session`]: what comes after.
//! - [`h3`]: the little of HTTP/3 that is needed, as pure functions; field sections are `wtransport-proto`'s.
//! - [`outlet`]: where frames go: the control stream, a stream per channel, datagrams.
//! - [`input`]: messages out of a stream's bytes. [`limits`]: what one client may make us hold. [`reset`]: telling clients of a
//!   process that is gone.
//!
//! Why not all of `wtransport`: its driver keeps a task and six channels per connection and hides the CONNECT stream, on
//! which a session's close code travels. It is the client in the tests.
//!
//! Owns: everything below the native protocol. Never: accepts early data (a replayed publish would be a second one), or
//! keeps a buffer for a connection that is idle.

mod connection;
mod endpoint;
mod establish;
mod h3;
mod input;
mod limits;
mod outlet;
mod reset;
mod session;

pub(crate) use endpoint::serve;

//! WebTransport over HTTP/3 (draft-ietf-webtrans-http3), on `quinn-proto`.
//!
//! - [`endpoint`]: one task per worker for all its clients: their datagrams, deadlines and turns; who may shake hands.
//!   [`socket`]: the UDP socket; [`deadlines`]: when somebody wants to be looked at; [`agenda`]: who wants a turn.
//! - [`connection`]: one client from handshake to close; in it [`establish`]: the CONNECT request, up to the control
//!   stream, [`session`]: what comes after, and [`unidirectional`]: HTTP/3's own streams.
//! - [`quic`]: where frames go: the control stream, a stream per channel, datagrams.
//! - [`h3`]: the little of HTTP/3 that is needed, as pure functions; field sections are `wtransport-proto`'s.
//! - [`input`]: messages out of a stream's bytes. [`limits`]: what one client may make us hold. [`crypto`]: TLS without what
//!   only the handshake needs. [`reset`]: telling clients of a process that is gone.
//!
//! Why neither `quinn` nor all of `wtransport`: both keep tasks and channels per connection, which would be more than half of an
//! idle client's memory (`docs/adr/0013-quic-without-tasks.md`). They are the client in the tests.
//!
//! Owns: everything below the native protocol. Never: accepts early data (a replayed publish would be a second one), or
//! keeps a buffer for a connection that is idle.

mod agenda;
mod connection;
mod crypto;
mod deadlines;
mod endpoint;
mod establish;
mod h3;
mod input;
mod limits;
mod quic;
mod reset;
mod session;
mod socket;
mod unidirectional;

pub(crate) use endpoint::serve;

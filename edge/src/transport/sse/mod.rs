//! Server-sent events for what the server says, POST for what the client says: for networks that let nothing else through.
//!
//! - `GET /v1/sse` (`open`) answers with an event stream. Its first event, `session`, holds the secret that the POSTs
//!   must show; every other event is one message of the native protocol in JSON.
//! - `POST /v1/sse` (`receive`) carries requests, one or several lines of JSON; they are answered on the stream.
//!
//! The session lives on the worker that opened the stream ([`session`]); a POST may land on any. What the worker says goes
//! through a small queue ([`queue`]) to the response body; what does not fit stays in the worker's outbox for the
//! connection, bounded like every other's. Never: resumes a broken stream; the client subscribes again and recovers.

mod events;
mod open;
mod queue;
mod receive;
mod secret;
mod session;

pub(crate) use open::open;
pub(crate) use receive::receive;

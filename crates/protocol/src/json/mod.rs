//! The JSON encoding (`skywave.json.v1`): one object a message, several in one frame separated by newlines.
//!
//! - [`decode_client`], [`decode_client_batch`] read what clients send; [`encode_server`] writes what they receive.
//! - [`decode_server`], [`encode_client`] are the same for the other end.
//! - [`encode_reply`] writes a reply without its envelope, for HTTP.
//! - [`live_publication`], [`live_head`] are what backends hear of a channel.
//! - [`split`] cuts a frame into messages.
//!
//! Nothing written here holds a raw line break, so that a message is one line of a batch and of an event stream.
//! Unknown fields are ignored; a field of the wrong type, a key given twice, an array in an object's place are errors.
//! Reading does not recurse into data, whatever its nesting.

mod batch;
mod client;
mod live;
mod object;
mod payload;
mod request;
mod server;
mod server_decode;
mod write;

pub use batch::{decode_client_batch, split};
pub use client::decode_client;
pub use live::{live_head, live_publication};
pub use request::encode_client;
pub use server::{encode_reply, encode_server};
pub use server_decode::decode_server;

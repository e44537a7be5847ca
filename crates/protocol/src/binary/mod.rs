//! The compact binary encoding (`skywave.binary.v1`): the same messages as in JSON, in varints and length-prefixed
//! bytes (the primitives are in `wire`).
//!
//! On the wire every message is preceded by its length, so that several can share a frame, or follow one another on a
//! stream. The encoders write that length, the decoders expect exactly one message with it, [`split`] and
//! [`message_length`] find where messages end.
//!
//! A message is a tag byte and the fields of its kind in the order that `docs/protocol.md` gives. Fields are only ever
//! appended: a reader ignores what follows the last field it knows, and skips a message whose tag it does not know.

mod batch;
mod client;
mod push;
mod reply;
mod server;
mod tags;

pub use batch::{decode_client_batch, message_length, split};
pub use client::{decode_client, encode_client};
pub use server::{decode_server, encode_server};

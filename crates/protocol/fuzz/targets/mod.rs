//! What must hold for any bytes at all: a decoder neither panics nor loops, and what it accepts is written and read
//! back as the same message, in every encoding.
#![allow(clippy::unwrap_used, dead_code)]

mod codecs;
mod frames;
mod text;

pub(crate) use codecs::{binary_client, binary_server, inner, json_client, json_server};
pub(crate) use frames::websocket;
pub(crate) use text::names;

pub(crate) type Target = fn(&[u8]);

/// Every target by name.
pub(crate) const ALL: &[(&str, Target)] = &[
    ("json_client", json_client),
    ("json_server", json_server),
    ("binary_client", binary_client),
    ("binary_server", binary_server),
    ("inner", inner),
    ("websocket", websocket),
    ("names", names),
];

//! The primitives under both binary formats (`binary` for clients, `inner` between edge and core), and the values the
//! two share.
//!
//! - A number is an unsigned LEB128 varint: seven bits a byte, least significant first, at most ten bytes.
//! - Text and bytes are a varint length and then that many bytes. A list is a count and then its items.
//! - A message is one flat sequence of fields. Optional fields announce themselves in a leading flags varint.
//! - New fields are only ever appended; a reader ignores what follows the last field it knows. Items of a list carry
//!   their own length for the same reason.
//!
//! Never allocates ahead of the bytes that are really there: a length is compared with what is left before anything is
//! copied, and lists grow item by item.

mod reader;
mod values;
mod writer;

pub(crate) use reader::Reader;
pub(crate) use values::{
    PublicationFields, put_error, put_gap, put_member, put_members, put_position, put_publication,
    put_publications, put_query, read_error, read_gap, read_member, read_members, read_position,
    read_publication, read_publications, read_query,
};
pub(crate) use writer::{put_bytes, put_flags, put_item, put_str, put_varint};

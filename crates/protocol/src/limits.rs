//! Every limit of the protocol, in one file. A limit that an operator may change is a default here and a field of the
//! configuration; the others are part of the protocol and of its documentation.

/// Longest channel name, in bytes.
pub const CHANNEL_NAME_BYTES: usize = 255;
/// Longest message id (idempotency key), in bytes: room for a ULID, a UUID, or a prefix and one of them.
pub const MESSAGE_ID_BYTES: usize = 64;
/// Longest user id, in bytes.
pub const USER_ID_BYTES: usize = 128;
/// Longest node or client id, in bytes.
pub const NODE_ID_BYTES: usize = 64;
/// Longest placement key, in bytes: room for a channel's name.
pub const PLACEMENT_KEY_BYTES: usize = 255;
/// Longest epoch, in bytes.
pub const EPOCH_BYTES: usize = 32;
/// Longest token a client may present, in bytes.
pub const TOKEN_BYTES: usize = 8 * 1024;
/// Default and greatest allowed size of one client message (one frame or its fragments together), in bytes.
pub const MESSAGE_BYTES_DEFAULT: usize = 64 * 1024;
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Requests in one newline-separated batch.
pub const BATCH_REQUESTS: usize = 64;
/// Channels one broadcast of a backend may name.
pub const BROADCAST_CHANNELS: usize = 1_000;
/// Deepest nesting of arrays and objects in a publication's data.
pub const JSON_DEPTH: usize = 64;
/// Channels one connection may subscribe to (default).
pub const SUBSCRIPTIONS_DEFAULT: usize = 1_000;
/// What is kept of the name a client software gives itself, in bytes.
pub const CLIENT_NAME_BYTES: usize = 64;
/// Publications in one history reply when the request names no limit.
pub const HISTORY_PAGE_DEFAULT: u32 = 100;
/// Publications one history reply may carry.
pub const HISTORY_PAGE_MAX: u32 = 1_000;
/// Bytes of publications in one history reply, about (default); a larger one comes alone.
pub const HISTORY_PAGE_BYTES_DEFAULT: usize = 256 * 1024;
/// Bytes queued for one connection before its slow-client policy acts (default).
pub const OUTBOX_BYTES_DEFAULT: usize = 1024 * 1024;

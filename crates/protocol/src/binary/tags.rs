//! The first byte of every message. A number is never given a second meaning.

/// What clients send. Below 0x40.
pub(super) mod client {
    pub(in crate::binary) const PING: u8 = 0x00;
    pub(in crate::binary) const CONNECT: u8 = 0x01;
    pub(in crate::binary) const SUBSCRIBE: u8 = 0x02;
    pub(in crate::binary) const UNSUBSCRIBE: u8 = 0x03;
    pub(in crate::binary) const PUBLISH: u8 = 0x04;
    pub(in crate::binary) const HISTORY: u8 = 0x05;
    pub(in crate::binary) const PRESENCE: u8 = 0x06;
    pub(in crate::binary) const REFRESH: u8 = 0x07;
}

/// Replies: 0x40 and up; the ones that answer a request kind end in its number.
pub(super) mod reply {
    pub(in crate::binary) const PONG: u8 = 0x40;
    pub(in crate::binary) const CONNECTED: u8 = 0x41;
    pub(in crate::binary) const SUBSCRIBED: u8 = 0x42;
    pub(in crate::binary) const UNSUBSCRIBED: u8 = 0x43;
    pub(in crate::binary) const PUBLISHED: u8 = 0x44;
    pub(in crate::binary) const HISTORY: u8 = 0x45;
    pub(in crate::binary) const PRESENCE: u8 = 0x46;
    pub(in crate::binary) const REFRESHED: u8 = 0x47;
    pub(in crate::binary) const ERROR: u8 = 0x4f;
}

/// Pushes: 0x80 and up.
pub(super) mod push {
    pub(in crate::binary) const PING: u8 = 0x80;
    pub(in crate::binary) const PUBLICATION: u8 = 0x81;
    pub(in crate::binary) const GAP: u8 = 0x82;
    pub(in crate::binary) const JOIN: u8 = 0x83;
    pub(in crate::binary) const LEAVE: u8 = 0x84;
    pub(in crate::binary) const UNSUBSCRIBED: u8 = 0x85;
    pub(in crate::binary) const MOVE: u8 = 0x86;
    pub(in crate::binary) const EXPIRING: u8 = 0x87;
    pub(in crate::binary) const CLOSE: u8 = 0x88;
    pub(in crate::binary) const SUBSCRIBED: u8 = 0x89;
}

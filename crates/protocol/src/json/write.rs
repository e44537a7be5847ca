//! Writes JSON into a buffer: the few shapes the protocol needs, without an intermediate tree.

use base64::Engine as _;

use super::payload::BASE64;
use crate::publication::Payload;

/// An object being written. Keys are literals of ours and need no escaping.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Writes one object: what `fields` puts into it, between braces.
    #[inline]
    pub(super) fn write(out: &'a mut Vec<u8>, fields: impl FnOnce(&mut Object<'_>)) {
        out.push(b'{');
        let mut object = Object { out, empty: true };
        fields(&mut object);
        object.out.push(b'}');
    }

    #[inline]
    fn key(&mut self, key: &'static str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// Text that may hold anything.
    pub(super) fn text(&mut self, key: &'static str, text: &str) {
        put_text(self.key(key), text);
    }

    /// Text that is known to hold neither quotes, backslashes nor control characters (channel names, epochs, names
    /// from our tables).
    #[inline]
    pub(super) fn plain(&mut self, key: &'static str, text: &str) {
        debug_assert!(text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\'));
        let out = self.key(key);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }

    #[inline]
    pub(super) fn number(&mut self, key: &'static str, number: u64) {
        put_number(self.key(key), number);
    }

    pub(super) fn boolean(&mut self, key: &'static str, value: bool) {
        self.key(key).extend_from_slice(if value { b"true" } else { b"false" });
    }

    #[inline]
    pub(super) fn payload(&mut self, payload: &Payload) {
        match payload {
            Payload::Json(json) => self.key("data").extend_from_slice(json),
            Payload::Binary(bytes) => self.plain("data64", &BASE64.encode(bytes)),
        }
    }

    #[inline]
    pub(super) fn object(&mut self, key: &'static str, fields: impl FnOnce(&mut Object<'_>)) {
        Object::write(self.key(key), fields);
    }

    /// A list of objects, each written by `fields`.
    pub(super) fn objects<T>(
        &mut self,
        key: &'static str,
        items: &[T],
        fields: impl Fn(&mut Object<'_>, &T),
    ) {
        let out = self.key(key);
        out.push(b'[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            Object::write(out, |object| fields(object, item));
        }
        out.push(b']');
    }
}

/// Writes a number in decimal.
#[inline]
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    // 20 digits hold any u64.
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Writes text in quotes, escaping what JSON demands.
fn put_text(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_and_text_read_back(number: u64, text: String) {
            let mut out = Vec::new();
            put_number(&mut out, number);
            prop_assert_eq!(serde_json::from_slice::<u64>(&out).unwrap(), number);
            out.clear();
            put_text(&mut out, &text);
            prop_assert!(out.iter().all(|&byte| byte >= 0x20));
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn every_control_character_is_escaped() {
        let all: String = (0..0x80u8).map(char::from).collect();
        let mut out = Vec::new();
        put_text(&mut out, &all);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), all);
    }
}

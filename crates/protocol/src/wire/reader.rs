//! Takes primitives from the front of a message.

use bytes::Bytes;

use crate::decode::DecodeError;

/// What is left of a message. Every method says in `what` which field it reads, for the error.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// The buffer that holds `rest`, where payloads may share it instead of being copied.
    shared: Option<&'a Bytes>,
}

impl<'a> Reader<'a> {
    /// Reads from borrowed bytes: payloads are copied.
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { rest: input, shared: None }
    }

    /// Reads from a shared buffer: payloads keep it alive and are not copied.
    pub(crate) fn sharing(input: &'a Bytes) -> Self {
        Self { rest: input, shared: Some(input) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        let (&byte, rest) = self.rest.split_first().ok_or(DecodeError::Truncated(what))?;
        self.rest = rest;
        Ok(byte)
    }

    /// The first byte of a layout; errors: it is another version's.
    pub(crate) fn version(&mut self, what: &'static str, known: u8) -> Result<(), DecodeError> {
        match self.byte(what)? {
            version if version == known => Ok(()),
            version => Err(DecodeError::UnknownKind { what, tag: version.into() }),
        }
    }

    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::Overflow(what));
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Overflow(what))
    }

    pub(crate) fn varint32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        u32::try_from(self.varint(what)?).map_err(|_| DecodeError::Overflow(what))
    }

    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.varint(what)?;
        let length = usize::try_from(length).map_err(|_| DecodeError::Truncated(what))?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated(what))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn str(&mut self, what: &'static str) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes(what)?).map_err(|_| DecodeError::Utf8(what))
    }

    /// Bytes that outlive the message: a share of its buffer if there is one, else a copy.
    pub(crate) fn owned_bytes(&mut self, what: &'static str) -> Result<Bytes, DecodeError> {
        let bytes = self.bytes(what)?;
        Ok(match self.shared {
            Some(buffer) => buffer.slice_ref(bytes),
            None => Bytes::copy_from_slice(bytes),
        })
    }

    /// A length-prefixed part, with a reader of its own.
    pub(crate) fn item(&mut self, what: &'static str) -> Result<Self, DecodeError> {
        let shared = self.shared;
        Ok(Self { rest: self.bytes(what)?, shared })
    }

    /// A list of length-prefixed items. Grows as items arrive, whatever count is announced.
    pub(crate) fn list<T>(
        &mut self,
        what: &'static str,
        read: impl Fn(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.varint(what)?;
        if count > self.rest.len() as u64 {
            return Err(DecodeError::Truncated(what));
        }
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(&mut self.item(what)?)?);
        }
        Ok(items)
    }

    pub(crate) fn flags(&mut self, what: &'static str) -> Result<Flags, DecodeError> {
        Ok(Flags(self.varint(what)?))
    }
}

/// A flags varint; bits this version does not know are ignored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flags(u64);

impl Flags {
    pub(crate) fn has(self, bit: u32) -> bool {
        self.0 >> bit & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_beyond_the_message_are_refused_without_allocating() {
        let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, b'x'];
        assert_eq!(Reader::new(&huge).bytes("field"), Err(DecodeError::Truncated("field")));
        assert!(Reader::new(&huge).list("list", |_| Ok(())).is_err());
    }

    #[test]
    fn an_eleventh_byte_or_a_65th_bit_overflows() {
        assert_eq!(Reader::new(&[0xff; 11]).varint("n"), Err(DecodeError::Overflow("n")));
        let mut bit_65 = [0x80; 10];
        bit_65[9] = 2;
        assert_eq!(Reader::new(&bit_65).varint("n"), Err(DecodeError::Overflow("n")));
        bit_65[9] = 1;
        assert_eq!(Reader::new(&bit_65).varint("n"), Ok(1 << 63));
    }
}

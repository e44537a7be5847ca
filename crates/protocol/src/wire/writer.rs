//! Appends primitives to a buffer.

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that [`put_varint`] appends for a value.
pub(crate) fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends bytes with their length in front.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends text with its length in front.
pub(crate) fn put_str(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

/// Appends a flags varint: bit 0 is the first flag.
pub(crate) fn put_flags<const N: usize>(out: &mut Vec<u8>, flags: [bool; N]) {
    let bits = flags.iter().rev().fold(0, |bits, flag| bits << 1 | u64::from(*flag));
    put_varint(out, bits);
}

/// Appends what `write` appends, with its length in front: a list item, or a message in a batch.
///
/// One byte is reserved for the length, and the content moves up only when it turns out to need more.
pub(crate) fn put_item(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.push(0);
    write(out);
    let length = (out.len() - start - 1) as u64;
    if length < 0x80 {
        out[start] = length as u8;
        return;
    }
    let extra = varint_len(length) - 1;
    let end = out.len();
    out.resize(end + extra, 0);
    out.copy_within(start + 1..end, start + 1 + extra);
    let mut rest = length;
    for slot in &mut out[start..start + extra] {
        *slot = (rest as u8) | 0x80;
        rest >>= 7;
    }
    out[start + extra] = rest as u8;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Reader;

    #[test]
    fn varints_have_the_announced_length_and_read_back() {
        for shift in 0..64 {
            for value in [(1u64 << shift) - 1, 1 << shift, u64::MAX >> shift] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                assert_eq!(out.len(), varint_len(value), "{value}");
                assert_eq!(Reader::new(&out).varint("n"), Ok(value));
            }
        }
    }

    #[test]
    fn items_of_any_length_read_back() {
        for length in [0, 1, 126, 127, 128, 129, 16_383, 16_384, 70_000] {
            let content: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let mut out = vec![9];
            put_item(&mut out, |out| out.extend_from_slice(&content));
            let mut reader = Reader::new(&out[1..]);
            assert_eq!(reader.bytes("item"), Ok(&content[..]));
            assert!(reader.is_empty());
        }
    }
}

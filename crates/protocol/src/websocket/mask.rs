//! Masking (RFC 6455, section 5.3): XOR with a repeated four-byte key, the same for both directions.

/// Masks or unmasks in place. `key` applies from the first byte of `data` on.
///
/// Works eight bytes at a time; the compiler widens that further where the machine can.
pub fn unmask(data: &mut [u8], key: [u8; 4]) {
    let key_twice = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let (words, tail) = data.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ key_twice).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}

/// The key as it applies after `consumed` bytes.
pub(super) fn rotate(mut key: [u8; 4], consumed: usize) -> [u8; 4] {
    key.rotate_left(consumed % 4);
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_the_definition_also_in_two_parts(mut data: Vec<u8>, key: [u8; 4], cut: usize) {
            let expected: Vec<u8> = data.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            let cut = cut % (data.len() + 1);
            let (first, second) = data.split_at_mut(cut);
            unmask(first, key);
            unmask(second, rotate(key, cut));
            prop_assert_eq!(data, expected);
        }
    }
}

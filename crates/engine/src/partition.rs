//! Which partition of the log a channel lives in. Part of the stored format: changing it would move channels.

use skywave_protocol::ChannelName;

/// FNV-1a, 64 bit, of the channel name, modulo `partitions` (at least 1).
/// Source: draft-eastlake-fnv, section 2 (offset basis and prime of the 64-bit variant).
pub fn of(channel: &ChannelName, partitions: u32) -> u32 {
    let hash = fnv1a(channel.as_str().as_bytes());
    // Invariant: the remainder is below a u32.
    (hash % u64::from(partitions.max(1))) as u32
}

pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        // Test vectors of the FNV draft, appendix C.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn channels_spread_over_partitions() {
        let mut counts = [0u32; 8];
        for n in 0..8_000 {
            let channel = ChannelName::parse(&format!("chat:{n}")).unwrap();
            counts[of(&channel, 8) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }

    #[test]
    fn zero_partitions_count_as_one() {
        assert_eq!(of(&ChannelName::parse("a").unwrap(), 0), 0);
    }
}

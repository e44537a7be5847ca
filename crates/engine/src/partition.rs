//! Which partition of the log a channel lives in. Part of the stored format: changing it would move channels.

use skywave_protocol::ChannelName;
use skywave_protocol::hash::fnv1a;

/// FNV-1a, 64 bit, of the channel name, modulo `partitions` (at least 1).
pub fn of(channel: &ChannelName, partitions: u32) -> u32 {
    let hash = fnv1a(channel.as_str().as_bytes());
    // Invariant: the remainder is below a u32.
    (hash % u64::from(partitions.max(1))) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

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

//! Who is let in at all: caps and rates that are checked before any work is done for a connection.
//!
//! Owns: how many connections there are, per node and per address. Never: looks at a byte a client sent.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use skywave_engine::time::Millis;
use skywave_engine::{Rate, TokenBucket};
use skywave_protocol::{ErrorCode, WireError};

use crate::config::EdgeLimits;
use crate::limits::{Limit, RegionLimits, Who};
use crate::metrics::Refused;

/// Addresses remembered at most. When full, those without a connection and with a full bucket are forgotten; if that
/// frees nothing, an unknown address is refused until it does.
const ADDRESSES: usize = 65_536;
/// Time between two searches for addresses that can be forgotten: each looks at all of them.
const SWEEP_MS: Millis = 1_000;

/// What counts as one address: an IPv4 address, also where it is written as IPv6, or the /64 network that one IPv6
/// customer has to himself.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// Shared by all workers. The maps are locked for a lookup at accept and at close, never on the delivery path.
pub(crate) struct Admission {
    connections: AtomicUsize,
    limit: usize,
    per_address: usize,
    rate: Option<Rate>,
    address_rate: Option<Rate>,
    /// Keeps the rate of an address over the nodes of the region.
    region: Arc<RegionLimits>,
    bucket: Mutex<Option<TokenBucket>>,
    /// By [`network`].
    addresses: Mutex<HashMap<IpAddr, Address>>,
    /// When addresses may be searched for ones to forget again.
    next_sweep: AtomicU64,
}

#[derive(Debug)]
struct Address {
    connections: usize,
    bucket: Option<TokenBucket>,
}

impl Address {
    fn is_worth_keeping(&self, now: Millis, rate: Option<Rate>) -> bool {
        let full = match (&self.bucket, rate) {
            // A bucket that would grant its whole burst remembers nothing.
            (Some(bucket), Some(rate)) => bucket.clone().take(now, rate, rate.burst).is_ok(),
            _ => true,
        };
        self.connections > 0 || !full
    }
}

/// One admitted connection; gives its place back when dropped.
pub struct Permit {
    admission: Arc<Admission>,
    peer: IpAddr,
}

/// A refusal, with the time after which it is worth trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAdmitted {
    pub(crate) reason: Refused,
    pub(crate) retry_after_ms: Millis,
}

impl NotAdmitted {
    pub(crate) fn code(self) -> ErrorCode {
        match self.reason {
            Refused::ServerFull => ErrorCode::ServerFull,
            _ => ErrorCode::RateLimited,
        }
    }
}

impl From<NotAdmitted> for WireError {
    fn from(refused: NotAdmitted) -> Self {
        let message = match refused.reason {
            Refused::ServerFull => "this node has as many connections as it may have",
            Refused::AddressFull => "this address has as many connections as it may have",
            _ => "too many new connections",
        };
        Self::new(refused.code(), message).retry_after_ms(refused.retry_after_ms)
    }
}

impl Admission {
    pub(crate) fn new(limits: &EdgeLimits, region: Arc<RegionLimits>) -> Self {
        Self {
            connections: AtomicUsize::new(0),
            limit: limits.connections,
            per_address: limits.connections_per_address,
            rate: limits.handshakes,
            address_rate: limits.address_handshakes,
            region,
            bucket: Mutex::new(None),
            addresses: Mutex::default(),
            next_sweep: AtomicU64::new(0),
        }
    }

    /// Open connections over all transports.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn admit(self: &Arc<Self>, now: Millis, peer: IpAddr) -> Result<Permit, NotAdmitted> {
        let peer = network(peer);
        // Each place is taken first and given back on refusal, so that workers that race never exceed the cap.
        if self.connections.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(NotAdmitted { reason: Refused::ServerFull, retry_after_ms: 5_000 });
        }
        if let Err(refused) = self.admit_rates(now, peer) {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(refused);
        }
        Ok(Permit { admission: self.clone(), peer })
    }

    fn admit_rates(&self, now: Millis, peer: IpAddr) -> Result<(), NotAdmitted> {
        if self.tracks_addresses() {
            self.admit_address(now, peer)?;
        }
        let rest = self
            .region
            .take_from(Limit::Handshakes, Who::Network(peer), 1)
            .map_err(|retry_after_ms| NotAdmitted { reason: Refused::AddressRate, retry_after_ms })
            .and_then(|()| self.admit_rate(now));
        if rest.is_err() {
            self.release_address(peer);
        }
        rest
    }

    fn admit_rate(&self, now: Millis) -> Result<(), NotAdmitted> {
        let Some(rate) = self.rate else { return Ok(()) };
        let mut bucket = self.bucket.lock();
        let bucket = bucket.get_or_insert_with(|| TokenBucket::full(now, rate));
        bucket
            .take(now, rate, 1)
            .map_err(|retry_after_ms| NotAdmitted { reason: Refused::Rate, retry_after_ms })
    }

    fn tracks_addresses(&self) -> bool {
        self.per_address > 0 || self.address_rate.is_some()
    }

    fn admit_address(&self, now: Millis, peer: IpAddr) -> Result<(), NotAdmitted> {
        let mut addresses = self.addresses.lock();
        if addresses.len() >= ADDRESSES && !addresses.contains_key(&peer) {
            // Only with the lock on the addresses.
            if self.next_sweep.load(Ordering::Relaxed) <= now {
                self.next_sweep.store(now + SWEEP_MS, Ordering::Relaxed);
                addresses.retain(|_, address| address.is_worth_keeping(now, self.address_rate));
            }
            if addresses.len() >= ADDRESSES {
                return Err(NotAdmitted { reason: Refused::AddressRate, retry_after_ms: 5_000 });
            }
        }
        let address = addresses.entry(peer).or_insert_with(|| Address {
            connections: 0,
            bucket: self.address_rate.map(|rate| TokenBucket::full(now, rate)),
        });
        if self.per_address > 0 && address.connections >= self.per_address {
            return Err(NotAdmitted { reason: Refused::AddressFull, retry_after_ms: 5_000 });
        }
        if let (Some(bucket), Some(rate)) = (&mut address.bucket, self.address_rate)
            && let Err(retry_after_ms) = bucket.take(now, rate, 1)
        {
            return Err(NotAdmitted { reason: Refused::AddressRate, retry_after_ms });
        }
        address.connections += 1;
        Ok(())
    }

    fn release_address(&self, peer: IpAddr) {
        if !self.tracks_addresses() {
            return;
        }
        let mut addresses = self.addresses.lock();
        if let Some(address) = addresses.get_mut(&peer) {
            address.connections -= 1;
            if address.connections == 0 && address.bucket.is_none() {
                addresses.remove(&peer);
            }
        }
    }
}

impl Permit {
    /// The network of the address that was admitted.
    pub(crate) fn network(&self) -> IpAddr {
        self.peer
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.connections.fetch_sub(1, Ordering::Relaxed);
        self.admission.release_address(self.peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(change: impl FnOnce(&mut EdgeLimits)) -> Arc<Admission> {
        let mut limits = EdgeLimits::default();
        change(&mut limits);
        let state = Arc::new(skywave_ports::memory::MemoryState::default());
        let region = RegionLimits::new(&limits, state, std::time::Instant::now());
        Arc::new(Admission::new(&limits, region))
    }

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn refused(result: Result<Permit, NotAdmitted>) -> (Refused, Millis) {
        match result {
            Ok(_) => panic!("admitted"),
            Err(refused) => (refused.reason, refused.retry_after_ms),
        }
    }

    #[test]
    fn a_place_comes_back_when_its_connection_goes() {
        let admission = admission(|limits| limits.connections = 2);
        let first = admission.admit(0, peer(1)).ok();
        let _second = admission.admit(0, peer(2)).ok();
        assert_eq!(refused(admission.admit(0, peer(3))).0, Refused::ServerFull);
        drop(first);
        assert!(admission.admit(0, peer(3)).is_ok());
    }

    #[test]
    fn one_address_cannot_take_all() {
        let admission = admission(|limits| limits.connections_per_address = 1);
        let _mine = admission.admit(0, peer(1)).ok().unwrap();
        assert_eq!(refused(admission.admit(0, peer(1))).0, Refused::AddressFull);
        assert!(admission.admit(0, peer(2)).is_ok());
        assert_eq!(admission.connections(), 1);
        assert_eq!(admission.addresses.lock().len(), 1, "an address without a connection costs nothing");
    }

    #[test]
    fn a_network_is_one_address_however_it_is_written() {
        let parse = |text: &str| network(text.parse().unwrap());
        assert_eq!(parse("::ffff:10.0.0.1"), peer(1));
        assert_ne!(parse("10.0.0.2"), peer(1));
        assert_eq!(parse("2001:db8:0:1:a:b:c:d"), parse("2001:db8:0:1::7"));
        assert_ne!(parse("2001:db8:0:1::7"), parse("2001:db8:0:2::7"));
        let admission = admission(|limits| limits.connections_per_address = 1);
        let mine = admission.admit(0, "2001:db8::1".parse().unwrap()).ok().unwrap();
        assert_eq!(refused(admission.admit(0, "2001:db8::2".parse().unwrap())).0, Refused::AddressFull);
        drop(mine);
        assert!(admission.admit(0, "2001:db8::2".parse().unwrap()).is_ok());
    }

    #[test]
    fn a_flood_of_addresses_is_bounded_and_searched_rarely() {
        let admission = admission(|limits| limits.address_handshakes = Some(Rate::per_second(1, 2)));
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        for n in 0..ADDRESSES as u32 {
            assert!(admission.admit(0, address(n)).is_ok());
        }
        let newcomer = address(ADDRESSES as u32);
        assert_eq!(refused(admission.admit(0, newcomer)).0, Refused::AddressRate);
        assert!(admission.admit(0, address(1)).is_ok(), "who is known is not affected");
        // Their buckets are full again, but the last search was just now.
        admission.next_sweep.store(2_500, Ordering::Relaxed);
        assert_eq!(refused(admission.admit(2_400, newcomer)).0, Refused::AddressRate);
        assert!(admission.admit(2_500, newcomer).is_ok());
        assert_eq!(admission.addresses.lock().len(), 1);
    }

    #[test]
    fn rates_name_the_time_to_wait() {
        let admission = admission(|limits| {
            limits.address_handshakes = Some(Rate::per_second(1, 1));
            limits.handshakes = Some(Rate::per_second(10, 2));
        });
        let _first = admission.admit(0, peer(1)).ok().unwrap();
        assert_eq!(refused(admission.admit(0, peer(1))), (Refused::AddressRate, 1_000));
        let _second = admission.admit(0, peer(2)).ok().unwrap();
        assert_eq!(refused(admission.admit(0, peer(3))), (Refused::Rate, 100));
        assert!(admission.admit(100, peer(4)).is_ok());
        assert_eq!(admission.connections(), 2);
    }
}

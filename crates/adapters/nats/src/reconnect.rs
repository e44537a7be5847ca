//! Which server is tried next, and after what pause.
//!
//! The one that was lost is tried last: a frozen server still accepts connections, and would cost a time-out. Pauses grow
//! and are drawn at random, so that the nodes of a region do not all come back in the same instant.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{Server, ServerAddr};
use parking_lot::Mutex;
use rand::Rng;

/// The pause after the first failure; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(100);

/// What is remembered between attempts.
#[derive(Debug, Default)]
pub(crate) struct Reconnect {
    /// The server that was tried last: after a connection was lost, the one that was lost.
    last: Mutex<Option<ServerAddr>>,
    /// There was a connection before.
    connected: AtomicBool,
}

impl Reconnect {
    pub(crate) fn connected(&self) {
        self.connected.store(true, Ordering::Relaxed);
    }

    /// The pause before an attempt (counted from 1 since the last connection).
    pub(crate) fn pause(&self, attempt: usize, longest: Duration) -> Duration {
        if !self.connected.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        draw(attempt, longest)
    }

    /// Fewest failures first, the last one tried after its equals, the rest at random.
    pub(crate) fn choose(&self, servers: &[Server]) -> Option<ServerAddr> {
        let mut last = self.last.lock();
        let mut random = rand::rng();
        let chosen = servers.iter().min_by_key(|server| {
            let again = last.as_ref() == Some(&server.addr);
            (server.failed_attempts, again, random.random::<u32>())
        })?;
        *last = Some(chosen.addr.clone());
        last.clone()
    }
}

/// Anything between nothing and a bound that doubles with each attempt (counted from 1).
pub(crate) fn draw(attempt: usize, longest: Duration) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let bound = FIRST.saturating_mul(1 << doublings).min(longest);
    bound.mul_f64(rand::rng().random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(port: u16, failed_attempts: usize) -> Server {
        Server {
            addr: format!("nats://127.0.0.1:{port}").parse().unwrap(),
            failed_attempts,
            did_connect: false,
            is_discovered: false,
            last_error: None,
        }
    }

    #[test]
    fn the_server_that_was_lost_is_tried_last() {
        let reconnect = Reconnect::default();
        let servers = [server(1, 0), server(2, 0), server(3, 0)];
        let lost = reconnect.choose(&servers).unwrap();
        for _ in 0..50 {
            let fresh = Reconnect { last: Mutex::new(Some(lost.clone())), ..Reconnect::default() };
            assert_ne!(fresh.choose(&servers), Some(lost.clone()));
        }
        assert_eq!(reconnect.choose(&[server(lost.port(), 0)]), Some(lost), "unless it is the only one");
    }

    #[test]
    fn a_server_that_failed_less_often_goes_first() {
        let reconnect = Reconnect::default();
        for _ in 0..50 {
            assert_eq!(reconnect.choose(&[server(1, 2), server(2, 1)]).unwrap().port(), 2);
        }
    }

    #[test]
    fn pauses_grow_up_to_their_bound_and_differ() {
        let longest = Duration::from_secs(2);
        let pauses = |attempt| (0..200).map(move |_| draw(attempt, longest)).collect::<Vec<_>>();
        assert!(pauses(1).iter().all(|pause| *pause <= FIRST));
        let late = pauses(30);
        assert!(late.iter().all(|pause| *pause <= longest));
        assert!(late.iter().max() > Some(&Duration::from_secs(1)) && late.iter().min() < Some(&longest));
        assert_eq!(Reconnect::default().pause(9, longest), Duration::ZERO, "before the first connection");
    }
}

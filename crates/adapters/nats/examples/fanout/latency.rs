//! Time stamps between processes of one machine, and what they add up to.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

/// A payload of 200 bytes that begins with the time.
pub(crate) fn stamp() -> Bytes {
    let mut payload = vec![b'x'; 200];
    payload[..8].copy_from_slice(&now().to_be_bytes());
    payload.into()
}

/// How old a payload is.
pub(crate) fn age(payload: &[u8]) -> Option<Duration> {
    let stamp = payload.first_chunk::<8>()?;
    Some(Duration::from_nanos(now().saturating_sub(u64::from_be_bytes(*stamp))))
}

fn now() -> u64 {
    // Nanoseconds since 1970 fit for five hundred years.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

#[derive(Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn add(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// `p50 … p99 … ms`
    pub(crate) fn show(mut self) -> String {
        self.0.sort_unstable();
        let at = |share: f64| {
            let index = (self.0.len() as f64 * share) as usize;
            self.0.get(index).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
        };
        format!("p50 {:.2} p99 {:.2} ms", at(0.5), at(0.99))
    }
}

//! Ports that were free a moment ago.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// A port of this machine that was free a moment ago for TCP and UDP alike.
///
/// Below the range from which outgoing connections take theirs (32768 on, by default): the clients of other tests must not
/// take the port of a server that is just being restarted.
pub fn free() -> anyhow::Result<SocketAddr> {
    const FIRST: u32 = 12_000;
    const PORTS: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..256 {
        // Test programs that run side by side begin in different places.
        let step = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + step % PORTS)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    anyhow::bail!("no port that is free for TCP and UDP alike")
}

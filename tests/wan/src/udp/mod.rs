//! UDP over a link.
//!
//! Each peer that sends to a forward is given a socket of its own towards the target, as a NAT does, so that replies find
//! back; a peer that is silent for long is forgotten. Datagrams overtake each other as their times of arrival say.

mod air;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::forward::{Entered, Forward};
use air::Air;

/// Largest datagram there can be.
const LARGEST: usize = 65_536;

/// A peer that neither sends nor is sent anything for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// Peers of one forward; what more of them send is dropped.
const PEERS: u64 = 4_096;

struct Peer {
    address: SocketAddr,
    /// Connected to the target.
    upstream: UdpSocket,
    used: Cell<Instant>,
    _entered: Entered,
}

type Peers = RefCell<HashMap<SocketAddr, Rc<Peer>>>;

/// Carries datagrams for as long as it is polled.
pub(crate) async fn run(forward: Rc<Forward>, socket: UdpSocket) {
    let socket = Rc::new(socket);
    let peers = Peers::default();
    let out = Rc::new(Air::<Rc<Peer>>::new(forward.clock.clone(), forward.out.clone()));
    let back = Rc::new(Air::<SocketAddr>::new(forward.clock.clone(), forward.back.clone()));
    let mut tasks = JoinSet::new();
    // Past the runtime, whose view of a new socket begins with "not ready"; none of them blocks.
    tasks.spawn_local({
        let out = out.clone();
        async move { out.land(|peer, bytes| SockRef::from(&peer.upstream).send(bytes).is_ok()).await }
    });
    tasks.spawn_local({
        let (back, socket) = (back.clone(), socket.clone());
        async move {
            back.land(|address, bytes| SockRef::from(&*socket).send_to(bytes, &(*address).into()).is_ok())
                .await
        }
    });
    let mut listeners = JoinSet::new();
    let mut forget = tokio::time::interval(FORGOTTEN / 4);
    let mut buffer = vec![0; LARGEST];
    let replies = Rc::new(RefCell::new(vec![0; LARGEST]));
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                // An ICMP error of an earlier reply is no reason to end.
                let Ok((length, address)) = received else { continue };
                let known = peers.borrow().get(&address).cloned();
                let peer = match known {
                    Some(peer) => peer,
                    None => match admit(&forward, address).await {
                        Some(peer) => {
                            peers.borrow_mut().insert(address, peer.clone());
                            listeners.spawn_local(listen(peer.clone(), back.clone(), replies.clone()));
                            peer
                        }
                        None => {
                            forward.refuse();
                            continue;
                        }
                    },
                };
                peer.used.set(Instant::now());
                out.launch(&peer, &buffer[..length]);
            }
            () = forward.sweep.notified() => {
                peers.borrow_mut().clear();
                listeners.abort_all();
            }
            _ = forget.tick() => {
                // A peer's listener holds it: it ends when it finds itself alone.
                peers.borrow_mut().retain(|_, peer| peer.used.get().elapsed() < FORGOTTEN);
            }
            Some(_) = listeners.join_next() => {}
        }
    }
}

async fn admit(forward: &Rc<Forward>, address: SocketAddr) -> Option<Rc<Peer>> {
    if forward.open.get() >= PEERS {
        return None;
    }
    let any: SocketAddr = match forward.spec.target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let upstream = UdpSocket::bind(any).await.ok()?;
    upstream.connect(forward.spec.target).await.ok()?;
    let used = Cell::new(Instant::now());
    Some(Rc::new(Peer { address, upstream, used, _entered: forward.enter() }))
}

/// Sends on what the target answers this peer, until the peer is forgotten. All peers share one buffer.
async fn listen(peer: Rc<Peer>, back: Rc<Air<SocketAddr>>, buffer: Rc<RefCell<Vec<u8>>>) {
    loop {
        tokio::select! {
            ready = peer.upstream.readable() => {
                let mut buffer = buffer.borrow_mut();
                // Refused means that nobody listens at the target (yet).
                let (Ok(()), Ok(length)) = (ready, peer.upstream.try_recv(&mut buffer)) else { continue };
                peer.used.set(Instant::now());
                back.launch(&peer.address, &buffer[..length]);
            }
            () = tokio::time::sleep(FORGOTTEN) => {
                if peer.used.get().elapsed() >= FORGOTTEN {
                    return;
                }
            }
        }
    }
}

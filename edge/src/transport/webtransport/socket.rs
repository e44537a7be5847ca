//! The UDP socket of one worker: many datagrams in and out with one system call, where the kernel can.
//!
//! Owns: the buffers for both directions; connections have none. Never: waits, or keeps more than one transmission that
//! the kernel did not take.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use quinn_proto::{EcnCodepoint, Transmit};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Datagrams to one client in one transmission, at most: more make the buffer large and the others wait.
const SEGMENTS: usize = 10;

pub(super) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    inbox: Box<[u8]>,
    /// A transmission in the making, or one the kernel had no room for.
    outbox: Vec<u8>,
    unsent: Option<Transmit>,
}

/// One datagram from a client.
pub(super) struct Arrived {
    pub(super) from: SocketAddr,
    /// The address of ours that it was sent to.
    pub(super) to: Option<IpAddr>,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) data: BytesMut,
}

impl Socket {
    /// Errors: the socket lacks what QUIC needs.
    pub(super) fn new(socket: std::net::UdpSocket, datagram_bytes: usize) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let io = UdpSocket::from_std(socket)?;
        let inbox = vec![0; datagram_bytes * state.gro_segments() * BATCH_SIZE].into();
        Ok(Self { io, state, inbox, outbox: Vec::new(), unsent: None })
    }

    /// A datagram that is too large is dropped instead of cut in pieces: sizes can be probed.
    pub(super) fn never_fragments(&self) -> bool {
        !self.state.may_fragment()
    }

    /// Receives what has arrived, up to a batch. Errors: the socket cannot be used any more.
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        arrived: &mut Vec<Arrived>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            let mut metas = [RecvMeta::default(); BATCH_SIZE];
            let each = self.inbox.len() / BATCH_SIZE;
            let mut buffers = self.inbox.chunks_exact_mut(each).map(IoSliceMut::new);
            let mut buffers: [IoSliceMut<'_>; BATCH_SIZE] =
                std::array::from_fn(|_| buffers.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
            let received = self
                .io
                .try_io(Interest::READABLE, || self.state.recv((&self.io).into(), &mut buffers, &mut metas));
            let count = match received {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                // What somebody's router says about another datagram.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => continue,
                Err(error) => return Poll::Ready(Err(error)),
            };
            for (meta, buffer) in metas.iter().zip(&buffers).take(count) {
                let mut data = BytesMut::from(&buffer[..meta.len]);
                while !data.is_empty() {
                    let one = data.split_to(meta.stride.min(data.len()));
                    let ecn = meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
                    arrived.push(Arrived { from: meta.addr, to: meta.dst_ip, ecn, data: one });
                }
            }
            return Poll::Ready(Ok(()));
        }
    }

    /// Sends what `make` puts into the buffer, given the number of datagrams it may; answers how many those were, 0 if there
    /// was nothing to send, or `None` if the kernel has no room. Then nothing can be sent before [`Socket::poll_unblocked`].
    pub(super) fn send(
        &mut self,
        make: impl FnOnce(usize, &mut Vec<u8>) -> Option<Transmit>,
    ) -> Option<usize> {
        if self.unsent.is_some() {
            return None;
        }
        self.outbox.clear();
        let segments = self.state.max_gso_segments().min(SEGMENTS);
        let Some(transmit) = make(segments, &mut self.outbox) else { return Some(0) };
        if self.try_send(&transmit, &self.outbox).is_err() {
            self.unsent = Some(transmit);
            return None;
        }
        Some(transmit.segment_size.map_or(1, |segment| transmit.size.div_ceil(segment)))
    }

    /// Answers a packet that belongs to no connection. If the kernel has no room it is lost; the client asks again.
    pub(super) fn answer(&self, transmit: &Transmit, bytes: &[u8]) {
        let _ = self.try_send(transmit, bytes);
    }

    /// Ready when the kernel has room.
    pub(super) fn poll_unblocked(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(transmit) = self.unsent.take() {
            if self.try_send(&transmit, &self.outbox).is_err() {
                self.unsent = Some(transmit);
                ready!(self.io.poll_send_ready(cx))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Errors: the kernel has no room now. Whatever else is wrong is as good as a loss on the way.
    fn try_send(&self, transmit: &Transmit, bytes: &[u8]) -> io::Result<()> {
        let transmit = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
            contents: &bytes[..transmit.size],
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        };
        self.io.try_io(Interest::WRITABLE, || self.state.send((&self.io).into(), &transmit))
    }
}

//! Datagrams over links, on real sockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use skywave_servers::wait::{PATIENCE, until};
use skywave_wan::{Change, Control, Counters, ForwardSpec, LocalWan, Protocol};
use tempfile::TempDir;

/// A link between `eu` and `us`, and a socket in `us`.
struct Line {
    control: Control,
    /// In `eu`.
    address: SocketAddr,
    /// In `us`.
    target: UdpSocket,
    _wan: LocalWan,
    _folder: TempDir,
}

impl Line {
    fn new() -> Self {
        let target = socket();
        let folder = tempfile::tempdir().unwrap();
        let wan = LocalWan::start(folder.path(), 1).unwrap();
        let mut control = wan.control().unwrap();
        control.link("eu", "us").unwrap();
        let spec = ForwardSpec {
            name: "quic".into(),
            protocol: Protocol::Udp,
            from: "eu".into(),
            to: "us".into(),
            listen: "127.0.0.1:0".parse().unwrap(),
            target: target.local_addr().unwrap(),
        };
        let address = control.forward(spec).unwrap();
        Self { control, address, target, _wan: wan, _folder: folder }
    }

    fn shape(&mut self, change: Change) {
        self.control.shape_way("eu", "us", change).unwrap();
    }

    fn counters(&mut self) -> Counters {
        self.control.status().unwrap().way("eu", "us").unwrap().counters
    }

    /// Sends so many numbered datagrams, and waits until the line has decided about each.
    fn send_numbered(&mut self, count: u64) {
        let client = socket();
        for number in 0..count {
            client.send_to(&number.to_le_bytes(), self.address).unwrap();
        }
        until("each to arrive or be lost", || {
            let counters = self.counters();
            let decided = counters.datagrams + counters.lost + counters.cut_off;
            (decided == count + counters.duplicated).then_some(())
        })
        .unwrap();
    }

    fn hear(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 2_048];
        let (length, from) = self.target.recv_from(&mut buffer).unwrap();
        (buffer[..length].to_vec(), from)
    }

    fn hear_numbers(&self, count: u64) -> Vec<u64> {
        (0..count).map(|_| u64::from_le_bytes(self.hear().0.try_into().unwrap())).collect()
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn replies_find_back_to_whom_they_are_for() {
    let line = Line::new();
    let clients = [socket(), socket()];
    for (at, client) in clients.iter().enumerate() {
        client.send_to(&[u8::try_from(at).unwrap()], line.address).unwrap();
    }
    for _ in &clients {
        let (bytes, from) = line.hear();
        line.target.send_to(&[bytes[0] + 100], from).unwrap();
    }
    for (at, client) in clients.iter().enumerate() {
        let mut answer = [0; 8];
        let (length, from) = client.recv_from(&mut answer).unwrap();
        assert_eq!((&answer[..length], from), (&[u8::try_from(at).unwrap() + 100][..], line.address));
    }
}

#[test]
fn a_datagram_takes_at_least_the_delay() {
    let mut line = Line::new();
    line.shape(Change { delay_ms: Some(50.0), ..Change::default() });
    let begin = Instant::now();
    socket().send_to(b"x", line.address).unwrap();
    line.hear();
    assert!(begin.elapsed() >= Duration::from_millis(50), "{:?}", begin.elapsed());
}

#[test]
fn jitter_makes_datagrams_overtake_each_other_and_loses_none() {
    let mut line = Line::new();
    line.shape(Change { delay_ms: Some(20.0), jitter_ms: Some(20.0), ..Change::default() });
    line.send_numbered(100);
    let numbers = line.hear_numbers(100);
    assert!(!numbers.is_sorted());
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), 100);
}

#[test]
fn loss_and_doubling_are_counted_and_add_up() {
    let mut line = Line::new();
    line.shape(Change { loss: Some(0.3), duplicate: Some(0.3), ..Change::default() });
    line.send_numbered(100);
    let counters = line.counters();
    assert!(counters.lost > 0 && counters.duplicated > 0, "{counters:?}");
    let numbers = line.hear_numbers(counters.datagrams);
    let different = numbers.iter().collect::<BTreeSet<_>>().len() as u64;
    assert_eq!(different, 100 - counters.lost);
    assert_eq!(numbers.len() as u64, different + counters.duplicated);
}

#[test]
fn datagrams_over_the_limit_vanish_and_smaller_ones_pass() {
    let mut line = Line::new();
    line.shape(Change { mtu: Some(1_200), ..Change::default() });
    let client = socket();
    client.send_to(&[1; 1_201], line.address).unwrap();
    client.send_to(&[2; 1_200], line.address).unwrap();
    assert_eq!(line.hear().0, [2; 1_200]);
    assert_eq!(line.counters().oversized, 1);
}

#[test]
fn a_cut_line_swallows_what_comes_and_what_is_under_way() {
    let mut line = Line::new();
    line.shape(Change { delay_ms: Some(300.0), ..Change::default() });
    let client = socket();
    client.send_to(b"under way", line.address).unwrap();
    until("it to be under way", || {
        (line.control.status().unwrap().forward("quic").unwrap().opened == 1).then_some(())
    })
    .unwrap();
    line.shape(Change::cut(true));
    client.send_to(b"too late", line.address).unwrap();
    until("both to be gone", || (line.counters().cut_off == 2).then_some(())).unwrap();
    line.shape(Change::cut(false));
    client.send_to(b"healed", line.address).unwrap();
    assert_eq!(line.hear().0, b"healed");
}

#[test]
fn a_swept_peer_comes_back_from_another_address() {
    let mut line = Line::new();
    let client = socket();
    client.send_to(b"1", line.address).unwrap();
    let (_, before) = line.hear();
    line.control.sweep("eu", "us").unwrap();
    client.send_to(b"2", line.address).unwrap();
    let (_, after) = line.hear();
    assert_ne!(before, after);
    line.target.send_to(b"3", after).unwrap();
    let mut answer = [0; 8];
    assert_eq!(client.recv(&mut answer).unwrap(), 1);
}

//! Streams over links, on real sockets: what a line does to TCP, and what it never does.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use skywave_servers::wait::{PATIENCE, until};
use skywave_wan::{Change, Control, ForwardSpec, LocalWan, Protocol};
use tempfile::TempDir;

/// A link between `eu` and `us`, and a server in `us` that sends back what it gets.
struct Line {
    control: Control,
    /// In `eu`.
    address: SocketAddr,
    /// Bytes that the server has read.
    heard: Arc<AtomicU64>,
    /// Connections that it has accepted.
    accepted: Arc<AtomicU64>,
    _wan: LocalWan,
    _folder: TempDir,
}

impl Line {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let (heard, accepted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        std::thread::spawn({
            let (heard, accepted) = (heard.clone(), accepted.clone());
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    accepted.fetch_add(1, Ordering::SeqCst);
                    let heard = heard.clone();
                    std::thread::spawn(move || echo(stream, &heard));
                }
            }
        });
        let (control, address, wan, folder) = forward_to(target);
        Self { control, address, heard, accepted, _wan: wan, _folder: folder }
    }

    fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    fn heard(&self) -> u64 {
        self.heard.load(Ordering::SeqCst)
    }

    fn held(&mut self) -> u64 {
        self.control.status().unwrap().way("eu", "us").unwrap().counters.held
    }
}

fn forward_to(target: SocketAddr) -> (Control, SocketAddr, LocalWan, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let wan = LocalWan::start(folder.path(), 1).unwrap();
    let mut control = wan.control().unwrap();
    control.link("eu", "us").unwrap();
    let spec = ForwardSpec {
        name: "echo".into(),
        protocol: Protocol::Tcp,
        from: "eu".into(),
        to: "us".into(),
        listen: "127.0.0.1:0".parse().unwrap(),
        target,
    };
    let address = control.forward(spec).unwrap();
    (control, address, wan, folder)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn echo(mut stream: TcpStream, heard: &AtomicU64) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        heard.fetch_add(read as u64, Ordering::SeqCst);
        if stream.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

fn say(stream: &mut TcpStream, text: &[u8]) -> Vec<u8> {
    stream.write_all(text).unwrap();
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).unwrap();
    answer
}

/// Bytes that would show any change of order.
fn pattern(length: usize) -> Vec<u8> {
    (0_u32..).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).take(length).collect()
}

/// Sends `bytes` and reads as many back, at the same time.
fn round_trip(stream: &TcpStream, bytes: &[u8]) -> Vec<u8> {
    let mut answer = vec![0; bytes.len()];
    std::thread::scope(|scope| {
        scope.spawn(|| (&mut &*stream).write_all(bytes).unwrap());
        (&mut &*stream).read_exact(&mut answer).unwrap();
    });
    answer
}

#[test]
fn bytes_cross_unchanged_and_are_counted_each_way() {
    let mut line = Line::new();
    let bytes = pattern(3_000_000);
    assert!(round_trip(&line.connect(), &bytes) == bytes);
    let status = line.control.status().unwrap();
    for (from, to) in [("eu", "us"), ("us", "eu")] {
        assert_eq!(status.way(from, to).unwrap().counters.stream_bytes, 3_000_000);
    }
    assert_eq!(status.forward("echo").unwrap().opened, 1);
}

#[test]
fn order_survives_jitter_and_loss_and_the_loss_is_counted() {
    let mut line = Line::new();
    let rough = Change { delay_ms: Some(3.0), jitter_ms: Some(3.0), loss: Some(0.02), ..Change::default() };
    line.control.shape("eu", "us", rough).unwrap();
    let bytes = pattern(1_000_000);
    assert!(round_trip(&line.connect(), &bytes) == bytes);
    let status = line.control.status().unwrap();
    assert!(status.way("eu", "us").unwrap().counters.retransmitted > 0);
}

#[test]
fn each_way_takes_at_least_its_own_delay() {
    let mut line = Line::new();
    let delay = |milliseconds| Change { delay_ms: Some(milliseconds), ..Change::default() };
    line.control.shape_way("eu", "us", delay(60.0)).unwrap();
    line.control.shape_way("us", "eu", delay(20.0)).unwrap();
    let mut stream = line.connect();
    say(&mut stream, b"opened");
    let begin = Instant::now();
    say(&mut stream, b"ping");
    assert!(begin.elapsed() >= Duration::from_millis(80), "{:?}", begin.elapsed());
}

#[test]
fn throughput_is_bounded_where_it_is_told_to_be() {
    let mut line = Line::new();
    let slow = Change { rate_kbit: Some(8_000), ..Change::default() };
    line.control.shape_way("eu", "us", slow).unwrap();
    let begin = Instant::now();
    round_trip(&line.connect(), &pattern(200_000));
    assert!(begin.elapsed() >= Duration::from_millis(199), "{:?}", begin.elapsed());
}

#[test]
fn a_cut_line_hangs_and_goes_on_where_it_was_when_it_is_healed() {
    let mut line = Line::new();
    let mut stream = line.connect();
    say(&mut stream, b"before");
    line.control.cut("eu", "us").unwrap();
    let held = line.held();
    stream.write_all(b"during").unwrap();
    until("the line to hold it", || (line.held() > held).then_some(())).unwrap();
    assert_eq!(line.heard(), 6);

    line.control.heal("eu", "us").unwrap();
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"during");
    assert_eq!(line.control.status().unwrap().way("eu", "us").unwrap().counters.cuts, 1);
}

#[test]
fn what_is_under_way_when_the_line_is_cut_does_not_arrive() {
    let mut line = Line::new();
    let mut stream = line.connect();
    say(&mut stream, b"before");
    line.control.shape("eu", "us", Change { delay_ms: Some(2_000.0), ..Change::default() }).unwrap();
    stream.write_all(b"late").unwrap();
    let waiting =
        |line: &mut Line| line.control.status().unwrap().way("eu", "us").unwrap().counters.waiting_bytes;
    until("it to be under way", || (waiting(&mut line) == 4).then_some(())).unwrap();
    line.control.cut("eu", "us").unwrap();
    until("it to be due", || (line.held() > 0).then_some(())).unwrap();
    assert_eq!(line.heard(), 6);
}

#[test]
fn a_new_connection_waits_for_a_cut_line_in_whichever_direction_it_is_cut() {
    for (from, to) in [("eu", "us"), ("us", "eu")] {
        let mut line = Line::new();
        line.control.shape_way(from, to, Change::cut(true)).unwrap();
        let mut stream = line.connect();
        stream.write_all(b"hello").unwrap();
        until("the line to hold it", || (line.held() > 0).then_some(())).unwrap();
        assert_eq!(line.accepted.load(Ordering::SeqCst), 0);
        line.control.heal(from, to).unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
    }
}

#[test]
fn a_client_that_gave_up_while_the_line_was_cut_is_never_heard_of() {
    let mut line = Line::new();
    line.control.cut("eu", "us").unwrap();
    drop(line.connect());
    until("it to be forgotten", || {
        let status = line.control.status().unwrap();
        let forward = status.forward("echo").unwrap();
        (forward.opened == 1 && forward.open == 0).then_some(())
    })
    .unwrap();
    line.control.heal("eu", "us").unwrap();
    say(&mut line.connect(), b"next");
    assert_eq!(line.accepted.load(Ordering::SeqCst), 1);
}

#[test]
fn without_acknowledgements_a_sender_gets_no_further_than_its_first_window() {
    let mut line = Line::new();
    let mut stream = line.connect();
    say(&mut stream, b"before");
    line.control.shape_way("us", "eu", Change::cut(true)).unwrap();
    stream.write_all(&pattern(100_000)).unwrap();
    until("the window to be full", || (line.heard() >= 6 + 14_480).then_some(())).unwrap();
    until("the rest to be held", || (line.held() > 0).then_some(())).unwrap();
    assert_eq!(line.heard(), 6 + 14_480);
    line.control.heal("us", "eu").unwrap();
    until("all of it", || (line.heard() == 6 + 100_000).then_some(())).unwrap();
}

#[test]
fn a_sender_to_a_cut_line_is_stopped_before_memory_is_full() {
    let mut line = Line::new();
    let mut stream = line.connect();
    say(&mut stream, b"before");
    line.control.cut("eu", "us").unwrap();
    stream.set_nonblocking(true).unwrap();
    let chunk = vec![7; 1 << 20];
    let waiting =
        |line: &mut Line| line.control.status().unwrap().way("eu", "us").unwrap().counters.waiting_bytes;
    let mut refused_for = 0;
    // Refused, with the queue of the link full and not growing: the rest is in the kernel's buffers, which are bounded.
    until("the sender to be refused for good", || {
        match stream.write(&chunk) {
            Ok(_) => refused_for = 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => refused_for += 1,
            Err(error) => panic!("{error}"),
        }
        (refused_for > 20 && waiting(&mut line) >= 3 << 20).then_some(())
    })
    .unwrap();
    let waiting = waiting(&mut line);
    assert!(waiting <= (4 << 20) + 65_536, "{waiting}");
    drop(stream);
    drop(line);
}

#[test]
fn sweeping_resets_both_ends() {
    let mut line = Line::new();
    let mut stream = line.connect();
    say(&mut stream, b"before");
    line.control.sweep("eu", "us").unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    say(&mut line.connect(), b"after");
}

#[test]
fn a_half_closed_stream_still_hears_the_other_half() {
    let line = Line::new();
    let mut stream = line.connect();
    stream.write_all(b"last words").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"last words");
}

#[test]
fn a_reset_and_a_refusal_reach_the_other_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_control, address, _wan, _folder) = forward_to(listener.local_addr().unwrap());
    let mut stream = connect(address);
    stream.write_all(b"unread").unwrap();
    let (server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(server.peek(&mut [0; 6]).unwrap(), 6);
    // Closed with something unread: that is a reset.
    drop(server);
    assert_eq!(stream.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);

    drop(listener);
    let mut stream = connect(address);
    assert_eq!(stream.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

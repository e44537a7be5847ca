//! The load generator's connections: thousands of them in one epoll loop, every delivery counted and checked, next to no
//! parsing.
//!
//! - A connection first runs its **script** (upgrade, connect, subscribe): one step is sent, its answer awaited, the next
//!   one sent. Then it is *ready*.
//! - A benchmark's payload holds [`MARK`] and ten digits, the number of the message in its channel. The fleet finds the
//!   marks, so it does not care how a server packs publications into frames, and compares each number with the one due on
//!   that connection: a higher one means that messages were lost, a lower one that one came twice.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::frames;

/// Begins the number of a message; occurs nowhere else in what a server sends.
pub(super) const MARK: u8 = b'@';
/// Digits after the mark.
pub(super) const DIGITS: usize = 10;
/// Connections from one loopback address: far below the number of ports.
const PER_SOURCE: usize = 5_000;
/// Handshakes in flight at most: below any server's listen backlog, or the kernel drops a SYN for a second.
const HANDSHAKES: usize = 512;
/// Token of the timer in the epoll set.
const TICKER: u64 = u64::MAX;

/// What has come in so far, over all connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) deliveries: u64,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    /// Payload bytes of the frames that carried deliveries, after the scripts.
    pub(super) bytes: u64,
    /// Such frames.
    pub(super) frames: u64,
    /// Answers to publishes.
    pub(super) published: u64,
    /// Error answers, broken connections, closes by the server.
    pub(super) errors: u64,
}

struct Member {
    stream: TcpStream,
    /// Steps not sent yet.
    script: VecDeque<Vec<u8>>,
    /// Upgraded, and every step answered.
    upgraded: bool,
    ready: bool,
    /// The unfinished rest of what was read.
    rest: Vec<u8>,
    /// Number of the message due next.
    due: u64,
    /// When the first delivery since the last connect came.
    delivered: Option<Instant>,
}

/// See the module. Owns the sockets; nothing else reads or writes them.
pub(super) struct Fleet {
    epoll: OwnedFd,
    members: Vec<Member>,
    ready: usize,
    /// Handshakes in flight.
    opening: usize,
    /// Connections that broke and wait for [`Fleet::reopen`]; `None`: a broken connection is an error.
    broken: Option<Vec<usize>>,
    events: Vec<epoll::Event>,
    ticker: Option<OwnedFd>,
    scratch: Box<[u8]>,
    /// Bytes from one mark to the end of its message, at least: they are skipped unread.
    skip: usize,
    pub(super) counts: Counts,
    /// The first error text seen, for the report.
    pub(super) first_error: Option<String>,
}

impl Fleet {
    /// `message` is the payload's length in bytes, the mark at its front (or one byte behind it).
    pub(super) fn new(message: usize) -> anyhow::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?,
            members: Vec::new(),
            ready: 0,
            opening: 0,
            broken: None,
            events: Vec::with_capacity(1024),
            ticker: None,
            scratch: vec![0; 256 * 1024].into(),
            skip: (1 + DIGITS).max(message.saturating_sub(2)),
            counts: Counts::default(),
            first_error: None,
        })
    }

    /// Connects and starts the script; `due` is the number of the first message this connection must see.
    ///
    /// Waits (working on the others) while too many handshakes are in flight. Answers the connection's index.
    pub(super) fn open(
        &mut self,
        address: SocketAddr,
        script: Vec<Vec<u8>>,
        due: u64,
    ) -> anyhow::Result<usize> {
        let index = self.members.len();
        let (stream, script) = (self.dial(address, index)?, script.into());
        let (rest, delivered) = (Vec::new(), None);
        self.members.push(Member { stream, script, upgraded: false, ready: false, rest, due, delivered });
        Ok(index)
    }

    /// From now on a connection that breaks is no error but waits in [`Self::take_broken`].
    pub(super) fn forgive(&mut self) {
        self.broken.get_or_insert_default();
    }

    /// Connections that broke since the last call.
    pub(super) fn take_broken(&mut self) -> Vec<usize> {
        self.broken.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Connects a broken connection anew, as [`Self::open`] does; what is due stays due.
    pub(super) fn reopen(
        &mut self,
        index: usize,
        address: SocketAddr,
        script: Vec<Vec<u8>>,
    ) -> anyhow::Result<()> {
        let stream = self.dial(address, index)?;
        let member = &mut self.members[index];
        (member.stream, member.script) = (stream, script.into());
        (member.upgraded, member.ready, member.delivered) = (false, false, None);
        member.rest.clear();
        Ok(())
    }

    /// Number of the message due next on a connection.
    pub(super) fn due(&self, index: usize) -> u64 {
        self.members[index].due
    }

    /// When a connection was delivered something for the first time since it was opened last.
    pub(super) fn delivered(&self, index: usize) -> Option<Instant> {
        self.members[index].delivered
    }

    fn dial(&mut self, address: SocketAddr, index: usize) -> anyhow::Result<TcpStream> {
        while self.opening >= HANDSHAKES {
            self.poll(Duration::from_millis(100))?;
            self.check()?;
        }
        let mut stream = connect(address, index)?;
        stream.write_all(upgrade_request(address).as_bytes()).context("sending an upgrade")?;
        stream.set_nonblocking(true)?;
        epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
        self.opening += 1;
        Ok(stream)
    }

    /// Connections whose script is through.
    pub(super) fn ready(&self) -> usize {
        self.ready
    }

    /// Works until every connection is ready.
    pub(super) fn settle(&mut self, limit: Duration) -> anyhow::Result<()> {
        let members = self.members.len();
        self.poll_until(limit, |fleet| fleet.ready == members)
            .with_context(|| format!("{} of {members} connections are ready", self.ready))
    }

    /// Works until `done`; fails at the first error and after `limit`.
    pub(super) fn poll_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + limit;
        while !done(self) {
            self.poll(Duration::from_millis(20))?;
            self.check()?;
            anyhow::ensure!(Instant::now() < until, "not done after {limit:?}: {:?}", self.counts);
        }
        Ok(())
    }

    /// The first error any connection met.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        match &self.first_error {
            Some(error) => anyhow::bail!("{} errors, the first: {error}", self.counts.errors),
            None => Ok(()),
        }
    }

    /// Waits up to `timeout` (whole milliseconds; zero: not at all) for something to come, and counts it.
    pub(super) fn poll(&mut self, timeout: Duration) -> anyhow::Result<()> {
        let timeout =
            Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        let mut events = std::mem::take(&mut self.events);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll"),
        }
        for event in events.drain(..) {
            match event.data.u64() {
                TICKER => self.take_tick(),
                index => self.read(index as usize)?,
            }
        }
        self.events = events;
        Ok(())
    }

    /// From now on [`Self::poll`] returns at least this often: timeouts know milliseconds only.
    pub(super) fn tick_every(&mut self, gap: Duration) -> anyhow::Result<()> {
        let ticker =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let gap = Timespec { tv_sec: gap.as_secs() as i64, tv_nsec: i64::from(gap.subsec_nanos()) };
        let timer = Itimerspec { it_interval: gap, it_value: gap };
        timerfd_settime(&ticker, TimerfdTimerFlags::empty(), &timer)?;
        epoll::add(&self.epoll, &ticker, epoll::EventData::new_u64(TICKER), epoll::EventFlags::IN)?;
        self.ticker = Some(ticker);
        Ok(())
    }

    /// Ends the ticks; closing the timer takes it out of the epoll set.
    pub(super) fn tick_never(&mut self) {
        self.ticker = None;
    }

    fn take_tick(&self) {
        if let Some(ticker) = &self.ticker {
            // Nothing to read means that the tick was taken before.
            let _ = rustix::io::read(ticker, &mut [0; 8]);
        }
    }

    /// Sends on a ready connection what its socket takes; answers how many bytes that were.
    pub(super) fn send(&mut self, index: usize, bytes: &[u8]) -> anyhow::Result<usize> {
        match self.members[index].stream.write(bytes) {
            Ok(written) => Ok(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error).context("sending to the server"),
        }
    }

    fn read(&mut self, index: usize) -> anyhow::Result<()> {
        let Self { members, scratch, counts, first_error, .. } = self;
        let member = &mut members[index];
        let kept = member.rest.len();
        scratch[..kept].copy_from_slice(&member.rest);
        let length = match member.stream.read(&mut scratch[kept..]) {
            Ok(0) => return self.broken(index, "the server closed a connection"),
            Ok(length) => kept + length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return self.broken(index, &format!("a connection broke: {error}")),
        };
        let (was_ready, before) = (member.ready, counts.deliveries);
        let mut at = 0;
        if !member.upgraded {
            match scratch[..length].windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) if scratch.starts_with(b"HTTP/1.1 101") => at = end + 4,
                Some(_) => {
                    let head = String::from_utf8_lossy(&scratch[..length]).into_owned();
                    return self.broken(index, &format!("no upgrade: {head}"));
                }
                None => return member.keep(&scratch[..length]),
            }
            member.upgraded = true;
            self.opening -= 1;
            member.next_step()?;
        }
        while let Some(frame) = frames::parse(&scratch[at..length]) {
            let payload = &scratch[at + frame.start..at + frame.end];
            match frame.opcode {
                frames::TEXT if payload == b"{}" => member.say(frames::TEXT, payload)?,
                frames::TEXT => member.count(payload, self.skip, counts, first_error)?,
                frames::PING => member.say(frames::PONG, payload)?,
                frames::CLOSE => {
                    counts.errors += 1;
                    let text = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
                    first_error.get_or_insert(format!("closed by the server: {text}"));
                }
                _ => {}
            }
            at += frame.end;
        }
        if counts.deliveries > before {
            member.delivered.get_or_insert_with(Instant::now);
        }
        self.ready += usize::from(member.ready && !was_ready);
        member.keep(&scratch[at..length])
    }

    fn broken(&mut self, index: usize, what: &str) -> anyhow::Result<()> {
        let member = &self.members[index];
        epoll::delete(&self.epoll, &member.stream)?;
        self.opening -= usize::from(!member.upgraded);
        self.ready -= usize::from(member.ready);
        match &mut self.broken {
            Some(broken) => broken.push(index),
            None => {
                self.counts.errors += 1;
                self.first_error.get_or_insert(what.to_owned());
            }
        }
        Ok(())
    }
}

impl Member {
    /// Sends the script's next step; ready when there is none.
    fn next_step(&mut self) -> anyhow::Result<()> {
        match self.script.pop_front() {
            Some(step) => self.stream.write_all(&step).context("sending a step of the script"),
            None => {
                self.ready = true;
                self.script = VecDeque::new();
                Ok(())
            }
        }
    }

    fn say(&mut self, opcode: u8, payload: &[u8]) -> anyhow::Result<()> {
        let mut frame = Vec::new();
        frames::push_masked(opcode, payload, &mut frame);
        self.stream.write_all(&frame).context("answering a ping")
    }

    fn keep(&mut self, unfinished: &[u8]) -> anyhow::Result<()> {
        self.rest.clear();
        self.rest.extend_from_slice(unfinished);
        Ok(())
    }

    /// Counts what one text frame holds.
    fn count(
        &mut self,
        payload: &[u8],
        skip: usize,
        counts: &mut Counts,
        first_error: &mut Option<String>,
    ) -> anyhow::Result<()> {
        if self.ready {
            let before = counts.deliveries;
            self.deliveries(payload, skip, counts);
            if counts.deliveries > before {
                counts.frames += 1;
                counts.bytes += payload.len() as u64;
                return Ok(());
            }
        }
        for line in payload.split(|byte| *byte == b'\n') {
            let before = counts.deliveries;
            self.deliveries(line, skip, counts);
            if counts.deliveries > before {
                continue;
            }
            if contains(line, b"\"error\"") {
                counts.errors += 1;
                first_error.get_or_insert(String::from_utf8_lossy(line).into_owned());
            } else if contains(line, b"\"published\"") {
                counts.published += 1;
            } else if !self.ready {
                self.next_step()?;
            }
        }
        Ok(())
    }

    fn deliveries(&mut self, text: &[u8], skip: usize, counts: &mut Counts) {
        let mut rest = text;
        while let Some(mark) = rest.iter().position(|byte| *byte == MARK) {
            let Some(digits) = rest.get(mark + 1..=mark + DIGITS) else { return };
            let number =
                digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit.wrapping_sub(b'0')));
            counts.deliveries += 1;
            counts.lost += number.saturating_sub(self.due);
            counts.doubled += u64::from(number < self.due);
            self.due = self.due.max(number + 1);
            rest = rest.get(mark + skip..).unwrap_or_default();
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn connect(address: SocketAddr, index: usize) -> anyhow::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.ip().is_loopback() && address.is_ipv4() {
        // All of 127/8 is this machine: a source address for every few thousand connections saves ports.
        let last = u8::try_from(2 + index / PER_SOURCE).context("too many connections for one generator")?;
        socket
            .bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into())
            .context("binding a source")?;
    }
    socket.connect(&address.into()).context("connecting to the server")?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

pub(super) fn upgrade_request(address: SocketAddr) -> String {
    format!(
        "GET /v1/ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(payloads: &[&str]) -> Counts {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let script = VecDeque::new();
        let (rest, delivered) = (Vec::new(), None);
        let mut member = Member { stream, script, upgraded: true, ready: true, rest, due: 0, delivered };
        let (mut counts, mut error) = (Counts::default(), None);
        for payload in payloads {
            member.count(payload.as_bytes(), 1 + DIGITS, &mut counts, &mut error).unwrap();
        }
        counts
    }

    #[test]
    fn a_hole_a_double_and_a_batch_are_told_apart() {
        let good = counted(&["{@0000000000x}", "{@0000000001x}\n{@0000000002x}"]);
        assert_eq!((good.deliveries, good.lost, good.doubled, good.frames), (3, 0, 0, 2));
        let hole = counted(&["{@0000000000x}", "{@0000000003x}"]);
        assert_eq!((hole.lost, hole.doubled), (2, 0));
        let double = counted(&["{@0000000000x}", "{@0000000000x}"]);
        assert_eq!((double.lost, double.doubled), (0, 1));
    }

    #[test]
    fn answers_and_errors_are_counted_line_by_line() {
        let counts = counted(&["{\"id\":1,\"published\":{}}\n{\"id\":2,\"error\":{}}"]);
        assert_eq!((counts.published, counts.errors, counts.deliveries), (1, 1, 0));
    }
}

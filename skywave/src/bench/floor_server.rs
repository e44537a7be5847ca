//! The plainest possible WebSocket server, the yardstick of `skywave bench`: one thread, non-blocking sockets, one
//! `write` of a ready frame for each subscriber, no features.
//!
//! It speaks two messages: `S<channel>` subscribes, `P<channel> <payload>` is framed once and written to each subscriber
//! of the channel. It trusts its only client, the generator of this benchmark, and must never be used for anything else.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;

use anyhow::Context;
use base64::Engine;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, epoll, poll};
use sha1::{Digest, Sha1};

use super::frames;

const LISTENER: u64 = u64::MAX;
/// RFC 6455, section 1.3.
const ACCEPT_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

struct Client {
    stream: TcpStream,
    upgraded: bool,
    /// The unfinished rest of what was read.
    rest: Vec<u8>,
}

struct Server {
    epoll: rustix::fd::OwnedFd,
    listener: TcpListener,
    /// By token; a client that left leaves a hole.
    clients: Vec<Option<Client>>,
    /// Tokens of the subscribers, by channel number.
    channels: Vec<Vec<usize>>,
    scratch: Box<[u8]>,
    payload: Vec<u8>,
    frame: Vec<u8>,
}

/// Serves until it is killed; says its address in one line on standard output.
pub(super) fn run(listen: SocketAddr) -> anyhow::Result<ExitCode> {
    let listener = TcpListener::bind(listen).context("binding the floor server")?;
    listener.set_nonblocking(true)?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut server = Server {
        epoll,
        listener,
        clients: Vec::new(),
        channels: Vec::new(),
        scratch: vec![0; 64 * 1024].into(),
        payload: Vec::new(),
        frame: Vec::new(),
    };
    let mut events = Vec::with_capacity(1024);
    loop {
        match epoll::wait(&server.epoll, spare_capacity(&mut events), None) {
            Err(rustix::io::Errno::INTR) => continue,
            waited => waited?,
        };
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => server.accept()?,
                token => server.read(token as usize)?,
            }
        }
    }
}

impl Server {
    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("accepting"),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let token = epoll::EventData::new_u64(self.clients.len() as u64);
            epoll::add(&self.epoll, &stream, token, epoll::EventFlags::IN)?;
            self.clients.push(Some(Client { stream, upgraded: false, rest: Vec::new() }));
        }
    }

    fn read(&mut self, token: usize) -> anyhow::Result<()> {
        let Some(client) = self.clients[token].as_mut() else { return Ok(()) };
        let length = match client.stream.read(&mut self.scratch) {
            Ok(0) => return self.forget(token),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(_) => return self.forget(token),
        };
        let mut bytes = std::mem::take(&mut client.rest);
        bytes.extend_from_slice(&self.scratch[..length]);
        let mut at = 0;
        if !client.upgraded {
            let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                client.rest = bytes;
                return Ok(());
            };
            client.stream.write_all(upgrade(&bytes[..head]).as_bytes())?;
            client.upgraded = true;
            at = head + 4;
        }
        let mut payload = std::mem::take(&mut self.payload);
        while let Some((opcode, length)) = frames::parse_masked(&bytes[at..], &mut payload) {
            at += length;
            match opcode {
                frames::TEXT => self.message(token, &payload)?,
                frames::CLOSE => {
                    self.payload = payload;
                    return self.forget(token);
                }
                _ => {}
            }
        }
        self.payload = payload;
        bytes.drain(..at);
        if let Some(client) = self.clients[token].as_mut() {
            client.rest = bytes;
        }
        Ok(())
    }

    fn message(&mut self, token: usize, message: &[u8]) -> anyhow::Result<()> {
        let (number, payload) = match message.iter().position(|byte| *byte == b' ') {
            Some(space) => (&message[1..space], &message[space + 1..]),
            None => (&message[1..], &message[..0]),
        };
        let channel: usize = std::str::from_utf8(number)?.parse().context("channel number")?;
        if self.channels.len() <= channel {
            self.channels.resize_with(channel + 1, Vec::new);
        }
        if message[0] == b'S' {
            self.channels[channel].push(token);
            let mut answer = Vec::new();
            frames::push(frames::TEXT, b"ok", &mut answer);
            self.send(token, &answer)?;
            return Ok(());
        }
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        frames::push(frames::TEXT, payload, &mut frame);
        for at in 0..self.channels[channel].len() {
            self.send(self.channels[channel][at], &frame)?;
        }
        self.frame = frame;
        Ok(())
    }

    /// One `write`; only when the socket is full, which the generator's window avoids, wait for room.
    fn send(&mut self, token: usize, mut bytes: &[u8]) -> anyhow::Result<()> {
        let Some(client) = self.clients[token].as_mut() else { return Ok(()) };
        while !bytes.is_empty() {
            match client.stream.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&client.stream, PollFlags::OUT)], None)?;
                }
                Err(_) => return self.forget(token),
            }
        }
        Ok(())
    }

    /// Closing the socket takes it out of the epoll set as well.
    fn forget(&mut self, token: usize) -> anyhow::Result<()> {
        self.clients[token] = None;
        Ok(())
    }
}

fn upgrade(head: &[u8]) -> String {
    let head = String::from_utf8_lossy(head);
    let key = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
        .map_or("", |(_, value)| value.trim());
    let digest = Sha1::digest(format!("{key}{ACCEPT_SUFFIX}"));
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

//! A blocking conversation of one client with the relay: for what a row must ask or prepare, never for what it measures.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use super::fleet::DIGITS;
use super::frames;
use super::speech::Speech;

pub(super) struct Dialog {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Lines of the frame read last that were not asked for yet.
    lines: std::collections::VecDeque<Value>,
    /// When something was read last.
    read_at: Instant,
}

/// The sending side of a [`Dialog`].
pub(super) struct Hand(TcpStream);

impl Hand {
    /// Sends ready frames.
    pub(super) fn send(&mut self, frames: &[u8]) -> anyhow::Result<()> {
        self.0.write_all(frames).context("sending")
    }
}

impl Dialog {
    /// Upgrades and connects.
    pub(super) fn open(address: SocketAddr, speech: &Speech) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(address).context("connecting to the server")?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_nodelay(true)?;
        stream.write_all(super::fleet::upgrade_request(address).as_bytes())?;
        let mut dialog =
            Self { stream, buffer: Vec::new(), lines: Default::default(), read_at: Instant::now() };
        while !dialog.buffer.windows(4).any(|four| four == b"\r\n\r\n") {
            dialog.read()?;
        }
        let end = dialog.buffer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(0) + 4;
        anyhow::ensure!(dialog.buffer.starts_with(b"HTTP/1.1 101"), "no upgrade");
        dialog.buffer.drain(..end);
        for step in speech.publisher() {
            dialog.stream.write_all(&step)?;
            dialog.answer()?;
        }
        Ok(dialog)
    }

    /// Sends ready frames.
    pub(super) fn send(&mut self, frames: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(frames).context("sending")
    }

    /// The next answer to a request; an error answer is an error. Pings are answered, pushes passed over.
    pub(super) fn answer(&mut self) -> anyhow::Result<Value> {
        loop {
            let line = self.line()?;
            anyhow::ensure!(line.get("error").is_none(), "refused: {line}");
            if line.get("id").is_some() {
                return Ok(line);
            }
        }
    }

    /// The next line of the next frame.
    fn line(&mut self) -> anyhow::Result<Value> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(line);
            }
            let Some(frame) = frames::parse(&self.buffer) else {
                self.read()?;
                continue;
            };
            let payload = self.buffer[frame.start..frame.end].to_vec();
            self.buffer.drain(..frame.end);
            match frame.opcode {
                frames::TEXT if payload == b"{}" => self.say(frames::TEXT, &payload)?,
                frames::TEXT => {
                    for line in payload.split(|byte| *byte == b'\n') {
                        self.lines.push_back(serde_json::from_slice(line).context("not JSON")?);
                    }
                }
                frames::PING => self.say(frames::PONG, &payload)?,
                frames::CLOSE => anyhow::bail!("closed: {}", String::from_utf8_lossy(&payload)),
                _ => {}
            }
        }
    }

    /// Another hand on the same connection, for sending from another thread.
    pub(super) fn hand(&self) -> anyhow::Result<Hand> {
        Ok(Hand(self.stream.try_clone().context("sharing a connection")?))
    }

    /// The next answer's number, with the moment it was read; an error answer is an error.
    pub(super) fn answered(&mut self) -> anyhow::Result<(u32, Instant)> {
        let answer = self.answer()?;
        let id = answer["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        Ok((id.with_context(|| format!("no number: {answer}"))?, self.read_at))
    }

    /// The number that the next publication's payload carries, with the moment it was read.
    pub(super) fn publication(&mut self) -> anyhow::Result<(usize, Instant)> {
        loop {
            let push = self.line()?;
            let Some(data) = push["pub"]["data"].as_str() else { continue };
            let digits = data.get(1..=DIGITS).context("a payload that is not ours")?;
            return Ok((digits.parse()?, self.read_at));
        }
    }

    fn say(&mut self, opcode: u8, payload: &[u8]) -> anyhow::Result<()> {
        let mut frame = Vec::new();
        frames::push_masked(opcode, payload, &mut frame);
        self.send(&frame)
    }

    fn read(&mut self) -> anyhow::Result<()> {
        let mut chunk = [0; 16 * 1024];
        let length = self.stream.read(&mut chunk).context("reading an answer")?;
        anyhow::ensure!(length > 0, "the server closed the connection");
        self.read_at = Instant::now();
        self.buffer.extend_from_slice(&chunk[..length]);
        Ok(())
    }
}

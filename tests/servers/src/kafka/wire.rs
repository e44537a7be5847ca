//! The one question that shows a broker to be ready: who takes part in your cluster? (Metadata, version 1.)

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;

const PATIENCE: Duration = Duration::from_secs(2);
/// Of an answer that names a handful of brokers and no topics.
const ANSWER_BYTES: usize = 64 * 1024;

/// Ports of the brokers that `address` knows to be alive.
pub(super) fn broker_ports(address: SocketAddr) -> anyhow::Result<Vec<u16>> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Length; API key 3, version 1; correlation 1; no client id; an empty list of topics.
    stream.write_all(&[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0])?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    anyhow::ensure!(length <= ANSWER_BYTES, "an answer of {length} bytes");
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    ports(&answer).context("the answer ends too early")
}

fn ports(mut answer: &[u8]) -> Option<Vec<u16>> {
    let _correlation = number(&mut answer)?;
    let count = number(&mut answer)?;
    let mut ports = Vec::new();
    for _ in 0..count {
        let _node = number(&mut answer)?;
        text(&mut answer)?;
        ports.push(u16::try_from(number(&mut answer)?).ok()?);
        text(&mut answer)?;
    }
    Some(ports)
}

fn number(from: &mut &[u8]) -> Option<u32> {
    let (number, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(u32::from_be_bytes(*number))
}

/// Passes over a text; a length of -1 stands for none.
fn text(from: &mut &[u8]) -> Option<()> {
    let (length, rest) = from.split_first_chunk()?;
    let length = usize::try_from(i16::from_be_bytes(*length)).unwrap_or(0);
    *from = rest.get(length..)?;
    Some(())
}

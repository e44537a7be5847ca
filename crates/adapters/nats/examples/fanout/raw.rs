//! An edge without a client library: the protocol through a bare socket, one subscription a channel, nothing kept of it.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::edge::Rounds;
use crate::latency::{Latencies, age};
use crate::{Outcome, channel};

pub(crate) fn run(url: &str, from: u32) -> Outcome<()> {
    let stream = TcpStream::connect(url.trim_start_matches("nats://"))?;
    stream.set_nodelay(true)?;
    let mut socket =
        Socket { reader: BufReader::with_capacity(64 * 1024, stream.try_clone()?), writer: stream };
    socket.writer.write_all(
        b"CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"raw\",\"version\":\"1\"}\r\n",
    )?;
    println!("ready");
    let mut rounds = Rounds::new(from);
    // Number of the subscription and of the channel.
    let (mut held, mut last) = (VecDeque::new(), 0u32);
    for line in std::io::stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let mut arrived = Latencies::default();
        let mut confirmed = Latencies::default();
        match words[..] {
            ["subscribe", count] => {
                let end = last + count.parse::<u32>()?;
                while last < end {
                    let mut all = String::new();
                    while last < end && all.len() < 32 * 1024 {
                        last += 1;
                        let number = rounds.first();
                        held.push_back((last, number));
                        all.push_str(&format!("SUB {} {last}\r\n", channel(number)));
                    }
                    socket.writer.write_all(all.as_bytes())?;
                }
                socket.until_pong(&mut arrived)?;
                println!("subscribed");
            }
            ["listen", seconds] => {
                socket.listen(Instant::now() + Duration::from_secs(seconds.parse()?), &mut arrived)?;
                println!("{} wanted, {}", arrived.count(), arrived.show());
            }
            ["churn", rate, seconds] => {
                let (began, rate) = (Instant::now(), rate.parse::<f64>()?);
                let end = began + Duration::from_secs(seconds.parse()?);
                let first = last;
                while Instant::now() < end {
                    let due = first + (began.elapsed().as_secs_f64() * rate) as u32;
                    let mut all = String::new();
                    while last < due && all.len() < 32 * 1024 {
                        let Some((sid, number)) = held.pop_front() else { break };
                        last += 1;
                        let number = rounds.exchange(number);
                        held.push_back((last, number));
                        all.push_str(&format!("UNSUB {sid}\r\nSUB {} {last}\r\n", channel(number)));
                    }
                    let asked = Instant::now();
                    socket.writer.write_all(all.as_bytes())?;
                    socket.until_pong(&mut arrived)?;
                    confirmed.add(asked.elapsed());
                    socket.listen(Instant::now() + Duration::from_millis(1), &mut arrived)?;
                }
                println!(
                    "{} wanted, {}; {} subscriptions exchanged, batches {}",
                    arrived.count(),
                    arrived.show(),
                    last - first,
                    confirmed.show()
                );
            }
            _ => return Err(format!("what is {line:?}?").into()),
        }
    }
    Ok(())
}

struct Socket {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Socket {
    fn until_pong(&mut self, arrived: &mut Latencies) -> Outcome<()> {
        self.writer.write_all(b"PING\r\n")?;
        while !self.line(arrived)? {}
        Ok(())
    }

    fn listen(&mut self, end: Instant, arrived: &mut Latencies) -> Outcome<()> {
        loop {
            let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                return Ok(());
            };
            if self.reader.buffer().is_empty() {
                self.writer.set_read_timeout(Some(left))?;
                let waited = self.reader.fill_buf().map(|_| ());
                self.writer.set_read_timeout(None)?;
                if waited.is_err() {
                    return Ok(());
                }
            }
            self.line(arrived)?;
        }
    }

    /// Takes in one line, with its payload; `true` for an answer to a ping.
    fn line(&mut self, arrived: &mut Latencies) -> Outcome<bool> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err("the server has closed the connection".into());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["PONG"] => return Ok(true),
            ["PING"] => self.writer.write_all(b"PONG\r\n")?,
            ["MSG", _, _, size] => {
                let mut payload = vec![0; size.parse::<usize>()? + 2];
                self.reader.read_exact(&mut payload)?;
                if let Some(age) = age(&payload) {
                    arrived.add(age);
                }
            }
            ["-ERR", ..] => return Err(line.into()),
            _ => {}
        }
        Ok(false)
    }
}

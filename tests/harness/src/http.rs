//! Plain HTTP/1.1 by hand: one request, one answer, or an event stream to be read line by line.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// `GET path`.
pub fn get(address: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    request(address, "GET", path, &[], b"")
}

/// `POST path` with a JSON body.
pub fn post(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> anyhow::Result<Answer> {
    let headers = [headers, &[("Content-Type", "application/json")]].concat();
    request(address, "POST", path, &headers, body.to_string().as_bytes())
}

/// Any request; the connection is closed after the answer.
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> anyhow::Result<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").context("no HTTP answer")?;
    let (status, headers) = head(&String::from_utf8_lossy(&bytes[..end]))?;
    let mut body = bytes[end + 4..].to_vec();
    let chunked =
        headers.iter().any(|(name, value)| name == "transfer-encoding" && value.contains("chunked"));
    if chunked {
        body = unchunk(&body)?;
    }
    Ok(Answer { status, headers, body })
}

type Head = (u16, Vec<(String, String)>);

fn head(text: &str) -> anyhow::Result<Head> {
    let mut lines = text.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status line")?.parse()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Ok((status, headers))
}

fn unchunk(mut rest: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n").context("chunk without a length")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line])?.trim(), 16)?;
        if length == 0 {
            return Ok(body);
        }
        let from = line + 2;
        body.extend_from_slice(rest.get(from..from + length).context("cut chunk")?);
        rest = rest.get(from + length + 2..).context("cut chunk")?;
    }
}

/// A server-sent event stream that is open.
pub struct EventStream {
    reader: BufReader<TcpStream>,
    /// The answer's status.
    pub status: u16,
}

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerEvent {
    pub name: Option<String>,
    pub id: Option<String>,
    pub data: String,
}

impl EventStream {
    /// Opens the stream and reads the head of its answer.
    pub fn open(address: SocketAddr, path: &str) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n")?;
        let mut reader = BufReader::new(stream);
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            anyhow::ensure!(reader.read_line(&mut text)? > 0, "closed before the answer: {text}");
        }
        Ok(Self { reader, status: head(&text)?.0 })
    }

    /// The next event with data. Chunk lengths and comments are passed over: no event line looks like either.
    pub fn next_event(&mut self) -> anyhow::Result<ServerEvent> {
        let mut event = ServerEvent::default();
        loop {
            let mut line = String::new();
            anyhow::ensure!(self.reader.read_line(&mut line)? > 0, "the stream ended");
            let line = line.trim_end_matches(['\r', '\n']);
            match line.split_once(':').map(|(name, value)| (name, value.strip_prefix(' ').unwrap_or(value))) {
                Some(("data", data)) => event.data.push_str(data),
                Some(("event", name)) => event.name = Some(name.to_owned()),
                Some(("id", id)) => event.id = Some(id.to_owned()),
                None if line.is_empty() && !event.data.is_empty() => return Ok(event),
                _ => {}
            }
        }
    }
}

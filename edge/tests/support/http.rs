//! HTTP by hand: what is sent is exactly what the test says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case; of several with one name, the last.
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Code of an error answer.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_else(|| panic!("no error: {self:?}")).to_owned()
    }
}

pub async fn get(address: SocketAddr, path: &str) -> Answer {
    send(address, "GET", path, &[], "").await
}

pub async fn post(address: SocketAddr, path: &str, body: &str) -> Answer {
    send(address, "POST", path, &[], body).await
}

pub async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text.push_str(&format!("host: {address}\r\n"));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    raw(address, text.as_bytes()).await
}

/// Sends bytes and reads the whole answer.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    answer(stream).await
}

/// Reads one answer up to the end of the connection.
pub async fn answer(stream: TcpStream) -> Answer {
    let mut reader = BufReader::new(stream);
    let (status, headers) = head(&mut reader).await;
    let mut body = Vec::new();
    let read = timeout(PATIENCE, async {
        match headers.get("content-length") {
            Some(length) => {
                body.resize(length.parse().unwrap(), 0);
                reader.read_exact(&mut body).await.map(|_| ())
            }
            None => reader.read_to_end(&mut body).await.map(|_| ()),
        }
    });
    let _ = read.await.expect("the answer takes too long");
    Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
}

pub async fn head(reader: &mut BufReader<TcpStream>) -> (u16, HashMap<String, String>) {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        let read = timeout(PATIENCE, reader.read_line(&mut line)).await.expect("no answer");
        if read.unwrap_or(0) == 0 || line.trim_end().is_empty() {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let status = lines.first().and_then(|line| line.split(' ').nth(1)).map_or(0, |s| s.parse().unwrap());
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(": "));
    (status, headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect())
}

/// An event stream, read event by event.
pub struct Events {
    reader: BufReader<TcpStream>,
    pub session: String,
    pub client: String,
}

impl Events {
    pub async fn open(address: SocketAddr, query: &str, headers: &[(&str, &str)]) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut text = format!("GET /v1/sse{query} HTTP/1.1\r\nhost: {address}\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut reader = BufReader::new(stream);
        let (status, headers) = head(&mut reader).await;
        assert_eq!((status, headers["content-type"].as_str()), (200, "text/event-stream"));
        let mut events = Self { reader, session: String::new(), client: String::new() };
        let (name, data) = events.event().await.unwrap();
        assert_eq!(name, "session");
        events.session = data["session"].as_str().unwrap().to_owned();
        events.client = data["client"].as_str().unwrap().to_owned();
        events
    }

    /// The next event with its name (`message` if it has none); `None` at the end of the stream. Comments are skipped.
    pub async fn event(&mut self) -> Option<(String, serde_json::Value)> {
        let mut name = "message".to_owned();
        loop {
            let mut line = String::new();
            let read = timeout(PATIENCE, self.reader.read_line(&mut line)).await.expect("no event");
            if read.unwrap_or(0) == 0 {
                return None;
            }
            // Sizes of chunks stand on lines of their own and look like neither.
            if let Some(text) = line.strip_prefix("event: ") {
                name = text.trim_end().to_owned();
            } else if let Some(text) = line.strip_prefix("data: ") {
                return Some((name, serde_json::from_str(text).unwrap()));
            }
        }
    }

    /// The next message that is no ping.
    pub async fn message(&mut self) -> serde_json::Value {
        loop {
            let (_, message) = self.event().await.expect("the stream has ended");
            if message != serde_json::json!({}) {
                return message;
            }
        }
    }

    /// Posts requests of this stream's session.
    pub async fn post(&self, address: SocketAddr, lines: &str) -> Answer {
        send(address, "POST", "/v1/sse", &[("skywave-session", &self.session)], lines).await
    }
}

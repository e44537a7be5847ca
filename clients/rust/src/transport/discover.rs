//! Where a relay's WebTransport is and which certificate it shows: `GET /v1/webtransport/certificate`.
//!
//! Asked over plain HTTP, and therefore only of this machine (`skywave dev`): what comes over a network without TLS must
//! not decide whom we trust.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::address::Address;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES: u64 = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);

/// A WebTransport address and the digests of certificates to accept there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) url: String,
    pub(super) hashes: Vec<[u8; 32]>,
}

/// Asks the relay at a plain address.
pub(super) async fn ask(address: &Address) -> Result<Place, String> {
    let whole = tokio::time::timeout(PATIENCE, exchange(address)).await;
    let answer = whole
        .map_err(|_| "the relay does not answer".to_owned())?
        .map_err(|error| format!("cannot reach {}:{}: {error}", address.host, address.port))?;
    read(&answer)
}

async fn exchange(address: &Address) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((address.host_name(), address.port)).await?;
    let path = address.path_of("/v1/webtransport/certificate");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}:{}\r\nConnection: close\r\n\r\n",
        address.host, address.port
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn read(answer: &[u8]) -> Result<Place, String> {
    let wrong = || "the relay does not say where its WebTransport is".to_owned();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(wrong)?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        return Err(format!("the relay has no WebTransport (it answered {status})"));
    }
    let value: serde_json::Value = serde_json::from_slice(&answer[end + 4..]).map_err(|_| wrong())?;
    let url = value["url"].as_str().ok_or_else(wrong)?.to_owned();
    let hashes = value["hashes"].as_array().ok_or_else(wrong)?;
    let hashes = hashes.iter().filter(|hash| hash["algorithm"] == "sha-256").map(|hash| {
        let bytes = STANDARD.decode(hash["value"].as_str()?).ok()?;
        bytes.try_into().ok()
    });
    Ok(Place { url, hashes: hashes.collect::<Option<_>>().ok_or_else(wrong)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let hash = STANDARD.encode([7; 32]);
        let body = format!(
            "{{\"url\":\"https://127.0.0.1:1/v1/wt\",\"hashes\":[{{\"algorithm\":\"sha-256\",\"value\":\"{hash}\"}}]}}"
        );
        let place = read(format!("HTTP/1.1 200 OK\r\nx: y\r\n\r\n{body}").as_bytes()).unwrap();
        assert_eq!(place, Place { url: "https://127.0.0.1:1/v1/wt".into(), hashes: vec![[7; 32]] });
        let none = read(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap_err();
        assert!(none.contains("404"), "{none}");
        assert!(read(b"HTTP/1.1 200 OK\r\n\r\n{\"url\":1}").is_err() && read(b"").is_err());
    }
}

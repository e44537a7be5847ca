//! One small GET of the relay, over TCP or TLS, with the same trust as its WebSocket.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::address::Address;
use super::certificate;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES: u64 = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);

/// Status and body of the answer. `token` goes along as a bearer token.
pub(super) async fn get(
    address: &Address,
    path: &str,
    token: Option<&str>,
    certificate_hashes: &[[u8; 32]],
) -> Result<(u16, Vec<u8>), String> {
    let whole = tokio::time::timeout(PATIENCE, exchange(address, path, token, certificate_hashes)).await;
    let answer = whole.map_err(|_| "the relay does not answer".to_owned())?;
    let answer =
        answer.map_err(|error| format!("cannot reach {}:{}: {error}", address.host, address.port))?;
    read(&answer).ok_or_else(|| "what answers is no relay".to_owned())
}

async fn exchange(
    address: &Address,
    path: &str,
    token: Option<&str>,
    certificate_hashes: &[[u8; 32]],
) -> std::io::Result<Vec<u8>> {
    let mut request = format!(
        "GET {} HTTP/1.1\r\nHost: {}:{}\r\nConnection: close\r\n",
        address.path_of(path),
        address.host,
        address.port
    );
    // A token with a line break in it would be two headers.
    if let Some(token) = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic())) {
        request.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    request.push_str("\r\n");
    let stream = TcpStream::connect((address.host_name(), address.port)).await?;
    if !address.secure {
        return converse(stream, &request).await;
    }
    let config = config(certificate_hashes).map_err(std::io::Error::other)?;
    let name = ServerName::try_from(address.host_name().to_owned()).map_err(std::io::Error::other)?;
    converse(TlsConnector::from(Arc::new(config)).connect(name, stream).await?, &request).await
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> std::io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    match stream.take(ANSWER_BYTES).read_to_end(&mut answer).await {
        // Over TLS some servers end without a goodbye.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof && !answer.is_empty() => Ok(answer),
        other => other.map(|_| answer),
    }
}

fn config(hashes: &[[u8; 32]]) -> Result<ClientConfig, rustls::Error> {
    if !hashes.is_empty() {
        return certificate::pinned(hashes);
    }
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Status and body. The relay gives its small answers in one piece, with their length.
fn read(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer[end + 4..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_apart() {
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n{}"), Some((200, b"{}".to_vec())));
        assert_eq!(read(b"HTTP/1.1 404 Not Found\r\n\r\n"), Some((404, Vec::new())));
        assert!(read(b"").is_none() && read(b"hello\r\n\r\n").is_none());
    }
}

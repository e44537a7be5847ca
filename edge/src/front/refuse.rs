//! Saying no in a way a client can read, at a bounded price.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::io::Io;
use crate::admission::NotAdmitted;
use crate::metrics::Refused;
use crate::worker::Worker;

/// Refused connections that are read off at the same time, per worker, so that the answer survives the close. Beyond
/// that the answer may be lost with a reset: a flood gets no more than a system call each.
const LINGERING: usize = 64;
const LINGER: Duration = Duration::from_millis(500);

thread_local! {
    static LINGERERS: Cell<usize> = const { Cell::new(0) };
}

/// Turns a connection away before a byte of it is read.
pub(crate) fn busy(worker: &Rc<Worker>, tcp: TcpStream, refused: NotAdmitted) {
    let status = match refused.reason {
        Refused::ServerFull => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::TOO_MANY_REQUESTS,
    };
    let error = skywave_protocol::WireError::from(refused);
    let seconds = refused.retry_after_ms.min(3_600_000).div_ceil(1_000);
    let answer = response(status, &error.to_string(), Some(seconds));
    let _ = worker;
    if tcp.try_write(answer.as_bytes()).is_err() || LINGERERS.get() >= LINGERING {
        return;
    }
    LINGERERS.set(LINGERERS.get() + 1);
    tokio::task::spawn_local(async move {
        linger(Io::plain(tcp)).await;
        LINGERERS.set(LINGERERS.get() - 1);
    });
}

/// Answers a request whose head was read.
pub(crate) async fn plainly(mut io: Io, status: StatusCode, why: &str) {
    let answer = response(status, why, None);
    // A client that does not even take this is not waited for.
    let _ = tokio::time::timeout(LINGER, io.write_all(answer.as_bytes())).await;
    linger(io).await;
}

/// Reads what the client still sends, so that the kernel does not throw our answer away with a reset.
async fn linger(mut io: Io) {
    let _ = tokio::time::timeout(LINGER, async {
        let _ = io.shutdown().await;
        let mut sink = [0; 512];
        while matches!(io.read(&mut sink).await, Ok(1..)) {}
    })
    .await;
}

fn response(status: StatusCode, why: &str, retry_after: Option<u64>) -> String {
    let retry = retry_after.map_or_else(String::new, |seconds| format!("retry-after: {seconds}\r\n"));
    let version = if status == StatusCode::UPGRADE_REQUIRED {
        "upgrade: websocket\r\nsec-websocket-version: 13\r\n"
    } else {
        ""
    };
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n{retry}{version}connection: close\r\n\r\n{why}\n",
        why.len() + 1
    )
}

//! Reading the head of a connection's first request, without a byte read past what was sent and without hyper.
//!
//! Most connections of a relay are WebSockets: their head is parsed in place, in the worker's scratch buffer, answered,
//! and gone. Everything else is put back for hyper (`docs/adr`).

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use super::io::Io;
use crate::auth::Origins;
use crate::transport::websocket::handshake::{self, Upgrade};
use crate::worker::Worker;

/// Header lines a head may have.
pub(crate) const HEADERS: usize = 64;

/// What the first request is.
pub(crate) enum First {
    /// A WebSocket handshake for `/v1/ws`; anything after the head stands in `rest`.
    Upgrade { upgrade: Upgrade, rest: Bytes },
    /// Something for hyper, with the bytes that were read.
    Http(Bytes),
    /// Nothing came before the end of the stream.
    Nothing,
    /// The head is longer than the limit.
    TooLarge,
}

/// Reads until the head is complete. The caller sets the deadline.
pub(crate) async fn read_first(worker: &Rc<Worker>, io: &mut Io) -> io::Result<First> {
    let shared = worker.shared();
    let (limit, origins) = (shared.config.limits.head_bytes, shared.ports.auth.origins());
    let mut kept = BytesMut::new();
    std::future::poll_fn(|cx| {
        loop {
            let mut scratch = worker.scratch();
            let n = {
                let mut buf = ReadBuf::new(&mut scratch);
                ready!(Pin::new(&mut *io).poll_read(cx, &mut buf))?;
                buf.filled().len()
            };
            if n == 0 {
                return Poll::Ready(Ok(First::Nothing));
            }
            let read = &scratch[..n];
            let first = if kept.is_empty() {
                classify(read, origins)
            } else {
                // Only a line break can complete a head: a client that sends byte by byte is not parsed each time.
                let ends = read.contains(&b'\n');
                kept.extend_from_slice(read);
                if ends { classify(&kept, origins) } else { None }
            };
            match first {
                Some(first) => return Poll::Ready(Ok(first)),
                None if kept.len().max(n) >= limit => return Poll::Ready(Ok(First::TooLarge)),
                None if kept.is_empty() => kept.extend_from_slice(read),
                None => {}
            }
        }
    })
    .await
}

/// `None`: the head is not complete yet.
pub(super) fn classify(bytes: &[u8], origins: &Origins) -> Option<First> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) => None,
        Ok(httparse::Status::Complete(length)) => match handshake::from_head(&request, origins) {
            Some(upgrade) => Some(First::Upgrade { upgrade, rest: Bytes::copy_from_slice(&bytes[length..]) }),
            None => Some(First::Http(Bytes::copy_from_slice(bytes))),
        },
        // hyper says what is wrong with it, in its own words.
        Err(_) => Some(First::Http(Bytes::copy_from_slice(bytes))),
    }
}

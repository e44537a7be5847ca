//! A fresh connection while it still speaks HTTP: plain or TLS, with the bytes already read put back in front.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

/// What hyper is given, and what is taken back from it after an upgrade.
pub(crate) struct Io {
    stream: Stream,
    prefix: Bytes,
    /// How long a client may take nothing of what is written to it; without it, for ever.
    patience: Option<Duration>,
    /// Runs while a write waits for the client.
    stalled: Option<Pin<Box<Sleep>>>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection taken apart for a transport that drives it itself.
pub(crate) struct Parts {
    pub(crate) tcp: TcpStream,
    pub(crate) tls: Option<ServerConnection>,
    /// The answer to the handshake, if it is still to be written.
    pub(crate) response: Option<Vec<u8>>,
    /// Bytes read beyond the request head.
    pub(crate) rest: Bytes,
}

impl Io {
    pub(crate) fn plain(tcp: TcpStream) -> Self {
        Self::new(Stream::Plain(tcp))
    }

    pub(crate) fn tls(tls: TlsStream<TcpStream>) -> Self {
        Self::new(Stream::Tls(Box::new(tls)))
    }

    fn new(stream: Stream) -> Self {
        Self { stream, prefix: Bytes::new(), patience: None, stalled: None }
    }

    /// From now on writes fail when the client takes nothing for so long: hyper itself waits for ever, and a client that
    /// never reads would keep its place.
    pub(crate) fn give_up_after(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Watches what a write led to.
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match (&written, self.patience) {
            (Poll::Ready(_), _) => self.stalled = None,
            (Poll::Pending, None) => {}
            (Poll::Pending, Some(patience)) => {
                let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
                if stalled.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        written
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// Puts bytes back: they are read again before anything new.
    pub(crate) fn unread(&mut self, bytes: Bytes) {
        debug_assert!(self.prefix.is_empty(), "only one read may be put back");
        self.prefix = bytes;
    }

    pub(crate) fn into_parts(self) -> Parts {
        match self.stream {
            Stream::Plain(tcp) => Parts { tcp, tls: None, response: None, rest: self.prefix },
            Stream::Tls(stream) => {
                let (tcp, tls) = stream.into_inner();
                Parts { tcp, tls: Some(tls), response: None, rest: self.prefix }
            }
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let n = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix[..n]);
            self.prefix.advance(n);
            return Poll::Ready(Ok(()));
        }
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        };
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, buffers),
            Stream::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, buffers),
        };
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        };
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        };
        self.watch(cx, shut)
    }
}

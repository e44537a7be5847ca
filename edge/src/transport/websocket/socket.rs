//! A connected TCP socket, plain or TLS, split into the half its read task polls and the half anything on the worker may
//! write to without waiting.
//!
//! TLS is driven sans-I/O: frames go into rustls' bounded buffer and from there into the socket, on the same thread and
//! without a task in between, so that delivery writes directly here as well. Never: waits, except in `poll_*`.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustls::ServerConnection;
use socket2::SockRef;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Most plain bytes rustls may hold on to (outgoing). When full, the socket refuses, and the connection's outbox takes over.
const TLS_BUFFER_BYTES: usize = 32 * 1024;

type Tls = Rc<RefCell<ServerConnection>>;

/// The reading half; owned by the connection's task.
pub(crate) struct SocketReader {
    tcp: OwnedReadHalf,
    tls: Option<Tls>,
}

/// The writing half; held by the worker's connection table.
pub(crate) struct SocketWriter {
    tcp: OwnedWriteHalf,
    tls: Option<Tls>,
}

/// Takes a socket after the handshake. `tls`: the session, if there is one, with no plain bytes left in it unread that
/// the caller wants.
pub(crate) fn split(tcp: TcpStream, tls: Option<ServerConnection>) -> (SocketReader, SocketWriter) {
    let (read, write) = tcp.into_split();
    let tls = tls.map(|mut session| {
        session.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        Rc::new(RefCell::new(session))
    });
    (SocketReader { tcp: read, tls: tls.clone() }, SocketWriter { tcp: write, tls })
}

impl SocketReader {
    /// Reads what is there into `buffer`. `Ok(0)`: the client has finished sending.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match &self.tls {
            None => poll_tcp_read(&mut self.tcp, cx, buffer),
            Some(tls) => poll_tls_read(&mut self.tcp, &mut tls.borrow_mut(), cx, buffer),
        }
    }
}

fn poll_tcp_read(
    tcp: &mut OwnedReadHalf,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buf = ReadBuf::new(buffer);
    ready!(Pin::new(tcp).poll_read(cx, &mut buf))?;
    Poll::Ready(Ok(buf.filled().len()))
}

fn poll_tls_read(
    tcp: &mut OwnedReadHalf,
    session: &mut ServerConnection,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    loop {
        match session.reader().read(buffer) {
            Ok(n) => return Poll::Ready(Ok(n)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The client cut the connection without close_notify: the same as an end for us, frames say what is whole.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(0)),
            Err(error) => return Poll::Ready(Err(error)),
        }
        match session.read_tls(&mut Reading { tcp, cx }) {
            Ok(_) => {
                session
                    .process_new_packets()
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// `io::Read` over a polled socket; `WouldBlock` when the poll is pending (the waker is then registered).
struct Reading<'a, 'b, 'c> {
    tcp: &'a mut OwnedReadHalf,
    cx: &'b mut Context<'c>,
}

impl Read for Reading<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match poll_tcp_read(self.tcp, self.cx, buffer) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl SocketWriter {
    /// Writes what fits now. `Ok(n)`: the first `n` bytes will go out before anything given later; `Ok(0)` for a full
    /// socket.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.tls {
            None => accept_full(self.tcp.try_write(bytes)),
            Some(tls) => self.write_tls(&mut tls.borrow_mut(), |plain| plain.write(bytes)),
        }
    }

    /// The same for several buffers in one system call.
    pub(crate) fn try_write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.tls {
            None => accept_full(self.tcp.try_write_vectored(buffers)),
            Some(tls) => self.write_tls(&mut tls.borrow_mut(), |plain| plain.write_vectored(buffers)),
        }
    }

    fn write_tls(
        &self,
        session: &mut ServerConnection,
        write: impl FnOnce(&mut rustls::Writer<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if !self.flush_tls(session)? {
            return Ok(0);
        }
        let taken = write(&mut session.writer())?;
        self.flush_tls(session)?;
        Ok(taken)
    }

    /// `true` when rustls holds nothing more.
    fn flush_tls(&self, session: &mut ServerConnection) -> io::Result<bool> {
        while session.wants_write() {
            match session.write_tls(&mut Writing(&self.tcp)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Pushes out what TLS still holds. `true` when nothing is left: without TLS always.
    pub(crate) fn try_flush(&self) -> io::Result<bool> {
        match &self.tls {
            None => Ok(true),
            Some(tls) => self.flush_tls(&mut tls.borrow_mut()),
        }
    }

    /// TLS holds something that the socket did not take.
    pub(crate) fn holds_back(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.borrow().wants_write())
    }

    /// Ready when the socket may take more; only to be polled after it refused.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tcp: &TcpStream = self.tcp.as_ref();
        tcp.poll_write_ready(cx)
    }

    /// Says goodbye below the WebSocket: close_notify, then FIN. The client may still send.
    pub(crate) fn finish(&self) {
        if let Some(tls) = &self.tls {
            let mut session = tls.borrow_mut();
            session.send_close_notify();
            // What the socket does not take now is not worth waiting for.
            let _ = self.flush_tls(&mut session);
        }
        self.shutdown(Shutdown::Write);
    }

    /// Ends both directions: the read task wakes up and sees the end.
    pub(crate) fn abort(&self) {
        self.shutdown(Shutdown::Both);
    }

    fn shutdown(&self, how: Shutdown) {
        let tcp: &TcpStream = self.tcp.as_ref();
        // Fails only when the peer has already gone; the reader learns that by itself.
        let _ = SockRef::from(tcp).shutdown(how);
    }
}

/// `io::Write` over non-blocking writes.
struct Writing<'a>(&'a OwnedWriteHalf);

impl Write for Writing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn accept_full(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        written => written,
    }
}

//! A session while it stands: one task that reads what the client sends and waits for either side to end it.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use skywave_protocol::{CloseCode, ErrorCode};
use tokio::io::ReadBuf;
use tokio::time::timeout;

use super::establish::{ClientStreams, Established, Failed};
use super::h3::{self, H3Error};
use super::input::Input;
use super::outlet::WebTransportOutlet;
use crate::transport::{Encoding, Transport};
use crate::worker::{Handle, InputFormat, NewConnection, Worker};

/// How long a client has for closing the session itself once it was told why it ends.
const CLIENT_CLOSES: Duration = Duration::from_secs(1);

pub(super) async fn run(worker: &Rc<Worker>, established: Established) {
    let Established { connection, request, control, begun, encoding, client_streams, settings } = established;
    let limits = &worker.shared().config.limits;
    let outlet = WebTransportOutlet::new(connection.clone(), control.0, encoding, limits.outbox_bytes);
    let handle =
        match worker.open(NewConnection { transport: Transport::WebTransport, outlet: outlet.clone() }) {
            Ok(handle) => handle,
            Err(error) => {
                let code =
                    if error.code == ErrorCode::Draining { CloseCode::Drain } else { CloseCode::ServerFull };
                return say_goodbye(worker, &connection, request, &outlet, code, &error.message).await;
            }
        };
    let format = if encoding == Encoding::StreamBinary { InputFormat::Binary } else { InputFormat::Json };
    let mut session = Session {
        worker,
        connection,
        handle,
        input: Input::new(format, limits.message_bytes),
        control: control.1,
    };
    let (connect_send, mut connect_recv) = request;
    let mut client_streams = client_streams;
    let (code, reason) = match session.take(&begun) {
        ControlFlow::Break(end) => end,
        ControlFlow::Continue(()) => {
            drop(begun);
            session.serve(&mut connect_recv, &mut client_streams).await
        }
    };
    let Session { connection, handle, control, .. } = session;
    // The channels are left before the goodbye: it may take its time.
    drop(handle);
    say_goodbye(worker, &connection, (connect_send, connect_recv), &outlet, code, &reason).await;
    // Dropping a stream tells the peer that it is not read any more: not before the end.
    drop((control, client_streams, settings));
}

type End = (CloseCode, String);

struct Session<'a> {
    worker: &'a Rc<Worker>,
    connection: Connection,
    handle: Handle,
    input: Input,
    control: RecvStream,
}

impl Session<'_> {
    /// Until one side ends it; then, what to say.
    async fn serve(&mut self, request: &mut RecvStream, client_streams: &mut ClientStreams) -> End {
        let gone = || (CloseCode::Normal, String::new());
        loop {
            let flow = tokio::select! {
                end = self.handle.closed() => ControlFlow::Break(end),
                read = read(self.worker, &mut self.control, &mut self.input, &self.handle) => read,
                datagram = self.connection.read_datagram() => match datagram {
                    Ok(datagram) => {
                        self.datagram(&datagram);
                        ControlFlow::Continue(())
                    }
                    Err(_) => ControlFlow::Break(gone()),
                },
                // Whatever comes on it, only its end means something to us.
                chunk = request.read_chunk(64 * 1024, true) => match chunk {
                    Ok(Some(_)) => ControlFlow::Continue(()),
                    Ok(None) | Err(_) => ControlFlow::Break(gone()),
                },
                failed = &mut *client_streams => ControlFlow::Break(match failed {
                    Failed::Protocol(..) => (CloseCode::ProtocolError, CloseCode::ProtocolError.reason().to_owned()),
                    Failed::Gone | Failed::Refused(_) => gone(),
                }),
                stream = self.connection.accept_bi() => match stream {
                    Ok((mut send, mut recv)) => {
                        let _ = send.reset(H3Error::BufferedStreamRejected.code());
                        let _ = recv.stop(H3Error::BufferedStreamRejected.code());
                        ControlFlow::Continue(())
                    }
                    Err(_) => ControlFlow::Break(gone()),
                },
            };
            match flow {
                ControlFlow::Break(end) => return end,
                ControlFlow::Continue(()) => self.handle.room().await,
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> ControlFlow<End> {
        take(&mut self.input, &self.handle, bytes)
    }

    fn datagram(&self, datagram: &Bytes) {
        // Of another session, or larger than a message may be: nothing is owed to a datagram.
        if let Some(message) = h3::datagram_payload(datagram) {
            self.handle.receive_encoded(self.input.format(), message);
        }
    }
}

/// Reads what the control stream has, through the worker's buffer.
async fn read(
    worker: &Rc<Worker>,
    control: &mut RecvStream,
    input: &mut Input,
    handle: &Handle,
) -> ControlFlow<End> {
    poll_fn(|cx| {
        let mut scratch = worker.scratch();
        let mut buf = ReadBuf::new(&mut scratch);
        Poll::Ready(match ready!(control.poll_read_buf(cx, &mut buf)) {
            Ok(()) if buf.filled().is_empty() => ControlFlow::Break((CloseCode::Normal, String::new())),
            Ok(()) => take(input, handle, buf.filled()),
            Err(_) => ControlFlow::Break((CloseCode::Normal, String::new())),
        })
    })
    .await
}

fn take(input: &mut Input, handle: &Handle, bytes: &[u8]) -> ControlFlow<End> {
    let format = input.format();
    match input.take(bytes, |batch| handle.receive_encoded(format, batch)) {
        Ok(()) => ControlFlow::Continue(()),
        Err(code) => {
            handle.close(code, code.reason());
            ControlFlow::Break((code, code.reason().to_owned()))
        }
    }
}

/// Says why the session ends, lets the client close it, and closes it with the code if the client does not.
///
/// The client goes first because Chromium's renderer has been seen to crash, now and then, when a server ends a session
/// with streams on their way; it never did when the page closed it.
async fn say_goodbye(
    worker: &Rc<Worker>,
    connection: &Connection,
    (mut send, mut recv): (SendStream, RecvStream),
    outlet: &WebTransportOutlet,
    code: CloseCode,
    reason: &str,
) {
    if connection.close_reason().is_none() {
        outlet.say_goodbye(code, reason);
        let client_closes = async { while let Ok(Some(_)) = recv.read_chunk(64 * 1024, true).await {} };
        let _ = timeout(CLIENT_CLOSES, client_closes).await;
        let patience = worker.shared().config.timing.close;
        let _ = timeout(patience, async {
            if send.write_all(&h3::close(code, reason)).await.is_ok() {
                let _ = send.finish();
                connection.closed().await;
            }
        })
        .await;
    }
    connection.close(H3Error::SessionGone.code(), b"");
}

//! WebSocket (RFC 6455) with permessage-deflate (RFC 7692).
//!
//! One small task a connection reads: bytes go through the worker's scratch buffer into the frame decoder, messages into
//! the session. Writing is not its business: answers and publications go straight from the worker to the socket.
//! Owns: the read side, the closing handshake. Never: holds a buffer while nothing is unfinished.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use skywave_protocol::websocket::{CloseFrame, Decoder, Event, Opcode, Role};
use skywave_protocol::{CloseCode, binary, json};

use crate::admission::Permit;
use crate::encoding;
use crate::front::Parts;
use crate::transport::{Encoding, Transport};
use crate::worker::{Line, State, Worker};

pub(crate) mod deflate;
pub(crate) mod handshake;
pub(crate) mod socket;

use handshake::Accepted;
use socket::SocketReader;

pub use handshake::{BINARY_SUBPROTOCOL, JSON_SUBPROTOCOL};

/// An open WebSocket; dropping it ends the connection and leaves its channels.
pub(crate) struct WebSocket {
    worker: Rc<Worker>,
    key: u64,
    reader: SocketReader,
    decoder: Decoder,
    _permit: Permit,
}

/// What a read led to.
enum Step {
    More,
    /// A hub shard is behind: read on when it has room.
    Congested,
    End,
}

impl WebSocket {
    /// Answers the handshake and opens the connection. `None`: the socket did not even take that.
    pub(crate) fn open(
        worker: &Rc<Worker>,
        parts: Parts,
        accepted: &Accepted,
        permit: Permit,
    ) -> Option<Self> {
        let config = &worker.shared().config;
        let compression = config.compression.enabled;
        let encoding = accepted.encoding(compression);
        let (reader, writer) = socket::split(parts.tcp, parts.tls);
        if let Some(response) = parts.response {
            let written = writer.try_write(&response);
            if written.ok() != Some(response.len()) {
                return None;
            }
        }
        let deflate = matches!(encoding, Encoding::WsJsonDeflate | Encoding::WsBinaryDeflate);
        let decoder = Decoder::new(Role::Server, config.limits.message_bytes, deflate);
        let client = worker.next_client();
        let key = worker.state().open(
            Transport::WebSocket,
            encoding,
            Line::WebSocket(writer),
            client,
            permit.network(),
        );
        let mut socket = Self { worker: worker.clone(), key, reader, decoder, _permit: permit };
        if !parts.rest.is_empty() {
            // The client did not wait for our answer before it spoke.
            let mut rest = parts.rest.to_vec();
            socket.take(&mut rest);
        }
        Some(socket)
    }

    /// Reads until the connection ends.
    pub(crate) async fn run(mut self) {
        loop {
            match std::future::poll_fn(|cx| self.poll_read(cx)).await {
                Step::More => {}
                Step::Congested => Box::pin(self.worker.room()).await,
                Step::End => return,
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let worker = self.worker.clone();
        let mut scratch = worker.scratch();
        match ready!(self.reader.poll_read(cx, &mut scratch)) {
            Ok(0) | Err(_) => Poll::Ready(Step::End),
            Ok(n) => Poll::Ready(self.take(&mut scratch[..n])),
        }
    }

    fn take(&mut self, bytes: &mut [u8]) -> Step {
        let mut state = self.worker.state();
        let state = &mut *state;
        let Some(slot) = state.find(self.key) else { return Step::End };
        state.metrics.bytes_in.add(bytes.len() as u64);
        let now = state.now();
        state.connections[slot as usize].session.handle_received(now);
        let mut events = self.decoder.feed(bytes);
        while let Some(event) = events.next() {
            match event {
                Ok(event) => self::event(&self.worker, state, slot, event),
                Err(error) => {
                    state.end(slot, error.close_code(), &error.to_string());
                    // Nothing more of this client is read as frames: its close frame is not waited for.
                    state.expect_no_close(slot);
                }
            }
        }
        state.flush();
        if state.is_congested() { Step::Congested } else { Step::More }
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A defect met by this client's input: it costs this connection, and is counted.
            self.worker.metrics().failures.add(1);
        }
        self.worker.state().remove(self.key);
    }
}

fn event(worker: &Worker, state: &mut State, slot: u32, event: Event<'_>) {
    let connection = &mut state.connections[slot as usize];
    if let Event::Close(frame) = event {
        return closed_by_client(state, slot, frame);
    }
    if connection.ending.is_some() {
        return;
    }
    let speaks_json = matches!(connection.encoding, Encoding::WsJson | Encoding::WsJsonDeflate);
    match event {
        Event::Text { data, compressed } if speaks_json => message(worker, state, slot, data, compressed),
        Event::Binary { data, compressed } if !speaks_json => message(worker, state, slot, data, compressed),
        Event::Text { .. } => {
            state.end(slot, CloseCode::UnsupportedData, "this subprotocol speaks in binary frames");
        }
        Event::Binary { .. } => {
            state.end(slot, CloseCode::UnsupportedData, "this subprotocol speaks in text frames");
        }
        Event::Ping(payload) => {
            let frame = state.batch.frame(encoding::ws_control(Opcode::Pong, payload));
            state.batch.link(slot, &mut connection.chain, frame);
        }
        Event::Pong(_) | Event::Close(_) => {}
    }
}

fn message(worker: &Worker, state: &mut State, slot: u32, data: &[u8], compressed: bool) {
    if !compressed {
        return decode(state, slot, data);
    }
    let limit = state.shared.config.limits.message_bytes;
    let mut inflating = worker.inflating();
    let inflating = &mut *inflating;
    if let Err(error) = inflating.inflater.inflate(data, limit, &mut inflating.message) {
        let code = match error {
            deflate::InflateError::TooLarge { .. } => CloseCode::TooLarge,
            deflate::InflateError::Corrupt => CloseCode::InvalidUtf8,
        };
        return state.end(slot, code, &error.to_string());
    }
    let text = matches!(state.connections[slot as usize].encoding, Encoding::WsJsonDeflate);
    if text && std::str::from_utf8(&inflating.message).is_err() {
        return state.end(slot, CloseCode::InvalidUtf8, "text is not valid UTF-8");
    }
    decode(state, slot, &inflating.message);
}

fn decode(state: &mut State, slot: u32, data: &[u8]) {
    match state.connections[slot as usize].encoding {
        Encoding::WsBinary | Encoding::WsBinaryDeflate => {
            binary::decode_client_batch(data).for_each(|message| state.received(slot, message));
        }
        _ => json::decode_client_batch(data).for_each(|message| state.received(slot, message)),
    }
}

/// The client says goodbye, first or in answer to us.
fn closed_by_client(state: &mut State, slot: u32, frame: Option<CloseFrame<'_>>) {
    if state.connections[slot as usize].ending.is_some() {
        return state.expect_no_close(slot);
    }
    // Its code is echoed, as RFC 6455 (5.5.1) has it.
    let mut echo = [0; 2];
    let payload: &[u8] = match frame {
        Some(frame) => {
            echo = frame.code.to_be_bytes();
            &echo
        }
        None => &echo[..0],
    };
    let frame = state.batch.frame(encoding::ws_control(Opcode::Close, payload));
    let connection = &mut state.connections[slot as usize];
    state.batch.link(slot, &mut connection.chain, frame);
    state.close_quietly(slot);
    state.expect_no_close(slot);
}

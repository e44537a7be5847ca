//! The session behind an event stream, on the thread of its worker.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hashbrown::HashMap;
use skywave_engine::storm::GiveBack;
use skywave_protocol::{ClientId, ClientMessage, CloseCode, Push, ServerMessage, WireError, json};
use tokio::sync::mpsc;

use super::queue::Queue;
use super::secret::{Secret, SecretDigest};
use crate::transport::{Encoding, Frame, Outlet, OutletClosed, Transport};
use crate::worker::{Handle, InputFormat, NewConnection, Worker};

/// POSTs of one session that may wait for the worker. When full, the next one waits in its handler.
const POSTS: usize = 2;

thread_local! {
    /// The sessions of this worker, by the digest of their secret.
    static SESSIONS: RefCell<HashMap<SecretDigest, mpsc::Sender<Bytes>>> = RefCell::default();
}

/// How a new session begins.
pub(super) struct Beginning {
    pub(super) secret: Secret,
    pub(super) address: IpAddr,
    /// Requests made on the client's behalf. If there are any, the client may be one that cannot POST: then the stream's
    /// progress counts as its answer to pings.
    pub(super) requests: Vec<ClientMessage>,
}

/// Opens a session on this worker, says who it is, and leaves it running.
pub(super) fn begin(worker: &Rc<Worker>, queue: Arc<Queue>, beginning: Beginning) -> Result<(), WireError> {
    let Beginning { secret, address, requests } = beginning;
    let outlet = Rc::new(SseOutlet { queue: queue.clone() });
    let handle = worker.open(NewConnection { transport: Transport::Sse, outlet, address })?;
    let first = Frame {
        bytes: session_event(handle.client(), &secret),
        class: crate::transport::FrameClass::Control,
        droppable: false,
        channel: None,
    };
    // Invariant: an empty queue takes any event.
    let _ = queue.offer(&[first]);
    let (sender, posts) = mpsc::channel(POSTS);
    let digest = secret.digest();
    SESSIONS.with_borrow_mut(|sessions| sessions.insert(digest, sender));
    let listens_only = !requests.is_empty();
    for request in requests {
        handle.receive(request);
    }
    let entry = Entry(digest);
    tokio::task::spawn_local(async move {
        serve(handle, &queue, posts, listens_only).await;
        drop(entry);
    });
    Ok(())
}

/// Where POSTs for a session go, if it lives on this worker.
pub(super) fn find(digest: &SecretDigest) -> Option<mpsc::Sender<Bytes>> {
    SESSIONS.with_borrow(|sessions| sessions.get(digest).cloned())
}

/// Takes the session out of the table when it ends, however it ends.
struct Entry(SecretDigest);

impl Drop for Entry {
    fn drop(&mut self) {
        // The table may be gone already while the thread ends.
        let _ = SESSIONS.try_with(|sessions| {
            let mut sessions = sessions.borrow_mut();
            sessions.remove(&self.0);
            sessions.give_back();
        });
    }
}

async fn serve(handle: Handle, queue: &Queue, mut posts: mpsc::Receiver<Bytes>, listens_only: bool) {
    let mut seen = 0;
    loop {
        tokio::select! {
            (code, reason) = handle.closed() => return queue.end(close_event(code, reason)),
            moved = poll_fn(|cx| queue.poll_moved(&mut seen, cx)) => match moved {
                true if listens_only => handle.received(),
                true => {}
                false => return,
            },
            Some(lines) = posts.recv() => {
                handle.receive_encoded(InputFormat::Json, &lines);
                handle.room().await;
            }
        }
    }
}

struct SseOutlet {
    queue: Arc<Queue>,
}

impl Outlet for SseOutlet {
    fn encoding(&self) -> Encoding {
        Encoding::SseJson
    }

    fn try_send(&self, frames: &[Frame]) -> Result<usize, OutletClosed> {
        self.queue.offer(frames)
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.queue.poll_room(cx)
    }
}

fn session_event(client: &ClientId, secret: &Secret) -> Bytes {
    // Both are printable ASCII; a client id may hold quotes.
    let client = serde_json::Value::from(client.as_str());
    let session = secret.as_str();
    format!("event: session\ndata: {{\"session\":\"{session}\",\"client\":{client}}}\n\n").into()
}

fn close_event(code: CloseCode, reason: String) -> Bytes {
    let mut event = b"data: ".to_vec();
    json::encode_server(&ServerMessage::Push(Push::Close { code, reason }), &mut event);
    event.extend_from_slice(b"\n\n");
    event.into()
}

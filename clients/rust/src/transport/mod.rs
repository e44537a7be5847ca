//! Connections: opened by address, then frames in and out, until one side ends it.
//!
//! One task per connection reads and writes; it reports to the driver through a bounded queue (full: the task stops
//! reading, so that the server feels it) and takes frames from a bounded queue (full: the driver makes no more).
//! Never: looks into a frame.

mod address;
mod certificate;
mod discover;
mod http;
mod route;
mod websocket;
mod webtransport;

pub(crate) use address::check as check_address;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::config::{Encoding, Transport};
use crate::machine::{Broken, LinkId};

/// Frames handed to a connection and not yet written.
const WRITE_QUEUE: usize = 8;

/// What a connection reports.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    Opened,
    Frame(Bytes),
    /// Something came that is not for the machine (a ping of the transport).
    Received,
    /// Last event.
    Broken(Broken),
}

/// How to open connections.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    pub(crate) transport: Transport,
    pub(crate) encoding: Encoding,
    pub(crate) certificate_hashes: Vec<[u8; 32]>,
}

/// The writing side. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct LinkWriter {
    pub(crate) frames: mpsc::Sender<Vec<u8>>,
}

impl Dialer {
    /// Begins to connect in a task of its own. Events are dropped once the receiver is gone.
    pub(crate) fn open(
        &self,
        id: LinkId,
        url: String,
        events: mpsc::Sender<(LinkId, LinkEvent)>,
    ) -> LinkWriter {
        let (frames, queue) = mpsc::channel(WRITE_QUEUE);
        let dialer = self.clone();
        tokio::spawn(async move {
            let report = Report { id, events };
            let broken = match dialer.transport {
                Transport::WebSocket => websocket::run(&dialer, &url, queue, &report).await,
                Transport::WebTransport => webtransport::run(&dialer, &url, queue, &report).await,
            };
            report.send(LinkEvent::Broken(broken)).await;
        });
        LinkWriter { frames }
    }
}

/// The way back to the driver.
#[derive(Clone)]
struct Report {
    id: LinkId,
    events: mpsc::Sender<(LinkId, LinkEvent)>,
}

impl Report {
    async fn send(&self, event: LinkEvent) {
        // A driver that is gone does not need to know.
        let _ = self.events.send((self.id, event)).await;
    }
}

fn broken(reason: impl Into<String>) -> Broken {
    Broken { reason: reason.into(), ..Broken::default() }
}

fn hopeless(reason: impl Into<String>) -> Broken {
    Broken { hopeless: true, ..broken(reason) }
}

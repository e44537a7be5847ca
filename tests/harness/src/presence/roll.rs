//! Who was in which channel, by the clients' own word.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

/// One connection's stay in a channel, from the answer to its subscribe to the end of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stay {
    pub channel: String,
    pub user: String,
    pub client: String,
    pub edge: SocketAddr,
    pub from: Instant,
    /// `None`: it still stands.
    pub to: Option<Instant>,
}

/// A user's coming or going, as one connection was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    pub channel: String,
    /// The connection that was told, and the edge it had.
    pub client: String,
    pub edge: SocketAddr,
    pub user: String,
    pub came: bool,
    pub at: Instant,
}

/// What there is to judge.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub stays: Vec<Stay>,
    pub news: Vec<News>,
}

impl Snapshot {
    /// Clients that are there.
    pub fn standing(&self) -> Vec<String> {
        let open = self.stays.iter().filter(|stay| stay.to.is_none());
        open.map(|stay| stay.client.clone()).collect()
    }
}

/// A record that many clients write.
#[derive(Debug, Clone, Default)]
pub struct Roll(Arc<Mutex<Snapshot>>);

impl Roll {
    pub fn snapshot(&self) -> Snapshot {
        self.0.lock().clone()
    }

    pub(super) fn came(&self, stay: Stay) {
        self.0.lock().stays.push(stay);
    }

    pub(super) fn went(&self, client: &str, at: Instant) {
        let mut snapshot = self.0.lock();
        if let Some(stay) = snapshot.stays.iter_mut().find(|stay| stay.client == client) {
            stay.to = Some(at);
        }
    }

    pub(super) fn told(&self, news: News) {
        self.0.lock().news.push(news);
    }
}

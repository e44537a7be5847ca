//! How a client connects and behaves.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use skywave_protocol::{Offset, Position};

pub use crate::backoff::Backoff;

/// Everything about a client. [`ClientConfig::new`] fills in the defaults.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Base addresses, e.g. `http://127.0.0.1:8080` or `https://relay.example`; `ws` and `wss` mean the same. They are
    /// tried in turn.
    pub urls: Vec<String>,
    /// Whether to ask the relay which of its nodes to go to.
    pub route: Route,
    pub token: TokenSource,
    pub transport: Transport,
    pub encoding: Encoding,
    /// SHA-256 digests of certificates to accept besides the usual roots, for `https` addresses with a self-signed
    /// certificate (`skywave dev`). WebTransport accepts *only* these if any are given.
    pub certificate_hashes: Vec<[u8; 32]>,
    pub backoff: Backoff,
    /// For one attempt to connect, until the server has accepted the token.
    pub connect_timeout: Duration,
    /// For the server to answer a request; afterwards the connection counts as lost.
    pub request_timeout: Duration,
    /// How long [`Client::connect`](crate::Client::connect) tries before it gives up; `None`: for ever.
    pub first_connect: Option<Duration>,
    /// Time to live of a publish; `None`: it is tried until it is acknowledged or refused for good.
    pub publish_timeout: Option<Duration>,
    /// Publishes in flight at once. With 1 their order holds even if the server refuses some of them for a while.
    pub window: usize,
    /// Bytes of unacknowledged publications (payload and about 256 bytes each) the client holds. When it is full,
    /// publishing waits (`try_` calls fail).
    pub outbox_bytes: usize,
    /// Events one subscription holds before its application reads them. When it is full the client stops reading from
    /// the server, for all its subscriptions.
    pub event_queue: usize,
    /// What the client calls itself in the server's logs.
    pub name: String,
}

impl ClientConfig {
    /// A client of the given address with every default.
    pub fn new(url: impl Into<String>) -> Self {
        Self::with_urls(vec![url.into()])
    }

    /// The same of several addresses.
    pub fn with_urls(urls: Vec<String>) -> Self {
        Self {
            urls,
            route: Route::Off,
            token: TokenSource::Anonymous,
            transport: Transport::WebSocket,
            encoding: Encoding::Binary,
            certificate_hashes: Vec::new(),
            backoff: Backoff::default(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(20),
            first_connect: Some(Duration::from_secs(15)),
            publish_timeout: None,
            window: 256,
            outbox_bytes: 16 * 1024 * 1024,
            event_queue: 1024,
            name: concat!("skywave-rust/", env!("CARGO_PKG_VERSION")).into(),
        }
    }

    pub fn token(mut self, token: TokenSource) -> Self {
        self.token = token;
        self
    }

    pub fn route(mut self, route: Route) -> Self {
        self.route = route;
        self
    }

    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }
}

/// Which node of a region a client goes to. Any node serves any client; clients that share channels cost least on one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Route {
    /// Wherever the address leads.
    #[default]
    Off,
    /// The node of the token's user (of the client's address, for an anonymous one).
    User,
    /// The node of this key: a room, a tenant. 1 to 255 bytes, no control characters.
    ///
    /// Before each connection the relay is asked (`GET /v1/route`). If the node it names does not answer, the alternates are
    /// tried, and then the address itself.
    Key(String),
}

/// What carries the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    #[default]
    WebSocket,
    /// Over HTTP/3; needs an `https` address. (Of an `http` address of this machine, as `skywave dev` has, it asks where
    /// WebTransport is and which certificate to expect.)
    WebTransport,
}

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    Json,
    #[default]
    Binary,
}

/// Where a subscription begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Start {
    /// With what is published from now on.
    #[default]
    Now,
    /// With the oldest publication that is kept.
    Beginning,
    /// With this offset, of whichever epoch is in force.
    Offset(Offset),
    /// After a position seen before.
    After(Position),
}

type TokenFuture = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// Where tokens come from.
#[derive(Clone, Default)]
pub enum TokenSource {
    /// No token; the server must allow anonymous clients.
    #[default]
    Anonymous,
    /// One token; when it expires the client is closed.
    Fixed(String),
    /// Asked before the first connection, when a token is about to expire, and when one was refused.
    Provider(Arc<dyn Fn() -> TokenFuture + Send + Sync>),
}

impl TokenSource {
    /// Asks the callback for tokens. Its error is shown in logs and tried again with backoff.
    pub fn provider<F, R>(callback: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, String>> + Send + 'static,
    {
        Self::Provider(Arc::new(move || Box::pin(callback())))
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Fixed(_) => "Fixed(<redacted>)",
            Self::Provider(_) => "Provider",
        })
    }
}

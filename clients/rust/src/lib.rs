//! The Rust client of Skywave, a self-hosted realtime relay.
//!
//! A [`Client`] keeps one connection (WebSocket or WebTransport) and makes it again when it breaks, with exponential
//! backoff and full jitter. Its promises:
//!
//! - a subscription delivers each durable publication once and in order, over any number of reconnects; what cannot be
//!   had is announced as a [`SubscriptionEvent::Gap`], never skipped in silence;
//! - a publish is sent until it is acknowledged or refused for good, always under the same id, so that it is published
//!   once; publishes of one task keep their order;
//! - channels that a backend puts the client into are told of by [`Client::grants`], with their publications and gaps; a
//!   subscription takes such a channel over without a copy or a hole.
//!
//! ```no_run
//! use skywave_client::{Client, ClientConfig, Payload, SubscribeOptions, SubscriptionEvent, ChannelName};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(ClientConfig::new("http://127.0.0.1:8080")).await?;
//! let lobby = ChannelName::parse("chat:lobby")?;
//!
//! let mut messages = client.subscribe(&lobby, SubscribeOptions::default()).await?;
//! client.publish(&lobby, Payload::from_json(br#"{"text":"hello"}"#)?).await?;
//!
//! while let Some(event) = messages.next().await {
//!     match event {
//!         SubscriptionEvent::Publication { position, publication } => {
//!             println!("{position:?} {:?}", publication.data);
//!         }
//!         SubscriptionEvent::Gap { from, to, reason, .. } => eprintln!("{from}–{to} lost: {reason:?}"),
//!         _ => {}
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! An application that stops reading a subscription stops the client from reading, once that subscription's queue is
//! full: give slow consumers a queue or a task of their own.
//!
//! Inside: `machine` decides (no I/O), `driver` carries out, `transport` connects.

mod backoff;
mod client;
mod codec;
mod config;
mod driver;
mod error;
mod event;
mod machine;
mod transport;

pub use client::{Client, Grants, PendingPublish, Publish, SubscribeOptions, Subscription};
pub use config::{Backoff, ClientConfig, Encoding, Route, Start, TokenSource, Transport};
pub use error::{ClosedError, ConnectError, PublishError, RequestError};
pub use event::{GrantEvent, State, SubscriptionEvent};
pub use skywave_protocol::message::{GapReason, HistoryPage, HistoryQuery, Member, Published, Recovery};
pub use skywave_protocol::{ChannelName, ErrorCode, MessageId, Payload, Position, Publication, WireError};

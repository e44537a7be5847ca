//! The handle an application holds.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use skywave_protocol::message::{HistoryPage, HistoryQuery, Member, Published};
use skywave_protocol::{ChannelName, ErrorCode, MessageId, Payload, PlacementKey, Request, WireError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::config::{ClientConfig, Route, Start, TokenSource};
use crate::driver::{Command, Driver};
use crate::error::{ClosedError, ConnectError, PublishError, RequestError};
use crate::event::{GrantEvent, State, SubscriptionEvent};
use crate::machine::{Answer, Machine, Outgoing, Settings};
use crate::transport::{self, Dialer};

/// Commands waiting for the driver. Full: the callers wait.
const COMMANDS: usize = 1024;
/// What an unacknowledged publication costs in the outbox besides its payload, in bytes.
const ENTRY_BYTES: usize = 256;

/// A connection to a relay that keeps itself. Cheap to clone; when the last clone is gone the connection is closed, and
/// publications that are not acknowledged yet may be lost: [`Client::flush`] waits for them.
#[derive(Debug, Clone)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<State>,
    outbox: Arc<Semaphore>,
    config: Arc<ClientConfig>,
    /// ULIDs of one client rise, so that ids sort as publications do.
    ids: Arc<Mutex<ulid::Generator>>,
}

/// A publication to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Publish {
    pub channel: ChannelName,
    pub data: Payload,
    /// `None`: the client makes one.
    pub id: Option<MessageId>,
    /// For channels that are ephemeral: not sent again when the connection is lost before the answer.
    pub ephemeral: bool,
}

impl Publish {
    pub fn new(channel: ChannelName, data: Payload) -> Self {
        Self { channel, data, id: None, ephemeral: false }
    }

    /// Publishing twice under the same id within the server's dedup window yields one publication.
    pub fn id(mut self, id: MessageId) -> Self {
        self.id = Some(id);
        self
    }
}

/// The answer to a publish that is on its way. Dropping it does not take the publish back.
#[derive(Debug)]
#[must_use = "dropping it means not to learn whether the publication was acknowledged"]
pub struct PendingPublish {
    answer: oneshot::Receiver<Result<Published, PublishError>>,
}

impl Future for PendingPublish {
    type Output = Result<Published, PublishError>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        std::pin::Pin::new(&mut self.answer)
            .poll(cx)
            .map(|answer| answer.unwrap_or(Err(PublishError::Closed(ClosedError::Closed))))
    }
}

/// What to subscribe to, and from where on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscribeOptions {
    pub start: Start,
    /// Joins and leaves are wanted (needs the namespace's presence).
    pub presence: bool,
}

/// A subscription; dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    channel: ChannelName,
    events: mpsc::Receiver<SubscriptionEvent>,
    commands: mpsc::Sender<Command>,
}

impl Subscription {
    pub fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// The next event; `None` after [`SubscriptionEvent::Ended`] and when the client is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<SubscriptionEvent> {
        self.events.recv().await
    }
}

/// The channels that a backend puts this client into; dropping it means not to hear of them any more.
#[derive(Debug)]
pub struct Grants {
    events: mpsc::Receiver<GrantEvent>,
}

impl Grants {
    /// The next event; `None` when the client is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<GrantEvent> {
        self.events.recv().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.events.close();
        // With a full queue the driver finds out at the next event.
        let _ = self.commands.try_send(Command::Unsubscribe(self.channel.clone()));
    }
}

impl Client {
    /// Starts a client without waiting for the connection. Must be called inside a tokio runtime.
    pub fn start(config: ClientConfig) -> Result<Self, ConnectError> {
        check(&config)?;
        let settings = Settings {
            urls: config.urls.clone(),
            routed: config.route != Route::Off,
            key: match &config.route {
                Route::Key(key) => Some(key_of(key)?),
                Route::Off | Route::User => None,
            },
            encoding: config.encoding,
            backoff: config.backoff,
            connect_timeout_ms: config.connect_timeout.as_millis() as u64,
            request_timeout_ms: config.request_timeout.as_millis() as u64,
            window: config.window,
            name: config.name.clone(),
            can_fetch_tokens: matches!(config.token, TokenSource::Provider(_)),
            token: match &config.token {
                TokenSource::Fixed(token) => Some(token.clone()),
                _ => None,
            },
        };
        let dialer = Dialer {
            transport: config.transport,
            encoding: config.encoding,
            certificate_hashes: config.certificate_hashes.clone(),
        };
        let (commands, queue) = mpsc::channel(COMMANDS);
        let (state_in, state) = watch::channel(State::Connecting);
        let machine = Machine::new(settings, rand::random(), 0);
        let driver = Driver::new(machine, dialer, config.token.clone(), Instant::now(), queue, state_in);
        tokio::spawn(driver.run());
        Ok(Self {
            commands,
            state,
            outbox: Arc::new(Semaphore::new(config.outbox_bytes)),
            config: Arc::new(config),
            ids: Arc::new(Mutex::new(ulid::Generator::new())),
        })
    }

    /// Starts a client and waits for its first connection.
    ///
    /// # Errors
    /// The configuration cannot be used, the server refuses for good, or [`ClientConfig::first_connect`] has passed.
    pub async fn connect(config: ClientConfig) -> Result<Self, ConnectError> {
        let patience = config.first_connect;
        let client = Self::start(config)?;
        let connected = client.connected();
        match patience {
            None => connected.await?,
            Some(patience) => match tokio::time::timeout(patience, connected).await {
                Ok(connected) => connected?,
                Err(_) => {
                    let reason = match client.state() {
                        State::Disconnected { reason, .. } => reason,
                        _ => "the server does not answer".into(),
                    };
                    return Err(ConnectError::Timeout { seconds: patience.as_secs(), reason });
                }
            },
        }
        Ok(client)
    }

    /// Waits until the client is connected; an error if it is closed instead.
    pub async fn connected(&self) -> Result<(), ClosedError> {
        let mut state = self.state.clone();
        let settled = |state: &State| matches!(state, State::Connected { .. } | State::Closed(_));
        match state.wait_for(settled).await.as_deref() {
            Ok(State::Closed(error)) => Err(error.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(ClosedError::Closed),
        }
    }

    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Follows the state of the connection.
    pub fn watch_state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Publishes and waits for the acknowledgement: the publication is then durable and has its position (durable
    /// channels), or was handed to the subscribers there are (ephemeral ones).
    pub async fn publish(&self, channel: &ChannelName, data: Payload) -> Result<Published, PublishError> {
        self.enqueue(Publish::new(channel.clone(), data)).await?.await
    }

    /// Takes a publication into the outbox, waiting for room, and returns before it is acknowledged. Publications that
    /// one task enqueues one after the other are published in that order.
    pub async fn enqueue(&self, publish: Publish) -> Result<PendingPublish, PublishError> {
        let bytes = self.cost(&publish)?;
        let room = self.outbox.clone().acquire_many_owned(bytes).await;
        let room = room.map_err(|_| PublishError::Closed(ClosedError::Closed))?;
        let (command, pending) = self.command(publish, room);
        self.commands.send(command).await.map_err(|_| PublishError::Closed(ClosedError::Closed))?;
        Ok(pending)
    }

    /// The same without waiting: [`PublishError::OutboxFull`] when there is no room.
    pub fn try_enqueue(&self, publish: Publish) -> Result<PendingPublish, PublishError> {
        let bytes = self.cost(&publish)?;
        let room = self.outbox.clone().try_acquire_many_owned(bytes);
        let room = room.map_err(|_| PublishError::OutboxFull)?;
        let (command, pending) = self.command(publish, room);
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => PublishError::OutboxFull,
            mpsc::error::TrySendError::Closed(_) => PublishError::Closed(ClosedError::Closed),
        })?;
        Ok(pending)
    }

    /// Waits until everything in the outbox has its answer.
    pub async fn flush(&self) {
        // Bounded by `check`.
        let all = self.config.outbox_bytes as u32;
        drop(self.outbox.acquire_many(all).await);
    }

    /// Begins a subscription. Returns at once; [`SubscriptionEvent::Subscribed`] says when it stands.
    pub async fn subscribe(
        &self,
        channel: &ChannelName,
        options: SubscribeOptions,
    ) -> Result<Subscription, RequestError> {
        let (events_in, events) = mpsc::channel(self.config.event_queue.max(1));
        let (answer, begun) = oneshot::channel();
        let command = Command::Subscribe {
            channel: channel.clone(),
            start: options.start,
            presence: options.presence,
            events: events_in,
            answer,
        };
        self.commands.send(command).await.map_err(|_| ClosedError::Closed)?;
        begun.await.map_err(|_| ClosedError::Closed)??;
        Ok(Subscription { channel: channel.clone(), events, commands: self.commands.clone() })
    }

    /// Begins to hear of the channels that a backend puts this client into, with those that it is in already. Without this
    /// they are ignored. As with a subscription, nothing is read from the server while the queue is full.
    ///
    /// What is left out is announced and not fetched; [`Client::history`] may have it. To keep such a channel over
    /// reconnects, [`Client::subscribe`] to it: the grant goes on until the server has taken the subscription, which begins
    /// right behind it unless its start is named. If the server refuses, the grant stays. Dropping the subscription ends
    /// both.
    ///
    /// # Errors
    /// [`RequestError::AlreadySubscribed`]: somebody hears of them already.
    pub async fn grants(&self) -> Result<Grants, RequestError> {
        let (events_in, events) = mpsc::channel(self.config.event_queue.max(1));
        let (answer, begun) = oneshot::channel();
        let command = Command::Grants { events: events_in, answer };
        self.commands.send(command).await.map_err(|_| ClosedError::Closed)?;
        begun.await.map_err(|_| ClosedError::Closed)??;
        Ok(Grants { events })
    }

    /// One page of a channel's history.
    pub async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, RequestError> {
        match self.request(Request::History(query)).await? {
            Answer::History(page) => Ok(page),
            Answer::Presence(_) => Err(unexpected()),
        }
    }

    /// Who is present in a channel: one entry per connection.
    pub async fn presence(&self, channel: &ChannelName) -> Result<Vec<Member>, RequestError> {
        match self.request(Request::Presence { channel: channel.clone() }).await? {
            Answer::Presence(members) => Ok(members),
            Answer::History(_) => Err(unexpected()),
        }
    }

    /// Closes at once; publications without an answer fail with [`PublishError::Closed`].
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.commands.send(Command::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }

    async fn request(&self, request: Request) -> Result<Answer, RequestError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Request { request, answer }).await.map_err(|_| ClosedError::Closed)?;
        answered.await.map_err(|_| ClosedError::Closed)?
    }

    fn cost(&self, publish: &Publish) -> Result<u32, PublishError> {
        let bytes = publish.data.len() + ENTRY_BYTES;
        let limit = self.config.outbox_bytes;
        match u32::try_from(bytes) {
            Ok(cost) if bytes <= limit => Ok(cost),
            _ => Err(PublishError::TooLarge { bytes, limit }),
        }
    }

    fn command(&self, publish: Publish, room: OwnedSemaphorePermit) -> (Command, PendingPublish) {
        let (answer, pending) = oneshot::channel();
        let id = publish.id.or_else(|| (!publish.ephemeral).then(|| self.new_id()).flatten());
        let outgoing = Outgoing {
            // The driver numbers it, and counts the deadline from when it takes the command.
            ticket: 0,
            channel: publish.channel,
            id,
            data: publish.data,
            durable: !publish.ephemeral,
            deadline: self.config.publish_timeout.map(|time| time.as_millis() as u64),
        };
        (Command::Publish { outgoing, room, answer }, PendingPublish { answer: pending })
    }

    fn new_id(&self) -> Option<MessageId> {
        let mut ids = self.ids.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // More than 2^80 ids in one millisecond: then any other will do.
        let id = ids.generate().unwrap_or_else(|_| ulid::Ulid::generate());
        MessageId::parse(&id.to_string()).ok()
    }
}

fn unexpected() -> RequestError {
    RequestError::Refused(WireError::new(ErrorCode::Internal, "an answer of another kind"))
}

fn key_of(key: &str) -> Result<PlacementKey, ConnectError> {
    PlacementKey::parse(key).map_err(|error| ConnectError::Configuration(error.to_string()))
}

fn check(config: &ClientConfig) -> Result<(), ConnectError> {
    let wrong = |problem: String| Err(ConnectError::Configuration(problem));
    if config.urls.is_empty() {
        return wrong("no address given".into());
    }
    for url in &config.urls {
        transport::check_address(url, config.transport).or_else(wrong)?;
    }
    if u32::try_from(config.outbox_bytes).is_err() || config.outbox_bytes < ENTRY_BYTES {
        return wrong(format!("outbox_bytes must lie between {ENTRY_BYTES} and {}", u32::MAX));
    }
    Ok(())
}

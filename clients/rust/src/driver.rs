//! The task of a client: carries the machine's wishes out and tells it what happens.
//!
//! - Applications talk to it through one bounded queue of commands; publishes have taken their room in the outbox before.
//! - Events of a subscription go into its bounded queue. When one is full, nothing more is read from the server until
//!   the application has taken something; writing and deadlines of publishes go on.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use skywave_protocol::message::Published;
use skywave_protocol::{ChannelName, PlacementKey, Request};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use crate::config::{Start, TokenSource};
use crate::error::{ClosedError, PublishError, RequestError};
use crate::event::{GrantEvent, State, SubscriptionEvent};
use crate::machine::{Answer, LinkId, Machine, Millis, Outgoing, Output, Ticket};
use crate::transport::{Dialer, LinkEvent, LinkWriter};

/// Events of connections waiting for the driver. Full: the connections stop reading.
const LINK_EVENTS: usize = 64;
/// Commands taken at once, so that publishes made together travel together.
const COMMANDS_AT_ONCE: usize = 256;

/// Where somebody awaits the outcome of a publish.
type PublishAnswer = oneshot::Sender<Result<Published, PublishError>>;

/// What a handle asks of the driver.
pub(crate) enum Command {
    Publish {
        outgoing: Outgoing,
        room: OwnedSemaphorePermit,
        answer: PublishAnswer,
    },
    Subscribe {
        channel: ChannelName,
        start: Start,
        presence: bool,
        events: mpsc::Sender<SubscriptionEvent>,
        answer: oneshot::Sender<Result<(), RequestError>>,
    },
    Unsubscribe(ChannelName),
    Grants {
        events: mpsc::Sender<GrantEvent>,
        answer: oneshot::Sender<Result<(), RequestError>>,
    },
    Request {
        request: Request,
        answer: oneshot::Sender<Result<Answer, RequestError>>,
    },
    Close(oneshot::Sender<()>),
}

/// An event that waits for room.
enum Stalled {
    Subscription(ChannelName, SubscriptionEvent),
    Grant(GrantEvent),
}

pub(crate) struct Driver {
    machine: Machine,
    dialer: Dialer,
    tokens: TokenSource,
    clock: Instant,
    commands: mpsc::Receiver<Command>,
    state: watch::Sender<State>,
    links: HashMap<LinkId, LinkWriter>,
    /// Given to every connection.
    link_sender: mpsc::Sender<(LinkId, LinkEvent)>,
    link_events: mpsc::Receiver<(LinkId, LinkEvent)>,
    subscriptions: HashMap<ChannelName, mpsc::Sender<SubscriptionEvent>>,
    /// Whoever wants to hear what backends grant.
    grants: Option<mpsc::Sender<GrantEvent>>,
    /// Events whose listener's queue is full, in order. While there are any, nothing is read: so there are at most as
    /// many as one frame brings.
    stalled: VecDeque<Stalled>,
    publishes: HashMap<Ticket, (OwnedSemaphorePermit, PublishAnswer)>,
    requests: HashMap<Ticket, oneshot::Sender<Result<Answer, RequestError>>>,
    next_ticket: Ticket,
    fetching: Option<tokio::task::JoinHandle<Result<String, String>>>,
    routing: Option<tokio::task::JoinHandle<Result<Vec<String>, String>>>,
}

impl Driver {
    pub(crate) fn new(
        machine: Machine,
        dialer: Dialer,
        tokens: TokenSource,
        clock: Instant,
        commands: mpsc::Receiver<Command>,
        state: watch::Sender<State>,
    ) -> Self {
        let (link_sender, link_events) = mpsc::channel(LINK_EVENTS);
        Self {
            machine,
            dialer,
            tokens,
            clock,
            commands,
            state,
            links: HashMap::new(),
            link_sender,
            link_events,
            subscriptions: HashMap::new(),
            grants: None,
            stalled: VecDeque::new(),
            publishes: HashMap::new(),
            requests: HashMap::new(),
            next_ticket: 1,
            fetching: None,
            routing: None,
        }
    }

    fn now(&self) -> Millis {
        self.clock.elapsed().as_millis() as Millis
    }

    pub(crate) async fn run(mut self) {
        let mut commands = Vec::with_capacity(COMMANDS_AT_ONCE);
        loop {
            self.carry_out();
            self.transmit();
            if self.machine.is_closed() {
                return self.answer_the_late().await;
            }
            let now = self.now();
            let writable = self.links.iter().find_map(|(id, link)| {
                let id = *id;
                self.machine.wants_transmit(now, id).then(|| link.frames.clone())
            });
            let (stalled, stalled_grants) = match self.stalled.front() {
                None => (None, None),
                Some(Stalled::Subscription(channel, _)) => (self.subscriptions.get(channel).cloned(), None),
                Some(Stalled::Grant(_)) => (None, self.grants.clone()),
            };
            let deadline = self
                .machine
                .poll_timeout()
                .map(|at| tokio::time::Instant::from_std(self.clock + std::time::Duration::from_millis(at)));
            tokio::select! {
                count = self.commands.recv_many(&mut commands, COMMANDS_AT_ONCE) => {
                    if count == 0 {
                        self.machine.close(ClosedError::Closed);
                    }
                    for command in commands.drain(..) {
                        self.handle_command(command);
                    }
                }
                Some((id, event)) = self.link_events.recv(), if self.stalled.is_empty() => {
                    self.handle_link(id, event);
                }
                () = sleep_until(deadline) => {
                    let now = self.now();
                    if !self.stalled.is_empty() {
                        self.machine.forgive(now);
                    }
                    self.machine.handle_timeout(now);
                }
                () = has_room(writable) => {}
                () = has_room(stalled) => self.deliver_stalled(),
                () = has_room(stalled_grants) => self.deliver_stalled(),
                token = fetched(&mut self.fetching) => {
                    self.fetching = None;
                    let now = self.now();
                    self.machine.handle_token(now, token);
                }
                answer = routed(&mut self.routing) => {
                    self.routing = None;
                    let now = self.now();
                    self.machine.handle_route(now, answer);
                }
            }
        }
    }

    fn handle_command(&mut self, command: Command) {
        let now = self.now();
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        match command {
            Command::Publish { outgoing, room, answer } => {
                self.publishes.insert(ticket, (room, answer));
                let deadline = outgoing.deadline.map(|after| now + after);
                self.machine.publish(Outgoing { ticket, deadline, ..outgoing });
            }
            Command::Subscribe { channel, start, presence, events, answer } => {
                // A handle that was dropped without our knowing yet makes room for its successor.
                if self.subscriptions.get(&channel).is_some_and(mpsc::Sender::is_closed) {
                    self.end_subscription(&channel);
                }
                let begun = self.machine.subscribe(now, channel.clone(), start, presence);
                if begun {
                    self.subscriptions.insert(channel, events);
                }
                let _ = answer.send(if begun { Ok(()) } else { Err(RequestError::AlreadySubscribed) });
            }
            Command::Unsubscribe(channel) => {
                // A handle dropped long ago must not end the subscription of the one that followed it.
                if self.subscriptions.get(&channel).is_some_and(mpsc::Sender::is_closed) {
                    self.end_subscription(&channel);
                }
            }
            Command::Grants { events, answer } => {
                if self.grants.as_ref().is_some_and(|grants| !grants.is_closed()) {
                    let _ = answer.send(Err(RequestError::AlreadySubscribed));
                } else {
                    self.forget_grants();
                    self.grants = Some(events);
                    self.machine.tell_grants();
                    let _ = answer.send(Ok(()));
                }
            }
            Command::Request { request, answer } => {
                self.requests.insert(ticket, answer);
                self.machine.request(now, ticket, request);
            }
            Command::Close(done) => {
                self.machine.close(ClosedError::Closed);
                let _ = done.send(());
            }
        }
    }

    fn handle_link(&mut self, id: LinkId, event: LinkEvent) {
        // What a connection says after it was shut is of no interest.
        if !self.links.contains_key(&id) {
            return;
        }
        let now = self.now();
        match event {
            LinkEvent::Opened => self.machine.handle_opened(now, id),
            LinkEvent::Frame(frame) => self.machine.handle_frame(now, id, &frame),
            LinkEvent::Received => self.machine.handle_received(now, id),
            LinkEvent::Broken(broken) => {
                self.links.remove(&id);
                self.machine.handle_broken(now, id, broken);
            }
        }
    }

    /// Empties the machine's output.
    fn carry_out(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Open { link, url } => {
                    let writer = self.dialer.open(link, url, self.link_sender.clone());
                    self.links.insert(link, writer);
                }
                Output::Shut(link) => {
                    self.links.remove(&link);
                }
                Output::FetchToken => self.fetch_token(),
                Output::Route { url, key, token } => {
                    let dialer = self.dialer.clone();
                    self.routing = Some(tokio::spawn(async move {
                        let key = key.as_ref().map(PlacementKey::as_str);
                        dialer.route(&url, key, token.as_deref()).await
                    }));
                }
                Output::State(state) => {
                    self.state.send_replace(state);
                }
                Output::Event { channel, event } => self.deliver(channel, event),
                Output::Granted(event) => self.deliver_grant(event),
                Output::Published { ticket, result } => {
                    if let Some((room, answer)) = self.publishes.remove(&ticket) {
                        drop(room);
                        // Nobody waits for it any more: fire and forget.
                        let _ = answer.send(result);
                    }
                }
                Output::Answered { ticket, result } => {
                    if let Some(answer) = self.requests.remove(&ticket) {
                        let _ = answer.send(result);
                    }
                }
                Output::Closed(error) => {
                    self.subscriptions.clear();
                    self.grants = None;
                    self.links.clear();
                    self.state.send_replace(State::Closed(error));
                }
            }
        }
    }

    /// Hands frames to every connection that takes some now.
    fn transmit(&mut self) {
        let now = self.now();
        for (id, link) in &self.links {
            while self.machine.wants_transmit(now, *id) {
                let Ok(slot) = link.frames.try_reserve() else { break };
                let Some(frame) = self.machine.transmit(now, *id) else { break };
                slot.send(frame);
            }
        }
        // Publishes that fit into no frame have been refused meanwhile.
        self.carry_out();
    }

    fn deliver(&mut self, channel: ChannelName, event: SubscriptionEvent) {
        let ended = matches!(event, SubscriptionEvent::Ended(_));
        if !self.stalled.is_empty() {
            self.stalled.push_back(Stalled::Subscription(channel, event));
            return;
        }
        let Some(events) = self.subscriptions.get(&channel) else { return };
        match events.try_send(event) {
            Ok(()) if ended => {
                self.subscriptions.remove(&channel);
            }
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(event)) => {
                self.stalled.push_back(Stalled::Subscription(channel, event));
            }
            Err(mpsc::error::TrySendError::Closed(_)) => self.end_subscription(&channel),
        }
    }

    fn deliver_grant(&mut self, event: GrantEvent) {
        let Some(events) = &self.grants else { return };
        if !self.stalled.is_empty() {
            self.stalled.push_back(Stalled::Grant(event));
            return;
        }
        match events.try_send(event) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(event)) => self.stalled.push_back(Stalled::Grant(event)),
            Err(mpsc::error::TrySendError::Closed(_)) => self.forget_grants(),
        }
    }

    fn deliver_stalled(&mut self) {
        let now = self.now();
        for stalled in std::mem::take(&mut self.stalled) {
            match stalled {
                Stalled::Subscription(channel, event) => self.deliver(channel, event),
                Stalled::Grant(event) => self.deliver_grant(event),
            }
        }
        if self.stalled.is_empty() {
            self.machine.forgive(now);
        }
    }

    fn end_subscription(&mut self, channel: &ChannelName) {
        self.subscriptions.remove(channel);
        // Nobody will make room for these: they must not hold up the others.
        self.stalled
            .retain(|stalled| !matches!(stalled, Stalled::Subscription(stalled, _) if stalled == channel));
        self.machine.unsubscribe(channel);
    }

    fn forget_grants(&mut self) {
        self.grants = None;
        self.stalled.retain(|stalled| !matches!(stalled, Stalled::Grant(_)));
    }

    fn fetch_token(&mut self) {
        if let TokenSource::Provider(provider) = &self.tokens {
            self.fetching = Some(tokio::spawn(provider()));
        }
    }

    /// After the close: answers those who ask until no handle is left.
    async fn answer_the_late(mut self) {
        self.stalled.clear();
        while let Some(command) = self.commands.recv().await {
            match command {
                Command::Subscribe { answer, .. } | Command::Grants { answer, .. } => {
                    let _ = answer.send(Err(self.closed_error().into()));
                }
                other => self.handle_command(other),
            }
            self.carry_out();
        }
    }

    fn closed_error(&self) -> ClosedError {
        match &*self.state.borrow() {
            State::Closed(error) => error.clone(),
            _ => ClosedError::Closed,
        }
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Returns when the queue has room or nobody reads it any more; never without a queue.
async fn has_room<T>(queue: Option<mpsc::Sender<T>>) {
    match queue {
        Some(queue) => drop(queue.reserve().await),
        None => std::future::pending().await,
    }
}

async fn routed(
    task: &mut Option<tokio::task::JoinHandle<Result<Vec<String>, String>>>,
) -> Result<Vec<String>, String> {
    match task {
        Some(task) => task.await.unwrap_or_else(|error| Err(error.to_string())),
        None => std::future::pending().await,
    }
}

async fn fetched(
    task: &mut Option<tokio::task::JoinHandle<Result<String, String>>>,
) -> Result<String, String> {
    match task {
        Some(task) => task.await.unwrap_or_else(|error| Err(format!("the token callback failed: {error}"))),
        None => std::future::pending().await,
    }
}

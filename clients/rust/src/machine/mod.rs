//! The client without I/O: what was received, asked and elapsed goes in; what to open, send and tell comes out.
//!
//! - The *active* connection serves everything. On `move` a *successor* is opened beside it; when all channels are joined
//!   there and nothing is in flight on the old one, it takes over. If the active one breaks first, it takes over at once.
//! - [`publishing`] decides about publishes, [`channel`] about one subscription, [`grants`] about those that a backend has made;
//!   both judge what comes by a [`sequence`]. [`link`] knows one connection.
//!
//! Time comes in as milliseconds of a monotonic clock, randomness from a seed. Never: waits, or touches a socket.

mod channel;
mod flow;
mod grants;
mod link;
mod output;
mod places;
mod publishing;
mod replies;
mod sequence;

use std::collections::{BTreeMap, HashMap, VecDeque};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use skywave_protocol::{ChannelName, PlacementKey, Request};

use crate::backoff::Backoff;
use crate::config::{Encoding, Start};
use crate::error::{ClosedError, RequestError};
use channel::Channel;
use grants::Grants;
use link::Link;
use places::Places;

pub(crate) use output::{Answer, Broken, Output};
pub(crate) use publishing::{Outgoing, Publishing};

/// Milliseconds of a monotonic clock.
pub(crate) type Millis = u64;
/// Names a request of the application until it is answered.
pub(crate) type Ticket = u64;

/// Names a connection; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(crate) u64);

/// What the machine needs to know of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) urls: Vec<String>,
    /// Ask the relay where to go …
    pub(crate) routed: bool,
    /// … for this key, instead of the user's.
    pub(crate) key: Option<PlacementKey>,
    pub(crate) encoding: Encoding,
    pub(crate) backoff: Backoff,
    pub(crate) connect_timeout_ms: u64,
    pub(crate) request_timeout_ms: u64,
    pub(crate) window: usize,
    pub(crate) name: String,
    /// A fresh token can be asked for.
    pub(crate) can_fetch_tokens: bool,
    /// The token to begin with.
    pub(crate) token: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Machine {
    settings: Settings,
    random: SmallRng,
    output: VecDeque<Output>,
    active: Option<Link>,
    successor: Option<Link>,
    next_link: u64,
    channels: HashMap<ChannelName, Channel>,
    grants: Grants,
    publishing: Publishing,
    /// Requests of the application without an answer; they read only and are asked again on the next connection.
    requests: BTreeMap<Ticket, Request>,
    token: Option<String>,
    token_wanted: TokenWanted,
    places: Places,
    /// The relay is being asked where to go.
    routing: bool,
    attempts: u32,
    connect_at: Option<Millis>,
    /// Failed attempts in a row to open a successor.
    move_attempts: u32,
    /// A successor to open, and where.
    move_at: Option<(Millis, Option<String>)>,
    /// When a move is given up waiting for and done at once.
    move_deadline: Option<Millis>,
    closed: Option<ClosedError>,
}

/// What a token that is being fetched is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenWanted {
    No,
    /// The next connection waits for it.
    ToConnect,
    /// The present connection goes on meanwhile.
    ToRefresh,
}

impl Machine {
    pub(crate) fn new(settings: Settings, seed: u64, now: Millis) -> Self {
        let publishing = Publishing::new(settings.window);
        let token = settings.token.clone();
        let places = Places::new(settings.urls.clone(), settings.routed);
        let mut machine = Self {
            places,
            settings,
            random: SmallRng::seed_from_u64(seed),
            output: VecDeque::new(),
            active: None,
            successor: None,
            next_link: 1,
            channels: HashMap::new(),
            grants: Grants::default(),
            publishing,
            requests: BTreeMap::new(),
            token,
            token_wanted: TokenWanted::No,
            routing: false,
            attempts: 0,
            move_attempts: 0,
            connect_at: None,
            move_at: None,
            move_deadline: None,
            closed: None,
        };
        machine.connect(now);
        machine
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// Whether the client is closed for good.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    pub(crate) fn publish(&mut self, outgoing: Outgoing) {
        match &self.closed {
            Some(error) => self
                .output
                .push_back(Output::Published { ticket: outgoing.ticket, result: Err(error.clone().into()) }),
            None => self.publishing.push(outgoing),
        }
    }

    /// Begins a subscription; `false` if there is one of this channel already.
    pub(crate) fn subscribe(
        &mut self,
        now: Millis,
        channel: ChannelName,
        start: Start,
        presence: bool,
    ) -> bool {
        if self.channels.contains_key(&channel) {
            return false;
        }
        self.channels.insert(channel.clone(), Channel::new(channel.clone(), start, presence));
        self.follow_grant(&channel);
        self.start_channel(now, &channel);
        true
    }

    /// Where a grant stands is where a subscription of the same channel will go on.
    fn follow_grant(&mut self, name: &ChannelName) {
        if let (Some(channel), Some(grant)) = (self.channels.get_mut(name), self.grants.sequence(name)) {
            channel.follow(grant);
        }
    }

    /// Ends a grant in favour of the application's subscription, or because it is not wanted any more; `false`: there was
    /// none.
    fn take_over(&mut self, name: &ChannelName) -> bool {
        let withdrawn = self.grants.withdraw(name, None);
        let stood = withdrawn.is_some();
        self.output.extend(withdrawn.map(Output::Granted));
        stood
    }

    /// Tells of the grants that stand: somebody begins to listen.
    pub(crate) fn tell_grants(&mut self) {
        self.output.extend(self.grants.standing().into_iter().map(Output::Granted));
    }

    pub(crate) fn unsubscribe(&mut self, channel: &ChannelName) {
        if self.channels.remove(channel).is_some() {
            for link in [&mut self.active, &mut self.successor].into_iter().flatten() {
                if link.is_ready() {
                    link.tell(Request::Unsubscribe { channel: channel.clone() });
                }
            }
            // For the server the channel is left, whoever asked for it.
            self.take_over(channel);
        }
    }

    /// A request that only reads.
    pub(crate) fn request(&mut self, now: Millis, ticket: Ticket, request: Request) {
        if let Some(error) = &self.closed {
            let error = RequestError::Closed(error.clone());
            return self.output.push_back(Output::Answered { ticket, result: Err(error) });
        }
        if let Some(link) = self.active.as_mut().filter(|link| link.is_ready()) {
            link.ask(now, request.clone(), link::Awaiting::Application(ticket));
        }
        self.requests.insert(ticket, request);
    }

    /// Closes for good; what is unanswered is answered with the reason.
    pub(crate) fn close(&mut self, error: ClosedError) {
        if self.closed.is_some() {
            return;
        }
        for link in [self.active.take(), self.successor.take()].into_iter().flatten() {
            self.output.push_back(Output::Shut(link.id));
            self.output.extend(self.grants.link_lost(link.id).into_iter().map(Output::Granted));
        }
        for (ticket, result) in self.publishing.close(&error) {
            self.output.push_back(Output::Published { ticket, result });
        }
        for ticket in std::mem::take(&mut self.requests).into_keys() {
            let error = RequestError::Closed(error.clone());
            self.output.push_back(Output::Answered { ticket, result: Err(error) });
        }
        self.channels.clear();
        (self.connect_at, self.move_at, self.move_deadline) = (None, None, None);
        self.token_wanted = TokenWanted::No;
        self.routing = false;
        self.output.push_back(Output::Closed(error.clone()));
        self.closed = Some(error);
    }

    /// The connection that publishes go to, if one can take them now. While moving, the successor gets them as soon as
    /// nothing is in flight on the old one, so that their order holds.
    fn publish_link(&self) -> Option<LinkId> {
        let successor = self.successor.as_ref().filter(|link| link.is_ready());
        match (&self.active, successor) {
            (Some(_), Some(successor)) => (self.publishing.in_flight() == 0).then_some(successor.id),
            (Some(active), None) => active.is_ready().then_some(active.id),
            (None, _) => None,
        }
    }

    fn link(&mut self, id: LinkId) -> Option<&mut Link> {
        [&mut self.active, &mut self.successor].into_iter().flatten().find(|link| link.id == id)
    }

    fn wait_ms(&mut self, attempt: u32, server_asks_ms: Option<u64>) -> u64 {
        self.settings.backoff.wait_ms(attempt, server_asks_ms, self.random.random())
    }
}

#[cfg(test)]
mod tests;

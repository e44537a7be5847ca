//! The order of durable publishes on their way from a worker of an edge to the cores of its cell.
//!
//! Any core takes any publish, so two cores would put one client's publishes into the log in any order. Therefore:
//!
//! - The publishes of one channel that await an answer are a *lane*: all of it goes to one core of those that say they are
//!   there, the owner of the channel's partition if it is known (`cores`). While something of it is out, the choice stands, whoever
//!   joins or owns.
//! - What is sent to one core is numbered, on a *link*. The core takes it in order only; what the bus lost is sent again from
//!   the hole on (`receiver` is the other end), under a new link, so that nothing of the old one can get in between.
//! - When the core falls silent or has left, everything in the lane that has a message id is sent to another core, in
//!   order, and new publishes behind it. Should the first core have taken some of it after all, then in the same order: of
//!   whatever arrives twice the log's first copies stand in order, and the second ones are no publications.
//! - A core that leaves is sent nothing new: the lane is held back until what is out is answered.
//!
//! What has no message id cannot be sent to two cores: it keeps waiting for its answer or its timeout. Nothing here lasts longer
//! than its requests, which their owner bounds.
//!
//! Never: keeps a payload, or gives up a request; its owner does.

mod cores;
mod link;
mod receiver;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use hashbrown::HashMap;
use skywave_protocol::inner::CoreBeat;
use skywave_protocol::{ChannelName, Subject};

use self::cores::{Change, CoreKey, Cores};
use self::link::Sent;
pub use self::receiver::{Receiver, Turn};
use crate::time::Millis;

/// What is over is forgotten at the latest when there is so much more of it than of what is open.
const LITTER: usize = 64;

#[derive(Debug, Clone, Copy)]
pub struct LanesConfig {
    /// A core not heard for so long is given up, if another one is heard.
    pub silent_ms: Millis,
    /// After so long without an answer a core is asked whether something is missing, and again.
    pub check_ms: Millis,
    /// A worker that has heard of no core holds publishes back for so long after its start; then it sends them to any core.
    pub patience_ms: Millis,
}

impl Default for LanesConfig {
    fn default() -> Self {
        Self { silent_ms: 2_000, check_ms: 500, patience_ms: 1_500 }
    }
}

/// How a request travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// To whichever core takes it.
    Anyone,
    /// To one core, at this place of the link.
    Link { subject: Subject, link: u64, number: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LanesOutput {
    Send {
        request: u64,
        way: Way,
    },
    /// Ask a core whether everything below `next` has come.
    Check {
        subject: Subject,
        link: u64,
        next: u64,
    },
}

#[derive(Debug)]
pub struct Lanes {
    config: LanesConfig,
    cell: String,
    began: Millis,
    cores: Cores,
    lanes: HashMap<ChannelName, Lane>,
    requests: HashMap<u64, Request>,
    links: u64,
    outputs: VecDeque<LanesOutput>,
}

#[derive(Debug, Default)]
struct Lane {
    route: Route,
    /// In the order of their publishing; those that ended go when they come to the front.
    order: VecDeque<u64>,
    held: usize,
    sent: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Route {
    #[default]
    None,
    Anyone,
    Core(CoreKey),
}

#[derive(Debug)]
struct Request {
    channel: ChannelName,
    repeatable: bool,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Held,
    Sent,
    OnLink { link: u64, number: u64 },
}

impl Lanes {
    pub fn new(now: Millis, cell: &str, config: LanesConfig) -> Self {
        Self {
            config,
            cell: cell.to_owned(),
            began: now,
            cores: Cores::default(),
            lanes: HashMap::new(),
            requests: HashMap::new(),
            links: 0,
            outputs: VecDeque::new(),
        }
    }

    /// What to send, in order. To be polled until it is empty after every other call.
    pub fn poll_output(&mut self) -> Option<LanesOutput> {
        self.outputs.pop_front()
    }

    /// A publish wants to go. `request` is higher than those before, and `repeatable` says that it has a message id.
    pub fn publish(&mut self, now: Millis, request: u64, channel: &ChannelName, repeatable: bool) {
        let standing = Standing::Held;
        self.requests.insert(request, Request { channel: channel.clone(), repeatable, standing });
        let lane = self.lanes.entry(channel.clone()).or_default();
        lane.order.push_back(request);
        lane.held += 1;
        let open = match lane.route {
            Route::Core(key) => self.cores.get(key).is_some_and(|core| !core.leaving),
            Route::Anyone => true,
            Route::None => false,
        };
        if open && lane.sent > 0 && lane.held == 1 {
            // What usually happens; the rest is for when something has changed.
            let route = lane.route;
            self.send(now, request, route);
        } else {
            self.advance(now, channel);
        }
    }

    /// A request was answered, or given up.
    pub fn ended(&mut self, now: Millis, request: u64) {
        let Some(Request { channel, standing, .. }) = self.requests.remove(&request) else { return };
        let Self { requests, lanes, cores, .. } = self;
        let Some(lane) = lanes.get_mut(&channel) else { return };
        match standing {
            Standing::Held => lane.held -= 1,
            Standing::Sent | Standing::OnLink { .. } => lane.sent -= 1,
        }
        if let (Route::Core(key), Standing::OnLink { link, .. }) = (lane.route, standing)
            && let Some(core) = cores.get_mut(key).filter(|core| core.link.id == link)
        {
            core.link.tidy(2 * requests.len() + LITTER, |sent| {
                let place = Standing::OnLink { link, number: sent.number };
                requests.get(&sent.request).is_some_and(|request| request.standing == place)
            });
        }
        let open = lane.held + lane.sent;
        if open == 0 {
            lanes.remove(&channel);
            return;
        }
        while lane.order.pop_front_if(|request| !requests.contains_key(request)).is_some() {}
        if lane.order.len() > 2 * open + LITTER {
            lane.order.retain(|request| requests.contains_key(request));
        }
        if lane.held > 0 {
            self.advance(now, &channel);
        }
    }

    /// Sends a request once more to the core that has it, for its answer may be lost. `false`: it must not be.
    pub fn repeat(&mut self, now: Millis, request: u64) -> bool {
        let Some(Request { channel, repeatable: true, standing: Standing::OnLink { .. } }) =
            self.requests.get(&request)
        else {
            return false;
        };
        let Some(lane) = self.lanes.get_mut(channel) else { return false };
        let Route::Core(key) = lane.route else { return false };
        if self.cores.get(key).is_none_or(|core| core.leaving) {
            return false;
        }
        (lane.sent, lane.held) = (lane.sent - 1, lane.held + 1);
        self.send(now, request, Route::Core(key));
        true
    }

    /// A core has said how it is. How many requests are sent anew for it.
    pub fn beat(&mut self, now: Millis, beat: &CoreBeat) -> usize {
        let subject = || Subject::core_ingest(&self.cell, &beat.core);
        match self.cores.beat(now, self.config.silent_ms, beat, subject) {
            Change::Nothing => 0,
            Change::Joined | Change::Leaving => {
                self.advance_all(now);
                0
            }
            Change::Gone(key) => self.give_up(now, key),
        }
    }

    /// A core misses a number of a link, and has taken nothing from there on. How many requests are sent anew.
    pub fn missing(&mut self, now: Millis, link: u64, number: u64) -> usize {
        if link == 0 {
            return 0;
        }
        self.links += 1;
        let new = self.links;
        let Some(core) = self.cores.links().find(|it| it.id == link) else { return 0 };
        let mut lost: Vec<Sent> = core.restart(new).into();
        lost.retain(|sent| sent.number >= number);
        // Not in the order of their numbers: one that was repeated must not fall behind those that were published after it.
        lost.sort_unstable_by_key(|sent| sent.request);
        let subject = core.subject.clone();
        let mut count = 0;
        for sent in lost {
            let Some(request) = self.requests.get_mut(&sent.request) else { continue };
            if request.standing != (Standing::OnLink { link, number: sent.number }) {
                continue;
            }
            let number = core.send(now, sent.request);
            request.standing = Standing::OnLink { link: new, number };
            let way = Way::Link { subject: subject.clone(), link: new, number };
            self.outputs.push_back(LanesOutput::Send { request: sent.request, way });
            count += 1;
        }
        count
    }

    /// Lets time pass; to be called several times a second. How many requests are sent anew.
    pub fn tick(&mut self, now: Millis) -> usize {
        let mut count = 0;
        for key in self.cores.silent(now, self.config.silent_ms) {
            count += self.give_up(now, key);
        }
        if !self.cores.met && self.is_impatient(now) {
            self.advance_all(now);
        }
        for link in self.cores.links() {
            if link.ask(now, self.config.check_ms) {
                let (subject, link, next) = (link.subject.clone(), link.id, link.next);
                self.outputs.push_back(LanesOutput::Check { subject, link, next });
            }
        }
        count
    }

    /// Cores that are known now.
    pub fn cores(&self) -> usize {
        self.cores.len()
    }

    fn is_impatient(&self, now: Millis) -> bool {
        now >= self.began + self.config.patience_ms
    }

    /// Sends what a lane holds, if it may go.
    fn advance(&mut self, now: Millis, channel: &ChannelName) {
        let impatient = !self.cores.met && self.is_impatient(now);
        let Some(lane) = self.lanes.get_mut(channel) else { return };
        let stays = match lane.route {
            Route::Core(key) if lane.sent > 0 => self.cores.get(key).is_some(),
            Route::Anyone => lane.sent > 0,
            _ => false,
        };
        if !stays {
            lane.route = match self.cores.choose(channel) {
                Some(key) => Route::Core(key),
                None if impatient => Route::Anyone,
                None => Route::None,
            };
        }
        let open = match lane.route {
            Route::Core(key) => self.cores.get(key).is_some_and(|core| !core.leaving),
            Route::Anyone => true,
            Route::None => false,
        };
        if !open || lane.held == 0 {
            return;
        }
        let (route, order) = (lane.route, std::mem::take(&mut lane.order));
        for request in &order {
            if self.requests.get(request).is_some_and(|it| it.standing == Standing::Held) {
                self.send(now, *request, route);
            }
        }
        if let Some(lane) = self.lanes.get_mut(channel) {
            lane.order = order;
        }
    }

    fn advance_all(&mut self, now: Millis) {
        let held = self.lanes.iter().filter(|(_, lane)| lane.held > 0);
        let mut channels: Vec<ChannelName> = held.map(|(channel, _)| channel.clone()).collect();
        channels.sort_unstable();
        channels.iter().for_each(|channel| self.advance(now, channel));
    }

    /// Forgets a core: what it has goes to others, as far as it may.
    fn give_up(&mut self, now: Millis, key: CoreKey) -> usize {
        self.cores.remove(key);
        let its = self.lanes.iter().filter(|(_, lane)| lane.route == Route::Core(key));
        let mut channels: Vec<ChannelName> = its.map(|(channel, _)| channel.clone()).collect();
        channels.sort_unstable();
        let mut count = 0;
        for channel in channels {
            let Some(lane) = self.lanes.get_mut(&channel) else { continue };
            for request in &lane.order {
                let Some(request) = self.requests.get_mut(request) else { continue };
                if request.repeatable && request.standing != Standing::Held {
                    request.standing = Standing::Held;
                    (lane.sent, lane.held) = (lane.sent - 1, lane.held + 1);
                    count += 1;
                }
            }
            self.advance(now, &channel);
        }
        count
    }

    /// Sends a held request.
    fn send(&mut self, now: Millis, request: u64, route: Route) {
        let Some(it) = self.requests.get_mut(&request) else { return };
        let way = match route {
            Route::None => return,
            Route::Anyone => {
                it.standing = Standing::Sent;
                Way::Anyone
            }
            Route::Core(key) => {
                let Some(core) = self.cores.get_mut(key) else { return };
                if core.link.id == 0 {
                    self.links += 1;
                    core.link.restart(self.links);
                }
                let (link, number) = (core.link.id, core.link.send(now, request));
                it.standing = Standing::OnLink { link, number };
                Way::Link { subject: core.link.subject.clone(), link, number }
            }
        };
        if let Some(lane) = self.lanes.get_mut(&it.channel) {
            (lane.sent, lane.held) = (lane.sent + 1, lane.held - 1);
        }
        self.outputs.push_back(LanesOutput::Send { request, way });
    }
}

//! The simulated cluster: one thread, virtual time, one queue of events, one random generator.
//!
//! Real state machines (`Hub`, `Presence`, `Session`, `Outbox`, `Sequencer`) sit in simulated processes; what they ask for
//! is done by the simulated bus, log, store and sockets, which break on purpose.

mod client;
mod core;
mod edge;
mod end;
mod faults;
mod link;
mod log;
mod network;
mod past;
mod store;
mod trace;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use skywave_engine::partition;
use skywave_protocol::inner::{CoreReply, CoreRequest, Excerpt, Live};
use skywave_protocol::{ChannelName, ClientMessage};

use crate::history::{ConnectionId, Fact, History};
use crate::random::Random;
use crate::sabotage::Sabotage;
use client::Client;
use core::Core;
use edge::Edge;
pub use faults::{FAULTS, Fault};
use link::Link;
use log::Log;
use network::Network;
pub use network::Node;
use store::Store;
use trace::Trace;

pub type Time = u64;

const PARTITIONS: u32 = 2;
/// Faults happen between these times …
const FAULTS_FROM: Time = 500;
const HEAL_AT: Time = 8_000;
/// … clients go on publishing for a while, or have fallen silent before …
const PUBLISH_UNTIL: [Time; 2] = [9_500, 7_000];
/// … and then everything comes to rest: long enough for every lease, linger, backoff and ping to have run out.
const END_AT: Time = 20_000;

/// How a run is set up, besides its seed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setup {
    pub seed: u64,
    pub sabotage: Option<Sabotage>,
    /// Print every event.
    pub trace: bool,
}

/// What came out of a run.
#[derive(Debug)]
pub struct Outcome {
    pub history: History,
    pub tally: Tally,
    /// Over every event and every fact, in order.
    pub digest: u64,
    pub events: u64,
}

/// Proof that faults happened: how often each did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(pub BTreeMap<&'static str, u64>);

impl Tally {
    pub fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    pub fn add(&mut self, what: &'static str, times: u64) {
        *self.0.entry(what).or_insert(0) += times;
    }
}

#[derive(Debug)]
struct ChannelSpec {
    name: ChannelName,
    durable: bool,
    partition: u32,
}

#[derive(Debug)]
enum Event {
    /// A message arrives at a process that was at this incarnation when it was sent.
    Bus(Node, u32, Box<Message>),
    Edge(usize, u32, EdgeStep),
    Core(usize, u32, CoreStep),
    LogSync(u32),
    ClientTick(usize),
    /// Something for the edge side of a connection.
    Up(ConnectionId, Up),
    /// A frame reached the client's side of a connection.
    Down(ConnectionId),
    /// The client notices that its connection is gone.
    Lost(ConnectionId),
    Fault(Fault),
    Heal,
    /// Partitions without a living owner get one.
    Rebalance,
    Revoke(usize, u32),
}

#[derive(Debug, Clone)]
enum Message {
    Live(Live),
    Request(CoreRequest),
    Reply(CoreReply),
}

#[derive(Debug)]
enum Up {
    Open,
    Message(Box<ClientMessage>),
    Closed,
}

#[derive(Debug)]
enum EdgeStep {
    Shard,
    Worker,
    Timer,
    Interest(ChannelName, bool),
    Looked(Box<edge::Looked>),
    Start,
    Resume,
}

#[derive(Debug)]
enum CoreStep {
    Load(u32),
    Feed(u32),
    Persist(u32),
    Announce,
    Start,
    Resume,
}

#[derive(Debug)]
struct Scheduled {
    at: Time,
    order: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

pub struct World {
    now: Time,
    scheduled: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    random: Random,
    history: History,
    trace: Trace,
    tally: Tally,
    sabotage: Option<Sabotage>,
    network: Network,
    log: Log,
    store: Store,
    cores: Vec<Core>,
    /// Which cores believe (or will soon) that they own each partition.
    assigned: Vec<BTreeSet<usize>>,
    edges: Vec<Edge>,
    /// What the edges keep of the past for each other.
    copies: BTreeMap<(ChannelName, String, u64), Excerpt>,
    clients: Vec<Client>,
    links: BTreeMap<ConnectionId, Link>,
    last_connection: ConnectionId,
    channels: Vec<ChannelSpec>,
    outbox_limit: usize,
    publish_until: Time,
    healed: bool,
    /// Publications that channel 0 holds when the run begins.
    past: u64,
}

impl World {
    /// Runs a whole seed.
    pub fn run(setup: Setup) -> Outcome {
        let mut world = Self::new(setup);
        world.start();
        while let Some(Reverse(next)) = world.queue.pop() {
            if next.at > END_AT {
                break;
            }
            assert!(next.at >= world.now, "time never goes back");
            world.now = next.at;
            world.trace.event(next.at, &next.event);
            world.dispatch(next.event);
        }
        world.now = END_AT;
        world.finish()
    }

    fn new(setup: Setup) -> Self {
        let mut random = Random::new(setup.seed);
        let channels = ["chat:a", "chat:b", "chat:c", "live:a"].map(|name| {
            let name = ChannelName::parse(name).expect("the name is legal");
            let durable = name.namespace() == "chat";
            ChannelSpec { partition: partition::of(&name, PARTITIONS), name, durable }
        });
        let retention = if random.chance(250) { random.between(3, 25) as usize } else { usize::MAX };
        let outbox_limit = 4_000;
        let publish_until = PUBLISH_UNTIL[random.below(2)];
        let history = History {
            durable: channels.iter().map(|channel| channel.durable).collect(),
            outbox_limit,
            read_timeout: edge::READ_TIMEOUT,
            read_attempts: edge::READ_ATTEMPTS as usize,
            ..History::default()
        };
        Self {
            now: 0,
            scheduled: 0,
            queue: BinaryHeap::new(),
            history,
            trace: Trace::new(setup.trace),
            tally: Tally::default(),
            sabotage: setup.sabotage,
            network: Network::quiet(),
            log: Log::new(PARTITIONS),
            store: Store::new(PARTITIONS, retention),
            cores: (0..2).map(|_| Core::default()).collect(),
            assigned: vec![BTreeSet::new(); PARTITIONS as usize],
            edges: Vec::new(),
            copies: BTreeMap::new(),
            clients: Vec::new(),
            links: BTreeMap::new(),
            last_connection: 0,
            channels: channels.into(),
            outbox_limit,
            publish_until,
            healed: false,
            past: 0,
            random,
        }
    }

    fn start(&mut self) {
        self.plan_past();
        let edges = self.random.between(2, 3) as usize;
        for index in 0..edges {
            self.edges.push(Edge::new(index, 0, self.sabotage));
        }
        for partition in 0..PARTITIONS {
            let core = self.random.below(self.cores.len());
            self.assign(core, partition);
        }
        for core in 0..self.cores.len() {
            self.after(1, Event::Core(core, 0, CoreStep::Announce));
        }
        self.start_clients();
        self.write_past();
        self.plan_faults();
        self.at(HEAL_AT, Event::Heal);
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Bus(node, incarnation, message) => self.bus_arrival(node, incarnation, message),
            Event::Edge(edge, incarnation, step) => self.edge_step(edge, incarnation, step),
            Event::Core(core, incarnation, step) => self.core_step(core, incarnation, step),
            Event::LogSync(incarnation) => self.log_sync(incarnation),
            Event::ClientTick(client) => self.client_tick(client),
            Event::Up(connection, up) => self.link_up(connection, up),
            Event::Down(connection) => self.link_down(connection),
            Event::Lost(connection) => self.client_lost(connection, None),
            Event::Fault(fault) => self.fault(fault),
            Event::Heal => self.heal(),
            Event::Rebalance => self.rebalance(),
            Event::Revoke(core, partition) => self.revoke(core, partition),
        }
    }

    fn at(&mut self, at: Time, event: Event) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled { at, order: self.scheduled, event }));
    }

    fn after(&mut self, delay: Time, event: Event) {
        self.at(self.now + delay, event);
    }

    fn record(&mut self, fact: Fact) {
        self.trace.fact(self.now, &fact);
        self.history.record(self.now, fact);
    }

    fn sabotaged(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    fn channel_index(&self, name: &ChannelName) -> usize {
        self.channels.iter().position(|channel| channel.name == *name).expect("only known channels are used")
    }

    /// Puts a message on the bus.
    fn send(&mut self, from: Node, to: Node, message: Message) {
        let (copies, _) = self.network.copies(&mut self.random, from, to);
        if copies.iter().flatten().min().is_none_or(|first| *first > network::IN_TIME) {
            self.read_is_hindered(to, &message);
        }
        let incarnation = match to {
            Node::Edge(edge) => self.edges[edge].incarnation,
            Node::Core(core) => self.cores[core].incarnation,
        };
        for delay in copies.into_iter().flatten() {
            self.after(delay, Event::Bus(to, incarnation, Box::new(message.clone())));
        }
    }

    /// Publishes on a channel's live subject: to every edge with interest, the sender included.
    fn publish_live(&mut self, from: Node, channel: &ChannelName, live: &Live) {
        for edge in 0..self.edges.len() {
            if self.edges[edge].interest.contains(channel) {
                self.send(from, Node::Edge(edge), Message::Live(live.clone()));
            }
        }
    }

    fn bus_arrival(&mut self, node: Node, incarnation: u32, message: Box<Message>) {
        match node {
            Node::Edge(edge) => {
                if self.edges[edge].accepts(incarnation) {
                    if self.edges[edge].paused {
                        self.read_is_hindered(node, &message);
                        self.edges[edge].deferred.push(Event::Bus(node, incarnation, message));
                    } else {
                        self.edge_message(edge, *message);
                    }
                }
            }
            Node::Core(core) => {
                if self.cores[core].accepts(incarnation) {
                    if self.cores[core].paused {
                        self.cores[core].deferred.push(Event::Bus(node, incarnation, message));
                    } else if let Message::Request(request) = *message {
                        self.core_request(core, request);
                    }
                }
            }
        }
    }
}

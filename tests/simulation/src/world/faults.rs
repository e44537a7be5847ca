//! What breaks, when, and how it is mended.

use super::{CoreStep, EdgeStep, Event, FAULTS_FROM, HEAL_AT, Node, Time, World};
use crate::history::Fact;
use skywave_protocol::ErrorCode;

/// One fault; durations are in milliseconds.
#[derive(Debug, Clone)]
pub enum Fault {
    BusLossy {
        for_: Time,
    },
    BusCalm,
    Cut {
        from: Node,
        to: Node,
        both: bool,
        for_: Time,
    },
    Mend {
        from: Node,
        to: Node,
    },
    EdgeCrash {
        edge: usize,
        for_: Time,
    },
    EdgePause {
        edge: usize,
        for_: Time,
    },
    EdgeInterestLost {
        edge: usize,
    },
    EdgeDrain {
        edge: usize,
    },
    CoreCrash {
        core: usize,
        for_: Time,
    },
    /// As soon as it has sequenced something that is not persisted.
    CoreCrashInPublish {
        core: usize,
        for_: Time,
    },
    /// As soon as it is asked for a page of somebody's past.
    CoreCrashInRecovery {
        core: usize,
        for_: Time,
    },
    CorePause {
        core: usize,
        for_: Time,
    },
    LogCrash {
        for_: Time,
    },
    /// As soon as a record is buffered and not synced.
    LogCrashBeforeSync {
        for_: Time,
    },
    /// The same, and every core goes down with it.
    PowerCut {
        for_: Time,
    },
    PowerGone {
        for_: Time,
    },
    LogStart,
    StoreDown {
        for_: Time,
    },
    StoreUp,
    Zombie {
        partition: u32,
        for_: Time,
    },
    ClientPause {
        client: usize,
        for_: Time,
    },
    ConnectionCut {
        client: usize,
        noticed: bool,
    },
    /// It goes, and comes back after a while.
    ClientSleep {
        client: usize,
        for_: Time,
    },
    /// From now on less is kept.
    LessKept {
        publications: usize,
    },
}

/// Every kind of fault, by the name it is counted under. A batch of seeds must have seen each.
pub const FAULTS: &[&str] = &[
    "messages dropped",
    "messages doubled",
    "messages delayed",
    "links cut",
    "edges crashed",
    "edges paused",
    "edges drained",
    "interest lost",
    "cores crashed",
    "cores paused",
    "cores crashed in mid-publish",
    "logs crashed",
    "records lost before their sync",
    "power cuts",
    "stores down",
    "partitions with two owners",
    "commits refused to a zombie",
    "commits with unknown outcome",
    "duplicate publishes found",
    "publishes refused without a log",
    "clients paused",
    "connections cut",
    "connections cut silently",
    "slow clients closed",
    "ephemeral frames dropped",
    "gaps announced to members",
    "clients that reconnected at will",
    "unsubscribed and subscribed again",
    "expiry warnings",
    "clients that slept",
    "members that caught up",
    "pages given",
    "recoveries overtaken by retention",
    "edges crashed in mid-recovery",
    "cores crashed in mid-recovery",
    "channels left in mid-recovery",
];

impl World {
    pub(super) fn plan_faults(&mut self) {
        self.network.duplication = self.random.between(0, 30);
        self.network.loss = self.random.between(0, 30);
        self.network.straggling = self.random.between(0, 20);
        for _ in 0..self.random.between(3, 10) {
            let at = self.random.between(FAULTS_FROM, HEAL_AT - 500);
            let fault = self.random_fault();
            self.at(at, Event::Fault(fault));
        }
    }

    fn random_fault(&mut self) -> Fault {
        let for_ = self.random.between(100, 2_500);
        let edge = self.random.below(self.edges.len());
        let core = self.random.below(self.cores.len());
        let client = self.random.below(self.clients.len());
        match self.random.below(19) {
            0 => Fault::BusLossy { for_ },
            1 | 2 => {
                let from = Node::Edge(edge);
                let other = Node::Edge(self.random.below(self.edges.len()));
                let to = if self.random.chance(700) { Node::Core(core) } else { other };
                let flip = self.random.chance(500);
                let (from, to) = if flip { (to, from) } else { (from, to) };
                Fault::Cut { from, to, both: self.random.chance(600), for_ }
            }
            3 => Fault::EdgeCrash { edge, for_ },
            4 => Fault::EdgePause { edge, for_ },
            5 => Fault::EdgeInterestLost { edge },
            6 if self.random.chance(400) => Fault::EdgeDrain { edge },
            6 => Fault::CoreCrash { core, for_ },
            7 => Fault::CoreCrashInPublish { core, for_ },
            8 => Fault::CorePause { core, for_ },
            9 if self.random.chance(300) => Fault::LogCrash { for_: for_ / 2 },
            9 if self.random.chance(500) => Fault::LogCrashBeforeSync { for_: for_ / 2 },
            9 => Fault::PowerCut { for_: for_ / 2 },
            10 => Fault::StoreDown { for_ },
            11 => Fault::Zombie { partition: self.random.below(super::PARTITIONS as usize) as u32, for_ },
            12 | 13 => Fault::ClientPause { client, for_: for_ * 2 },
            16 => Fault::CoreCrashInRecovery { core, for_ },
            14 => Fault::ClientSleep { client, for_: for_ * 2 },
            15 if self.store.retention != usize::MAX => {
                Fault::LessKept { publications: self.random.between(3, 40) as usize }
            }
            _ => Fault::ConnectionCut { client, noticed: self.random.chance(500) },
        }
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        if self.healed {
            return;
        }
        match fault {
            Fault::BusLossy { for_ } => {
                self.record(Fact::Broken);
                (self.network.loss, self.network.duplication, self.network.straggling) = (350, 200, 200);
                self.after(for_, Event::Fault(Fault::BusCalm));
            }
            Fault::BusCalm => {
                (self.network.loss, self.network.duplication, self.network.straggling) = (10, 10, 10);
                self.record(Fact::Mended);
            }
            Fault::Cut { from, to, both, for_ } => self.cut(from, to, both, for_),
            Fault::Mend { from, to } => {
                self.network.cuts.remove(&(from, to));
                self.network.cuts.remove(&(to, from));
                self.record(Fact::Mended);
            }
            Fault::EdgeCrash { edge, for_ } => self.crash_edge(edge, for_),
            Fault::EdgePause { edge, for_ } => {
                if !self.edges[edge].down && !self.edges[edge].paused {
                    self.tally.count("edges paused");
                    self.edges[edge].paused = true;
                    let incarnation = self.edges[edge].incarnation;
                    self.after(for_, Event::Edge(edge, incarnation, EdgeStep::Resume));
                }
            }
            Fault::EdgeInterestLost { edge } => {
                if !self.edges[edge].down && !self.edges[edge].paused {
                    self.tally.count("interest lost");
                    self.edge_loses_interest(edge);
                }
            }
            Fault::EdgeDrain { edge } => {
                if !self.edges[edge].down && !self.edges[edge].paused {
                    self.tally.count("edges drained");
                    self.edge_drain(edge, 200);
                    self.after(400, Event::Fault(Fault::EdgeCrash { edge, for_: 100 }));
                }
            }
            Fault::CoreCrash { core, for_ } => self.crash_core(core, for_),
            Fault::CoreCrashInPublish { core, for_ } => self.cores[core].doomed = Some(for_),
            Fault::CoreCrashInRecovery { core, for_ } => self.cores[core].doomed_in_read = Some(for_),
            Fault::LogCrashBeforeSync { for_ } => self.log.doomed = Some(Fault::LogCrash { for_ }),
            Fault::PowerCut { for_ } => self.log.doomed = Some(Fault::PowerGone { for_ }),
            Fault::PowerGone { for_ } => {
                self.tally.count("power cuts");
                self.crash_log(for_);
                for core in 0..self.cores.len() {
                    self.crash_core(core, for_);
                }
            }
            Fault::CorePause { core, for_ } => {
                if !self.cores[core].down && !self.cores[core].paused {
                    self.tally.count("cores paused");
                    self.record(Fact::Broken);
                    self.cores[core].paused = true;
                    let incarnation = self.cores[core].incarnation;
                    self.after(for_, Event::Core(core, incarnation, CoreStep::Resume));
                }
            }
            Fault::LogCrash { for_ } => self.crash_log(for_),
            Fault::LogStart => {
                self.log.up = true;
                self.record(Fact::Mended);
            }
            Fault::StoreDown { for_ } => {
                self.tally.count("stores down");
                self.record(Fact::Broken);
                self.store.up = false;
                self.after(for_, Event::Fault(Fault::StoreUp));
            }
            Fault::StoreUp => {
                self.store.up = true;
                self.record(Fact::Mended);
            }
            Fault::Zombie { partition, for_ } => self.two_owners(partition, for_),
            Fault::ClientPause { client, for_ } => {
                self.tally.count("clients paused");
                self.clients[client].paused_until = self.now + for_;
            }
            Fault::ClientSleep { client, for_ } => {
                if let Some(connection) = self.clients[client].connection() {
                    self.tally.count("clients that slept");
                    self.cut_link(connection, true);
                    self.client_lost(connection, None);
                    let until = self.now + for_;
                    self.clients[client].sleeps_until(until);
                }
            }
            Fault::LessKept { publications } => {
                self.store.retention = self.store.retention.min(publications);
                self.record_retention();
            }
            Fault::ConnectionCut { client, noticed } => {
                if let Some(connection) = self.clients[client].connection() {
                    self.tally.count(if noticed { "connections cut" } else { "connections cut silently" });
                    self.cut_link(connection, noticed);
                }
            }
        }
    }

    fn cut(&mut self, from: Node, to: Node, both: bool, for_: Time) {
        if from == to {
            return;
        }
        self.tally.count("links cut");
        self.record(Fact::Broken);
        self.network.cuts.insert((from, to));
        if both {
            self.network.cuts.insert((to, from));
        }
        self.after(for_, Event::Fault(Fault::Mend { from, to }));
    }

    fn crash_edge(&mut self, edge: usize, for_: Time) {
        if self.edges[edge].down {
            return;
        }
        self.tally.count("edges crashed");
        if self.edge_is_recovering(edge) {
            self.tally.count("edges crashed in mid-recovery");
        }
        self.reads_are_hindered(edge);
        self.record(Fact::EdgeGone { edge });
        self.edges[edge].crash();
        let of_edge = |link: &super::Link| link.edge == edge && link.alive;
        let connections: Vec<_> =
            self.links.iter().filter(|(_, link)| of_edge(link)).map(|(connection, _)| *connection).collect();
        for connection in connections {
            self.cut_link(connection, true);
        }
        let incarnation = self.edges[edge].incarnation;
        self.after(for_, Event::Edge(edge, incarnation, EdgeStep::Start));
    }

    pub(super) fn crash_core(&mut self, core: usize, for_: Time) {
        if self.cores[core].down {
            return;
        }
        self.tally.count("cores crashed");
        if self.page_is_awaited() {
            self.tally.count("cores crashed in mid-recovery");
        }
        if self.cores[core].has_unpersisted() {
            self.tally.count("cores crashed in mid-publish");
        }
        self.record(Fact::Broken);
        self.cores[core].crash();
        let (detected, incarnation) = (self.random.between(100, 500), self.cores[core].incarnation);
        self.after(detected, Event::Rebalance);
        self.after(for_, Event::Core(core, incarnation, CoreStep::Start));
    }

    fn crash_log(&mut self, for_: Time) {
        if !self.log.up {
            return;
        }
        self.tally.count("logs crashed");
        self.record(Fact::Broken);
        let random = &mut self.random;
        let lost = self.log.crash(|buffered| random.below(buffered + 1));
        self.tally.add("records lost before their sync", lost.len() as u64);
        for record in lost {
            // Ingest learns that the append failed, not whether the record was kept.
            if let (Some(reply), true) = (record.reply, self.random.chance(500)) {
                let error = skywave_protocol::WireError::new(ErrorCode::Timeout, "the log went down");
                self.core_reply(0, &reply, Err(error));
            }
        }
        self.after(for_, Event::Fault(Fault::LogStart));
    }

    fn two_owners(&mut self, partition: u32, for_: Time) {
        let old: Vec<usize> = self.assigned[partition as usize].iter().copied().collect();
        let alive: Vec<usize> =
            (0..self.cores.len()).filter(|core| !self.cores[*core].down && !old.contains(core)).collect();
        if let (Some(new), Some(old)) = (self.random.pick(&alive).copied(), old.first().copied()) {
            self.tally.count("partitions with two owners");
            // Until both have found out, one of them may answer that it is not there yet.
            self.record(Fact::Broken);
            self.assign(new, partition);
            self.after(for_, Event::Revoke(old, partition));
        }
    }

    /// Ends every fault. From here on the system must recover unaided.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.network.calm();
        self.log.doomed = None;
        for core in &mut self.cores {
            (core.doomed, core.doomed_in_read) = (None, None);
        }
        self.store.up = true;
        self.log.up = true;
        self.log.sync_at = Some(self.now + 1);
        let incarnation = self.log.incarnation;
        self.after(1, Event::LogSync(incarnation));
        for edge in 0..self.edges.len() {
            let incarnation = self.edges[edge].incarnation;
            self.edges[edge].draining = false;
            if self.edges[edge].down {
                self.edge_step(edge, incarnation, EdgeStep::Start);
            } else if self.edges[edge].paused {
                self.edge_step(edge, incarnation, EdgeStep::Resume);
            }
        }
        for core in 0..self.cores.len() {
            let incarnation = self.cores[core].incarnation;
            if self.cores[core].down {
                self.core_step(core, incarnation, CoreStep::Start);
            } else if self.cores[core].paused {
                self.core_step(core, incarnation, CoreStep::Resume);
            }
        }
        self.rebalance();
        self.clients_heal();
        self.record(Fact::Healed);
    }
}

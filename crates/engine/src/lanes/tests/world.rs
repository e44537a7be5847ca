//! Workers, a bus and cores in virtual time, with faults by a seed. What counts is the log: the first copy of whatever has a
//! message id, and every copy of what has none.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;

const WORKERS: usize = 2;
const CHANNELS: u64 = 3;
const TICK_MS: Millis = 50;
/// Until then every core is heard, for there is nothing to see before.
const WARM_MS: Millis = 1_000;
/// Publishing and faults go on for so long; then everything must come to an end.
const BUSY_MS: Millis = 12_000;
const LIMIT_MS: Millis = 60_000;
/// An unanswered request is repeated so often; one without an id is given up after twenty of these.
const REPEAT_MS: Millis = 1_000;
/// But no more of a worker's at a time than this, or a slow core would never catch up.
const REPEATS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Faults {
    All,
    JoinsAndLeaves,
    Loss,
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }
}

#[derive(Clone, Copy)]
enum Message {
    Publish { worker: usize, request: u64, place: Option<(u64, u64)> },
    Check { worker: usize, link: u64, next: u64 },
}

enum Answer {
    Published(u64),
    Missing { link: u64, number: u64 },
}

struct Core {
    name: String,
    receiver: Receiver,
    inbox: VecDeque<Message>,
    frozen_until: Millis,
    /// When it says that it has gone.
    leaves: Option<Millis>,
}

struct Worker {
    lanes: Lanes,
    reply: Subject,
    answers: VecDeque<Answer>,
    /// Channel, whether it has an id, and when it was published or repeated last.
    open: BTreeMap<u64, (ChannelName, bool, Millis, Millis)>,
    published: Vec<(u64, ChannelName, bool)>,
}

struct World {
    random: Random,
    faults: Faults,
    now: Millis,
    loss: u64,
    cores: Vec<Core>,
    born: usize,
    workers: Vec<Worker>,
    next: u64,
    log: Vec<(usize, u64)>,
}

pub(super) fn run(seed: u64, faults: Faults) {
    let mut random = Random(seed);
    let loss = if faults == Faults::JoinsAndLeaves { 0 } else { random.below(15) };
    let worker = |index: usize| Worker {
        lanes: Lanes::new(0, "main", CONFIG),
        reply: Subject::reply(&NodeId::parse("edge").unwrap(), index as u32),
        answers: VecDeque::new(),
        open: BTreeMap::new(),
        published: Vec::new(),
    };
    let workers = (0..WORKERS).map(worker).collect();
    let mut world =
        World { random, faults, now: 0, loss, cores: Vec::new(), born: 0, workers, next: 1, log: Vec::new() };
    for _ in 0..=world.random.below(3) {
        world.join();
    }
    while world.now < BUSY_MS || world.workers.iter().any(|worker| !worker.open.is_empty()) {
        assert!(world.now < LIMIT_MS, "something is never answered");
        world.step();
    }
    world.judge();
}

impl World {
    fn join(&mut self) {
        self.born += 1;
        let name = format!("core-{}", self.born);
        let (receiver, inbox) = (Receiver::default(), VecDeque::new());
        self.cores.push(Core { name, receiver, inbox, frozen_until: 0, leaves: None });
    }

    fn step(&mut self) {
        self.now += TICK_MS;
        if self.now < BUSY_MS {
            if self.now > WARM_MS {
                self.break_something();
            }
            for worker in 0..WORKERS {
                for _ in 0..self.random.below(4) {
                    self.publish(worker);
                }
            }
        } else {
            self.loss = 0;
        }
        self.beat();
        for core in 0..self.cores.len() {
            self.serve(core);
        }
        for worker in 0..WORKERS {
            self.answer(worker);
            self.tick(worker);
        }
    }

    fn break_something(&mut self) {
        let dice = self.random.below(200);
        let up = self.cores.iter().filter(|core| core.leaves.is_none()).count();
        let victim = self.random.below(self.cores.len().max(1) as u64) as usize;
        let (all, moves) = (self.faults == Faults::All, self.faults != Faults::Loss);
        match dice {
            0 | 1 if moves && up < 5 => self.join(),
            2 if moves && up > 1 && self.cores[victim].leaves.is_none() => {
                self.cores[victim].leaves = Some(self.now + 500);
                self.say(victim, CorePhase::Leaving);
            }
            3 | 4 if all && up > 1 => _ = self.cores.remove(victim),
            5 | 6 if all => {
                let length = self.random.below(8_000);
                self.cores[victim].frozen_until = self.now + length;
            }
            _ => {}
        }
    }

    fn publish(&mut self, worker: usize) {
        let name = channel(&format!("chat:{}", self.random.below(CHANNELS)));
        let has_id = self.random.percent(70);
        let (request, now) = (self.next, self.now);
        self.next += 1;
        let it = &mut self.workers[worker];
        it.published.push((request, name.clone(), has_id));
        it.open.insert(request, (name.clone(), has_id, now, now));
        it.lanes.publish(now, request, &name, has_id);
        self.send(worker);
    }

    /// What a worker has to say goes over the bus.
    fn send(&mut self, worker: usize) {
        while let Some(output) = self.workers[worker].lanes.poll_output() {
            let (subject, message) = match output {
                LanesOutput::Send { request, way: Way::Anyone } => {
                    (None, Message::Publish { worker, request, place: None })
                }
                LanesOutput::Send { request, way: Way::Link { subject, link, number } } => {
                    (Some(subject), Message::Publish { worker, request, place: Some((link, number)) })
                }
                LanesOutput::Check { subject, link, next } => {
                    (Some(subject), Message::Check { worker, link, next })
                }
            };
            let subject = subject.expect("everybody hears of a core before it loses its patience");
            if self.random.percent(self.loss) {
                continue;
            }
            let name = subject.as_str().rsplit('.').next().unwrap();
            if let Some(core) = self.cores.iter_mut().find(|core| core.name == name) {
                core.inbox.push_back(message);
            }
        }
    }

    fn beat(&mut self) {
        for core in (0..self.cores.len()).rev() {
            let it = &self.cores[core];
            if it.frozen_until > self.now {
                continue;
            }
            if it.leaves.is_some_and(|at| at <= self.now) {
                // It has taken in what has reached it.
                while !self.cores[core].inbox.is_empty() {
                    self.serve(core);
                }
                self.say(core, CorePhase::Gone);
                self.cores.remove(core);
            } else if self.now.is_multiple_of(500) && it.leaves.is_none() {
                self.say(core, CorePhase::Serving);
            }
        }
    }

    /// What it says it owns is now this and now that, and of some partitions several are sure.
    fn say(&mut self, core: usize, phase: CorePhase) {
        let owned: Vec<u32> = (0..4).filter(|_| self.random.percent(40)).collect();
        for worker in 0..WORKERS {
            // A core that is not heard is given up, which is not this one's fault.
            if self.faults == Faults::All && self.now > WARM_MS && self.random.percent(self.loss) {
                continue;
            }
            let beat = beat(&self.cores[core].name, phase);
            let beat = CoreBeat { partitions: 4, owned: owned.clone(), ..beat };
            self.workers[worker].lanes.beat(self.now, &beat);
            self.send(worker);
        }
    }

    fn serve(&mut self, core: usize) {
        if self.cores[core].frozen_until > self.now {
            return;
        }
        for _ in 0..self.random.below(20) {
            let Some(message) = self.cores[core].inbox.pop_front() else { return };
            let receiver = &mut self.cores[core].receiver;
            match message {
                Message::Publish { worker, request, place } => {
                    let turn = place.map_or(Turn::Take, |(link, number)| {
                        receiver.numbered(self.now, &self.workers[worker].reply, link, number)
                    });
                    match (turn, place) {
                        (Turn::Take, _) => {
                            self.log.push((worker, request));
                            self.reply(worker, Answer::Published(request));
                        }
                        (Turn::Missing(number), Some((link, _))) => {
                            self.reply(worker, Answer::Missing { link, number });
                        }
                        _ => {}
                    }
                }
                Message::Check { worker, link, next } => {
                    let missing = receiver.check(self.now, &self.workers[worker].reply, link, next);
                    if let Some(number) = missing {
                        self.reply(worker, Answer::Missing { link, number });
                    }
                }
            }
        }
    }

    fn reply(&mut self, worker: usize, answer: Answer) {
        // An answer to what cannot be repeated comes: else it would look as if it were lost.
        let kept = matches!(&answer, Answer::Published(request)
            if self.workers[worker].open.get(request).is_some_and(|(_, has_id, ..)| !has_id));
        if kept || !self.random.percent(self.loss) {
            self.workers[worker].answers.push_back(answer);
        }
    }

    fn answer(&mut self, worker: usize) {
        for _ in 0..self.random.below(30) {
            let it = &mut self.workers[worker];
            match it.answers.pop_front() {
                None => return,
                Some(Answer::Published(request)) => {
                    it.open.remove(&request);
                    it.lanes.ended(self.now, request);
                }
                Some(Answer::Missing { link, number }) => _ = it.lanes.missing(self.now, link, number),
            }
            self.send(worker);
        }
    }

    fn tick(&mut self, worker: usize) {
        let now = self.now;
        let it = &mut self.workers[worker];
        it.lanes.tick(now);
        let (mut over, mut repeats) = (Vec::new(), 0);
        for (request, (_, has_id, published, repeated)) in &mut it.open {
            if *has_id && *repeated + REPEAT_MS <= now && repeats < REPEATS {
                *repeated = now;
                repeats += 1;
                it.lanes.repeat(now, *request);
            } else if !*has_id && *published + 20 * REPEAT_MS <= now {
                over.push(*request);
            }
        }
        for request in over {
            it.open.remove(&request);
            it.lanes.ended(now, request);
        }
        self.send(worker);
    }

    fn judge(&self) {
        for (index, worker) in self.workers.iter().enumerate() {
            assert!(worker.lanes.lanes.is_empty() && worker.lanes.requests.is_empty(), "nothing is left");
            let log = self.log.iter().filter(|(from, _)| *from == index).map(|(_, request)| *request);
            let (mut seen, mut first) = (BTreeSet::new(), Vec::new());
            for request in log {
                let (_, _, has_id) = worker.published.iter().find(|(it, ..)| *it == request).unwrap();
                let new = seen.insert(request);
                assert!(new || *has_id, "{request} has no id and came twice");
                if new && (*has_id || self.faults != Faults::All) {
                    first.push(request);
                }
            }
            for n in 0..CHANNELS {
                let name = channel(&format!("chat:{n}"));
                let mine = worker
                    .published
                    .iter()
                    .filter(|(_, it, has_id)| *it == name && (*has_id || self.faults != Faults::All));
                let sent: Vec<u64> = mine.map(|(request, ..)| *request).collect();
                let logged: Vec<u64> = first.iter().copied().filter(|it| sent.contains(it)).collect();
                assert_eq!(logged, sent, "the log has {name} of worker {index} in another order");
            }
        }
    }
}

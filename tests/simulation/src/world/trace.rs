//! The run's fingerprint: every event and fact goes into one hash, and is printed if asked for.

use std::fmt::Debug;

use super::{Event, Message, Time};
use crate::history::Fact;

#[derive(Debug)]
pub(super) struct Trace {
    digest: u64,
    events: u64,
    print: bool,
}

impl Trace {
    pub(super) fn new(print: bool) -> Self {
        Self { digest: 0xcbf2_9ce4_8422_2325, events: 0, print }
    }

    pub(super) fn event(&mut self, time: Time, event: &Event) {
        self.events += 1;
        self.mix(time);
        let (kind, detail) = summary(event);
        self.mix(kind);
        self.mix(detail);
        self.print(time, event);
    }

    /// Facts reach the digest once, at the end, through [`Trace::digest`].
    pub(super) fn fact(&mut self, time: Time, fact: &Fact) {
        self.print(time, fact);
    }

    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// The fingerprint so far, with `facts` mixed in as text.
    pub(super) fn digest(&self, facts: &impl Debug) -> u64 {
        format!("{facts:?}").bytes().fold(self.digest, |hash, byte| step(hash, u64::from(byte)))
    }

    #[expect(clippy::print_stdout, reason = "asked for with --trace")]
    fn print(&self, time: Time, what: &impl Debug) {
        if self.print {
            let line: String = format!("{what:?}").chars().take(240).collect();
            println!("{time:>6} {line}");
        }
    }

    fn mix(&mut self, value: u64) {
        self.digest = step(self.digest, value);
    }
}

fn step(hash: u64, value: u64) -> u64 {
    (hash ^ value).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
}

fn summary(event: &Event) -> (u64, u64) {
    match event {
        Event::Bus(_, incarnation, message) => (
            match **message {
                Message::Live(_) => 1,
                Message::Request(_) => 2,
                Message::Reply(_) => 3,
            },
            u64::from(*incarnation),
        ),
        Event::Edge(edge, ..) => (4, *edge as u64),
        Event::Core(core, ..) => (5, *core as u64),
        Event::LogSync(incarnation) => (6, u64::from(*incarnation)),
        Event::ClientTick(client) => (7, *client as u64),
        Event::Up(connection, _) => (8, *connection),
        Event::Down(connection) => (9, *connection),
        Event::Lost(connection) => (10, *connection),
        Event::Fault(_) => (11, 0),
        Event::Heal => (12, 0),
        Event::Rebalance => (13, 0),
        Event::Revoke(core, partition) => (14, (*core as u64) << 32 | u64::from(*partition)),
    }
}

//! Deciding joins: which subscribers can be told their position and what they missed, and what must be read for the others.

use std::collections::VecDeque;
use std::sync::Arc;

use skywave_protocol::message::{GapReason, Recovery};
use skywave_protocol::{Offset, Position, Publication};

use super::channel::unavailable;
use super::follower::{Follower, Known};
use super::members::{Crew, Waiter};
use super::output::{Decided, Joins};
use super::recovery::Collected;
use super::{Context, HubConfig, HubOutput};

/// A position beyond the head is looked for this often before the client is told that the log does not hold it: the core
/// that answered may have been behind. With the doubling waits in between that takes most of a second.
const BEYOND_READS: u8 = 5;

enum Verdict {
    /// It gets everything after the offset.
    Joins { after: Offset, recovery: Option<Recovery> },
    /// Core must confirm first that the position does not exist (any more).
    Probe,
    /// What it missed must be read.
    Recover { after: Offset },
}

/// What the undecided joins need.
#[derive(Default)]
pub(super) struct Wants {
    pub(super) probe: bool,
    /// The lowest position to be recovered from.
    pub(super) recover_from: Option<Offset>,
}

/// Where a first read starts, while neither head nor epoch is known. `None`: nobody wants to recover.
pub(super) fn lowest(waiting: &[Waiter], config: &HubConfig) -> Option<Offset> {
    let offsets = waiting.iter().filter_map(|waiter| waiter.recover.as_ref()).map(|position| position.offset);
    offsets.min().map(|lowest| lowest.saturating_sub(Offset::from(config.recovery_margin)))
}

impl Follower {
    /// Makes members of all whose join can be decided now.
    pub(super) fn resolve(&mut self, context: &mut Context<'_>, crew: &mut Crew) {
        let Some(known) = &self.known else { return };
        let collected = self.work.as_ref().and_then(|work| work.collected.as_ref());
        if !crew.waiting.is_empty() {
            admit(context, crew, known, collected, |waiter| verdict(known, collected, waiter));
        }
        self.fold_collected(context);
    }

    pub(super) fn wants(&self, crew: &Crew) -> Wants {
        let mut wants = Wants::default();
        let Some(known) = &self.known else { return wants };
        for waiter in &crew.waiting {
            match verdict(known, None, waiter) {
                Verdict::Joins { .. } => {}
                Verdict::Probe => wants.probe = true,
                Verdict::Recover { after } => {
                    wants.recover_from = Some(wants.recover_from.map_or(after, |lowest| lowest.min(after)));
                }
            }
        }
        wants
    }

    /// How often a position beyond the head has been looked for in vain (the least of all who wait for one).
    pub(super) fn fruitless_reads(&self, crew: &Crew) -> Option<u8> {
        let known = self.known.as_ref()?;
        let probing = |waiter: &&Waiter| matches!(verdict(known, None, waiter), Verdict::Probe);
        crew.waiting.iter().filter(probing).map(|waiter| waiter.reads).filter(|reads| *reads > 0).min()
    }

    /// History could not be read: everybody gets what there is, and is told what there is not.
    pub(super) fn give_up(&mut self, context: &mut Context<'_>, crew: &mut Crew) {
        if self.known.is_none() {
            self.adopt_heard(context);
        }
        let Some(known) = &self.known else {
            return fail(context, crew);
        };
        let (head, floor) = (known.ring.head(), known.ring.floor());
        let Some(work) = &mut self.work else { return };
        work.collected = None;
        work.recheck = false;
        admit(context, crew, known, None, |waiter| match verdict(known, None, waiter) {
            Verdict::Recover { after } => {
                let reason = GapReason::Unavailable;
                let recovery = Some(Recovery::Gap { from: after + 1, to: floor, reason });
                Verdict::Joins { after: floor, recovery }
            }
            verdict => verdict,
        });
        // Those left hold a position that nobody can confirm or deny.
        fail(context, crew);
        let to = work.pending.first().map_or(work.target, |first| first - 1);
        if to > head && !crew.members.is_empty() {
            self.skip(context, crew, to, GapReason::Unavailable);
        }
    }

    /// Takes the newest position heard of on the bus for the head, because history says nothing.
    fn adopt_heard(&mut self, context: &Context<'_>) {
        let Some(work) = &mut self.work else { return };
        let Some(heard) = work.heard.take() else { return };
        let mut ring = super::ring::Ring::starting_after(match work.pending.first() {
            Some(first) => first - 1,
            None => heard.offset,
        });
        while let Some(next) = work.pending.next_after(ring.head()) {
            ring.push(next, context.config);
        }
        work.target = work.target.max(heard.offset);
        self.known = Some(Known { epoch: heard.epoch, ring });
    }

    /// What was recovered once serves those who come next.
    fn fold_collected(&mut self, context: &Context<'_>) {
        let (Some(known), Some(work)) = (&mut self.known, &mut self.work) else { return };
        let floor = known.ring.floor();
        if let Some(collected) = work.collected.take_if(|collected| collected.end() >= floor) {
            for publication in collected.between(collected.start(), floor).rev() {
                if !known.ring.push_older(publication, context.config) {
                    break;
                }
            }
        }
    }
}

fn verdict(known: &Known, collected: Option<&Collected>, waiter: &Waiter) -> Verdict {
    let (head, floor) = (known.ring.head(), known.ring.floor());
    let Some(position) = &waiter.recover else {
        return Verdict::Joins { after: head, recovery: None };
    };
    let after = position.offset;
    let gap =
        |from, to, reason| Verdict::Joins { after: to, recovery: Some(Recovery::Gap { from, to, reason }) };
    if position.epoch != known.epoch {
        return if waiter.reads > 0 { gap(1, head, GapReason::Epoch) } else { Verdict::Probe };
    }
    if after > head {
        if waiter.reads < BEYOND_READS {
            return Verdict::Probe;
        }
        let recovery = Recovery::Gap { from: head + 1, to: after, reason: GapReason::Failover };
        return Verdict::Joins { after: head, recovery: Some(recovery) };
    }
    if after >= floor {
        return Verdict::Joins { after, recovery: Some(Recovery::Exact) };
    }
    match collected {
        Some(collected) if collected.end() >= floor && after >= collected.start() => {
            Verdict::Joins { after, recovery: Some(Recovery::Exact) }
        }
        Some(collected) if collected.end() >= floor => match collected.lost() {
            Some(reason) => gap(after + 1, collected.start(), reason),
            None => Verdict::Recover { after },
        },
        _ => Verdict::Recover { after },
    }
}

/// Applies the verdicts: members are made of those that can join, the others go on waiting.
fn admit(
    context: &mut Context<'_>,
    crew: &mut Crew,
    known: &Known,
    collected: Option<&Collected>,
    verdict: impl Fn(&Waiter) -> Verdict,
) {
    let (head, floor) = (known.ring.head(), known.ring.floor());
    let mut lowest = head;
    let mut subscribers = VecDeque::new();
    crew.waiting.retain(|waiter| {
        let Verdict::Joins { after, recovery } = verdict(waiter) else { return true };
        lowest = lowest.min(after);
        // Invariant: a replay is bounded by `recovery_max` and the ring.
        let missed = (head - after) as usize;
        crew.members.insert(waiter.subscriber);
        subscribers.push_back(Decided { subscriber: waiter.subscriber, recovery, missed });
        false
    });
    if subscribers.is_empty() {
        return;
    }
    if crew.waiting.is_empty() {
        crew.waiting = Vec::new();
    }
    let older = collected.into_iter().flat_map(|collected| collected.between(lowest, floor));
    let window: Arc<[Arc<Publication>]> = older.chain(known.ring.after(lowest)).cloned().collect();
    assert_eq!(window.len() as Offset, head - lowest, "what was missed has no hole");
    let position = Some(Position { epoch: known.epoch.clone(), offset: head });
    context.out.join(Joins { channel: context.channel.clone(), position, window, subscribers });
}

fn fail(context: &mut Context<'_>, crew: &mut Crew) {
    for waiter in std::mem::take(&mut crew.waiting) {
        context.out.push(HubOutput::JoinFailed {
            subscriber: waiter.subscriber,
            channel: context.channel.clone(),
            error: unavailable(),
        });
    }
}

//! Deciding joins: which subscribers can be told their position, and what must be read for the others.

use std::collections::VecDeque;
use std::sync::Arc;

use skywave_protocol::message::{GapReason, Recovery};
use skywave_protocol::{Offset, Position, Publication};

use super::channel::unavailable;
use super::follower::{Follower, Known, Purpose};
use super::members::{Crew, Waiter};
use super::output::{Decided, Joins};
use super::page::Page;
use super::{Context, HubConfig, HubOutput};

/// A position beyond the head is looked for this often before the client is told that the log does not hold it: the core
/// that answered may have been behind. With the doubling waits in between that takes most of a second.
const BEYOND_READS: u8 = 5;

enum Verdict {
    /// It gets everything after the offset: with the answer if the ring has it, else page by page.
    Joins { after: Offset, recovery: Option<Recovery> },
    /// Core must confirm first that the position does not exist (any more).
    Probe,
    /// Whether what it missed is still kept must be found out.
    Recover { after: Offset },
}

/// What the undecided joins need.
#[derive(Default)]
pub(super) struct Wants {
    pub(super) probe: bool,
    /// Where a page is to begin.
    pub(super) recover_from: Option<Offset>,
}

/// Where a first read starts, while neither head nor epoch is known. `None`: nobody wants to recover.
pub(super) fn first_read(waiting: &[Waiter], config: &HubConfig) -> Option<Offset> {
    let offsets = waiting.iter().filter_map(|waiter| waiter.recover.as_ref()).map(|position| position.offset);
    best_start(offsets, config)
}

/// The lowest position that one page serves together with the highest one, less the margin: most come back after the same
/// short while. Those further behind are told where they stand by the same page, and get pages of their own.
fn best_start(offsets: impl Iterator<Item = Offset> + Clone, config: &HubConfig) -> Option<Offset> {
    let highest = offsets.clone().max()?;
    let reach = Offset::from(config.page.saturating_sub(config.recovery_margin).max(1));
    let lowest = offsets.filter(|offset| highest - offset < reach).min()?;
    Some(lowest.saturating_sub(Offset::from(config.recovery_margin)))
}

impl Follower {
    /// Makes members of all whose join can be decided now.
    pub(super) fn resolve(&mut self, context: &mut Context<'_>, crew: &mut Crew) {
        let Some(known) = &self.known else { return };
        if !crew.waiting.is_empty() {
            let page = self.page.as_deref();
            admit(context, crew, known, |waiter| verdict(known, page, waiter));
        }
    }

    pub(super) fn wants(&self, context: &Context<'_>, crew: &Crew) -> Wants {
        let Some(known) = &self.known else { return Wants::default() };
        let page = self.page.as_deref();
        let verdicts = crew.waiting.iter().map(|waiter| verdict(known, page, waiter));
        let recovering = verdicts.clone().filter_map(|verdict| match verdict {
            Verdict::Recover { after } => Some(after),
            _ => None,
        });
        Wants {
            probe: verdicts.clone().any(|verdict| matches!(verdict, Verdict::Probe)),
            recover_from: best_start(recovering, context.config),
        }
    }

    /// How often a position beyond the head has been looked for in vain (the least of all who wait for one).
    pub(super) fn fruitless_reads(&self, crew: &Crew) -> Option<u8> {
        let known = self.known.as_ref()?;
        let probing = |waiter: &&Waiter| matches!(verdict(known, None, waiter), Verdict::Probe);
        crew.waiting.iter().filter(probing).map(|waiter| waiter.reads).filter(|reads| *reads > 0).min()
    }

    /// Reads of one kind have failed again and again: who waited for them gets what there is, and is told what there is not.
    pub(super) fn give_up(&mut self, context: &mut Context<'_>, crew: &mut Crew, purpose: Purpose) {
        if self.known.is_none() {
            self.adopt_heard(context);
        }
        let Some(known) = &self.known else {
            return fail(context, crew);
        };
        let hole = self.work.as_mut().and_then(|work| work.pass_hole(purpose));
        match (purpose, hole) {
            (Purpose::Page, Some(hole)) => return self.go_on_behind(context, crew, hole),
            (Purpose::Page, None) => {
                admit_without_history(context, crew, known, self.page.as_deref());
                return self.go_on_without_history(context, crew);
            }
            _ => {}
        }
        let Some(work) = &mut self.work else { return };
        work.recheck = false;
        let head = known.ring.head();
        let hole = hole.filter(|(from, _)| *from == head).map(|(_, next)| next);
        let resumes_at = [hole, work.pending.first()].into_iter().flatten().min();
        let to = resumes_at.map_or(work.target, |next| next - 1);
        if to > head && !crew.nobody_is_live() {
            self.skip(context, crew, to, GapReason::Unavailable);
        }
        self.fail_probes(context, crew);
    }

    /// Nobody can confirm or deny the positions of those who wait for it.
    fn fail_probes(&self, context: &mut Context<'_>, crew: &mut Crew) {
        let Some(known) = &self.known else { return };
        let page = self.page.as_deref();
        let probes = |waiter: &Waiter| matches!(verdict(known, page, waiter), Verdict::Probe);
        let (failed, waiting) = std::mem::take(&mut crew.waiting).into_iter().partition(probes);
        crew.waiting = failed;
        fail(context, crew);
        crew.waiting = waiting;
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
}

fn verdict(known: &Known, page: Option<&Page>, waiter: &Waiter) -> Verdict {
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
    if after >= floor || page.is_some_and(|page| page.follows(after)) {
        return Verdict::Joins { after, recovery: Some(Recovery::Exact) };
    }
    match waiter.first_kept {
        Some(first) if first <= after + 1 => Verdict::Joins { after, recovery: Some(Recovery::Exact) },
        Some(first) => gap(after + 1, (first - 1).min(floor), GapReason::Retention),
        None => Verdict::Recover { after },
    }
}

/// Applies the verdicts: members are made of those that can join, the others go on waiting.
fn admit(context: &mut Context<'_>, crew: &mut Crew, known: &Known, verdict: impl Fn(&Waiter) -> Verdict) {
    let (head, floor) = (known.ring.head(), known.ring.floor());
    let mut lowest = head;
    let mut subscribers = VecDeque::new();
    let mut waiting = std::mem::take(&mut crew.waiting);
    waiting.retain(|waiter| {
        let Verdict::Joins { after, recovery } = verdict(waiter) else { return true };
        let subscriber = waiter.subscriber;
        let behind = after < floor;
        // Invariant: what is handed over at once is bounded by the ring.
        let missed = if behind { 0 } else { (head - after) as usize };
        if behind {
            crew.enter_behind(subscriber, after);
        } else {
            lowest = lowest.min(after);
            crew.enter(subscriber);
        }
        subscribers.push_back(Decided { subscriber, recovery, missed, behind });
        false
    });
    if !waiting.is_empty() {
        crew.waiting = waiting;
    }
    if subscribers.is_empty() {
        return;
    }
    let window: Arc<[Arc<Publication>]> = known.ring.after(lowest).cloned().collect();
    assert_eq!(window.len() as Offset, head - lowest, "what was missed has no hole");
    let position = Some(Position { epoch: known.epoch.clone(), offset: head });
    context.out.join(Joins { channel: context.channel.clone(), position, window, subscribers });
}

/// Makes members of those whose past cannot be read: they get what the ring has.
fn admit_without_history(context: &mut Context<'_>, crew: &mut Crew, known: &Known, page: Option<&Page>) {
    let floor = known.ring.floor();
    admit(context, crew, known, |waiter| match verdict(known, page, waiter) {
        Verdict::Recover { after } => {
            let reason = GapReason::Unavailable;
            let recovery = Some(Recovery::Gap { from: after + 1, to: floor, reason });
            Verdict::Joins { after: floor, recovery }
        }
        verdict => verdict,
    });
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

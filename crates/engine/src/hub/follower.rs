//! Follows the log of one durable channel: what is known (epoch, head, recent publications), what is missing, and the one
//! history read that is under way. How answers are taken is in `answer`, how joins are decided in `resolve`.

use std::sync::Arc;

use skywave_protocol::inner::HistoryAnswer;
use skywave_protocol::message::{GapReason, HistoryQuery};
use skywave_protocol::{Epoch, Offset, Position, Publication, WireError};

use super::members::Crew;
use super::pending::Pending;
use super::recovery::Collected;
use super::ring::Ring;
use super::{Context, FetchId, HubOutput};
use crate::time::{Millis, earlier};

/// An idle channel is `known` and nothing else.
#[derive(Debug, Default)]
pub(super) struct Follower {
    pub(super) known: Option<Known>,
    pub(super) work: Option<Box<Work>>,
}

#[derive(Debug)]
pub(super) struct Known {
    pub(super) epoch: Epoch,
    /// Its head is the newest offset that members have been given.
    pub(super) ring: Ring,
}

/// What a channel carries only while something is missing.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) read: Option<Read>,
    /// Reads that failed in a row.
    pub(super) failures: u32,
    pub(super) retry_at: Option<Millis>,
    /// Not before this: another look whether a position beyond the head exists.
    pub(super) probe_at: Option<Millis>,
    /// Highest offset heard of, in the known epoch.
    pub(super) target: Offset,
    pub(super) pending: Pending,
    pub(super) collected: Option<Collected>,
    /// A position of another epoch was heard of: history must say which one counts. What follows it is wanted.
    pub(super) suspect: Option<Position>,
    /// While nothing is known: the newest position heard of.
    pub(super) heard: Option<Position>,
    /// Look once whether something was published that did not come.
    pub(super) recheck: bool,
}

#[derive(Debug)]
pub(super) struct Read {
    pub(super) id: FetchId,
    pub(super) purpose: Purpose,
    pub(super) after: Offset,
    deadline: Millis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Only the head is wanted (the page is one publication, newest first).
    Head,
    /// What members lack, from the head on.
    Forward,
    /// What joining subscribers missed.
    Recovery,
    /// Which epoch counts.
    Verify,
}

impl Follower {
    pub(super) fn is_busy(&self) -> bool {
        self.work.is_some()
    }

    pub(super) fn publication(
        &mut self,
        context: &mut Context<'_>,
        crew: &mut Crew,
        epoch: Epoch,
        publication: Arc<Publication>,
    ) {
        let Some(known) = &mut self.known else {
            return self.hear(context, crew, epoch, publication);
        };
        if known.epoch != epoch {
            return self.doubt(crew, Position { epoch, offset: publication.offset - 1 });
        }
        let head = known.ring.head();
        if publication.offset <= head {
            return;
        }
        if publication.offset == head + 1 {
            return self.advance(context, crew, publication);
        }
        if crew.members.is_empty() {
            // Nobody has to get what is missing.
            known.ring = Ring::starting_after(publication.offset - 1);
            return self.advance(context, crew, publication);
        }
        let work = self.work.get_or_insert_default();
        work.target = work.target.max(publication.offset);
        work.pending.insert(publication, context.config);
    }

    pub(super) fn head(&mut self, crew: &mut Crew, position: Position) {
        let Some(known) = &mut self.known else {
            return self.heard(crew, position);
        };
        if known.epoch != position.epoch {
            return self.doubt(crew, position);
        }
        if position.offset <= known.ring.head() {
            return;
        }
        if crew.members.is_empty() {
            known.ring = Ring::starting_after(position.offset);
            return;
        }
        let work = self.work.get_or_insert_default();
        work.target = work.target.max(position.offset);
    }

    /// The interest stands (again).
    pub(super) fn recheck(&mut self) {
        if self.known.is_some() {
            self.work.get_or_insert_default().recheck = true;
        }
    }

    pub(super) fn timeout(&mut self, context: &mut Context<'_>, crew: &mut Crew) {
        let Some(work) = &mut self.work else { return };
        work.retry_at = work.retry_at.filter(|at| *at > context.now);
        work.probe_at = work.probe_at.filter(|at| *at > context.now);
        if let Some(read) = work.read.take_if(|read| read.deadline <= context.now) {
            context.out.end_fetch(read.id);
            self.failed(context, crew);
        }
    }

    pub(super) fn deadline(&self) -> Option<Millis> {
        let work = self.work.as_ref()?;
        match &work.read {
            Some(read) => Some(read.deadline),
            None => earlier(work.retry_at, work.probe_at),
        }
    }

    /// Forgets the read under way and everything that was wanted.
    pub(super) fn abandon(&mut self, context: &mut Context<'_>) {
        if let Some(read) = self.work.take().and_then(|work| work.read) {
            context.out.end_fetch(read.id);
        }
    }

    pub(super) fn history(
        &mut self,
        context: &mut Context<'_>,
        crew: &mut Crew,
        id: FetchId,
        result: Result<HistoryAnswer, WireError>,
    ) {
        let Some(work) = &mut self.work else { return };
        let Some(read) = work.read.take_if(|read| read.id == id) else { return };
        let progress = match result {
            Ok(answer) if answer.gap != Some(GapReason::Unavailable) => {
                self.answer(context, crew, &read, &answer)
            }
            _ => false,
        };
        if progress {
            if let Some(work) = &mut self.work {
                work.failures = 0;
            }
        } else {
            self.failed(context, crew);
        }
    }

    /// Decides joins that can be decided and starts the read that is needed most, if any.
    pub(super) fn settle(&mut self, context: &mut Context<'_>, crew: &mut Crew) {
        if self.known.is_some() {
            self.resolve(context, crew);
            if crew.members.is_empty() {
                self.skip_ahead();
            }
        }
        let needed = self.needed(context, crew);
        let Some(work) = &mut self.work else { return };
        if work.read.is_some() || work.retry_at.is_some() {
            return;
        }
        match needed {
            Some((purpose, query)) => {
                for waiter in &mut crew.waiting {
                    waiter.asked = true;
                }
                work.recheck &= purpose != Purpose::Forward;
                let deadline = context.now + context.config.fetch_timeout_ms;
                let after = query.after;
                work.read = Some(Read { id: context.out.fetch(query), purpose, after, deadline });
            }
            // Waiting for the next look at a position beyond the head.
            None if work.probe_at.is_some() && !crew.waiting.is_empty() => {}
            None => self.work = None,
        }
    }

    /// Gives the next publication to the members, and those that waited behind it.
    pub(super) fn advance(&mut self, context: &mut Context<'_>, crew: &Crew, publication: Arc<Publication>) {
        let Some(known) = &mut self.known else { return };
        let mut next = Some(publication);
        while let Some(publication) = next {
            known.ring.push(publication.clone(), context.config);
            if !crew.members.is_empty() {
                let (channel, epoch) = (context.channel.clone(), Some(known.epoch.clone()));
                context.out.push(HubOutput::Deliver { channel, epoch, publication });
            }
            next = self.work.as_mut().and_then(|work| work.pending.next_after(known.ring.head()));
        }
    }

    /// Announces that the publications up to `to` will not come, and goes on behind them.
    pub(super) fn skip(&mut self, context: &mut Context<'_>, crew: &Crew, to: Offset, reason: GapReason) {
        let Some(known) = &mut self.known else { return };
        if !crew.members.is_empty() {
            let (channel, epoch) = (context.channel.clone(), known.epoch.clone());
            let from = known.ring.head() + 1;
            context.out.push(HubOutput::Gap { channel, epoch, from, to, reason });
        }
        known.ring = Ring::starting_after(to);
        if let Some(next) = self.work.as_mut().and_then(|work| work.pending.next_after(to)) {
            self.advance(context, crew, next);
        }
    }

    /// Counts a failed read; after enough of them what it was for is given up.
    pub(super) fn failed(&mut self, context: &mut Context<'_>, crew: &mut Crew) {
        let Some(work) = &mut self.work else { return };
        work.failures += 1;
        work.retry_at = Some(context.backoff(work.failures));
        if work.failures >= context.config.attempts {
            work.failures = 0;
            self.give_up(context, crew);
        }
    }

    /// Without members nobody has to get what is missing.
    fn skip_ahead(&mut self) {
        if let (Some(known), Some(work)) = (&mut self.known, &mut self.work)
            && work.target > known.ring.head()
        {
            known.ring = Ring::starting_after(work.target);
            work.pending.clear();
        }
    }

    fn hear(&mut self, context: &mut Context<'_>, crew: &Crew, epoch: Epoch, publication: Arc<Publication>) {
        self.heard(crew, Position { epoch: epoch.clone(), offset: publication.offset });
        if let Some(work) = &mut self.work
            && work.heard.as_ref().is_some_and(|heard| heard.epoch == epoch)
        {
            work.pending.insert(publication, context.config);
        }
    }

    fn heard(&mut self, crew: &Crew, position: Position) {
        if crew.is_empty() {
            return;
        }
        let work = self.work.get_or_insert_default();
        match &mut work.heard {
            Some(heard) if heard.epoch == position.epoch => heard.offset = heard.offset.max(position.offset),
            // Of two epochs neither is known to count; the later message is the better guess.
            _ => {
                work.pending.clear();
                work.heard = Some(position);
            }
        }
    }

    fn doubt(&mut self, crew: &Crew, position: Position) {
        if crew.is_empty() {
            self.known = None;
            return;
        }
        let work = self.work.get_or_insert_default();
        match &mut work.suspect {
            Some(suspect) if suspect.epoch == position.epoch => {
                suspect.offset = suspect.offset.min(position.offset);
            }
            suspect => *suspect = Some(position),
        }
    }

    fn needed(&mut self, context: &Context<'_>, crew: &Crew) -> Option<(Purpose, HistoryQuery)> {
        if crew.is_empty() {
            return None;
        }
        let query = |after, before, limit, reverse| HistoryQuery {
            channel: context.channel.clone(),
            after,
            before,
            limit,
            reverse,
        };
        let page = context.config.page;
        let Some(known) = &self.known else {
            let work = self.work.get_or_insert_default();
            let Some(start) = super::resolve::lowest(&crew.waiting, context.config) else {
                return Some((Purpose::Head, query(0, 0, 1, true)));
            };
            let collected = work.collected.get_or_insert_with(|| Collected::starting_after(start));
            return Some((Purpose::Recovery, query(collected.end(), 0, page, false)));
        };
        let (head, floor) = (known.ring.head(), known.ring.floor());
        if crew.waiting.is_empty() && self.work.is_none() {
            return None;
        }
        let wants = self.wants(crew);
        let work = self.work.get_or_insert_default();
        if let Some(suspect) = &work.suspect {
            return Some((Purpose::Verify, query(suspect.offset, 0, page, false)));
        }
        let probe = wants.probe && work.probe_at.is_none();
        if work.target > head || work.recheck || probe {
            return Some((Purpose::Forward, query(head, 0, page, false)));
        }
        let start = wants.recover_from?;
        let collected = work.collected.get_or_insert_with(|| {
            let mut collected =
                Collected::starting_after(start.saturating_sub(Offset::from(context.config.recovery_margin)));
            collected.limit(head, context.config);
            collected
        });
        let limit = u32::try_from(floor - collected.end()).unwrap_or(page).min(page);
        Some((Purpose::Recovery, query(collected.end(), floor + 1, limit, false)))
    }
}

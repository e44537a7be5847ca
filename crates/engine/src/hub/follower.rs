//! Follows the log of one durable channel: what is known (epoch, head, recent publications), what is missing, and the one
//! history read that is under way. How answers are taken is in `answer`, how joins are decided in `resolve`, how members
//! that are far behind get on in `catch_up`.

use std::sync::Arc;

use skywave_protocol::inner::{Excerpt, HistoryAnswer};
use skywave_protocol::message::{GapReason, HistoryQuery};
use skywave_protocol::{Epoch, Offset, Position, Publication, WireError};

use super::behind::Behind;
use super::members::Crew;
use super::page::Page;
use super::pending::Pending;
use super::ring::Ring;
use super::{Context, FetchId, HubOutput};
use crate::time::{Millis, earlier};

/// An idle channel is `known` and nothing else.
#[derive(Debug, Default)]
pub(super) struct Follower {
    pub(super) known: Option<Known>,
    pub(super) work: Option<Box<Work>>,
    /// The page read last, for a moment.
    pub(super) page: Option<Box<Page>>,
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
    /// Apart, so that a page which cannot be had holds up nobody but those who want it.
    pages: Failing,
    others: Failing,
    /// Not before this: another look whether a position beyond the head exists.
    pub(super) probe_at: Option<Millis>,
    /// Highest offset heard of, in the known epoch.
    pub(super) target: Offset,
    pub(super) pending: Pending,
    /// A position of another epoch was heard of: history must say which one counts. What follows it is wanted.
    pub(super) suspect: Option<Position>,
    /// While nothing is known: the newest position heard of.
    pub(super) heard: Option<Position>,
    /// Look once whether something was published that did not come.
    pub(super) recheck: bool,
}

/// Reads of one kind that have failed.
#[derive(Debug, Default)]
pub(super) struct Failing {
    /// In a row.
    times: u32,
    /// No further one before this.
    retry_at: Option<Millis>,
    /// The last one found nothing between these two, and no reason for it.
    hole: Option<(Offset, Offset)>,
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
    /// What joining subscribers missed, or members that are catching up want.
    Page,
    /// Which epoch counts.
    Verify,
}

impl Work {
    fn failing(&mut self, purpose: Purpose) -> &mut Failing {
        if purpose == Purpose::Page { &mut self.pages } else { &mut self.others }
    }

    pub(super) fn found_hole(&mut self, purpose: Purpose, hole: Option<(Offset, Offset)>) {
        self.failing(purpose).hole = hole;
    }

    /// The hole because of which reads have failed. It is passed, so the next read need not wait.
    pub(super) fn pass_hole(&mut self, purpose: Purpose) -> Option<(Offset, Offset)> {
        let failing = self.failing(purpose);
        let hole = failing.hole.take()?;
        *failing = Failing::default();
        Some(hole)
    }

    fn may_read(&self, purpose: Purpose) -> bool {
        let failing = if purpose == Purpose::Page { &self.pages } else { &self.others };
        failing.retry_at.is_none()
    }

    /// What is left to do must wait.
    fn retry_at(&self) -> Option<Millis> {
        earlier(earlier(self.pages.retry_at, self.others.retry_at), self.probe_at)
    }
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
        if crew.nobody_is_live() {
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
        if crew.nobody_is_live() {
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
        if self.page.as_ref().is_some_and(|page| page.until() <= context.now) {
            self.forget_page(context);
        }
        let Some(work) = &mut self.work else { return };
        for at in [&mut work.pages.retry_at, &mut work.others.retry_at, &mut work.probe_at] {
            at.take_if(|at| *at <= context.now);
        }
        if let Some(read) = work.read.take_if(|read| read.deadline <= context.now) {
            context.out.end_fetch(read.id);
            self.failed(context, crew, read.purpose);
        }
    }

    pub(super) fn deadline(&self) -> Option<Millis> {
        let page = self.page.as_ref().map(|page| page.until());
        let work = self.work.as_ref().and_then(|work| match &work.read {
            Some(read) => Some(read.deadline),
            None => work.retry_at(),
        });
        earlier(page, work)
    }

    /// Forgets the read under way and everything that was wanted.
    pub(super) fn abandon(&mut self, context: &mut Context<'_>) {
        if let Some(read) = self.work.take().and_then(|work| work.read) {
            context.out.end_fetch(read.id);
        }
        self.forget_page(context);
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
                work.failing(read.purpose).times = 0;
            }
        } else {
            self.failed(context, crew, read.purpose);
        }
    }

    /// A copy of what is read that somebody kept. `false`: it is of no use.
    pub(super) fn copy(
        &mut self,
        context: &mut Context<'_>,
        crew: &mut Crew,
        id: FetchId,
        copy: &Excerpt,
    ) -> bool {
        let (Some(known), Some(work)) = (&self.known, &mut self.work) else { return false };
        let serves = |read: &mut Read| {
            read.id == id
                && read.purpose == Purpose::Page
                && *copy.epoch() == known.epoch
                && (copy.after()..copy.end()).contains(&read.after)
        };
        let Some(read) = work.read.take_if(serves) else { return false };
        work.failing(Purpose::Page).times = 0;
        context.out.end_fetch(id);
        self.take_copy(context, crew, &read, copy);
        true
    }

    /// Decides joins that can be decided and starts the read that is needed most, if any.
    pub(super) fn settle(&mut self, context: &mut Context<'_>, crew: &mut Crew) {
        if self.known.is_some() {
            self.resolve(context, crew);
            if crew.nobody_is_live() {
                self.skip_ahead();
            }
        }
        if crew.waiting.is_empty() && crew.behind().is_none() {
            self.forget_page(context);
        }
        if self.work.as_ref().is_some_and(|work| work.read.is_some()) {
            return;
        }
        let needed = self.needed(context, crew);
        let Some(work) = &mut self.work else { return };
        match needed {
            Some((purpose, query)) => {
                if let (Purpose::Page, Some(behind)) = (purpose, crew.behind_mut()) {
                    behind.read_begun();
                }
                for waiter in &mut crew.waiting {
                    waiter.asked = true;
                }
                work.recheck &= purpose != Purpose::Forward;
                let deadline = context.now + context.config.fetch_timeout_ms;
                let after = query.after;
                let past = self
                    .known
                    .as_ref()
                    .filter(|_| purpose == Purpose::Page)
                    .map(|known| Position { epoch: known.epoch.clone(), offset: known.ring.head() });
                work.read = Some(Read { id: context.out.fetch(query, past), purpose, after, deadline });
            }
            // Waiting for the next attempt, or the next look at a position beyond the head.
            None if work.retry_at().is_some() && !crew.is_empty() => {}
            None => self.work = None,
        }
    }

    /// Gives the next publication to the members, and those that waited behind it.
    pub(super) fn advance(&mut self, context: &mut Context<'_>, crew: &Crew, publication: Arc<Publication>) {
        let Some(known) = &mut self.known else { return };
        let mut next = Some(publication);
        while let Some(publication) = next {
            known.ring.push(publication.clone(), context.config);
            if !crew.nobody_is_live() {
                let (channel, epoch) = (context.channel.clone(), Some(known.epoch.clone()));
                context.out.push(HubOutput::Deliver { channel, epoch, publication });
            }
            next = self.work.as_mut().and_then(|work| work.pending.next_after(known.ring.head()));
        }
    }

    /// Announces that the publications up to `to` will not come, and goes on behind them.
    pub(super) fn skip(&mut self, context: &mut Context<'_>, crew: &Crew, to: Offset, reason: GapReason) {
        let Some(known) = &mut self.known else { return };
        if !crew.nobody_is_live() {
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
    fn failed(&mut self, context: &mut Context<'_>, crew: &mut Crew, purpose: Purpose) {
        let Some(work) = &mut self.work else { return };
        let failing = work.failing(purpose);
        failing.times += 1;
        failing.retry_at = Some(context.backoff(failing.times));
        if failing.times >= context.config.attempts {
            failing.times = 0;
            self.give_up(context, crew, purpose);
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

    /// The read that is needed most and may be tried now.
    fn needed(&mut self, context: &Context<'_>, crew: &Crew) -> Option<(Purpose, HistoryQuery)> {
        if crew.is_empty() {
            return None;
        }
        let query = |after, limit, reverse| HistoryQuery {
            channel: context.channel.clone(),
            after,
            before: 0,
            limit,
            reverse,
        };
        let page = context.config.page;
        let Some(known) = &self.known else {
            let work = self.work.get_or_insert_default();
            let first = match super::resolve::first_read(&crew.waiting, context.config) {
                Some(start) => (Purpose::Page, query(start, page, false)),
                None => (Purpose::Head, query(0, 1, true)),
            };
            return work.may_read(first.0).then_some(first);
        };
        let head = known.ring.head();
        let next_page = crew.behind().and_then(Behind::next_page);
        if crew.waiting.is_empty() && next_page.is_none() && self.work.is_none() {
            return None;
        }
        let wants = self.wants(context, crew);
        let work = self.work.get_or_insert_default();
        if work.may_read(Purpose::Forward) {
            if let Some(suspect) = &work.suspect {
                return Some((Purpose::Verify, query(suspect.offset, page, false)));
            }
            let probe = wants.probe && work.probe_at.is_none();
            if work.target > head || work.recheck || probe {
                return Some((Purpose::Forward, query(head, page, false)));
            }
        }
        if !work.may_read(Purpose::Page) {
            return None;
        }
        let gives_way = crew.behind().is_some_and(Behind::gives_way);
        let start = match (wants.recover_from, next_page) {
            (Some(joining), Some(_)) if gives_way => joining,
            (_, Some(behind)) => behind,
            (joining, None) => joining?,
        };
        Some((Purpose::Page, query(start, page, false)))
    }
}

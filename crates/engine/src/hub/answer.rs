//! Taking a page of history: learning the head, following a change of epoch, giving live members what they lacked.

use skywave_protocol::inner::{Excerpt, HistoryAnswer};
use skywave_protocol::message::GapReason;
use skywave_protocol::{Offset, Position};

use super::follower::{Follower, Known, Purpose, Read};
use super::members::Crew;
use super::ring::Ring;
use super::{Context, HubOutput};

impl Follower {
    /// `false`: the answer brought nothing of what was asked for, which counts as a failed read.
    pub(super) fn answer(
        &mut self,
        context: &mut Context<'_>,
        crew: &mut Crew,
        read: &Read,
        answer: &HistoryAnswer,
    ) -> bool {
        self.count_reads(context, crew, read, answer);
        let mut progress = self.learn(context, crew, read, answer);
        if read.purpose == Purpose::Forward
            && let Some(work) = &mut self.work
        {
            // One page may not be all that is lacking.
            work.target = work.target.max(answer.head.offset);
        }
        let lacking = self.lacking();
        if read.purpose != Purpose::Head {
            progress |= self.forward(context, crew, read, answer);
        }
        match read.purpose {
            Purpose::Page => progress |= self.take_page(context, crew, read, answer),
            // A look ahead that finds nothing has found out what it wanted, unless something is known to be there. One that live
            // publications have overtaken has not failed either.
            Purpose::Forward => progress |= !lacking || self.head_offset() > read.after,
            Purpose::Head | Purpose::Verify => {}
        }
        self.space_probes(context, crew);
        progress
    }

    /// Takes a page that somebody kept. It says that something stands in the log, and nothing about the log's end, its epoch or
    /// what is lost: who waits for that has not been answered.
    pub(super) fn take_copy(
        &mut self,
        context: &mut Context<'_>,
        crew: &mut Crew,
        read: &Read,
        copy: &Excerpt,
    ) {
        for waiter in &mut crew.waiting {
            waiter.asked = false;
            let stands =
                |position: &&Position| position.epoch == *copy.epoch() && position.offset >= copy.after();
            if waiter.recover.as_ref().filter(stands).is_some() {
                waiter.first_kept = Some(copy.after() + 1);
            }
        }
        let head = Position { epoch: copy.epoch().clone(), offset: self.head_offset() };
        let answer = HistoryAnswer {
            channel: copy.channel().clone(),
            head,
            first: copy.after() + 1,
            publications: copy.publications().to_vec(),
            gap: None,
        };
        let progress = self.take_page(context, crew, read, &answer);
        debug_assert!(progress, "it holds what follows");
    }

    /// Counts the answer for those who joined before it was asked for; not twice within a moment, because a core that is
    /// behind says the same again. Notes what the answer says about their positions.
    fn count_reads(&mut self, context: &Context<'_>, crew: &mut Crew, read: &Read, answer: &HistoryAnswer) {
        let too_soon =
            self.work.as_ref().is_some_and(|work| work.probe_at.is_some_and(|at| context.now < at));
        for waiter in &mut crew.waiting {
            if !std::mem::take(&mut waiter.asked) {
                continue;
            }
            let Some(position) = &waiter.recover else { continue };
            let same_epoch = position.epoch == answer.head.epoch;
            let denied = !same_epoch || answer.head.offset < position.offset;
            waiter.reads = waiter.reads.saturating_add(u8::from(denied && !too_soon));
            if same_epoch && read.purpose == Purpose::Page {
                // That something is kept can be believed. That something is lost, only of what was asked for: without its
                // store a core speaks of its tail alone.
                let is_kept = answer.first <= position.offset + 1;
                if is_kept || read.after <= position.offset {
                    waiter.first_kept = Some(answer.first);
                }
            }
        }
    }

    /// Takes the head and the epoch from the answer. `true` if that says something new.
    fn learn(
        &mut self,
        context: &mut Context<'_>,
        crew: &mut Crew,
        read: &Read,
        answer: &HistoryAnswer,
    ) -> bool {
        match &self.known {
            None => self.learn_head(context, crew, answer),
            Some(known) if known.epoch != answer.head.epoch => {
                self.change_epoch(context, crew, read, answer);
            }
            Some(_) => {
                let verified = read.purpose == Purpose::Verify;
                if let Some(work) = self.work.as_mut().filter(|_| verified) {
                    // A straggler of an epoch that is over.
                    work.suspect = None;
                }
                return verified;
            }
        }
        true
    }

    fn learn_head(&mut self, context: &mut Context<'_>, crew: &Crew, answer: &HistoryAnswer) {
        let head = answer.head.offset;
        let epoch = context.out.shared(&answer.head.epoch);
        self.known = Some(Known { epoch, ring: Ring::starting_after(head) });
        let Some(work) = &mut self.work else { return };
        match work.heard.take() {
            Some(heard) if heard.epoch == answer.head.epoch => work.target = work.target.max(heard.offset),
            _ => work.pending.clear(),
        }
        if let Some(next) = work.pending.next_after(head) {
            self.advance(context, crew, next);
        }
    }

    /// History says that another epoch counts. Members are told and go on with what the page holds of it.
    fn change_epoch(
        &mut self,
        context: &mut Context<'_>,
        crew: &mut Crew,
        read: &Read,
        answer: &HistoryAnswer,
    ) {
        let follows_head = matches!(read.purpose, Purpose::Forward | Purpose::Verify);
        let to = match answer.publications.first() {
            Some(first) if follows_head => first.offset - 1,
            _ => answer.head.offset,
        };
        let epoch = context.out.shared(&answer.head.epoch);
        if !crew.nobody_is_live() {
            context.out.push(HubOutput::Gap {
                channel: context.channel.clone(),
                epoch: epoch.clone(),
                from: 1,
                to,
                reason: GapReason::Epoch,
            });
        }
        self.known = Some(Known { epoch, ring: Ring::starting_after(to) });
        if let Some(work) = &mut self.work {
            work.target = answer.head.offset;
            work.pending.clear();
            work.found_hole(Purpose::Page, None);
            work.found_hole(Purpose::Forward, None);
            work.suspect = None;
        }
        self.forget_page(context);
        self.end_catching_up(context, crew, to);
    }

    /// Gives members what follows the head. `true` if the head moved.
    fn forward(
        &mut self,
        context: &mut Context<'_>,
        crew: &Crew,
        read: &Read,
        answer: &HistoryAnswer,
    ) -> bool {
        let before = self.head_offset();
        // A page that starts behind the head says nothing about what lies in between.
        let connects = read.after <= before;
        let mut hole = None;
        for publication in &answer.publications {
            let next = self.head_offset() + 1;
            if publication.offset < next {
                continue;
            }
            if publication.offset > next {
                let gone = answer.first >= publication.offset || answer.gap.is_some();
                if !connects || !gone {
                    hole = connects.then_some((next - 1, publication.offset));
                    break;
                }
                self.skip(context, crew, publication.offset - 1, answer.gap.unwrap_or(GapReason::Retention));
            }
            if publication.offset == self.head_offset() + 1 {
                self.advance(context, crew, publication.clone());
            }
        }
        let nothing_kept = answer.publications.is_empty() && answer.first > answer.head.offset;
        if nothing_kept && connects && answer.head.offset > self.head_offset() {
            self.skip(context, crew, answer.head.offset, answer.gap.unwrap_or(GapReason::Retention));
        }
        let progress = self.head_offset() > before;
        if let Some(work) = self.work.as_mut().filter(|_| read.purpose == Purpose::Forward) {
            work.found_hole(Purpose::Forward, hole.filter(|_| !progress));
        }
        progress
    }

    /// A position beyond the head is looked for again a little later: the core that answered may be catching up.
    fn space_probes(&mut self, context: &Context<'_>, crew: &Crew) {
        let reads = self.fruitless_reads(crew);
        if let (Some(reads), Some(work)) = (reads, &mut self.work) {
            work.probe_at = Some(context.backoff(u32::from(reads)));
        }
    }

    fn lacking(&self) -> bool {
        self.work.as_ref().is_some_and(|work| work.target > self.head_offset())
    }

    fn head_offset(&self) -> Offset {
        self.known.as_ref().map_or(0, |known| known.ring.head())
    }
}

//! Taking a page of history: learning the head, following a change of epoch, giving members what they lacked, collecting
//! what joining subscribers missed.

use skywave_protocol::Offset;
use skywave_protocol::inner::HistoryAnswer;
use skywave_protocol::message::GapReason;

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
        self.count_reads(context, crew);
        let mut progress = self.learn(context, crew, read, answer);
        let lacking = self.lacking();
        if read.purpose != Purpose::Head {
            progress |= self.forward(context, crew, read, answer);
        }
        match read.purpose {
            Purpose::Recovery => progress |= self.collect(context, read, answer),
            // A look ahead that finds nothing has found out what it wanted, unless something is known to be there.
            Purpose::Forward => progress |= !lacking,
            Purpose::Head | Purpose::Verify => {}
        }
        self.space_probes(context, crew);
        progress
    }

    /// Counts the answer for those who joined before it was asked for; not twice within a moment, because a core that is
    /// behind says the same again.
    fn count_reads(&mut self, context: &Context<'_>, crew: &mut Crew) {
        let too_soon =
            self.work.as_ref().is_some_and(|work| work.probe_at.is_some_and(|at| context.now < at));
        for waiter in &mut crew.waiting {
            waiter.reads = waiter.reads.saturating_add(u8::from(waiter.asked && !too_soon));
            waiter.asked = false;
        }
    }

    /// Takes the head and the epoch from the answer. `true` if that says something new.
    fn learn(&mut self, context: &mut Context<'_>, crew: &Crew, read: &Read, answer: &HistoryAnswer) -> bool {
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
        self.known = Some(Known { epoch: answer.head.epoch.clone(), ring: Ring::starting_after(head) });
        let Some(work) = &mut self.work else { return };
        if let Some(collected) = &mut work.collected {
            collected.limit(head, context.config);
        }
        match work.heard.take() {
            Some(heard) if heard.epoch == answer.head.epoch => work.target = work.target.max(heard.offset),
            _ => work.pending.clear(),
        }
        if let Some(next) = work.pending.next_after(head) {
            self.advance(context, crew, next);
        }
    }

    /// History says that another epoch counts. Members are told and go on with what the page holds of it.
    fn change_epoch(&mut self, context: &mut Context<'_>, crew: &Crew, read: &Read, answer: &HistoryAnswer) {
        let to = match answer.publications.first() {
            Some(first) if read.purpose != Purpose::Head => first.offset - 1,
            _ => answer.head.offset,
        };
        let epoch = answer.head.epoch.clone();
        if !crew.members.is_empty() {
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
            work.collected = None;
            work.suspect = None;
        }
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
        for publication in &answer.publications {
            let next = self.head_offset() + 1;
            if publication.offset < next {
                continue;
            }
            if publication.offset > next {
                let gone = answer.first >= publication.offset || answer.gap.is_some();
                if !connects || !gone {
                    break;
                }
                self.skip(context, crew, publication.offset - 1, answer.gap.unwrap_or(GapReason::Retention));
            }
            if publication.offset == self.head_offset() + 1 {
                self.advance(context, crew, publication.clone());
            }
        }
        let nothing_kept = answer.publications.is_empty() && answer.first > answer.head.offset;
        let bounded_above = read.purpose == Purpose::Recovery;
        if nothing_kept && connects && !bounded_above && answer.head.offset > self.head_offset() {
            self.skip(context, crew, answer.head.offset, answer.gap.unwrap_or(GapReason::Retention));
        }
        self.head_offset() > before
    }

    fn collect(&mut self, context: &Context<'_>, read: &Read, answer: &HistoryAnswer) -> bool {
        let (Some(known), Some(work)) = (&self.known, &mut self.work) else { return false };
        let Some(collected) = work.collected.as_mut().filter(|collected| collected.end() == read.after)
        else {
            return false;
        };
        collected.take(answer, known.ring.floor(), context.config)
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

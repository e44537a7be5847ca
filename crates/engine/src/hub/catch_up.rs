//! Members that are far behind: what each gets when it has room, and what becomes of those whose page is gone.
//!
//! - One page serves all who want one and stand inside it. It is kept for a moment for those who ask a little later.
//! - Where page or ring reaches the head, the member is given the rest and is live.
//! - What retention took meanwhile, and what cannot be read, is announced, and the member goes on behind it.

use skywave_protocol::Offset;
use skywave_protocol::inner::HistoryAnswer;
use skywave_protocol::message::GapReason;

use super::follower::{Follower, Known, Purpose, Read};
use super::members::Crew;
use super::output::{CatchUp, Missing, PagePart};
use super::page::Page;
use super::{Context, HubOutput, Subscriber};

impl Follower {
    /// A member that is catching up has room for a page.
    pub(super) fn more(&mut self, context: &mut Context<'_>, crew: &mut Crew, subscriber: Subscriber) {
        let Some(at) = crew.behind_mut().and_then(|behind| behind.ask(subscriber)) else { return };
        self.give(context, crew, subscriber, at, None);
    }

    /// Takes a page that was asked for after `read.after`, and gives it to those who want it. `false` if it brought
    /// nothing: the read has failed.
    pub(super) fn take_page(
        &mut self,
        context: &mut Context<'_>,
        crew: &mut Crew,
        read: &Read,
        answer: &HistoryAnswer,
    ) -> bool {
        let Some(known) = &mut self.known else { return false };
        let until = context.now + context.config.page_keep_ms;
        let page = Page::new(read.after, known.ring.head(), answer, until);
        if page.end() >= known.ring.floor() {
            fold(known, &page, context);
        }
        let lost = (page.start() > read.after).then(|| read.after..page.start());
        let progress = lost.is_some() || page.end() > page.start();
        if let Some(work) = &mut self.work {
            let hole = page.resumes_at().filter(|_| !progress).map(|next| (page.end(), next));
            work.found_hole(Purpose::Page, hole);
        }
        self.keep_page(context, page);
        for (subscriber, at) in wanting(crew) {
            let lost_to = lost.as_ref().filter(|lost| lost.contains(&at)).map(|lost| lost.end);
            self.give(context, crew, subscriber, at, lost_to.map(|to| (to, GapReason::Retention)));
        }
        if context.out.pages_bytes > context.config.pages_bytes {
            self.forget_page(context);
        }
        progress
    }

    /// History has a hole that it does not explain: those who stand before it go on behind it.
    pub(super) fn go_on_behind(&self, context: &mut Context<'_>, crew: &mut Crew, hole: (Offset, Offset)) {
        let (from, next) = hole;
        for (subscriber, at) in wanting(crew).into_iter().filter(|(_, at)| (from..next - 1).contains(at)) {
            self.give(context, crew, subscriber, at, Some((next - 1, GapReason::Unavailable)));
        }
    }

    /// History cannot be read: those who want a page go on where the ring begins.
    pub(super) fn go_on_without_history(&self, context: &mut Context<'_>, crew: &mut Crew) {
        let Some(floor) = self.known.as_ref().map(|known| known.ring.floor()) else { return };
        for (subscriber, at) in wanting(crew) {
            let lost = (at < floor).then_some((floor, GapReason::Unavailable));
            self.give(context, crew, subscriber, at, lost);
        }
    }

    /// Another epoch counts: those who were catching up in the old one go on in the new one, after `to`.
    pub(super) fn end_catching_up(&mut self, context: &mut Context<'_>, crew: &mut Crew, to: Offset) {
        let Some(known) = &self.known else { return };
        for subscriber in crew.behind().map(|behind| behind.all()).unwrap_or_default() {
            crew.enter(subscriber);
            context.out.push(HubOutput::CatchUp(Box::new(CatchUp {
                subscriber,
                channel: context.channel.clone(),
                epoch: known.epoch.clone(),
                gap: Some(Missing { from: 1, to, reason: GapReason::Epoch }),
                page: None,
                recent: Vec::new(),
                live: true,
            })));
        }
    }

    pub(super) fn forget_page(&mut self, context: &mut Context<'_>) {
        if let Some(page) = self.page.take() {
            context.out.pages_bytes -= page.bytes();
        }
    }

    fn keep_page(&mut self, context: &mut Context<'_>, page: Page) {
        self.forget_page(context);
        context.out.pages_bytes += page.bytes();
        self.page = Some(Box::new(page));
    }

    /// Gives a member that stands at `at` what there is for it, after news of a gap up to `lost`. Nothing happens if there
    /// is nothing: then a page must be read.
    fn give(
        &self,
        context: &mut Context<'_>,
        crew: &mut Crew,
        subscriber: Subscriber,
        at: Offset,
        lost: Option<(Offset, GapReason)>,
    ) {
        let Some(known) = &self.known else { return };
        let (head, floor) = (known.ring.head(), known.ring.floor());
        // What the ring has is not lost, whatever history says.
        let gap = lost.map(|(to, reason)| Missing { from: at + 1, to: to.min(floor), reason });
        let from = gap.map_or(at, |gap| gap.to);
        let page = self.page.as_ref().filter(|page| from < floor && page.follows(from));
        let reached = page.map_or(from, |page| page.end().min(floor));
        if reached == from && gap.is_none() && from < floor {
            return;
        }
        assert!(gap.is_none_or(|gap| gap.from <= gap.to), "a gap is of something");
        let live = reached >= floor;
        let step = CatchUp {
            subscriber,
            channel: context.channel.clone(),
            epoch: known.epoch.clone(),
            gap,
            page: page.map(|page| PagePart {
                page: page.publications().clone(),
                from: page.index_after(from),
                to: page.index_after(reached),
            }),
            recent: if live { known.ring.after(reached).cloned().collect() } else { Vec::new() },
            live,
        };
        let given = step.page.as_ref().map_or(0, |part| part.to - part.from) + step.recent.len();
        let now_at = if live { head } else { reached };
        assert_eq!(from + given as Offset, now_at, "what is handed on has no hole");
        if live {
            crew.enter(subscriber);
        } else if let Some(behind) = crew.behind_mut() {
            behind.given(subscriber, reached);
        }
        context.out.push(HubOutput::CatchUp(Box::new(step)));
    }
}

fn wanting(crew: &Crew) -> Vec<(Subscriber, Offset)> {
    crew.behind().map(|behind| behind.wanting().collect()).unwrap_or_default()
}

/// What was read once serves those who come next.
fn fold(known: &mut Known, page: &Page, context: &Context<'_>) {
    let floor = known.ring.floor();
    for publication in page.publications()[..page.index_after(floor)].iter().rev() {
        if !known.ring.push_older(publication, context.config) {
            return;
        }
    }
}

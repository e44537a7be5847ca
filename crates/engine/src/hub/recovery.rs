//! One recovery: the publications being read, page by page, from the lowest wanted position up to the ring.
//!
//! All waiting subscribers of a channel share it, whatever their positions.

use std::collections::VecDeque;
use std::sync::Arc;

use skywave_protocol::inner::HistoryAnswer;
use skywave_protocol::message::GapReason;
use skywave_protocol::{Offset, Publication};

use super::HubConfig;

#[derive(Debug)]
pub(super) struct Collected {
    /// Publications `start + 1 ..= end()`.
    publications: VecDeque<Arc<Publication>>,
    bytes: usize,
    start: Offset,
    /// Why nothing before `start` can be had; `None`: nobody asked for it when the recovery began.
    lost: Option<GapReason>,
}

impl Collected {
    pub(super) fn starting_after(start: Offset) -> Self {
        Self { publications: VecDeque::new(), bytes: 0, start, lost: None }
    }

    pub(super) fn start(&self) -> Offset {
        self.start
    }

    pub(super) fn end(&self) -> Offset {
        self.start + self.publications.len() as Offset
    }

    pub(super) fn lost(&self) -> Option<GapReason> {
        self.lost
    }

    /// Gives up everything up to `start`.
    pub(super) fn raise(&mut self, start: Offset, reason: GapReason) {
        if start <= self.start {
            return;
        }
        while self.start < start {
            match self.publications.pop_front() {
                Some(oldest) => {
                    self.bytes -= oldest.data.len();
                    self.start += 1;
                }
                None => self.start = start,
            }
        }
        self.lost = Some(reason);
    }

    /// Takes a page that was asked for after [`Collected::end`], up to `floor` (from there the ring goes on). `false` if
    /// the page brought nothing: the read has failed.
    pub(super) fn take(&mut self, answer: &HistoryAnswer, floor: Offset, config: &HubConfig) -> bool {
        let before = (self.start, self.end());
        let first = answer.publications.first().map_or(answer.first, |publication| publication.offset);
        if first > self.end() + 1 {
            // Everything in between has left retention (or what the core could say instead).
            self.raise((first - 1).min(floor), answer.gap.unwrap_or(GapReason::Retention));
        }
        for publication in &answer.publications {
            if publication.offset == self.end() + 1 && publication.offset <= floor {
                self.bytes += publication.data.len();
                self.publications.push_back(publication.clone());
            }
        }
        while self.bytes > config.recovery_bytes || self.publications.len() > config.recovery_max as usize {
            self.raise(self.start + 1, GapReason::Retention);
        }
        (self.start, self.end()) != before
    }

    /// The collected publications after `offset`, up to `floor`, oldest first.
    pub(super) fn between(
        &self,
        offset: Offset,
        floor: Offset,
    ) -> impl DoubleEndedIterator<Item = &Arc<Publication>> {
        let count = self.publications.len() as Offset;
        let from = offset.saturating_sub(self.start).min(count) as usize;
        let to = floor.saturating_sub(self.start).min(count) as usize;
        self.publications.range(from.min(to)..to)
    }
}

impl Collected {
    /// Gives up what lies further back than one recovery replays.
    pub(super) fn limit(&mut self, head: Offset, config: &HubConfig) {
        self.raise(head.saturating_sub(Offset::from(config.recovery_max)), GapReason::Retention);
    }
}

//! One page of history: a run of publications without a hole, and what the read found out about those before it.
//!
//! Shared by all who are catching up inside it, whatever their positions.

use std::sync::Arc;

use skywave_protocol::inner::HistoryAnswer;
use skywave_protocol::{Offset, Publication};

use crate::time::Millis;

#[derive(Debug)]
pub(super) struct Page {
    /// Publications `start + 1 ..= end()`.
    publications: Arc<[Arc<Publication>]>,
    start: Offset,
    /// Payload bytes.
    bytes: usize,
    /// Where a hole in what history holds ends, if the page ends at one.
    resumes_at: Option<Offset>,
    /// Not kept for those who come later than this.
    until: Millis,
}

impl Page {
    /// What an answer brought of what follows `after`. It begins later if retention has passed that position.
    pub(super) fn new(after: Offset, head: Offset, answer: &HistoryAnswer, until: Millis) -> Self {
        let start = answer.first.saturating_sub(1).min(head).max(after);
        let mut next = start;
        let rest = answer.publications.iter().skip_while(|publication| publication.offset <= start);
        let run = rest.clone().take_while(|publication| {
            next += 1;
            publication.offset == next
        });
        let publications: Arc<[Arc<Publication>]> = run.cloned().collect();
        let resumes_at = rest.map(|publication| publication.offset).nth(publications.len());
        let bytes = publications.iter().map(|publication| publication.data.len()).sum();
        Self { publications, start, bytes, resumes_at, until }
    }

    pub(super) fn start(&self) -> Offset {
        self.start
    }

    pub(super) fn end(&self) -> Offset {
        self.start + self.publications.len() as Offset
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn resumes_at(&self) -> Option<Offset> {
        self.resumes_at
    }

    pub(super) fn until(&self) -> Millis {
        self.until
    }

    /// It holds the publication after `offset`.
    pub(super) fn follows(&self, offset: Offset) -> bool {
        self.start <= offset && offset < self.end()
    }

    pub(super) fn publications(&self) -> &Arc<[Arc<Publication>]> {
        &self.publications
    }

    /// The place of the first publication after `offset`.
    pub(super) fn index_after(&self, offset: Offset) -> usize {
        offset.saturating_sub(self.start).min(self.publications.len() as Offset) as usize
    }
}

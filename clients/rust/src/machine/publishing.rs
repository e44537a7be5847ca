//! Publications on their way: what is sent when, what is sent again, and in which order.
//!
//! - Entries stand in the order in which the application published. A cursor walks over them; at most `window` are in
//!   flight at once.
//! - When the connection is lost, the cursor goes back to the first entry without an answer: everything unanswered is
//!   sent again, in order, under its old id, so that the server drops what it already has.
//! - When the server refuses one for now (rate, log unavailable), nothing more is sent until the answers of the others
//!   are in; then the cursor goes back to the first refused one and goes on one at a time until it has caught up.
//!   What had been in flight behind a refused one may have been accepted before it: with a window of 1 it cannot.
//!
//! Never: waits, or drops a durable publication that has no answer.

use std::collections::VecDeque;

use skywave_protocol::error::Retry;
use skywave_protocol::message::Published;
use skywave_protocol::{ChannelName, MessageId, Payload, WireError};

use super::{LinkId, Millis, Ticket};
use crate::error::{ClosedError, PublishError};

/// A publication the application wants out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outgoing {
    pub(crate) ticket: Ticket,
    pub(crate) channel: ChannelName,
    /// `None` only for ephemeral ones.
    pub(crate) id: Option<MessageId>,
    pub(crate) data: Payload,
    /// Sent again after a lost connection.
    pub(crate) durable: bool,
    /// When to give up.
    pub(crate) deadline: Option<Millis>,
}

#[derive(Debug, PartialEq)]
enum Stage {
    Waiting,
    Sent { link: LinkId, at: Millis },
    Done,
}

#[derive(Debug)]
struct Entry {
    outgoing: Outgoing,
    stage: Stage,
}

/// One answer for the application.
pub(crate) type Answer = (Ticket, Result<Published, PublishError>);

/// Bounded by the outbox permits that the client's handle takes before an entry gets here.
#[derive(Debug)]
pub(crate) struct Publishing {
    entries: VecDeque<Entry>,
    /// Sequence number of `entries[0]`.
    base: u64,
    /// Sequence number of the next entry to look at.
    cursor: u64,
    in_flight: usize,
    window: usize,
    paused_until: Option<Millis>,
    /// After a refusal: one at a time until the cursor has passed this sequence number.
    careful_until: u64,
    refusals: u32,
}

impl Publishing {
    pub(crate) fn new(window: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            base: 0,
            cursor: 0,
            in_flight: 0,
            window: window.max(1),
            paused_until: None,
            careful_until: 0,
            refusals: 0,
        }
    }

    pub(crate) fn push(&mut self, outgoing: Outgoing) {
        self.entries.push_back(Entry { outgoing, stage: Stage::Waiting });
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Refusals in a row, for the backoff of the next one.
    pub(crate) fn refusals(&self) -> u32 {
        self.refusals
    }

    /// The next one to send, with its sequence number. Call [`Publishing::sent`] if it goes out.
    pub(crate) fn next(&mut self, now: Millis) -> Option<(u64, &Outgoing)> {
        if self.paused_until.is_some_and(|until| now < until || self.in_flight > 0) {
            return None;
        }
        self.paused_until = None;
        let window = if self.cursor < self.careful_until { 1 } else { self.window };
        if self.in_flight >= window {
            return None;
        }
        while self.entry(self.cursor)?.stage != Stage::Waiting {
            self.cursor += 1;
        }
        self.entry(self.cursor).map(|entry| (self.cursor, &entry.outgoing))
    }

    /// Whether [`Publishing::next`] has one.
    pub(crate) fn has_next(&mut self, now: Millis) -> bool {
        self.next(now).is_some()
    }

    pub(crate) fn sent(&mut self, sequence: u64, link: LinkId, now: Millis) {
        if let Some(entry) = self.entry_mut(sequence) {
            entry.stage = Stage::Sent { link, at: now };
            self.in_flight += 1;
            self.cursor = self.cursor.max(sequence + 1);
        }
    }

    /// The server's answer. `retry_at` says when a refused one may go out again.
    pub(crate) fn answered(
        &mut self,
        sequence: u64,
        result: Result<Published, WireError>,
        retry_at: Millis,
    ) -> Option<Answer> {
        let entry = self.entry_mut(sequence)?;
        if !matches!(entry.stage, Stage::Sent { .. }) {
            return None;
        }
        let ticket = entry.outgoing.ticket;
        let error = match result {
            Ok(published) => {
                self.in_flight -= 1;
                self.refusals = 0;
                self.done(sequence);
                return Some((ticket, Ok(published)));
            }
            Err(error) => error,
        };
        if error.code.retry() == Retry::Never {
            self.in_flight -= 1;
            self.done(sequence);
            return Some((ticket, Err(PublishError::Refused(error))));
        }
        entry.stage = Stage::Waiting;
        self.in_flight -= 1;
        self.refusals = self.refusals.saturating_add(1);
        self.careful_until = self.careful_until.max(self.cursor);
        self.cursor = self.cursor.min(sequence);
        self.paused_until = Some(self.paused_until.map_or(retry_at, |until| until.max(retry_at)));
        None
    }

    /// Gives up one that was never sent, e.g. because no frame may hold it.
    pub(crate) fn refuse(&mut self, sequence: u64, error: PublishError) -> Option<Answer> {
        let ticket = self.entry(sequence)?.outgoing.ticket;
        self.done(sequence);
        Some((ticket, Err(error)))
    }

    /// A connection is gone: what was in flight on it goes out again, except what may be sent once only.
    pub(crate) fn link_lost(&mut self, lost: LinkId) -> Vec<Answer> {
        let mut answers = Vec::new();
        let mut back_to = self.cursor;
        for index in 0..self.entries.len() {
            let entry = &mut self.entries[index];
            if !matches!(entry.stage, Stage::Sent { link, .. } if link == lost) {
                continue;
            }
            self.in_flight -= 1;
            if entry.outgoing.durable {
                entry.stage = Stage::Waiting;
                back_to = back_to.min(self.base + index as u64);
            } else {
                entry.stage = Stage::Done;
                answers.push((entry.outgoing.ticket, Err(PublishError::Lost)));
            }
        }
        self.cursor = back_to;
        self.paused_until = None;
        self.drop_done();
        answers
    }

    /// Gives up those whose deadline has passed. They all have the same time to live, so the oldest come first.
    pub(crate) fn expire(&mut self, now: Millis) -> Vec<Answer> {
        let mut answers = Vec::new();
        for entry in &mut self.entries {
            if entry.stage == Stage::Done {
                continue;
            }
            if entry.outgoing.deadline.is_none_or(|deadline| now < deadline) {
                break;
            }
            if matches!(entry.stage, Stage::Sent { .. }) {
                self.in_flight -= 1;
            }
            entry.stage = Stage::Done;
            answers.push((entry.outgoing.ticket, Err(PublishError::TimedOut)));
        }
        self.drop_done();
        answers
    }

    /// Answers everything with the reason why the client is closed.
    pub(crate) fn close(&mut self, error: &ClosedError) -> Vec<Answer> {
        let open = self.entries.drain(..).filter(|entry| entry.stage != Stage::Done);
        let answers = open.map(|entry| (entry.outgoing.ticket, Err(error.clone().into()))).collect();
        *self = Self::new(self.window);
        answers
    }

    /// When something here must be looked at again: end of a pause, or the oldest deadline.
    pub(crate) fn poll_timeout(&self) -> Option<Millis> {
        let open = self.entries.iter().find(|entry| entry.stage != Stage::Done);
        let deadline = open.and_then(|entry| entry.outgoing.deadline);
        let pause = self.paused_until.filter(|_| self.in_flight == 0);
        [deadline, pause].into_iter().flatten().min()
    }

    /// When the oldest one in flight on this connection was sent.
    pub(crate) fn oldest_sent(&self, of: LinkId) -> Option<Millis> {
        self.entries.iter().find_map(|entry| match entry.stage {
            Stage::Sent { link, at } if link == of => Some(at),
            _ => None,
        })
    }

    fn entry(&self, sequence: u64) -> Option<&Entry> {
        self.entries.get(sequence.checked_sub(self.base)? as usize)
    }

    fn entry_mut(&mut self, sequence: u64) -> Option<&mut Entry> {
        self.entries.get_mut(sequence.checked_sub(self.base)? as usize)
    }

    fn done(&mut self, sequence: u64) {
        if let Some(entry) = self.entry_mut(sequence) {
            entry.stage = Stage::Done;
        }
        self.drop_done();
    }

    fn drop_done(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.stage == Stage::Done) {
            self.entries.pop_front();
            self.base += 1;
        }
        self.cursor = self.cursor.max(self.base);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use skywave_protocol::ErrorCode;

    use super::*;

    const LINK: LinkId = LinkId(1);

    fn publishing(window: usize, count: u64) -> Publishing {
        let mut publishing = Publishing::new(window);
        for ticket in 0..count {
            publishing.push(Outgoing {
                ticket,
                channel: ChannelName::parse("a").unwrap(),
                id: MessageId::parse(&format!("m{ticket}")).ok(),
                data: Payload::Json(Bytes::from_static(b"1")),
                durable: true,
                deadline: None,
            });
        }
        publishing
    }

    /// Sends what may go, and says which tickets went.
    fn send(publishing: &mut Publishing, link: LinkId, now: Millis) -> Vec<u64> {
        let mut sent = Vec::new();
        while let Some((sequence, outgoing)) = publishing.next(now) {
            sent.push(outgoing.ticket);
            publishing.sent(sequence, link, now);
        }
        sent
    }

    fn ok() -> Result<Published, WireError> {
        Ok(Published { position: None, duplicate: false })
    }

    fn later() -> Result<Published, WireError> {
        Err(WireError::new(ErrorCode::RateLimited, "slow down"))
    }

    #[test]
    fn the_window_bounds_what_is_in_flight() {
        let mut publishing = publishing(2, 5);
        assert_eq!(send(&mut publishing, LINK, 0), [0, 1]);
        assert_eq!(publishing.answered(1, ok(), 0).unwrap().0, 1);
        assert_eq!(send(&mut publishing, LINK, 0), [2]);
    }

    #[test]
    fn a_lost_connection_resends_the_unanswered_in_order() {
        let mut publishing = publishing(4, 6);
        assert_eq!(send(&mut publishing, LINK, 0), [0, 1, 2, 3]);
        publishing.answered(0, ok(), 0);
        publishing.answered(2, ok(), 0);
        assert!(publishing.link_lost(LINK).is_empty());
        assert_eq!(send(&mut publishing, LinkId(2), 0), [1, 3, 4, 5]);
        assert!(publishing.answered(3, ok(), 0).is_some());
        assert!(publishing.answered(3, ok(), 0).is_none(), "a second answer is ignored");
    }

    #[test]
    fn a_refusal_pauses_until_the_others_have_answered_and_then_goes_one_at_a_time() {
        let mut publishing = publishing(3, 5);
        assert_eq!(send(&mut publishing, LINK, 0), [0, 1, 2]);
        assert!(publishing.answered(0, later(), 100).is_none());
        assert!(send(&mut publishing, LINK, 200).is_empty(), "two answers are still missing");
        assert!(publishing.answered(1, later(), 150).is_none());
        publishing.answered(2, ok(), 0);
        assert!(send(&mut publishing, LINK, 140).is_empty());
        assert_eq!(publishing.poll_timeout(), Some(150));
        assert_eq!(send(&mut publishing, LINK, 150), [0]);
        publishing.answered(0, ok(), 0);
        assert_eq!(send(&mut publishing, LINK, 150), [1]);
        publishing.answered(1, ok(), 0);
        assert_eq!(send(&mut publishing, LINK, 150), [3, 4]);
    }

    #[test]
    fn what_may_go_once_only_is_not_sent_again() {
        let mut publishing = publishing(3, 1);
        publishing.push(Outgoing { ticket: 9, durable: false, ..publishing.entries[0].outgoing.clone() });
        assert_eq!(send(&mut publishing, LINK, 0), [0, 9]);
        assert_eq!(publishing.link_lost(LINK), [(9, Err(PublishError::Lost))]);
        assert_eq!(send(&mut publishing, LINK, 0), [0]);
    }

    #[test]
    fn deadlines_and_closing_answer_everything() {
        let mut publishing = publishing(1, 1);
        publishing.entries[0].outgoing.deadline = Some(50);
        assert_eq!(send(&mut publishing, LINK, 0), [0]);
        assert_eq!(publishing.poll_timeout(), Some(50));
        assert!(publishing.expire(49).is_empty());
        assert_eq!(publishing.expire(50), [(0, Err(PublishError::TimedOut))]);
        assert_eq!((publishing.in_flight(), publishing.poll_timeout()), (0, None));
        let mut publishing = self::publishing(1, 2);
        send(&mut publishing, LINK, 0);
        assert_eq!(publishing.close(&ClosedError::Closed).len(), 2);
        assert!(!publishing.has_next(0));
    }
}

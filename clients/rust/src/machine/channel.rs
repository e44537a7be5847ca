//! One subscription: where it stands, what comes next, and what is missing.
//!
//! - *Joining*: `subscribe`, with the last position if there is one. Pushes that overtake the answer (streams of
//!   WebTransport are independent) wait for it.
//! - *Joined*: each durable publication must carry the next offset. A smaller one is a duplicate and dropped; a larger
//!   one is a hole, which starts catching up.
//! - *Catching up*: the hole, or everything from a wanted offset on, is read page by page from history; then the channel
//!   is joined again from there. What history no longer holds becomes a gap event. Pushes are ignored meanwhile: they
//!   come again.
//! - While the client moves to another node the channel is joined there too; both connections feed the same check.
//!
//! Never: delivers an offset twice, goes past a hole without an event, or reads a clock.

use std::collections::VecDeque;

use skywave_protocol::error::Retry;
use skywave_protocol::limits::HISTORY_PAGE_MAX;
use skywave_protocol::message::{GapReason, HistoryPage, HistoryQuery, Recovery, Subscribe, Subscribed};
use skywave_protocol::{ChannelName, Epoch, ErrorCode, Offset, Position, Push, Request, WireError};

use super::{LinkId, Millis};
use crate::config::Start;
use crate::event::SubscriptionEvent;

/// Pushes kept while the answer to `subscribe` is outstanding: as many as one recovery replays and some more. What goes
/// beyond is dropped and then found missing.
const EARLY_PUSHES: usize = 16_384;
/// Times in a row that a recovery may send us back to history before the gap is believed.
const CATCH_UPS: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No connection, or not begun.
    Idle,
    CatchingUp(LinkId),
    Joining(LinkId),
    Joined(LinkId),
    /// The server said "later".
    Waiting(Millis),
}

/// What a step leads to: requests for the connection it came by, events for the application.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Step {
    pub(crate) requests: Vec<Request>,
    pub(crate) events: Vec<SubscriptionEvent>,
}

#[derive(Debug)]
pub(crate) struct Channel {
    name: ChannelName,
    presence: bool,
    /// Exclusive lower bound wanted by the application, until its epoch is known.
    wanted_after: Option<Offset>,
    last: Option<Position>,
    stage: Stage,
    /// While moving: the connection moved to, and whether the channel is joined there.
    successor: Option<(LinkId, bool)>,
    early: VecDeque<(LinkId, Push)>,
    catch_ups: u32,
    /// History may not be read: recovery by the server has to do.
    history_denied: bool,
    attempts: u32,
}

impl Channel {
    pub(crate) fn new(name: ChannelName, start: Start, presence: bool) -> Self {
        let (wanted_after, last) = match start {
            Start::Now => (None, None),
            Start::Beginning => (Some(0), None),
            Start::Offset(offset) => (Some(offset.saturating_sub(1)), None),
            Start::After(position) => (None, Some(position)),
        };
        Self {
            name,
            presence,
            wanted_after,
            last,
            stage: Stage::Idle,
            successor: None,
            early: VecDeque::new(),
            catch_ups: 0,
            history_denied: false,
            attempts: 0,
        }
    }

    /// Failed attempts in a row, for the backoff of the next one.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    pub(crate) fn is_joined_on(&self, link: LinkId) -> bool {
        self.stage == Stage::Joined(link) || self.successor == Some((link, true))
    }

    /// When to try again.
    pub(crate) fn poll_timeout(&self) -> Option<Millis> {
        match self.stage {
            Stage::Waiting(until) => Some(until),
            _ => None,
        }
    }

    /// Begins, or begins again, on a connection that is ready.
    pub(crate) fn start(&mut self, link: LinkId) -> Step {
        self.successor = None;
        self.early.clear();
        match self.wanted_after {
            Some(_) if !self.history_denied => self.read_history(link),
            _ => self.join(link),
        }
    }

    /// Joins on a second connection while the first one goes on.
    pub(crate) fn join_successor(&mut self, link: LinkId) -> Step {
        match self.stage {
            Stage::Joined(_) => {
                self.successor = Some((link, false));
                Step { requests: vec![self.subscribe()], events: vec![] }
            }
            _ => self.start(link),
        }
    }

    /// A connection is gone.
    pub(crate) fn link_lost(&mut self, link: LinkId) {
        self.early.retain(|(of, _)| *of != link);
        let on_it = matches!(self.stage,
            Stage::CatchingUp(of) | Stage::Joining(of) | Stage::Joined(of) if of == link);
        if self.successor.is_some_and(|(of, _)| of == link) {
            self.successor = None;
        } else if on_it {
            self.stage = match self.successor.take() {
                Some((of, true)) => Stage::Joined(of),
                Some((of, false)) => Stage::Joining(of),
                None => Stage::Idle,
            };
        }
    }

    /// Whether [`Channel::start`] should be called on a ready connection.
    pub(crate) fn wants_start(&self, now: Millis) -> bool {
        match self.stage {
            Stage::Idle => true,
            Stage::Waiting(until) => until <= now,
            _ => false,
        }
    }

    /// The answer to `subscribe`.
    pub(crate) fn handle_subscribed(&mut self, link: LinkId, subscribed: Subscribed) -> Step {
        let mut step = Step::default();
        if let Some((of, joined)) = &mut self.successor
            && *of == link
        {
            *joined = true;
        } else if self.stage == Stage::Joining(link) {
            self.stage = Stage::Joined(link);
        } else {
            return step;
        }
        self.attempts = 0;
        match (&subscribed.position, &subscribed.recovery) {
            (None, _) => self.last = None,
            (Some(position), None) => match self.wanted_after.take() {
                // History was denied: now that the epoch is known, the server's own recovery can be asked.
                Some(after) => {
                    self.last = Some(Position { epoch: position.epoch.clone(), offset: after });
                    step.requests.push(Request::Unsubscribe { channel: self.name.clone() });
                    step.requests.append(&mut self.join(link).requests);
                    return step;
                }
                None => self.last = Some(position.clone()),
            },
            (Some(_), Some(Recovery::Exact)) => self.catch_ups = 0,
            (Some(position), Some(Recovery::Gap { from, to, reason })) => {
                if self.may_catch_up(*reason) && self.successor.is_none() {
                    self.catch_ups += 1;
                    step.requests.push(Request::Unsubscribe { channel: self.name.clone() });
                    step.requests.append(&mut self.read_history(link).requests);
                    return step;
                }
                self.gap(position.epoch.clone(), *from, *to, *reason, &mut step);
            }
        }
        step.events.push(SubscriptionEvent::Subscribed {
            position: subscribed.position,
            recovery: subscribed.recovery,
        });
        for (of, push) in std::mem::take(&mut self.early) {
            let mut after = self.handle_push(of, push);
            step.requests.append(&mut after.requests);
            step.events.append(&mut after.events);
        }
        step
    }

    /// `subscribe` or a history read was refused. `retry_at` is used if it may be tried again; `None`: the
    /// subscription has ended.
    pub(crate) fn handle_error(&mut self, link: LinkId, error: WireError, retry_at: Millis) -> Option<Step> {
        let mut step = Step::default();
        if let Some((of, false)) = self.successor
            && of == link
        {
            // The first connection still serves the channel; once it is gone, the channel starts again here.
            self.successor = None;
            return Some(step);
        }
        match self.stage {
            Stage::CatchingUp(of) if of == link && error.code.retry() == Retry::Never => {
                self.history_denied = true;
                return Some(self.join(link));
            }
            Stage::CatchingUp(of) | Stage::Joining(of) | Stage::Joined(of) if of == link => {}
            _ => return Some(step),
        }
        if error.code == ErrorCode::AlreadySubscribed {
            step.requests.push(Request::Unsubscribe { channel: self.name.clone() });
        } else if error.code.retry() == Retry::Never {
            return None;
        }
        self.attempts = self.attempts.saturating_add(1);
        self.early.clear();
        self.stage = Stage::Waiting(retry_at);
        Some(step)
    }

    /// A page of history, asked for by [`Channel::read_history`].
    pub(crate) fn handle_page(&mut self, link: LinkId, page: HistoryPage) -> Step {
        let mut step = Step::default();
        if self.stage != Stage::CatchingUp(link) {
            return step;
        }
        let after = self.wanted_after.take();
        let last = self.last.get_or_insert_with(|| Position {
            epoch: page.epoch.clone(),
            offset: after.unwrap_or(page.head).min(page.head),
        });
        if last.epoch != page.epoch {
            let to = page.publications.first().map_or(page.head, |first| first.offset - 1);
            self.gap(page.epoch.clone(), 1, to, GapReason::Epoch, &mut step);
        }
        let full = page.publications.len() >= HISTORY_PAGE_MAX as usize;
        for publication in page.publications {
            self.advance(&page.epoch, publication, GapReason::Retention, &mut step);
        }
        let reached = self.last.as_ref().map_or(0, |last| last.offset);
        if !full && reached < page.head {
            self.gap(page.epoch, reached + 1, page.head, GapReason::Retention, &mut step);
        }
        let more = full && page.head - reached.min(page.head) > u64::from(HISTORY_PAGE_MAX);
        let mut next = if more { self.read_history(link) } else { self.join(link) };
        step.requests.append(&mut next.requests);
        step
    }

    /// A push of this channel that is not `Unsubscribed`.
    pub(crate) fn handle_push(&mut self, link: LinkId, push: Push) -> Step {
        let mut step = Step::default();
        let joining = self.stage == Stage::Joining(link) || self.successor == Some((link, false));
        if joining {
            if self.early.len() < EARLY_PUSHES {
                self.early.push_back((link, push));
            }
            return step;
        }
        if !self.is_joined_on(link) {
            return step;
        }
        match push {
            Push::Publication { publication, .. } if publication.is_ephemeral() => {
                // Both connections carry it while the client moves: the newer one counts.
                let counts = self.successor.is_none_or(|(of, joined)| of == link || !joined);
                let event = SubscriptionEvent::Publication { position: None, publication };
                step.events.extend(counts.then_some(event));
            }
            Push::Publication { epoch, publication, .. } => {
                let Some(epoch) = epoch.or_else(|| self.last.as_ref().map(|last| last.epoch.clone())) else {
                    return step;
                };
                let last = self
                    .last
                    .get_or_insert_with(|| Position { epoch: epoch.clone(), offset: publication.offset - 1 });
                if last.epoch != epoch {
                    self.gap(epoch.clone(), 1, publication.offset - 1, GapReason::Epoch, &mut step);
                } else if publication.offset > last.offset + 1 && !self.history_denied {
                    return self.reread(link);
                }
                self.advance(&epoch, publication, GapReason::Unavailable, &mut step);
            }
            Push::Gap { epoch, from, to, reason, .. } => {
                let known = self.last.as_ref().is_some_and(|last| last.epoch == epoch && to <= last.offset);
                if known && reason != GapReason::Failover {
                    return step;
                }
                if self.may_catch_up(reason) {
                    self.catch_ups += 1;
                    return self.reread(link);
                }
                self.gap(epoch, from, to, reason, &mut step);
            }
            Push::Join { member, .. } => step.events.push(SubscriptionEvent::Join(member)),
            Push::Leave { member, .. } => step.events.push(SubscriptionEvent::Leave(member)),
            _ => {}
        }
        step
    }

    /// Leaves the channel here and reads what is missing from history.
    fn reread(&mut self, link: LinkId) -> Step {
        let mut step = Step::default();
        // What the other connection of a move still pushes is ignored from here on.
        self.successor = None;
        step.requests.push(Request::Unsubscribe { channel: self.name.clone() });
        step.requests.append(&mut self.read_history(link).requests);
        step
    }

    fn may_catch_up(&self, reason: GapReason) -> bool {
        matches!(reason, GapReason::Retention | GapReason::Unavailable)
            && !self.history_denied
            && self.catch_ups < CATCH_UPS
            && self.last.is_some()
    }

    fn join(&mut self, link: LinkId) -> Step {
        self.stage = Stage::Joining(link);
        Step { requests: vec![self.subscribe()], events: vec![] }
    }

    fn subscribe(&self) -> Request {
        Request::Subscribe(Subscribe {
            channel: self.name.clone(),
            recover: self.last.clone(),
            presence: self.presence,
        })
    }

    fn read_history(&mut self, link: LinkId) -> Step {
        self.stage = Stage::CatchingUp(link);
        self.early.clear();
        let after = self.last.as_ref().map(|last| last.offset).or(self.wanted_after).unwrap_or(0);
        let query = HistoryQuery {
            channel: self.name.clone(),
            after,
            before: 0,
            limit: HISTORY_PAGE_MAX,
            reverse: false,
        };
        Step { requests: vec![Request::History(query)], events: vec![] }
    }

    /// Delivers the publication if it is new, after an event about whatever lies between it and the last one.
    fn advance(
        &mut self,
        epoch: &Epoch,
        publication: std::sync::Arc<skywave_protocol::Publication>,
        reason: GapReason,
        step: &mut Step,
    ) {
        let next = self.last.as_ref().map_or(publication.offset, |last| last.offset + 1);
        if publication.offset < next {
            return;
        }
        if publication.offset > next {
            self.gap(epoch.clone(), next, publication.offset - 1, reason, step);
        }
        let position = Position { epoch: epoch.clone(), offset: publication.offset };
        self.last = Some(position.clone());
        step.events.push(SubscriptionEvent::Publication { position: Some(position), publication });
    }

    fn gap(&mut self, epoch: Epoch, from: Offset, to: Offset, reason: GapReason, step: &mut Step) {
        // After a failover the channel goes on where the log was cut: at the positions that were lost.
        let offset = if reason == GapReason::Failover { from.saturating_sub(1) } else { to };
        self.last = Some(Position { epoch: epoch.clone(), offset });
        if from <= to {
            step.events.push(SubscriptionEvent::Gap { epoch, from, to, reason });
        }
    }
}

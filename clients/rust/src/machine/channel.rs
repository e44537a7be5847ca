//! One subscription: where it stands, what comes next, and what is missing.
//!
//! - *Joining*: `subscribe`, with the last position if there is one. Pushes that overtake the answer (streams of
//!   WebTransport are independent) wait for it. A wanted offset becomes a position when a first answer tells the epoch;
//!   then the channel is joined again from there.
//! - *Joined*: each durable publication must carry the next offset. A smaller one is a duplicate and dropped; a larger
//!   one is a hole: the channel is joined again from the last position.
//! - A gap that the server announces becomes an event. If it only could not read at the moment, it is asked again first.
//! - While the client moves to another node the channel is joined there too; both connections feed the same check.
//! - While a backend's grant of the channel stands, the subscription keeps to its position, unless the application named
//!   where to start. So it begins right behind what the grant has delivered.
//!
//! Never: delivers an offset twice, goes past a hole without an event, or reads a clock.

use std::collections::VecDeque;
use std::sync::Arc;

use skywave_protocol::error::Retry;
use skywave_protocol::message::{GapReason, Recovery, Subscribe, Subscribed};
use skywave_protocol::{
    ChannelName, Epoch, ErrorCode, Offset, Position, Publication, Push, Request, WireError,
};

use super::sequence::{Missing, Sequence, Verdict};
use super::{LinkId, Millis};
use crate::config::Start;
use crate::event::SubscriptionEvent;

/// Pushes kept while the answer to `subscribe` is outstanding. What goes beyond is dropped and then found missing.
const EARLY_PUSHES: usize = 16_384;
/// Times in a row that the server is asked again for what it could not read before the gap is believed.
const ASK_AGAIN: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No connection, or not begun.
    Idle,
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
    sequence: Sequence,
    /// The application named no start: a grant may say it.
    follows: bool,
    stage: Stage,
    /// While moving: the connection moved to, and whether the channel is joined there.
    successor: Option<(LinkId, bool)>,
    early: VecDeque<(LinkId, Push)>,
    /// Everything that is kept is wanted: what is not is no loss.
    from_beginning: bool,
    asked_again: u32,
    attempts: u32,
}

impl Channel {
    pub(crate) fn new(name: ChannelName, start: Start, presence: bool) -> Self {
        let from_beginning = matches!(start, Start::Beginning);
        let follows = matches!(start, Start::Now);
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
            sequence: Sequence::at(last),
            follows,
            stage: Stage::Idle,
            successor: None,
            early: VecDeque::new(),
            from_beginning,
            asked_again: 0,
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

    /// A `subscribe` is under way there.
    pub(crate) fn is_joining_on(&self, link: LinkId) -> bool {
        self.stage == Stage::Joining(link) || self.successor == Some((link, false))
    }

    /// Where a grant of this channel stands. The machine tells it as long as there is one, which is until the server has
    /// taken the subscription.
    pub(crate) fn follow(&mut self, grant: &Sequence) {
        if self.follows {
            self.sequence = grant.clone();
        }
    }

    /// What waits for the answer to a `subscribe` that is given up.
    pub(crate) fn into_early(self) -> impl Iterator<Item = (LinkId, Push)> {
        self.early.into_iter()
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
        self.join(link)
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
            Stage::Joining(of) | Stage::Joined(of) if of == link);
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
            (None, _) => self.sequence = Sequence::default(),
            (Some(head), None) => match self.wanted_after.take() {
                // Now that the epoch is known, the wanted offset is a position to recover from.
                Some(after) if after < head.offset => {
                    let wanted = Position { epoch: head.epoch.clone(), offset: after };
                    self.sequence = Sequence::at(Some(wanted));
                    return self.rejoin(link);
                }
                _ if self.sequence.position().is_none() => {
                    self.sequence = Sequence::at(Some(head.clone()));
                }
                // A grant has come further since the server was asked.
                _ => announce(self.sequence.leave_out(&head.epoch, head.offset), &mut step),
            },
            (Some(head), Some(Recovery::Exact)) => {
                self.from_beginning = false;
                self.sequence.adopt(&head.epoch);
            }
            (Some(head), Some(Recovery::Gap { from, to, reason })) => {
                if self.may_ask_again(*reason) && self.successor.is_none() {
                    return self.ask_again(link);
                }
                if std::mem::take(&mut self.from_beginning) && *reason == GapReason::Retention {
                    self.sequence = Sequence::at(Some(Position { epoch: head.epoch.clone(), offset: *to }));
                } else {
                    let (epoch, from, to, reason) = (head.epoch.clone(), *from, *to, *reason);
                    announce(self.sequence.skip(Missing { epoch, from, to, reason }), &mut step);
                }
            }
        }
        step.events.push(SubscriptionEvent::Subscribed {
            position: subscribed.position,
            recovery: subscribed.recovery,
        });
        for (of, push) in std::mem::take(&mut self.early) {
            // What does not follow was sent before the server took this `subscribe`: it comes again.
            if self.leaves_hole(&push) {
                continue;
            }
            let mut after = self.handle_push(of, push);
            step.requests.append(&mut after.requests);
            step.events.append(&mut after.events);
        }
        step
    }

    /// `subscribe` was refused. `retry_at` is used if it may be tried again; `None`: the subscription has ended.
    /// `granted`: a grant of the channel has just ended in its favour.
    pub(crate) fn handle_refused(
        &mut self,
        link: LinkId,
        error: &WireError,
        retry_at: Millis,
        granted: bool,
    ) -> Option<Step> {
        if !self.is_joining_on(link) {
            return Some(Step::default());
        }
        // A backend was faster: there is nothing to wait for, unless it goes on like this.
        if error.code == ErrorCode::AlreadySubscribed && (granted || self.attempts == 0) {
            self.attempts = self.attempts.saturating_add(1);
            return Some(self.leave_and_join(link));
        }
        if self.successor == Some((link, false)) {
            // The first connection still serves the channel; once it is gone, the channel starts again here.
            self.successor = None;
            return Some(Step::default());
        }
        self.fail(error, retry_at)
    }

    /// The server has ended the subscription that stands there; arguments and result as in [`Channel::handle_refused`].
    pub(crate) fn handle_revoked(
        &mut self,
        link: LinkId,
        error: &WireError,
        retry_at: Millis,
    ) -> Option<Step> {
        if self.successor == Some((link, true)) && error.code.retry() != Retry::Never {
            // As above.
            self.successor = None;
            return Some(Step::default());
        }
        self.fail(error, retry_at)
    }

    fn fail(&mut self, error: &WireError, retry_at: Millis) -> Option<Step> {
        let mut step = Step::default();
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

    /// Leaves what a backend has made there, and joins.
    fn leave_and_join(&mut self, link: LinkId) -> Step {
        if self.successor != Some((link, false)) {
            return self.rejoin(link);
        }
        self.early.retain(|(of, _)| *of != link);
        let leave = Request::Unsubscribe { channel: self.name.clone() };
        Step { requests: vec![leave, self.subscribe()], events: vec![] }
    }

    /// A push of this channel that is no end of a subscription that stands.
    pub(crate) fn handle_push(&mut self, link: LinkId, push: Push) -> Step {
        let mut step = Step::default();
        if self.is_joining_on(link) {
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
                let Some(epoch) = epoch.or_else(|| self.sequence.epoch().cloned()) else { return step };
                return self.publication(link, epoch, publication);
            }
            Push::Gap { epoch, from, to, reason, .. } => {
                return self.gap(link, Missing { epoch, from, to, reason });
            }
            Push::Join { member, .. } => step.events.push(SubscriptionEvent::Join(member)),
            Push::Leave { member, .. } => step.events.push(SubscriptionEvent::Leave(member)),
            _ => {}
        }
        step
    }

    /// The push comes after something that is missing.
    fn leaves_hole(&self, push: &Push) -> bool {
        match push {
            Push::Publication { epoch, publication, .. } => {
                let epoch = epoch.as_ref().or_else(|| self.sequence.epoch());
                epoch.is_some_and(|epoch| self.sequence.lacks_before(epoch, publication.offset))
            }
            Push::Gap { epoch, from, .. } => self.sequence.lacks_before(epoch, *from),
            _ => false,
        }
    }

    fn may_ask_again(&self, reason: GapReason) -> bool {
        reason == GapReason::Unavailable && self.asked_again < ASK_AGAIN && self.sequence.position().is_some()
    }

    fn ask_again(&mut self, link: LinkId) -> Step {
        self.asked_again += 1;
        self.rejoin(link)
    }

    /// Leaves the channel here and joins it again from the last position.
    fn rejoin(&mut self, link: LinkId) -> Step {
        // What the other connection of a move still pushes is ignored from here on.
        self.successor = None;
        self.early.clear();
        let mut step = self.join(link);
        step.requests.insert(0, Request::Unsubscribe { channel: self.name.clone() });
        step
    }

    fn join(&mut self, link: LinkId) -> Step {
        self.stage = Stage::Joining(link);
        Step { requests: vec![self.subscribe()], events: vec![] }
    }

    fn subscribe(&self) -> Request {
        Request::Subscribe(Subscribe {
            channel: self.name.clone(),
            recover: self.sequence.position().cloned(),
            presence: self.presence,
        })
    }

    /// Delivers the publication if it is new, after an event about whatever lies between it and the last one.
    fn publication(&mut self, link: LinkId, epoch: Epoch, publication: Arc<Publication>) -> Step {
        let mut step = Step::default();
        let offset = publication.offset;
        match self.sequence.judge(&epoch, offset) {
            Verdict::Seen => return step,
            Verdict::Next => {}
            Verdict::Hole => {
                if self.sequence.epoch() == Some(&epoch) && self.may_ask_again(GapReason::Unavailable) {
                    return self.ask_again(link);
                }
                announce(self.sequence.leave_out(&epoch, offset - 1), &mut step);
            }
        }
        self.asked_again = 0;
        let position = Some(self.sequence.reach(epoch, offset));
        step.events.push(SubscriptionEvent::Publication { position, publication });
        step
    }

    /// Announces the gap, after a hole before it; unless it is worth asking again.
    fn gap(&mut self, link: LinkId, gap: Missing) -> Step {
        let mut step = Step::default();
        let mut ahead = self.sequence.clone();
        if ahead.skip(gap.clone()).is_none() {
            return step;
        }
        let hole = self.sequence.lacks_before(&gap.epoch, gap.from);
        let reason = if hole { GapReason::Unavailable } else { gap.reason };
        if self.may_ask_again(reason) {
            return self.ask_again(link);
        }
        if hole {
            announce(self.sequence.leave_out(&gap.epoch, gap.from - 1), &mut step);
        }
        announce(self.sequence.skip(gap), &mut step);
        step
    }
}

fn announce(missing: Option<Missing>, step: &mut Step) {
    let gap = |Missing { epoch, from, to, reason }| SubscriptionEvent::Gap { epoch, from, to, reason };
    step.events.extend(missing.map(gap));
}

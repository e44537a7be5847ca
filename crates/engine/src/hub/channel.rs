//! One channel: interest on the bus, members, lingering; what concerns the log is the follower's.
//!
//! Interest: requested with the first join, kept while anybody is here and for the linger time after, requested again
//! (with backoff, for ever while there are members) when it fails.

use std::collections::VecDeque;
use std::sync::Arc;

use skywave_protocol::inner::{Excerpt, HistoryAnswer};
use skywave_protocol::{Epoch, ErrorCode, Position, Publication, WireError};

use super::follower::Follower;
use super::members::{Crew, Waiter};
use super::output::{Decided, Joins};
use super::{Context, FetchId, HubOutput, Join, Subscriber};
use crate::time::{Deadline, Millis, earlier};

#[derive(Debug, Default)]
pub(super) struct Channel {
    pub(super) crew: Crew,
    interest: Interest,
    /// `None` for an ephemeral channel.
    follower: Option<Box<Follower>>,
    /// When the channel goes, if nobody comes back.
    linger_until: Deadline,
    /// Copy of this channel's entry in the hub's deadlines.
    pub(super) deadline: Deadline,
}

/// There is one for each channel, in the allocators' class of 96 bytes.
const _: () = assert!(size_of::<Channel>() <= 96, "a channel has grown");

#[derive(Debug, Default)]
enum Interest {
    /// Not asked for yet; or dropped, and the channel is over.
    #[default]
    None,
    Requested {
        failures: u32,
    },
    Standing,
    Failed {
        failures: u32,
        retry_at: Millis,
    },
}

impl Channel {
    pub(super) fn join(&mut self, context: &mut Context<'_>, join: Join) {
        self.linger_until = Deadline::NEVER;
        self.crew.remove(join.subscriber);
        if join.durable && self.follower.is_none() {
            self.follower = Some(Box::default());
        }
        self.crew.waiting.push(Waiter {
            subscriber: join.subscriber,
            recover: join.recover,
            asked: false,
            reads: 0,
            first_kept: None,
        });
        if matches!(self.interest, Interest::None) {
            self.request_interest(context, 0);
        }
        self.settle(context);
    }

    pub(super) fn leave(&mut self, context: &mut Context<'_>, subscriber: Subscriber) {
        self.crew.remove(subscriber);
        self.settle(context);
    }

    pub(super) fn more(&mut self, context: &mut Context<'_>, subscriber: Subscriber) {
        if let Some(follower) = &mut self.follower {
            follower.more(context, &mut self.crew, subscriber);
        }
        self.settle(context);
    }

    pub(super) fn publication(
        &mut self,
        context: &mut Context<'_>,
        epoch: Option<Epoch>,
        publication: Arc<Publication>,
    ) {
        match (&mut self.follower, epoch) {
            (Some(follower), Some(epoch)) if !publication.is_ephemeral() => {
                follower.publication(context, &mut self.crew, epoch, publication);
                if follower.is_busy() {
                    self.settle(context);
                }
            }
            // Ephemeral; on a durable channel too, since it takes no offset.
            (_, None) if publication.is_ephemeral() && !self.crew.nobody_is_live() => {
                let channel = context.channel.clone();
                context.out.push(HubOutput::Deliver { channel, epoch: None, publication });
            }
            _ => {}
        }
    }

    pub(super) fn head(&mut self, context: &mut Context<'_>, position: Position) {
        if let Some(follower) = &mut self.follower {
            follower.head(&mut self.crew, position);
        }
        self.settle(context);
    }

    pub(super) fn interest(&mut self, context: &mut Context<'_>, result: Result<(), WireError>) {
        match (result, &self.interest) {
            (_, Interest::None) => return,
            (Ok(()), _) => {
                self.interest = Interest::Standing;
                if let Some(follower) = &mut self.follower {
                    // What was published while there was no interest never came.
                    follower.recheck();
                }
            }
            (Err(_), Interest::Failed { .. }) => return,
            (Err(error), Interest::Standing) => self.interest_failed(context, 1, error),
            (Err(error), Interest::Requested { failures }) => {
                let failures = failures + 1;
                self.interest_failed(context, failures, error);
            }
        }
        self.settle(context);
    }

    pub(super) fn history(
        &mut self,
        context: &mut Context<'_>,
        id: FetchId,
        result: Result<HistoryAnswer, WireError>,
    ) {
        if let Some(follower) = &mut self.follower {
            follower.history(context, &mut self.crew, id, result);
        }
        self.settle(context);
    }

    /// `false`: the copy is of no use.
    pub(super) fn copy(&mut self, context: &mut Context<'_>, id: FetchId, copy: &Excerpt) -> bool {
        let Some(follower) = &mut self.follower else { return false };
        let used = follower.copy(context, &mut self.crew, id, copy);
        if used {
            self.settle(context);
        }
        used
    }

    pub(super) fn timeout(&mut self, context: &mut Context<'_>) {
        if let Interest::Failed { failures, retry_at } = self.interest
            && retry_at <= context.now
        {
            self.request_interest(context, failures);
        }
        if let Some(follower) = &mut self.follower {
            follower.timeout(context, &mut self.crew);
        }
        self.settle(context);
    }

    pub(super) fn next_deadline(&self) -> Option<Millis> {
        let interest = match self.interest {
            Interest::Failed { retry_at, .. } => Some(retry_at),
            _ => None,
        };
        // While the interest is being asked for, lingering ends with the answer (see `end_lingering`).
        let linger = match self.interest {
            Interest::Requested { .. } => None,
            _ => self.linger_until.at(),
        };
        let follower = self.follower.as_ref().and_then(|follower| follower.deadline());
        earlier(earlier(interest, linger), follower)
    }

    /// Nothing is left to do: the hub forgets the channel.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.interest, Interest::None) && self.crew.is_empty()
    }

    fn request_interest(&mut self, context: &mut Context<'_>, failures: u32) {
        self.interest = Interest::Requested { failures };
        context.out.push(HubOutput::AddInterest(context.channel.clone()));
    }

    fn interest_failed(&mut self, context: &mut Context<'_>, failures: u32, error: WireError) {
        self.interest = Interest::Failed { failures, retry_at: context.backoff(failures) };
        if failures >= context.config.attempts {
            for waiter in std::mem::take(&mut self.crew.waiting) {
                context.out.push(HubOutput::JoinFailed {
                    subscriber: waiter.subscriber,
                    channel: context.channel.clone(),
                    error: error.clone(),
                });
            }
        }
    }

    /// Does what has become possible.
    fn settle(&mut self, context: &mut Context<'_>) {
        if matches!(self.interest, Interest::Standing) {
            match &mut self.follower {
                Some(follower) => follower.settle(context, &mut self.crew),
                None => self.join_ephemeral(context),
            }
        }
        self.linger(context);
    }

    /// Nobody is here: the channel stays for a while, and then goes.
    fn linger(&mut self, context: &mut Context<'_>) {
        if self.crew.is_empty() {
            if self.linger_until == Deadline::NEVER {
                self.linger_until = (context.now + context.config.linger_ms).into();
            }
            self.end_lingering(context);
        }
    }

    fn end_lingering(&mut self, context: &mut Context<'_>) {
        let due = self.linger_until.at().is_some_and(|until| until <= context.now);
        // A request under way is waited for: its answer must not meet the next one.
        if !due || matches!(self.interest, Interest::Requested { .. }) {
            return;
        }
        if let Some(follower) = &mut self.follower {
            follower.abandon(context);
        }
        if matches!(self.interest, Interest::Standing) {
            context.out.push(HubOutput::DropInterest(context.channel.clone()));
        }
        self.interest = Interest::None;
    }

    fn join_ephemeral(&mut self, context: &mut Context<'_>) {
        if self.crew.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.crew.waiting);
        let mut subscribers = VecDeque::with_capacity(waiting.len());
        for waiter in waiting {
            self.crew.enter(waiter.subscriber);
            let decided = Decided { subscriber: waiter.subscriber, recovery: None, missed: 0, behind: false };
            subscribers.push_back(decided);
        }
        let channel = context.channel.clone();
        context.out.join(Joins { channel, position: None, window: Arc::new([]), subscribers });
    }
}

/// Answer to a join whose history could not be read.
pub(super) fn unavailable() -> WireError {
    WireError::new(ErrorCode::StoreUnavailable, "the channel's position cannot be read now")
        .retry_after_ms(1_000)
}

//! Channels that a backend has put this client into. They last as long as the connection and are not asked for again: only the
//! backend knows whether the client should be there.
//!
//! - Each durable publication once and in order; what is left out is announced. It is not fetched: whoever wants it reads
//!   history.
//! - A push that overtakes its `subscribed` (streams of WebTransport are independent) waits for it.
//! - While the client moves, a grant on the new connection takes the place of the one on the old, and both feed the same
//!   sequence as long as both stand.
//! - A grant goes on until the server has taken a subscription of the application, which follows its sequence.
//!
//! Owns the grants and what waits for one. Bounded by what the server grants to one connection. Never: asks the server for
//! anything.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use skywave_protocol::message::Subscribed;
use skywave_protocol::{ChannelName, Epoch, Position, Publication, Push, WireError};

use super::LinkId;
use super::sequence::{Missing, Sequence, Verdict};
use crate::event::GrantEvent;

/// Pushes kept of channels that are not known yet. What goes beyond pushes the oldest out, and is then found missing.
const EARLY_PUSHES: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Grants {
    channels: BTreeMap<ChannelName, Grant>,
    early: VecDeque<(LinkId, Push)>,
}

#[derive(Debug)]
struct Grant {
    /// Without a position: ephemeral.
    sequence: Sequence,
    /// The connection it stands on.
    on: LinkId,
    /// The one it stood on before, as long as that goes on.
    before: Option<LinkId>,
    /// Where `on` begins. What lies before it can come over `before` only.
    head: Option<Position>,
}

impl Grants {
    /// What stands, with where it goes on from; for somebody who begins to listen.
    pub(super) fn standing(&self) -> Vec<GrantEvent> {
        let granted = |(channel, grant): (&ChannelName, &Grant)| GrantEvent::Granted {
            channel: channel.clone(),
            position: grant.sequence.position().cloned(),
        };
        self.channels.iter().map(granted).collect()
    }

    /// Whether what this connection says of the channel is said of a grant.
    pub(super) fn stands(&self, channel: &ChannelName, link: LinkId) -> bool {
        self.channels.get(channel).is_some_and(|grant| grant.is_on(link))
    }

    /// What a grant of the channel is judged by.
    pub(super) fn sequence(&self, channel: &ChannelName) -> Option<&Sequence> {
        self.channels.get(channel).map(|grant| &grant.sequence)
    }

    /// Takes a push about a channel that is granted, or that the application has not subscribed to.
    pub(super) fn pushed(&mut self, link: LinkId, push: Push) -> Vec<GrantEvent> {
        let mut events = Vec::new();
        match push {
            Push::Subscribed(subscribed) => self.granted(link, subscribed, &mut events),
            Push::Unsubscribed { channel, error } => {
                if self.channels.get(&channel).is_some_and(|grant| grant.on == link) {
                    events.extend(self.withdraw(&channel, Some(error)));
                }
            }
            push => self.deliver(link, push, &mut events),
        }
        events
    }

    fn granted(&mut self, link: LinkId, subscribed: Subscribed, events: &mut Vec<GrantEvent>) {
        let Subscribed { channel, position, .. } = subscribed;
        if let Some(grant) = self.channels.get_mut(&channel) {
            tell(&channel, grant.moved(link, position), events);
        } else {
            let sequence = Sequence::at(position.clone());
            let grant = Grant { sequence, on: link, before: None, head: position.clone() };
            self.channels.insert(channel.clone(), grant);
            events.push(GrantEvent::Granted { channel: channel.clone(), position });
        }
        let (its, others) = std::mem::take(&mut self.early)
            .into_iter()
            .partition(|(of, push)| *of == link && name_of(push) == Some(&channel));
        self.early = others;
        for (of, push) in its {
            self.deliver(of, push, events);
        }
    }

    fn deliver(&mut self, link: LinkId, push: Push, events: &mut Vec<GrantEvent>) {
        let Some(name) = name_of(&push).cloned() else { return };
        match self.channels.get_mut(&name).filter(|grant| grant.is_on(link)) {
            Some(grant) => grant.deliver(link, push, events),
            None => self.keep(link, push),
        }
    }

    /// What has a position finds its place later; anything else may be lost.
    fn keep(&mut self, link: LinkId, push: Push) {
        if matches!(&push, Push::Publication { publication, .. } if publication.is_ephemeral()) {
            return;
        }
        if self.early.len() >= EARLY_PUSHES {
            self.early.pop_front();
        }
        self.early.push_back((link, push));
    }

    /// The application has the channel from here on or wants it no more, or a backend has ended the grant.
    pub(super) fn withdraw(&mut self, channel: &ChannelName, error: Option<WireError>) -> Option<GrantEvent> {
        self.early.retain(|(_, push)| name_of(push) != Some(channel));
        self.channels.remove(channel).map(|_| GrantEvent::Withdrawn { channel: channel.clone(), error })
    }

    /// A connection is gone, and its grants with it.
    pub(super) fn link_lost(&mut self, link: LinkId) -> Vec<GrantEvent> {
        let mut events = Vec::new();
        self.early.retain(|(of, _)| *of != link);
        self.channels.retain(|channel, grant| {
            if grant.before == Some(link) {
                grant.before = None;
                tell(channel, grant.owed(), &mut events);
            } else if grant.on == link {
                // A new connection may break while the old one goes on.
                let Some(before) = grant.before.take() else {
                    events.push(GrantEvent::Withdrawn { channel: channel.clone(), error: None });
                    return false;
                };
                grant.on = before;
            }
            true
        });
        events
    }
}

impl Grant {
    fn is_on(&self, link: LinkId) -> bool {
        self.on == link || self.before == Some(link)
    }

    /// The sequence stays where it is, so that what lies between the two connections is announced.
    fn moved(&mut self, to: LinkId, head: Option<Position>) -> Option<Missing> {
        if self.on != to {
            self.before = Some(self.on);
        }
        self.on = to;
        self.head = head;
        let head = self.head.as_ref()?;
        match self.sequence.epoch() {
            None => {
                self.sequence = Sequence::at(Some(head.clone()));
                None
            }
            Some(epoch) if *epoch == head.epoch => None,
            Some(_) => self.sequence.leave_out(&head.epoch, head.offset),
        }
    }

    /// What the old connection has not delivered when it ends. In another epoch it owes nothing any more.
    fn owed(&mut self) -> Option<Missing> {
        let head = self.head.as_ref().filter(|head| self.sequence.epoch() == Some(&head.epoch))?;
        self.sequence.leave_out(&head.epoch, head.offset)
    }

    fn deliver(&mut self, link: LinkId, push: Push, events: &mut Vec<GrantEvent>) {
        // Which epoch counts is for the newer connection to say.
        let has_a_say = |epoch: &Epoch| self.on == link || self.sequence.epoch() == Some(epoch);
        match push {
            Push::Publication { channel, publication, .. } if publication.is_ephemeral() => {
                // Both connections carry it while the client moves: the newer one counts.
                let counts = self.on == link;
                let event = GrantEvent::Publication { channel, position: None, publication };
                events.extend(counts.then_some(event));
            }
            Push::Publication { channel, epoch, publication } => {
                let epoch = epoch.or_else(|| self.sequence.epoch().cloned());
                if let Some(epoch) = epoch.filter(has_a_say) {
                    self.publication(channel, epoch, publication, events);
                }
            }
            Push::Gap { channel, epoch, from, to, reason } if has_a_say(&epoch) => {
                // A hole before it is another one.
                if self.sequence.lacks_before(&epoch, from) {
                    tell(&channel, self.sequence.leave_out(&epoch, from - 1), events);
                }
                tell(&channel, self.sequence.skip(Missing { epoch, from, to, reason }), events);
            }
            _ => {}
        }
    }

    fn publication(
        &mut self,
        channel: ChannelName,
        epoch: Epoch,
        publication: Arc<Publication>,
        events: &mut Vec<GrantEvent>,
    ) {
        let offset = publication.offset;
        match self.sequence.judge(&epoch, offset) {
            Verdict::Seen => return,
            Verdict::Next => {}
            Verdict::Hole => tell(&channel, self.sequence.leave_out(&epoch, offset - 1), events),
        }
        let position = Some(self.sequence.reach(epoch, offset));
        events.push(GrantEvent::Publication { channel, position, publication });
    }
}

fn tell(channel: &ChannelName, missing: Option<Missing>, events: &mut Vec<GrantEvent>) {
    events.extend(missing.map(|Missing { epoch, from, to, reason }| GrantEvent::Gap {
        channel: channel.clone(),
        epoch,
        from,
        to,
        reason,
    }));
}

fn name_of(push: &Push) -> Option<&ChannelName> {
    match push {
        Push::Publication { channel, .. } | Push::Gap { channel, .. } => Some(channel),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

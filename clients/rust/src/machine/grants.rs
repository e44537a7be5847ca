//! Channels that a backend has put this client into, one connection at a time. They end with their connection and are not asked for
//! again: only the backend knows whether the client should be there.
//!
//! - Each durable publication once and in order; what the server leaves out is announced. There is no position to recover
//!   from: whoever wants what came before reads history.
//! - A push that overtakes its `subscribed` (streams of WebTransport are independent) waits for it.
//! - While the client moves, a grant on the new connection takes the place of the one on the old.
//!
//! Bounded by what the server grants to one connection. Never: asks the server for anything.

use std::collections::{HashMap, VecDeque};

use skywave_protocol::message::{GapReason, Subscribed};
use skywave_protocol::{ChannelName, Position, Push, WireError};

use super::LinkId;
use crate::event::GrantEvent;

/// Pushes kept of channels that are not known yet. What goes beyond pushes the oldest out, and is then found missing.
const EARLY_PUSHES: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Grants {
    channels: HashMap<ChannelName, Grant>,
    early: VecDeque<(LinkId, Push)>,
}

#[derive(Debug)]
struct Grant {
    link: LinkId,
    /// `None`: ephemeral.
    last: Option<Position>,
}

impl Grants {
    /// What stands, as it was told when it began; for somebody who begins to listen.
    pub(super) fn standing(&self) -> Vec<GrantEvent> {
        let granted = |(channel, grant): (&ChannelName, &Grant)| GrantEvent::Granted {
            channel: channel.clone(),
            position: grant.last.clone(),
        };
        self.channels.iter().map(granted).collect()
    }

    /// Takes a push about a channel that the application has not subscribed to.
    pub(super) fn pushed(&mut self, link: LinkId, push: Push) -> Vec<GrantEvent> {
        let mut events = Vec::new();
        match push {
            Push::Subscribed(subscribed) => self.granted(link, subscribed, &mut events),
            Push::Unsubscribed { channel, error } => {
                if self.channels.get(&channel).is_some_and(|grant| grant.link == link) {
                    events.extend(self.withdraw(&channel, Some(error)));
                }
            }
            push => self.deliver(link, push, &mut events),
        }
        events
    }

    fn granted(&mut self, link: LinkId, subscribed: Subscribed, events: &mut Vec<GrantEvent>) {
        let Subscribed { channel, position, .. } = subscribed;
        let moved = self.channels.get_mut(&channel).is_some_and(|grant| {
            let known = grant.last.as_ref().zip(position.as_ref());
            // Where it stood counts, so that what lies between the two connections is announced.
            if known.is_none_or(|(last, position)| last.epoch != position.epoch) {
                grant.last.clone_from(&position);
            }
            grant.link = link;
            true
        });
        if !moved {
            self.channels.insert(channel.clone(), Grant { link, last: position.clone() });
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
        let Some(grant) = self.channels.get_mut(&name) else {
            self.keep(link, push);
            return;
        };
        match push {
            Push::Publication { channel, publication, .. } if publication.is_ephemeral() => {
                // Both connections carry it while the client moves: the newer one counts.
                let counts = grant.link == link;
                let event = GrantEvent::Publication { channel, position: None, publication };
                events.extend(counts.then_some(event));
            }
            Push::Publication { channel, epoch, publication } => {
                let epoch = epoch.or_else(|| grant.last.as_ref().map(|last| last.epoch.clone()));
                let Some(epoch) = epoch else { return };
                let offset = publication.offset;
                if let Some(last) = grant.last.as_ref().filter(|last| last.epoch == epoch) {
                    if offset <= last.offset {
                        return;
                    }
                    let (from, to, reason) = (last.offset + 1, offset - 1, GapReason::Unavailable);
                    if from <= to {
                        let (channel, epoch) = (channel.clone(), epoch.clone());
                        events.push(GrantEvent::Gap { channel, epoch, from, to, reason });
                    }
                }
                let position = Position { epoch, offset };
                grant.last = Some(position.clone());
                events.push(GrantEvent::Publication { channel, position: Some(position), publication });
            }
            Push::Gap { channel, epoch, from, to, reason } => {
                let last = grant.last.as_ref().filter(|last| last.epoch == epoch).map(|last| last.offset);
                if last.is_some_and(|last| to <= last) && reason != GapReason::Failover {
                    return;
                }
                // After a failover the channel goes on where the log was cut.
                let offset = if reason == GapReason::Failover { from.saturating_sub(1) } else { to };
                grant.last = Some(Position { epoch: epoch.clone(), offset });
                events.push(GrantEvent::Gap { channel, epoch, from, to, reason });
            }
            _ => {}
        }
    }

    /// What has a position finds its place later; anything else may be lost.
    fn keep(&mut self, link: LinkId, push: Push) {
        let ephemeral = match &push {
            Push::Publication { publication, .. } => publication.is_ephemeral(),
            Push::Gap { .. } => false,
            _ => true,
        };
        if ephemeral {
            return;
        }
        if self.early.len() >= EARLY_PUSHES {
            self.early.pop_front();
        }
        self.early.push_back((link, push));
    }

    /// The application has a subscription of its own from here on, or a backend has ended the grant.
    pub(super) fn withdraw(&mut self, channel: &ChannelName, error: Option<WireError>) -> Option<GrantEvent> {
        self.early.retain(|(_, push)| name_of(push) != Some(channel));
        self.channels.remove(channel).map(|_| GrantEvent::Withdrawn { channel: channel.clone(), error })
    }

    /// A connection is gone, and its grants with it.
    pub(super) fn link_lost(&mut self, link: LinkId) -> Vec<GrantEvent> {
        self.early.retain(|(of, _)| *of != link);
        let gone = self.channels.extract_if(|_, grant| grant.link == link);
        gone.map(|(channel, _)| GrantEvent::Withdrawn { channel, error: None }).collect()
    }
}

fn name_of(push: &Push) -> Option<&ChannelName> {
    match push {
        Push::Publication { channel, .. } | Push::Gap { channel, .. } => Some(channel),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use skywave_protocol::{Epoch, ErrorCode, Payload, Publication};

    use super::*;

    const OLD: LinkId = LinkId(1);
    const NEW: LinkId = LinkId(2);

    fn channel() -> ChannelName {
        ChannelName::parse("vip").unwrap()
    }

    fn position(epoch: &str, offset: u64) -> Position {
        Position { epoch: Epoch::parse(epoch).unwrap(), offset }
    }

    fn subscribed(position: Option<Position>) -> Push {
        Push::Subscribed(Subscribed { channel: channel(), position, recovery: None })
    }

    fn publication(offset: u64) -> Push {
        let data = Payload::from_json(b"1").unwrap();
        let publication = Arc::new(Publication { offset, id: None, from: None, time_ms: 0, data });
        Push::Publication { channel: channel(), epoch: None, publication }
    }

    /// What is told, in short.
    fn short(events: Vec<GrantEvent>) -> Vec<String> {
        let one = |event| match event {
            GrantEvent::Granted { position, .. } => {
                format!("granted at {}", position.map_or(0, |position| position.offset))
            }
            GrantEvent::Publication { position, .. } => {
                position.map_or("ephemeral".into(), |it| it.offset.to_string())
            }
            GrantEvent::Gap { from, to, .. } => format!("gap {from}-{to}"),
            GrantEvent::Withdrawn { error, .. } => {
                error.map_or("ended".into(), |error| error.code.name().into())
            }
        };
        events.into_iter().map(one).collect()
    }

    #[test]
    fn each_publication_comes_once_in_order_and_what_is_left_out_is_announced() {
        let mut grants = Grants::default();
        let mut told = Vec::new();
        told.extend(grants.pushed(OLD, subscribed(Some(position("e", 5)))));
        for offset in [4, 5, 6, 6, 9, 7] {
            told.extend(grants.pushed(OLD, publication(offset)));
        }
        let (epoch, reason) = (Epoch::parse("f").unwrap(), GapReason::Epoch);
        told.extend(grants.pushed(OLD, Push::Gap { channel: channel(), epoch, from: 1, to: 2, reason }));
        told.extend(grants.pushed(OLD, publication(3)));
        assert_eq!(short(told), ["granted at 5", "6", "gap 7-8", "9", "gap 1-2", "3"]);
        assert_eq!(short(grants.standing()), ["granted at 3"]);
    }

    #[test]
    fn a_publication_that_overtakes_its_grant_waits_for_it() {
        let mut grants = Grants::default();
        for offset in [4, 6, 7, 0] {
            assert_eq!(grants.pushed(OLD, publication(offset)), []);
        }
        // Of another connection: it says nothing about this one.
        assert_eq!(grants.pushed(NEW, publication(8)), []);
        assert_eq!(short(grants.pushed(OLD, subscribed(Some(position("e", 5))))), ["granted at 5", "6", "7"]);
        for offset in 1..2 * EARLY_PUSHES as u64 {
            let stray = publication(offset);
            let Push::Publication { publication, epoch, .. } = stray else { unreachable!() };
            let channel = ChannelName::parse("other").unwrap();
            assert_eq!(grants.pushed(OLD, Push::Publication { channel, epoch, publication }), []);
        }
        assert_eq!(grants.early.len(), EARLY_PUSHES);
    }

    #[test]
    fn a_grant_ends_with_its_connection_or_by_the_backend() {
        let mut grants = Grants::default();
        grants.pushed(OLD, subscribed(None));
        assert_eq!(short(grants.pushed(OLD, publication(0))), ["ephemeral"]);
        assert_eq!(short(grants.link_lost(OLD)), ["ended"]);
        assert_eq!(grants.pushed(OLD, publication(0)), []);
        grants.pushed(NEW, subscribed(None));
        let error = WireError::new(ErrorCode::Forbidden, "out");
        let out = |error: &WireError| Push::Unsubscribed { channel: channel(), error: error.clone() };
        assert_eq!(grants.pushed(OLD, out(&error)), [], "said by a connection that has no grant");
        assert_eq!(short(grants.pushed(NEW, out(&error))), ["forbidden"]);
        assert_eq!(grants.pushed(NEW, out(&error)), []);
    }

    #[test]
    fn a_grant_moves_to_a_new_connection_without_a_copy_or_a_silent_hole() {
        let mut grants = Grants::default();
        grants.pushed(OLD, subscribed(Some(position("e", 5))));
        assert_eq!(short(grants.pushed(OLD, publication(6))), ["6"]);
        assert_eq!(grants.pushed(NEW, subscribed(Some(position("e", 7)))), []);
        assert_eq!(short(grants.pushed(OLD, publication(7))), ["7"]);
        assert_eq!(grants.link_lost(OLD), []);
        assert_eq!(short(grants.pushed(NEW, publication(9))), ["gap 8-8", "9"]);
        assert_eq!(short(grants.link_lost(NEW)), ["ended"]);
    }
}

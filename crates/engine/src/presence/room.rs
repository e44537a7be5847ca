//! One channel's presence: this node's members, the other nodes', and the users they add up to.

use std::collections::BTreeMap;

use skywave_protocol::inner::{PresenceChange, PresenceDelta};
use skywave_protocol::message::Member;
use skywave_protocol::{ClientId, NodeId, UserId};

use super::few::Few;
use super::node::{Clients, Effect, Node};
use super::{Context, PresenceConfig, PresenceOutput};
use crate::time::{Deadline, Millis, earlier};

/// Members that are told in one message have about so many bytes at most: an eighth of what NATS takes by default.
const PART_BYTES: usize = 128 * 1024;

#[derive(Debug)]
pub(super) struct Room {
    /// Since when news of the channel are kept.
    since: Millis,
    local: Clients,
    /// Number of this node's newest change.
    version: u64,
    /// Connections by who they count for, over all nodes.
    present: Few<Who, u32>,
    watchers: u32,
    /// When this node last published anything but a question.
    spoke_at: Millis,
    /// `None` while no other node has spoken of the channel.
    others: Option<Box<Others>>,
    /// Copy of this channel's entry in the deadlines.
    pub(super) deadline: Deadline,
}

/// There is one for each channel, in the allocators' class of 96 bytes.
const _: () = assert!(size_of::<Room>() <= 96, "a room has grown");

/// What there is only with other nodes.
#[derive(Debug, Default)]
struct Others {
    nodes: BTreeMap<NodeId, Node>,
    /// When this node last asked them; not counting the question with which the room began.
    asked_at: Option<Millis>,
    /// When everything was last published, and whether (and when) it has to be again.
    told_all_at: Option<Millis>,
    tell_all_at: Option<Millis>,
}

/// Who a connection counts for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    User(UserId),
    Anonymous(ClientId),
}

impl Who {
    fn of(member: &Member) -> Self {
        match &member.user {
            Some(user) => Self::User(user.clone()),
            None => Self::Anonymous(member.client.clone()),
        }
    }
}

impl Room {
    pub(super) fn new(since: Millis, version: u64) -> Self {
        Self {
            since,
            local: Clients::new(),
            version,
            present: Few::new(),
            watchers: 0,
            spoke_at: 0,
            others: None,
            deadline: Deadline::NEVER,
        }
    }

    pub(super) fn enter(&mut self, context: &mut Context<'_>, member: Member) {
        match self.local.insert(member.client.clone(), member.user.clone()) {
            Some(user) if user == member.user => return,
            // The same connection under another user: the old one leaves.
            Some(user) => self.count_out(context, Member { client: member.client.clone(), user }),
            None => {}
        }
        self.count_in(context, member.clone());
        self.version += 1;
        // The first one is told as everything there is, so that nobody has to ask what came before.
        let change = match self.local.len() {
            1 => PresenceChange::All(vec![member]),
            _ => PresenceChange::Join(member),
        };
        self.say(context, change);
    }

    pub(super) fn leave(&mut self, context: &mut Context<'_>, client: &ClientId) {
        let Some(user) = self.local.remove(client) else { return };
        let member = Member { client: client.clone(), user };
        self.count_out(context, member.clone());
        self.version += 1;
        self.say(context, PresenceChange::Leave(member));
    }

    pub(super) fn watch(&mut self) {
        self.watchers += 1;
    }

    pub(super) fn unwatch(&mut self) {
        debug_assert!(self.watchers > 0, "each unwatch has its watch");
        self.watchers = self.watchers.saturating_sub(1);
    }

    /// A fresh room's first question: what do the other nodes have?
    pub(super) fn begin(&mut self, context: &mut Context<'_>) {
        self.publish(context, PresenceChange::Ask);
    }

    /// Asks the other nodes for everything, unless that was done a moment ago: their next beat will tell what is missing.
    fn ask(&mut self, context: &mut Context<'_>) {
        let others = self.others.get_or_insert_default();
        if context.now >= others.asked_at.unwrap_or(self.since) + context.config.exchange_ms() {
            others.asked_at = Some(context.now);
            self.publish(context, PresenceChange::Ask);
        }
    }

    pub(super) fn delta(&mut self, context: &mut Context<'_>, delta: PresenceDelta) {
        let name = delta.node.clone();
        if delta.change == PresenceChange::Ask {
            self.answer(context);
            // A question of a node without members says nothing else.
            let is_known = self.others.as_ref().is_some_and(|others| others.nodes.contains_key(&name));
            if delta.version == 0 || !is_known {
                return;
            }
        }
        let nodes = &mut self.others.get_or_insert_default().nodes;
        let node = nodes.entry(name.clone()).or_insert_with(|| Node::unknown(context.now));
        match node.take(context.now, delta) {
            Effect::Nothing => {}
            Effect::Ask => self.ask(context),
            Effect::Enter(member) => {
                if node.clients.insert(member.client.clone(), member.user.clone()).is_none() {
                    self.count_in(context, member);
                }
            }
            Effect::Leave(member) => {
                if let Some(user) = node.clients.remove(&member.client) {
                    self.count_out(context, Member { client: member.client, user });
                }
            }
            Effect::Replace(members) => self.replace(context, &name, members),
        }
    }

    pub(super) fn timeout(&mut self, context: &mut Context<'_>) {
        if self.tell_all_at().is_some_and(|at| at <= context.now) {
            self.tell_all(context);
        }
        if !self.local.is_empty() && self.spoke_at + context.config.beat_ms <= context.now {
            self.say(context, PresenceChange::Beat);
        }
        let (now, config) = (context.now, context.config);
        let Some(others) = &mut self.others else { return };
        let mut left: Vec<Member> = Vec::new();
        others.nodes.retain(|_, node| {
            if node.is_dead(now, config) {
                left.extend(node.bury().into_iter().map(|(client, user)| Member { client, user }));
            }
            !node.is_forgotten(now, config)
        });
        let owes_nothing =
            others.tell_all_at.is_none() && others.may_tell_at(config, self.local.len()) <= now;
        if others.nodes.is_empty() && owes_nothing {
            self.others = None;
        }
        for member in left {
            self.count_out(context, member);
        }
    }

    pub(super) fn next_deadline(&self, config: &PresenceConfig) -> Option<Millis> {
        let beat = (!self.local.is_empty()).then_some(self.spoke_at + config.beat_ms);
        let nodes = self.others.iter().flat_map(|others| others.nodes.values());
        let lease = nodes.map(|node| node.deadline(config)).min();
        earlier(earlier(beat, lease), self.tell_all_at())
    }

    pub(super) fn is_idle(&self) -> bool {
        self.local.is_empty() && self.watchers == 0
    }

    pub(super) fn since(&self) -> Millis {
        self.since
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn members(&self) -> Vec<Member> {
        let nodes = self.others.iter().flat_map(|others| others.nodes.values());
        let remote = nodes.flat_map(|node| node.clients.iter());
        let mut members: Vec<Member> = self
            .local
            .iter()
            .chain(remote)
            .map(|(client, user)| Member { client: client.clone(), user: user.clone() })
            .collect();
        members.sort_by(|a, b| a.client.cmp(&b.client));
        members
    }

    /// Answers a question, at once or (when many ask) a moment later for all of them.
    fn answer(&mut self, context: &mut Context<'_>) {
        if self.local.is_empty() && self.version == 0 {
            return;
        }
        let others = self.others.get_or_insert_default();
        let due = others.may_tell_at(context.config, self.local.len());
        if due <= context.now {
            self.tell_all(context);
        } else {
            others.tell_all_at = Some(due);
        }
    }

    fn tell_all_at(&self) -> Option<Millis> {
        self.others.as_ref().and_then(|others| others.tell_all_at)
    }

    fn tell_all(&mut self, context: &mut Context<'_>) {
        let others = self.others.get_or_insert_default();
        (others.tell_all_at, others.told_all_at) = (None, Some(context.now));
        let mut parts = self.parts();
        if parts.len() <= 1 {
            return self.say(context, PresenceChange::All(parts.pop().unwrap_or_default()));
        }
        let of = parts.len() as u32;
        for (part, members) in (0..).zip(parts) {
            self.say(context, PresenceChange::Part { part, parts: of, members });
        }
    }

    /// This node's members, in pieces of a message each.
    fn parts(&self) -> Vec<Vec<Member>> {
        let mut parts: Vec<Vec<Member>> = Vec::new();
        let mut bytes = PART_BYTES;
        for (client, user) in self.local.iter() {
            // Lengths and flags are another few bytes.
            let size = client.as_str().len() + user.as_ref().map_or(0, |user| user.as_str().len()) + 8;
            if bytes + size > PART_BYTES {
                bytes = 0;
                parts.push(Vec::new());
            }
            bytes += size;
            if let Some(part) = parts.last_mut() {
                part.push(Member { client: client.clone(), user: user.clone() });
            }
        }
        parts
    }

    /// Takes a node's whole membership. Those who came are counted before those who went, so that a user whose connection
    /// changed never seems to leave.
    fn replace(&mut self, context: &mut Context<'_>, name: &NodeId, members: Vec<Member>) {
        let Some(node) = self.others.as_mut().and_then(|others| others.nodes.get_mut(name)) else { return };
        let new: Clients = members.into_iter().map(|member| (member.client, member.user)).collect();
        let old = std::mem::replace(&mut node.clients, new.clone());
        let only_in = |a: &Clients, b: &Clients| -> Vec<Member> {
            let fresh = a.iter().filter(|(client, user)| b.get(*client) != Some(*user));
            fresh.map(|(client, user)| Member { client: client.clone(), user: user.clone() }).collect()
        };
        for member in only_in(&new, &old) {
            self.count_in(context, member);
        }
        for member in only_in(&old, &new) {
            self.count_out(context, member);
        }
    }

    fn count_in(&mut self, context: &mut Context<'_>, member: Member) {
        let who = Who::of(&member);
        if let Some(count) = self.present.get_mut(&who) {
            *count += 1;
            return;
        }
        self.present.insert(who, 1);
        if self.watchers > 0 {
            context.out.push(PresenceOutput::Join { channel: context.channel.clone(), member });
        }
    }

    fn count_out(&mut self, context: &mut Context<'_>, member: Member) {
        let who = Who::of(&member);
        let Some(count) = self.present.get_mut(&who) else { return };
        *count -= 1;
        if *count == 0 {
            self.present.remove(&who);
            if self.watchers > 0 {
                context.out.push(PresenceOutput::Leave { channel: context.channel.clone(), member });
            }
        }
    }

    fn say(&mut self, context: &mut Context<'_>, change: PresenceChange) {
        self.spoke_at = context.now;
        self.publish(context, change);
    }

    fn publish(&self, context: &mut Context<'_>, change: PresenceChange) {
        let delta = PresenceDelta { node: context.node.clone(), version: self.version, change };
        context.out.push(PresenceOutput::Publish { channel: context.channel.clone(), delta });
    }
}

impl Others {
    /// Not before this, everything may be published again.
    fn may_tell_at(&self, config: &PresenceConfig, members: usize) -> Millis {
        self.told_all_at.map_or(0, |at| at + config.answer_ms(members))
    }
}

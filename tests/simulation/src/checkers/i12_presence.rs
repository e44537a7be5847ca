//! I12: presence converges. At the end every edge sees exactly the connections that are there, dead ones gone; on the way
//! nobody is told of a coming twice, or of the going of a user of whom another connection stayed. A leave is judged when the
//! edge tells it, however late it is read.

use std::collections::BTreeMap;

use super::{Verdict, broken};
use crate::history::{Channel, ConnectionId, Entry, Fact, History, Time};

/// An edge that stands still may have promised a stay and entered it in its books only this much later.
const STANDSTILL: Time = 2_600;

/// One connection's stay in a channel.
struct Stay {
    connection: ConnectionId,
    who: String,
    edge: usize,
    channel: Channel,
    from: Time,
    to: Time,
}

pub(super) fn check(history: &History) -> Verdict {
    let stays = stays(history);
    let mut told: BTreeMap<(ConnectionId, Channel, &str), bool> = BTreeMap::new();
    let mut present: BTreeMap<Channel, &Vec<String>> = BTreeMap::new();
    let mut edges: BTreeMap<ConnectionId, usize> = BTreeMap::new();
    for entry in &history.entries {
        if let Fact::Present { channel, connections } = &entry.fact {
            present.insert(*channel, connections);
        }
    }
    for entry in &history.entries {
        match &entry.fact {
            Fact::Connected { connection, edge, .. } => {
                edges.insert(*connection, *edge);
            }
            Fact::Unsubscribed { connection, channel, .. } => {
                told.retain(|(of, in_, _), _| of != connection || in_ != channel);
            }
            Fact::Came { connection, channel, who, .. }
                if told.insert((*connection, *channel, who), true) == Some(true) =>
            {
                let what = format!("connection {connection} was told twice that {who} came to {channel}");
                return broken("I12", entry.time, what);
            }
            Fact::Went { connection, channel, who, .. }
                if told.insert((*connection, *channel, who), false) == Some(false) =>
            {
                let what = format!("connection {connection} was told twice that {who} left {channel}");
                return broken("I12", entry.time, what);
            }
            Fact::Told { connection, channel, who, came: false } => {
                let stayed = |stay: &&Stay| {
                    stay.who == *who
                        && stay.channel == *channel
                        && edges.get(connection) == Some(&stay.edge)
                        && stay.from + STANDSTILL < entry.time
                        && stay.to > entry.time
                };
                if let Some(stay) = stays.iter().find(stayed) {
                    let what = format!(
                        "{who} was said to leave {channel}, but connection {} stayed",
                        stay.connection
                    );
                    return broken("I12", entry.time, what);
                }
            }
            Fact::Seen { edge, channel, connections } if present.get(channel) != Some(&connections) => {
                let truth = present.get(channel);
                let what = format!("edge {edge} sees {connections:?} in {channel}; present are {truth:?}");
                return broken("I12", entry.time, what);
            }
            _ => {}
        }
    }
    news_were_told(history)?;
    everybody_is_seen(history, &stays)
}

/// Watchers read what edges told them, and nothing else: so judging what was told is judging what was read.
fn news_were_told(history: &History) -> Verdict {
    let mut told: BTreeMap<(ConnectionId, Channel, &str, bool), u64> = BTreeMap::new();
    for entry in &history.entries {
        let (key, is_told) = match &entry.fact {
            Fact::Told { connection, channel, who, came } => {
                ((*connection, *channel, who.as_str(), *came), true)
            }
            Fact::Came { connection, channel, who, .. } => {
                ((*connection, *channel, who.as_str(), true), false)
            }
            Fact::Went { connection, channel, who, .. } => {
                ((*connection, *channel, who.as_str(), false), false)
            }
            _ => continue,
        };
        let count = told.entry(key).or_default();
        match is_told {
            true => *count += 1,
            false if *count == 0 => {
                let what = format!("connection {} read news of {} that no edge told it", key.0, key.2);
                return broken("I12", entry.time, what);
            }
            false => *count -= 1,
        }
    }
    Ok(())
}

/// The edges that hold members at the end have been looked at: convergence must not be proved by silence.
fn everybody_is_seen(history: &History, stays: &[Stay]) -> Verdict {
    for stay in stays.iter().filter(|stay| stay.to == Time::MAX && history.durable[stay.channel]) {
        let seen = |entry: &Entry| match &entry.fact {
            Fact::Seen { edge, channel, .. } => *edge == stay.edge && *channel == stay.channel,
            _ => false,
        };
        if !history.entries.iter().any(seen) {
            let what = format!(
                "edge {} tells nothing of channel {}, where {} is",
                stay.edge, stay.channel, stay.who
            );
            return broken("I12", history.entries.last().map_or(0, |entry| entry.time), what);
        }
    }
    Ok(())
}

fn stays(history: &History) -> Vec<Stay> {
    let mut edges: BTreeMap<ConnectionId, usize> = BTreeMap::new();
    let mut stays: Vec<Stay> = Vec::new();
    for entry in &history.entries {
        match &entry.fact {
            Fact::Connected { connection, edge, .. } => {
                edges.insert(*connection, *edge);
            }
            Fact::Subscribed { client, connection, channel, .. } => {
                let who = history.users[*client].clone().unwrap_or_else(|| format!("c{connection}"));
                let edge = edges.get(connection).copied().unwrap_or(usize::MAX);
                let (from, to) = (entry.time, Time::MAX);
                stays.push(Stay { connection: *connection, who, edge, channel: *channel, from, to });
            }
            Fact::Unsubscribed { connection, channel, .. } | Fact::Left { connection, channel } => {
                end(&mut stays, entry.time, |stay| {
                    stay.connection == *connection && stay.channel == *channel
                });
            }
            Fact::EdgeGone { edge } => end(&mut stays, entry.time, |stay| stay.edge == *edge),
            Fact::Disconnected { connection, .. } => {
                end(&mut stays, entry.time, |stay| stay.connection == *connection);
            }
            _ => {}
        }
    }
    stays
}

fn end(stays: &mut [Stay], time: Time, which: impl Fn(&Stay) -> bool) {
    for stay in stays.iter_mut().filter(|stay| stay.to == Time::MAX && which(stay)) {
        stay.to = time;
    }
}

//! I12: presence converges. At the end every edge sees exactly the connections that are there, dead ones gone; on the way
//! nobody is told of a coming twice, or of the going of a user of whom another connection stayed.

use std::collections::BTreeMap;

use super::{Verdict, broken};
use crate::history::{Channel, ConnectionId, Entry, Fact, History, Time};

/// News may reach a watcher this much late (it may have been paused), and a client may notice this much late that its
/// edge has given it up. Only a connection that stood for longer on both sides proves that its user was there.
const LATE: Time = 6_500;

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
            Fact::Went { connection, channel, who, .. } => {
                if told.insert((*connection, *channel, who), false) == Some(false) {
                    let what = format!("connection {connection} was told twice that {who} left {channel}");
                    return broken("I12", entry.time, what);
                }
                let stayed = |stay: &&Stay| {
                    stay.who == *who
                        && stay.channel == *channel
                        && edges.get(connection) == Some(&stay.edge)
                        && stay.from + LATE < entry.time
                        && stay.to > entry.time.saturating_add(LATE)
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
    everybody_is_seen(history, &stays)
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
            Fact::Unsubscribed { connection, channel, .. } => {
                end(&mut stays, entry.time, |stay| {
                    stay.connection == *connection && stay.channel == *channel
                });
            }
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

//! I7: outages lose nothing and end by themselves. Refusals are such that the client may try again; when everything is
//! healed, every publication that was ever handed in is acknowledged and every client is connected and subscribed.
//!
//! (That nothing acknowledged is lost, also across outages, is I1's to judge.)

use std::collections::{BTreeMap, BTreeSet};

use skywave_protocol::error::Retry;

use super::{Verdict, broken};
use crate::history::{Fact, History};

pub(super) fn check(history: &History) -> Verdict {
    let mut unanswered = BTreeMap::new();
    let mut channels: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    let mut standing: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for entry in &history.entries {
        match &entry.fact {
            Fact::Publish { channel, id, .. } if history.durable[*channel] => {
                unanswered.entry(*id).or_insert(entry.time);
            }
            Fact::Acked { id, .. } => {
                unanswered.remove(id);
            }
            Fact::Refused { code, id, .. } if code.retry() == Retry::Never => {
                let what = format!("{id:#x} was refused for good with {}", code.name());
                return broken("I7", entry.time, what);
            }
            Fact::Subscribed { client, channel, .. } => {
                channels.entry(*client).or_default().insert(*channel);
                standing.entry(*client).or_default().insert(*channel);
            }
            Fact::Unsubscribed { client, channel, .. } => {
                standing.entry(*client).or_default().remove(channel);
            }
            Fact::Disconnected { client, .. } => {
                standing.remove(client);
            }
            _ => {}
        }
    }
    let end = history.entries.last().map_or(0, |entry| entry.time);
    if let Some((id, since)) = unanswered.first_key_value() {
        let what = format!("{id:#x} has waited for its acknowledgement since {since}");
        return broken("I7", end, what);
    }
    for client in 0..history.users.len() {
        if !channels.contains_key(&client) || channels.get(&client) != standing.get(&client) {
            let what = format!("client {client} did not get back what it had subscribed to");
            return broken("I7", end, what);
        }
    }
    Ok(())
}

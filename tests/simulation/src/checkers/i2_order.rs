//! I2: a subscriber sees a channel in offset order, each offset at most once, with no hole that was not announced; and at
//! the end, when everything has come to rest, it has seen everything up to the newest publication.
//!
//! A client is one subscriber over all its connections: it asks for recovery from the last position it has seen.

use std::collections::BTreeMap;

use skywave_protocol::message::{GapReason, Recovery};

use super::{Verdict, broken};
use crate::history::{Channel, ClientId, ConnectionId, Fact, History};

#[derive(Default)]
struct Reader {
    /// Newest offset seen or announced as missing.
    at: Option<u64>,
    subscribed: Option<ConnectionId>,
}

pub(super) fn check(history: &History) -> Verdict {
    let began = |(of, at): (&(ClientId, Channel), &u64)| (*of, Reader { at: Some(*at), subscribed: None });
    let mut readers: BTreeMap<(ClientId, Channel), Reader> = history.starts.iter().map(began).collect();
    for entry in &history.entries {
        let outcome = match &entry.fact {
            Fact::Subscribed { client, connection, channel, asked, offset: Some(offset), recovery } => {
                let reader = readers.entry((*client, *channel)).or_default();
                reader.subscribed = Some(*connection);
                reader.subscribe(*asked, *offset, recovery.as_ref())
            }
            Fact::Delivered { client, connection, channel, offset, .. } if *offset > 0 => {
                readers.entry((*client, *channel)).or_default().deliver(*connection, *offset)
            }
            Fact::Gap { client, connection, channel, from, to, .. } => {
                readers.entry((*client, *channel)).or_default().gap(*connection, *from, *to)
            }
            Fact::Unsubscribed { client, channel, .. } => {
                readers.entry((*client, *channel)).or_default().subscribed = None;
                Ok(())
            }
            Fact::Disconnected { client, .. } => {
                let of_client = readers.iter_mut().filter(|((of, _), _)| of == client);
                of_client.for_each(|(_, reader)| reader.subscribed = None);
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(what) = outcome {
            return broken("I2", entry.time, format!("{what} ({:?})", entry.fact));
        }
    }
    for ((client, channel), reader) in readers {
        let head = history.final_head(channel);
        if reader.subscribed.is_some() && reader.at != Some(head) {
            let what = format!(
                "client {client} rests at {:?} of channel {channel}, whose head is {head}",
                reader.at
            );
            return broken("I2", history.entries.last().map_or(0, |entry| entry.time), what);
        }
    }
    Ok(())
}

impl Reader {
    fn subscribe(
        &mut self,
        asked: Option<u64>,
        offset: u64,
        recovery: Option<&Recovery>,
    ) -> Result<(), String> {
        if asked != self.at {
            return Err(format!("asked to recover from {asked:?}, but had seen {:?}", self.at));
        }
        match (asked, recovery) {
            (None, _) => self.at = Some(offset),
            (Some(_), None) => return Err("recovery was asked for and not answered".into()),
            (Some(asked), Some(Recovery::Exact)) if asked > offset => {
                return Err(format!("an exact recovery from {asked} ended before it, at {offset}"));
            }
            (Some(_), Some(Recovery::Exact)) => {}
            (Some(_), Some(Recovery::Gap { reason: GapReason::Failover, .. })) => self.at = Some(offset),
            (Some(_), Some(Recovery::Gap { reason: GapReason::Epoch, to, .. })) => self.at = Some(*to),
            (Some(asked), Some(Recovery::Gap { from, to, .. })) => {
                if *from != asked + 1 || to < from {
                    return Err(format!("the gap {from} to {to} does not begin after {asked}"));
                }
                self.at = Some(*to);
            }
        }
        Ok(())
    }

    fn deliver(&mut self, connection: ConnectionId, offset: u64) -> Result<(), String> {
        if self.subscribed != Some(connection) {
            return Err("delivered without a subscription".into());
        }
        let next = self.at.map_or(1, |at| at + 1);
        if offset != next {
            return Err(format!("{offset} was delivered where {next} was due"));
        }
        self.at = Some(offset);
        Ok(())
    }

    fn gap(&mut self, connection: ConnectionId, from: u64, to: u64) -> Result<(), String> {
        let next = self.at.map_or(1, |at| at + 1);
        if self.subscribed != Some(connection) || from != next || to < from {
            return Err(format!("the gap {from} to {to} was announced where {next} was due"));
        }
        self.at = Some(to);
        Ok(())
    }
}

//! I2: a subscriber sees a channel in offset order, each offset at most once, with no hole that was not announced.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Violation, violation};
use crate::history::{Event, History, Kind};

const I2: &str = "I2";

/// One subscriber in one channel.
#[derive(Default)]
struct Cursor {
    /// Newest offset that was seen or announced as lost; `None` before the first subscription.
    at: Option<u64>,
    settled: bool,
}

/// Every subscriber's deliveries, in the order it saw them.
pub fn order_without_silent_holes(history: &History) -> Vec<Violation> {
    let mut cursors: BTreeMap<(Arc<str>, String), Cursor> = BTreeMap::new();
    let mut violations = Vec::new();
    for event in &history.events {
        let Some(channel) = channel(event) else { continue };
        let cursor = cursors.entry((event.process.clone(), channel.to_owned())).or_default();
        if let Err(what) = cursor.follow(&event.kind) {
            violations
                .push(violation(I2, format!("{} in {channel} at {:?}: {what}", event.process, event.at)));
        }
    }
    if cursors.is_empty() {
        violations.push(violation(I2, "nobody subscribed: the history proves nothing"));
    }
    for ((process, channel), _) in cursors.iter().filter(|(_, cursor)| !cursor.settled) {
        violations
            .push(violation(I2, format!("{process} in {channel}: the history ends before it saw the head")));
    }
    violations
}

/// The channel an event of a subscriber is about.
fn channel(event: &Event) -> Option<&str> {
    match &event.kind {
        Kind::Subscribed { channel, .. } | Kind::Gap { channel, .. } | Kind::Settled { channel, .. } => {
            Some(channel)
        }
        Kind::Delivered { message, .. } => Some(&message.channel),
        _ => None,
    }
}

impl Cursor {
    fn follow(&mut self, kind: &Kind) -> Result<(), String> {
        match kind {
            Kind::Subscribed { position, asked, .. } => {
                match asked {
                    None => self.at = Some(position.offset),
                    // One that was here before the history begins.
                    Some(asked) => drop(self.at.get_or_insert(asked.offset)),
                }
                Ok(())
            }
            Kind::Delivered { position, .. } => {
                let at = self.at.ok_or("a delivery before the subscription")?;
                let offset = position.offset;
                self.at = Some(at.max(offset));
                match offset {
                    _ if offset == at + 1 => Ok(()),
                    _ if offset <= at => Err(format!("offset {offset} after {at}: doubled or out of order")),
                    _ => Err(format!("offset {offset} after {at}: {} missing in silence", offset - at - 1)),
                }
            }
            Kind::Gap { from, to, .. } => {
                let at = self.at.ok_or("a gap before the subscription")?;
                self.at = Some(at.max(*to));
                if *from == at + 1 { Ok(()) } else { Err(format!("a gap from {from} after {at}")) }
            }
            Kind::Settled { position, .. } => {
                self.settled = true;
                let at = self.at.ok_or("settled before the subscription")?;
                if at >= position.offset {
                    Ok(())
                } else {
                    Err(format!("the head is {}, it saw {at}", position.offset))
                }
            }
            _ => Ok(()),
        }
    }
}

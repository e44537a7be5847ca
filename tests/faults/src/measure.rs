//! What clients saw of a fault, from the recorded history.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use skywave_harness::{History, Kind};

/// One run in figures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    pub acknowledged: usize,
    pub delivered: usize,
    /// Longest time in which no publisher was acknowledged anything.
    pub publishing_stood: Duration,
    /// Longest time in which some subscriber was delivered nothing.
    pub delivery_stood: Duration,
    /// Error codes publishers got, and how often.
    pub refusals: BTreeMap<String, usize>,
    /// Close codes subscribers got; 1006 stands for an end without a close.
    pub closes: BTreeSet<u16>,
    /// Subscriptions that were resumed from a position.
    pub recoveries: usize,
}

impl Figures {
    pub fn of(history: &History) -> Self {
        let mut figures = Self::default();
        let mut acknowledged: Option<Duration> = None;
        let mut delivered: HashMap<Arc<str>, Duration> = HashMap::new();
        for event in &history.events {
            match &event.kind {
                Kind::Acknowledged { .. } => {
                    figures.acknowledged += 1;
                    let since = acknowledged.replace(event.at).map_or(Duration::ZERO, |last| event.at - last);
                    figures.publishing_stood = figures.publishing_stood.max(since);
                }
                Kind::Delivered { .. } => {
                    figures.delivered += 1;
                    let last = delivered.insert(event.process.clone(), event.at);
                    let since = last.map_or(Duration::ZERO, |last| event.at - last);
                    figures.delivery_stood = figures.delivery_stood.max(since);
                }
                Kind::Refused { code, .. } => *figures.refusals.entry(code.clone()).or_default() += 1,
                Kind::Closed { code } => _ = figures.closes.insert(code.unwrap_or(1006)),
                Kind::Subscribed { asked: Some(_), .. } => figures.recoveries += 1,
                _ => {}
            }
        }
        figures
    }

    /// What clients saw, in one line.
    pub fn seen(&self) -> String {
        let mut seen = Vec::new();
        seen.extend(self.refusals.iter().map(|(code, count)| format!("{count} × `{code}`")));
        if !self.closes.is_empty() {
            let codes: Vec<String> = self.closes.iter().map(u16::to_string).collect();
            seen.push(format!("closes {}", codes.join(", ")));
        }
        if self.recoveries > 0 {
            seen.push(format!("{} exact recoveries", self.recoveries));
        }
        if seen.is_empty() { "nothing but a pause".into() } else { seen.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use skywave_harness::history::{Event, Message, Position};

    use super::*;

    #[test]
    fn the_longest_pauses_are_found_and_codes_are_counted() {
        let message = Message { channel: "c".into(), publisher: None, id: "1".into(), hash: "h".into() };
        let position = Position { epoch: "e".into(), offset: 1 };
        let mut events = Vec::new();
        let mut say = |at: u64, process: &str, kind: Kind| {
            events.push(Event { at: Duration::from_secs(at), process: process.into(), kind });
        };
        let acknowledged =
            || Kind::Acknowledged { message: message.clone(), position: position.clone(), duplicate: false };
        let delivered = || Kind::Delivered { message: message.clone(), position: position.clone() };
        say(0, "p", acknowledged());
        say(1, "a", delivered());
        say(2, "b", delivered());
        say(4, "q", acknowledged());
        say(5, "p", Kind::Refused { message: message.clone(), code: "timeout".into() });
        say(6, "a", Kind::Closed { code: None });
        say(7, "b", delivered());
        say(8, "a", delivered());
        let figures = Figures::of(&History { events });
        assert_eq!(figures.publishing_stood, Duration::from_secs(4));
        assert_eq!(figures.delivery_stood, Duration::from_secs(7));
        assert_eq!(figures.seen(), "1 × `timeout`, closes 1006");
    }
}

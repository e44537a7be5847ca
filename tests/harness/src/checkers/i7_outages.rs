//! I7: while something is away, publishes are refused in a way that lets them be tried again; without the log none is
//! acknowledged, and whoever publishes is told so; without store or shared state publishing goes on; and afterwards everybody
//! is served again, unaided.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use super::{Violation, violation};
use crate::history::{Event, History, Kind, Part};

const I7: &str = "I7";

/// An outage that lasts longer must have been noticed by those who publish: an append waits 4 s for its answer.
const LONG: Duration = Duration::from_secs(8);

/// Errors that tell a client to give up.
const FOR_GOOD: &[&str] = &[
    "bad_request",
    "invalid_channel",
    "invalid_id",
    "invalid_data",
    "too_large",
    "unauthorized",
    "token_expired",
    "forbidden",
    "not_found",
    "unknown_namespace",
    "not_available",
];

/// Every refusal, and what was published between [`Kind::Away`] and [`Kind::Back`].
pub fn outages_are_survived(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut outages: BTreeMap<&str, Outage<'_>> = BTreeMap::new();
    for event in &history.events {
        match &event.kind {
            Kind::Away { part } => _ = outages.insert(name(*part), Outage::new(*part, event.at)),
            Kind::Back { part } => {
                if let Some(outage) = outages.remove(name(*part)) {
                    violations.extend(outage.judge(event.at));
                }
            }
            Kind::Refused { message, code } if FOR_GOOD.contains(&code.as_str()) => {
                violations.push(violation(I7, format!("{} was refused for good: {code}", message.id)));
            }
            _ => {}
        }
        outages.values_mut().for_each(|outage| outage.note(&event.kind));
    }
    for outage in outages.keys() {
        violations.push(violation(I7, format!("the {outage} never came back: the history proves nothing")));
    }
    violations.extend(everybody_is_served_again(&history.events));
    violations
}

fn name(part: Part) -> &'static str {
    match part {
        Part::Log => "log",
        Part::Store => "store",
        Part::State => "shared state",
        Part::Bus => "bus",
    }
}

/// What happened since a part went away.
struct Outage<'a> {
    part: Part,
    since: Duration,
    /// What nobody can have handed in before.
    begun: HashSet<&'a str>,
    acknowledged: Vec<&'a str>,
    refused: usize,
}

impl<'a> Outage<'a> {
    fn new(part: Part, since: Duration) -> Self {
        Self { part, since, begun: HashSet::new(), acknowledged: Vec::new(), refused: 0 }
    }

    fn note(&mut self, kind: &'a Kind) {
        match kind {
            Kind::Published { message } => _ = self.begun.insert(&message.id),
            Kind::Acknowledged { message, .. } if self.begun.contains(message.id.as_str()) => {
                self.acknowledged.push(&message.id);
            }
            Kind::Refused { .. } => self.refused += 1,
            _ => {}
        }
    }

    fn judge(self, back: Duration) -> Vec<Violation> {
        let was_long = back.saturating_sub(self.since) >= LONG;
        let name = name(self.part);
        match self.part {
            Part::Log => {
                let lied = |id: &&str| violation(I7, format!("{id} was acknowledged without the log"));
                let mut found: Vec<_> = self.acknowledged.iter().map(lied).collect();
                if was_long && self.refused == 0 {
                    let what =
                        format!("the log was away since {:?} and nobody was refused anything", self.since);
                    found.push(violation(I7, what));
                }
                found
            }
            Part::Store | Part::State if was_long && self.acknowledged.is_empty() => {
                let what = format!("the {name} was away since {:?}, and publishing stood still", self.since);
                vec![violation(I7, what)]
            }
            Part::Store | Part::State | Part::Bus => Vec::new(),
        }
    }
}

/// After the last outage everybody who was acknowledged or delivered something before it is so again.
fn everybody_is_served_again(events: &[Event]) -> Vec<Violation> {
    let is_away = |event: &Event| matches!(event.kind, Kind::Away { .. });
    let is_back = |event: &Event| matches!(event.kind, Kind::Back { .. });
    let (Some(first), Some(last)) = (events.iter().position(is_away), events.iter().rposition(is_back))
    else {
        return Vec::new();
    };
    let (before, after) = (served(&events[..first]), served(&events[last..]));
    let forgotten = before.difference(&after);
    forgotten
        .map(|process| violation(I7, format!("{process} was not served again after the outage")))
        .collect()
}

fn served(events: &[Event]) -> BTreeSet<&str> {
    let is_served = |event: &&Event| matches!(event.kind, Kind::Acknowledged { .. } | Kind::Delivered { .. });
    events.iter().filter(is_served).map(|event| &*event.process).collect()
}

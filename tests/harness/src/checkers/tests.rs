//! Each checker passes a good history and fails every damaged one it is responsible for.

use std::time::Duration;

use super::*;
use crate::history::{Event, Kind, Message, Part, Position};

const EPOCH: &str = "e1";
const CHANNEL: &str = "chat:x";
const MESSAGES: u64 = 6;

fn position(offset: u64) -> Position {
    Position { epoch: EPOCH.into(), offset }
}

fn message(number: u64) -> Message {
    Message {
        channel: CHANNEL.into(),
        publisher: None,
        id: format!("m-{number}"),
        hash: format!("h{number}"),
    }
}

/// Two subscribers, one publisher; `late` loses its connection after the third publication and recovers.
fn good() -> History {
    let mut events = Vec::new();
    let mut say = |process: &str, kind: Kind| {
        events.push(Event { at: Duration::from_millis(events.len() as u64), process: process.into(), kind });
    };
    let subscribed = |asked: Option<u64>, at: u64| Kind::Subscribed {
        channel: CHANNEL.into(),
        position: position(at),
        exact: asked.is_some(),
        asked: asked.map(position),
    };
    say("early", subscribed(None, 0));
    say("late", subscribed(None, 0));
    for number in 1..=MESSAGES {
        say("publisher", Kind::Published { message: message(number) });
        let (message, position) = (message(number), position(number));
        say(
            "publisher",
            Kind::Acknowledged { message: message.clone(), position: position.clone(), duplicate: false },
        );
        say("early", Kind::Delivered { message: message.clone(), position: position.clone() });
        if number <= 3 {
            say("late", Kind::Delivered { message, position });
        }
    }
    say("late", subscribed(Some(3), MESSAGES));
    for number in 4..=MESSAGES {
        say("late", Kind::Delivered { message: message(number), position: position(number) });
    }
    for process in ["early", "late"] {
        say(process, Kind::Settled { channel: CHANNEL.into(), position: position(MESSAGES) });
    }
    for number in 1..=MESSAGES {
        say("reader", Kind::Stored { message: message(number), position: position(number) });
    }
    History { events }
}

/// Index of the delivery of an offset to a process.
fn delivery(history: &History, process: &str, offset: u64) -> usize {
    let is = |event: &Event| {
        &*event.process == process
            && matches!(&event.kind, Kind::Delivered { position, .. } if position.offset == offset)
    };
    history.events.iter().position(is).unwrap()
}

fn invariants(history: &History) -> Vec<&'static str> {
    let mut found: Vec<_> = check(history).into_iter().map(|violation| violation.invariant).collect();
    found.dedup();
    found
}

#[test]
fn a_good_history_passes() {
    assert_eq!(check(&good()), Vec::new());
    assert_eq!(slow_costs_only_itself(&good(), &["late"], Duration::from_millis(5)), Vec::new());
}

#[test]
fn an_empty_history_proves_nothing() {
    assert_eq!(invariants(&History::default()), ["I1", "I2", "I3", "I4"]);
    assert_eq!(slow_costs_only_itself(&History::default(), &[], Duration::MAX).len(), 1);
}

#[test]
fn one_delivery_dropped_is_a_silent_hole() {
    for process in ["early", "late"] {
        for offset in 1..=MESSAGES {
            let mut history = good();
            history.events.remove(delivery(&history, process, offset));
            assert_eq!(invariants(&history), ["I2"], "{process} {offset}");
        }
    }
}

#[test]
fn one_delivery_doubled_is_found() {
    for offset in 1..=MESSAGES {
        let mut history = good();
        let at = delivery(&history, "late", offset);
        history.events.insert(at, history.events[at].clone());
        assert_eq!(invariants(&history), ["I2"], "{offset}");
    }
}

#[test]
fn two_deliveries_swapped_are_found() {
    for offset in 1..MESSAGES {
        let mut history = good();
        let (a, b) = (delivery(&history, "early", offset), delivery(&history, "early", offset + 1));
        history.events.swap(a, b);
        assert_eq!(invariants(&history), ["I2"], "{offset}");
    }
}

#[test]
fn a_tail_cut_off_is_found() {
    let mut history = good();
    let last = delivery(&history, "early", MESSAGES);
    history.events.retain(|event| !matches!(event.kind, Kind::Settled { .. }) || &*event.process != "early");
    assert_eq!(invariants(&history), ["I2"], "not settled");
    let mut history = good();
    history.events.remove(last);
    assert_eq!(invariants(&history), ["I2"], "the last one missing");
}

#[test]
fn a_gap_not_announced_is_found_and_an_announced_one_is_a_recovery_that_failed() {
    let mut history = good();
    let at = delivery(&history, "late", 4);
    history.events[at].kind =
        Kind::Gap { channel: CHANNEL.into(), from: 4, to: 4, reason: "retention".into() };
    assert_eq!(invariants(&history), ["I5"]);
    history.events.remove(at);
    assert_eq!(invariants(&history), ["I2"]);
}

#[test]
fn a_recovery_that_is_not_exact_is_found() {
    let mut history = good();
    for event in &mut history.events {
        if let Kind::Subscribed { asked: Some(_), exact, .. } = &mut event.kind {
            *exact = false;
        }
    }
    assert_eq!(invariants(&history), ["I5"]);
}

#[test]
fn an_acknowledged_publication_that_is_not_stored_is_found() {
    for number in 1..=MESSAGES {
        let mut history = good();
        let stored = Kind::Stored { message: message(number), position: position(number) };
        history.events.retain(|event| event.kind != stored);
        assert_eq!(invariants(&history), ["I1"], "{number}");
    }
}

#[test]
fn other_data_at_a_position_is_found() {
    let mut history = good();
    let at = delivery(&history, "late", 2);
    if let Kind::Delivered { message, .. } = &mut history.events[at].kind {
        message.hash = "other".into();
    }
    assert_eq!(invariants(&history), ["I3"]);
}

#[test]
fn one_id_at_two_positions_is_found() {
    let mut history = good();
    let twice = Kind::Stored { message: message(2), position: position(MESSAGES + 1) };
    let reader = history.events[history.events.len() - 1].clone();
    history.events.push(Event { kind: twice, ..reader });
    assert_eq!(invariants(&history), ["I4"]);
}

#[test]
fn two_answers_for_one_id_are_found() {
    let mut history = good();
    let again = Kind::Acknowledged { message: message(2), position: position(3), duplicate: true };
    history.events.push(Event { at: Duration::from_secs(1), process: "publisher".into(), kind: again });
    assert_eq!(invariants(&history), ["I1", "I3", "I4"]);
}

#[test]
fn a_bystander_that_waits_or_is_closed_is_found() {
    let mut history = good();
    let at = delivery(&history, "early", 5);
    history.events[at].at += Duration::from_secs(9);
    assert_eq!(slow_costs_only_itself(&history, &["late"], Duration::from_secs(5)).len(), 1);
    let mut history = good();
    let closed =
        Event { at: Duration::ZERO, process: "early".into(), kind: Kind::Closed { code: Some(4001) } };
    history.events.push(closed);
    assert_eq!(slow_costs_only_itself(&history, &["late"], Duration::from_secs(5)).len(), 1);
    assert_eq!(slow_costs_only_itself(&history, &["early"], Duration::from_secs(5)).len(), 0);
}

/// These events and nothing else, a millisecond apart.
fn history(kinds: impl IntoIterator<Item = Kind>) -> History {
    let event = |(at, kind)| Event { at: Duration::from_millis(at), process: "p".into(), kind };
    History { events: (0..).zip(kinds).map(event).collect() }
}

fn published(number: u64) -> Kind {
    Kind::Published { message: message(number) }
}

fn acknowledged(number: u64) -> Kind {
    Kind::Acknowledged { message: message(number), position: position(number), duplicate: false }
}

fn refused(number: u64, code: &str) -> Kind {
    Kind::Refused { message: message(number), code: code.into() }
}

const AWAY: Kind = Kind::Away { part: Part::Log };
const BACK: Kind = Kind::Back { part: Part::Log };

/// The same, with so many seconds between two events.
fn slow_history(seconds: u32, kinds: impl IntoIterator<Item = Kind>) -> History {
    let mut history = history(kinds);
    history.events.iter_mut().for_each(|event| event.at *= 1_000 * seconds);
    history
}

#[test]
fn an_acknowledgement_without_the_log_is_found_and_one_of_before_or_after_is_none() {
    let good = [published(1), AWAY, acknowledged(1), published(2), BACK, acknowledged(2)];
    assert_eq!(outages_are_survived(&history(good)), []);
    let bad = [AWAY, published(1), acknowledged(1), BACK, acknowledged(2)];
    assert_eq!(outages_are_survived(&history(bad)).len(), 1);
}

#[test]
fn a_log_that_is_away_for_long_must_be_told_of() {
    let told = [AWAY, published(1), refused(1, "log_unavailable"), BACK];
    assert_eq!(outages_are_survived(&slow_history(5, told)), []);
    let silent = [AWAY, published(1), published(2), BACK];
    assert_eq!(outages_are_survived(&slow_history(1, silent.clone())), []);
    assert_eq!(outages_are_survived(&slow_history(5, silent)).len(), 1);
    assert_eq!(outages_are_survived(&history([AWAY])).len(), 1, "it never comes back");
}

#[test]
fn publishing_goes_on_without_the_store_and_without_shared_state() {
    for part in [Part::Store, Part::State] {
        let (away, back) = (Kind::Away { part }, Kind::Back { part });
        let good = [away.clone(), published(1), acknowledged(1), back.clone()];
        assert_eq!(outages_are_survived(&slow_history(5, good)), []);
        let stood_still = [published(1), away, acknowledged(1), published(2), back];
        assert_eq!(outages_are_survived(&slow_history(5, stood_still.clone())).len(), 1, "{part:?}");
        assert_eq!(outages_are_survived(&history(stood_still)), [], "too short to tell");
    }
    let bus = [Kind::Away { part: Part::Bus }, published(1), published(2), Kind::Back { part: Part::Bus }];
    assert_eq!(outages_are_survived(&slow_history(5, bus)), []);
}

#[test]
fn whoever_is_not_served_again_is_found() {
    let again = [published(1), acknowledged(1), AWAY, published(2), BACK, acknowledged(2)];
    let mut history = history(again);
    assert_eq!(outages_are_survived(&history), []);
    let delivered = Kind::Delivered { message: message(1), position: position(1) };
    let follower = Event { at: Duration::ZERO, process: "follower".into(), kind: delivered };
    history.events.insert(2, follower.clone());
    assert_eq!(outages_are_survived(&history).len(), 1);
    history.events.push(follower);
    assert_eq!(outages_are_survived(&history), []);
}

#[test]
fn a_refusal_for_good_is_found_and_one_for_the_moment_is_none() {
    for code in ["timeout", "log_unavailable", "draining"] {
        assert_eq!(outages_are_survived(&history([refused(1, code)])), []);
    }
    assert_eq!(outages_are_survived(&history([refused(1, "forbidden")])).len(), 1);
}

#[test]
fn an_intruder_must_have_tried_and_must_not_have_got_in() {
    let denied = Kind::Denied { what: "subscribe".into(), code: "forbidden".into() };
    assert_eq!(nobody_gets_in(&history([denied.clone()])), []);
    assert_eq!(nobody_gets_in(&history([])).len(), 1);
    assert_eq!(nobody_gets_in(&history([denied, Kind::Admitted { what: "publish".into() }])).len(), 1);
}

//! Each checker can fail: histories of good runs are falsified in one place, and the checker in charge must notice.

use skywave_protocol::ErrorCode;
use skywave_protocol::message::{GapReason, Recovery};
use skywave_simulation::checkers;
use skywave_simulation::history::{Entry, Fact, History};
use skywave_simulation::world::{Setup, World};

/// A run with enough in it.
fn good() -> History {
    let history = World::run(Setup { seed: 4, ..Setup::default() }).history;
    assert_eq!(checkers::check_all(&history), []);
    history
}

fn broken_by(change: impl FnOnce(&mut Vec<Entry>)) -> Vec<&'static str> {
    let mut history = good();
    let before = history.entries.clone();
    change(&mut history.entries);
    assert_ne!(history.entries, before, "nothing was falsified");
    checkers::check_all(&history).into_iter().map(|violation| violation.invariant).collect()
}

fn assert_broken(invariant: &str, change: impl FnOnce(&mut Vec<Entry>)) {
    let broken = broken_by(change);
    assert!(broken.contains(&invariant), "{invariant} was not found broken, only {broken:?}");
}

fn find(entries: &[Entry], wanted: impl Fn(&Fact) -> bool) -> usize {
    entries.iter().position(|entry| wanted(&entry.fact)).expect("the run holds such a fact")
}

fn find_last(entries: &[Entry], wanted: impl Fn(&Fact) -> bool) -> usize {
    entries.iter().rposition(|entry| wanted(&entry.fact)).expect("the run holds such a fact")
}

fn is_durable_delivery(fact: &Fact) -> bool {
    matches!(fact, Fact::Delivered { offset, .. } if *offset > 0)
}

#[test]
fn an_acknowledged_publication_that_is_not_kept() {
    assert_broken("I1", |entries| {
        let acked = find_last(entries, |fact| matches!(fact, Fact::Acked { .. }));
        let Fact::Acked { id: lost, .. } = entries[acked].fact else { unreachable!() };
        entries.retain(|entry| !matches!(entry.fact, Fact::Kept { id, .. } if id == lost));
    });
}

#[test]
fn an_acknowledgement_with_another_position() {
    assert_broken("I1", |entries| {
        let at = find(entries, |fact| matches!(fact, Fact::Acked { .. }));
        if let Fact::Acked { offset, .. } = &mut entries[at].fact {
            *offset += 1;
        }
    });
}

#[test]
fn a_dropped_delivery() {
    assert_broken("I2", |entries| {
        let at = find(entries, is_durable_delivery);
        entries.remove(at);
    });
}

#[test]
fn a_doubled_delivery() {
    assert_broken("I2", |entries| {
        let at = find(entries, is_durable_delivery);
        entries.insert(at, entries[at].clone());
    });
}

#[test]
fn two_swapped_deliveries() {
    assert_broken("I2", |entries| {
        let deliveries: Vec<usize> = (0..entries.len())
            .filter(|at| matches!(entries[*at].fact, Fact::Delivered { client: 0, channel: 0, .. }))
            .collect();
        entries.swap(deliveries[0], deliveries[1]);
    });
}

#[test]
fn a_cut_tail() {
    assert_broken("I2", |entries| {
        let at = find_last(entries, is_durable_delivery);
        entries.remove(at);
    });
}

#[test]
fn a_gap_that_was_not_announced() {
    let mut history = with_gap();
    assert_eq!(checkers::check_all(&history), []);
    let at = find(&history.entries, |fact| matches!(fact, Fact::Gap { .. }));
    history.entries.remove(at);
    let broken = checkers::check_all(&history);
    assert!(broken.iter().any(|violation| violation.invariant == "I2"), "{broken:?}");
}

/// A run in which members were told of a gap and got something after it.
fn with_gap() -> History {
    (1..200)
        .map(|seed| World::run(Setup { seed, ..Setup::default() }).history)
        .find(|history| history.entries.iter().any(|entry| matches!(entry.fact, Fact::Gap { .. })))
        .expect("some run has a gap")
}

#[test]
fn a_delivery_without_a_subscription() {
    assert_broken("I2", |entries| {
        let delivered = find(entries, is_durable_delivery);
        let Fact::Delivered { client, channel, .. } = entries[delivered].fact else { unreachable!() };
        let subscribed = find(
            entries,
            |fact| matches!(fact, Fact::Subscribed { client: of, channel: in_, .. } if (*of, *in_) == (client, channel)),
        );
        entries.remove(subscribed);
    });
}

#[test]
fn other_data_at_the_same_position() {
    assert_broken("I3", |entries| {
        let at = find(entries, is_durable_delivery);
        if let Fact::Delivered { hash, .. } = &mut entries[at].fact {
            *hash ^= 1;
        }
    });
}

#[test]
fn one_id_at_two_positions() {
    assert_broken("I4", |entries| {
        let at = find_last(entries, |fact| matches!(fact, Fact::Kept { .. }));
        let mut twice = entries[at].clone();
        if let Fact::Kept { offset, .. } = &mut twice.fact {
            *offset += 1;
        }
        entries.insert(at + 1, twice);
    });
}

#[test]
fn a_gap_where_recovery_had_to_be_exact() {
    for reason in [GapReason::Retention, GapReason::Failover, GapReason::Epoch] {
        assert_broken("I5", |entries| {
            let exact = |fact: &Fact| {
                matches!(fact, Fact::Subscribed { asked: Some(_), recovery: Some(Recovery::Exact), .. })
            };
            let at = find(entries, exact);
            if let Fact::Subscribed { asked: Some(asked), recovery, .. } = &mut entries[at].fact {
                *recovery = Some(Recovery::Gap { from: *asked + 1, to: *asked + 1, reason });
            }
        });
    }
}

#[test]
fn history_unavailable_without_a_reason() {
    assert_broken("I5", |entries| {
        entries.retain(|entry| !matches!(entry.fact, Fact::Broken | Fact::Mended | Fact::Healed));
        let last = find_last(entries, is_durable_delivery);
        let Fact::Delivered { client, connection, channel, offset, .. } = entries[last].fact else {
            unreachable!()
        };
        let (from, to, reason) = (offset, offset, GapReason::Unavailable);
        entries[last].fact = Fact::Gap { client, connection, channel, from, to, reason };
    });
}

#[test]
fn an_outbox_beyond_its_bound() {
    let limit = good().outbox_limit;
    assert_broken("I6", |entries| {
        let at = find(entries, |fact| matches!(fact, Fact::Queued { .. }));
        if let Fact::Queued { bytes, .. } = &mut entries[at].fact {
            *bytes = limit + 1;
        }
    });
}

#[test]
fn closed_as_slow_with_nothing_waiting() {
    assert_broken("I6", |entries| {
        let at = find(entries, |fact| matches!(fact, Fact::Connected { .. }));
        let Fact::Connected { client, connection, .. } = entries[at].fact else { unreachable!() };
        let code = Some(skywave_protocol::CloseCode::Slow);
        let time = entries[at].time;
        entries.insert(at + 1, Entry { time, fact: Fact::Disconnected { client, connection, code } });
    });
}

#[test]
fn a_publication_that_is_never_acknowledged() {
    assert_broken("I7", |entries| {
        let at = find(entries, |fact| matches!(fact, Fact::Acked { .. }));
        let Fact::Acked { id: unanswered, .. } = entries[at].fact else { unreachable!() };
        entries.retain(|entry| !matches!(entry.fact, Fact::Acked { id, .. } if id == unanswered));
    });
}

#[test]
fn a_refusal_for_good() {
    assert_broken("I7", |entries| {
        let at = find(entries, |fact| matches!(fact, Fact::Publish { .. }));
        let Fact::Publish { client, channel, id, .. } = entries[at].fact else { unreachable!() };
        let fact = Fact::Refused { client, channel, id, code: ErrorCode::Forbidden };
        entries.insert(at + 1, Entry { time: entries[at].time, fact });
    });
}

#[test]
fn a_client_that_never_came_back() {
    assert_broken("I7", |entries| {
        let at = find_last(entries, |fact| matches!(fact, Fact::Subscribed { .. }));
        let Fact::Subscribed { client, connection, .. } = entries[at].fact else { unreachable!() };
        let time = entries[at].time;
        entries.insert(at + 1, Entry { time, fact: Fact::Disconnected { client, connection, code: None } });
    });
}

#[test]
fn a_ghost_and_a_missing_member() {
    for ghost in [true, false] {
        assert_broken("I12", |entries| {
            let at = find(
                entries,
                |fact| matches!(fact, Fact::Seen { connections, .. } if !connections.is_empty()),
            );
            if let Fact::Seen { connections, .. } = &mut entries[at].fact {
                if ghost { connections.push("c999".into()) } else { connections.truncate(0) }
            }
        });
    }
}

#[test]
fn a_coming_told_twice() {
    assert_broken("I12", |entries| {
        let at = find(entries, |fact| matches!(fact, Fact::Came { .. }));
        entries.insert(at, entries[at].clone());
    });
}

#[test]
fn a_leave_of_somebody_who_stayed() {
    assert_broken("I12", |entries| {
        // Somebody who stood to the end, and somebody on the same edge to be told of the leave.
        let at = find_last(entries, |fact| matches!(fact, Fact::Subscribed { channel: 0, .. }));
        let Fact::Subscribed { client, connection, channel, .. } = entries[at].fact else { unreachable!() };
        let who = good().users[client].clone().unwrap_or_else(|| format!("c{connection}"));
        let time = entries[at].time + 7_000;
        let later = entries.iter().position(|entry| entry.time > time).unwrap_or(entries.len());
        entries.insert(later, Entry { time, fact: Fact::Went { client, connection, channel, who } });
    });
}

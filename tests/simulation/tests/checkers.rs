//! Each checker can fail: histories of good runs are falsified in one place, and the checker in charge must notice.

use std::sync::OnceLock;

use skywave_protocol::ErrorCode;
use skywave_protocol::message::{GapReason, Recovery};
use skywave_simulation::checkers;
use skywave_simulation::history::{Entry, Fact, History};
use skywave_simulation::world::{Setup, World};

/// A run with enough in it: the first seed of which the rarest fact is part, whatever the engine has become since.
fn good() -> History {
    static GOOD: OnceLock<History> = OnceLock::new();
    let run = || {
        let mut histories = (0..64).map(|seed| World::run(Setup { seed, ..Setup::default() }).history);
        let queued = |entry: &Entry| matches!(entry.fact, Fact::Queued { .. });
        let history = histories.find(|history| history.entries.iter().any(queued));
        let history = history.expect("of 64 seeds one has a client that reads slowly");
        assert_eq!(checkers::check_all(&history), []);
        history
    };
    GOOD.get_or_init(run).clone()
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

/// Somebody who stands at the end, and when that began.
fn who_stays(entries: &[Entry]) -> (Entry, String) {
    let at = find_last(entries, |fact| matches!(fact, Fact::Subscribed { channel: 0, .. }));
    let Fact::Subscribed { client, connection, .. } = entries[at].fact else { unreachable!() };
    (entries[at].clone(), good().users[client].clone().unwrap_or_else(|| format!("c{connection}")))
}

fn say(entries: &mut Vec<Entry>, time: u64, fact: Fact) {
    let later = entries.iter().position(|entry| entry.time > time).unwrap_or(entries.len());
    entries.insert(later, Entry { time, fact });
}

#[test]
fn a_leave_of_somebody_who_stayed() {
    assert_broken("I12", |entries| {
        let (entry, who) = who_stays(entries);
        let Fact::Subscribed { connection, channel, .. } = entry.fact else { unreachable!() };
        say(entries, entry.time + 3_000, Fact::Told { connection, channel, who, came: false });
    });
}

#[test]
fn a_leave_that_no_edge_has_told() {
    assert_broken("I12", |entries| {
        let (entry, who) = who_stays(entries);
        let Fact::Subscribed { client, connection, channel, .. } = entry.fact else { unreachable!() };
        say(entries, entry.time + 3_000, Fact::Went { client, connection, channel, who });
    });
}

/// Whoever reads slowly learns of a leave when the user has long come back.
#[test]
fn a_leave_that_was_true_and_is_read_late() {
    let mut history = good();
    let (entry, _) = who_stays(&history.entries);
    let Fact::Subscribed { client, connection, channel, .. } = entry.fact else { unreachable!() };
    // Before anybody of that name was there.
    let who = "eve".to_owned();
    let entries = &mut history.entries;
    say(entries, entry.time, Fact::Told { connection, channel, who: who.clone(), came: false });
    say(entries, entry.time + 9_000, Fact::Went { client, connection, channel, who });
    assert_eq!(checkers::check_all(&history), []);
}

/// The first run in which a client was rightly told that history cannot be read.
fn with_unavailable() -> History {
    let unavailable = |entry: &Entry| matches!(entry.fact, Fact::Gap { reason: GapReason::Unavailable, .. });
    (1..400)
        .map(|seed| World::run(Setup { seed, ..Setup::default() }).history)
        .find(|history| history.entries.iter().any(unavailable))
        .expect("some run has reads that fail and fail")
}

#[test]
fn history_given_up_before_every_attempt_has_failed() {
    let mut history = with_unavailable();
    assert_eq!(checkers::check_all(&history), []);
    // Every read is served at once: whoever says that history is unavailable does not speak the truth.
    let mut at = 0;
    while at < history.entries.len() {
        if let Fact::Read { read, .. } = history.entries[at].fact {
            let time = history.entries[at].time;
            history.entries.insert(at + 1, Entry { time, fact: Fact::ReadAnswered { read, served: true } });
        }
        at += 1;
    }
    let broken = checkers::check_all(&history);
    assert!(broken.iter().any(|violation| violation.invariant == "I5"), "{broken:?}");
}

#[test]
fn a_read_that_fails_without_a_reason() {
    let calm = |entry: &Entry| !matches!(entry.fact, Fact::Broken | Fact::Mended | Fact::Healed);
    assert_broken("I5", |entries| {
        let late = find_last(entries, |fact| matches!(fact, Fact::ReadAnswered { served: true, .. }));
        let Fact::ReadAnswered { read, .. } = entries[late].fact else { unreachable!() };
        entries.retain(|entry| {
            calm(entry) && !matches!(entry.fact, Fact::ReadAnswered { read: of, .. } if of == read)
        });
    });
    assert_broken("I5", |entries| {
        entries.retain(calm);
        let late = find_last(entries, |fact| matches!(fact, Fact::ReadAnswered { served: true, .. }));
        if let Fact::ReadAnswered { served, .. } = &mut entries[late].fact {
            *served = false;
        }
    });
}

//! What the sequencer must do, by cases and by laws (I4).

use bytes::Bytes;
use proptest::prelude::*;
use skywave_protocol::{MessageId, Payload, UserId};

use super::*;

fn channel(n: u8) -> ChannelName {
    ChannelName::parse(&format!("chat:{n}")).unwrap()
}

fn record(n: u8, from: Option<&str>, id: Option<&str>, time_ms: u64) -> LogRecord {
    LogRecord {
        channel: channel(n),
        time_ms,
        from: from.map(|user| UserId::parse(user).unwrap()),
        id: id.map(|id| MessageId::parse(id).unwrap()),
        region: "here".into(),
        data: Payload::Binary(Bytes::from(time_ms.to_be_bytes().to_vec())),
        reply: None,
    }
}

fn config(dedup_window_ms: u64, dedup_entries: usize) -> SequencerConfig {
    SequencerConfig { dedup_window_ms, dedup_entries }
}

fn fresh(config: SequencerConfig) -> Sequencer {
    Sequencer::restore(Epoch::parse("e1").unwrap(), 0, [], [], config)
}

/// Applies at the next position: the offset, and whether it is new.
fn apply(sequencer: &mut Sequencer, record: &LogRecord) -> (Offset, bool) {
    let sequenced = sequencer.apply(sequencer.next_position(), record);
    (sequenced.offset(), matches!(sequenced, Sequenced::New { .. }))
}

#[test]
fn offsets_are_dense_per_channel() {
    let mut sequencer = fresh(SequencerConfig::default());
    for (n, offset) in [(1, 1), (2, 1), (1, 2), (1, 3), (2, 2)] {
        assert_eq!(apply(&mut sequencer, &record(n, None, None, 7)), (offset, true));
    }
    assert_eq!((sequencer.head(&channel(1)), sequencer.head(&channel(3))), (3, 0));
}

#[test]
fn the_same_id_of_the_same_publisher_in_the_same_channel_is_one_publication() {
    let mut sequencer = fresh(SequencerConfig::default());
    assert_eq!(apply(&mut sequencer, &record(1, Some("ann"), Some("x"), 1)), (1, true));
    assert_eq!(apply(&mut sequencer, &record(1, Some("ann"), Some("x"), 2)), (1, false));
    assert_eq!(
        apply(&mut sequencer, &record(1, Some("bob"), Some("x"), 3)),
        (2, true),
        "nobody suppresses another's"
    );
    assert_eq!(apply(&mut sequencer, &record(1, None, Some("x"), 3)), (3, true));
    assert_eq!(
        apply(&mut sequencer, &record(1, None, Some("x"), 3)),
        (3, false),
        "the anonymous count as one"
    );
    assert_eq!(apply(&mut sequencer, &record(2, Some("ann"), Some("x"), 3)), (1, true));
    assert_eq!(sequencer.dedup_len(), 4);
}

#[test]
fn without_an_id_nothing_is_a_duplicate() {
    let mut sequencer = fresh(SequencerConfig::default());
    for offset in 1..=3 {
        assert_eq!(apply(&mut sequencer, &record(1, Some("ann"), None, 1)), (offset, true));
    }
    assert_eq!(sequencer.dedup_len(), 0);
}

#[test]
fn keys_are_unambiguous() {
    let key = |name: &str, user: &str, id: &str| {
        let user = (!user.is_empty()).then(|| UserId::parse(user).unwrap());
        dedup_key(&ChannelName::parse(name).unwrap(), user.as_ref(), &MessageId::parse(id).unwrap())
    };
    assert_ne!(key("ab", "c", "d"), key("a", "bc", "d"));
    assert_ne!(key("a", "b", "cd"), key("a", "bc", "d"));
    assert_ne!(key("a", "", "bc"), key("a", "b", "c"));
}

#[test]
fn the_window_is_record_time() {
    let mut sequencer = fresh(config(100, 1_000));
    apply(&mut sequencer, &record(1, None, Some("x"), 1_000));
    assert_eq!(apply(&mut sequencer, &record(1, None, Some("x"), 1_099)), (1, false));
    // Records without an id leave no entry, and so do not move the window.
    apply(&mut sequencer, &record(1, None, None, 9_000));
    assert_eq!(apply(&mut sequencer, &record(1, None, Some("x"), 1_099)), (1, false));
    assert_eq!(apply(&mut sequencer, &record(1, None, Some("x"), 1_100)), (3, true));
    assert_eq!(apply(&mut sequencer, &record(1, None, Some("x"), 1_000)), (3, false), "time never goes back");
}

#[test]
fn the_oldest_ids_go_when_there_are_too_many() {
    let mut sequencer = fresh(config(1_000, 2));
    for id in ["a", "b", "c"] {
        apply(&mut sequencer, &record(1, None, Some(id), 5));
    }
    assert_eq!(apply(&mut sequencer, &record(1, None, Some("b"), 5)), (2, false));
    assert_eq!(apply(&mut sequencer, &record(1, None, Some("a"), 5)), (4, true));
    assert_eq!(sequencer.dedup_len(), 2);
    let mut none = fresh(config(1_000, 0));
    apply(&mut none, &record(1, None, Some("a"), 5));
    assert_eq!(apply(&mut none, &record(1, None, Some("a"), 5)), (2, true));
}

#[test]
fn holes_in_the_positions_are_passed_over() {
    let mut sequencer = fresh(SequencerConfig::default());
    sequencer.apply(10, &record(1, None, None, 1));
    assert_eq!(sequencer.next_position(), 11);
}

#[test]
#[should_panic(expected = "position 3 was already applied")]
fn a_record_is_never_applied_twice() {
    let mut sequencer = fresh(SequencerConfig::default());
    sequencer.apply(3, &record(1, None, None, 1));
    sequencer.apply(3, &record(1, None, None, 1));
}

fn records() -> impl Strategy<Value = Vec<LogRecord>> {
    // Few ids and users, so that duplicates are common; times jump both ways, so that the window matters.
    let one = (0u8..3, 0usize..3, 0usize..8, 0u64..400).prop_map(|(n, user, id, time)| {
        let user = [None, Some("ann"), Some("bob")][user];
        let id = ["a", "b", "c", "d", "e", "f"].get(id).copied();
        record(n, user, id, time)
    });
    prop::collection::vec(one, 0..120)
}

proptest! {
    /// Cut the log anywhere and restore from what was stored: the outputs are those of the one that never stopped.
    #[test]
    fn restored_is_as_never_stopped(
        records in records(),
        cut in any::<prop::sample::Index>(),
        window in 1u64..300,
        entries in 0usize..12,
    ) {
        let config = config(window, entries);
        let cut = if records.is_empty() { 0 } else { cut.index(records.len() + 1) };
        let mut steady = fresh(config);
        let mut stored: Vec<DedupRecord> = Vec::new();
        for record in &records[..cut] {
            if let Sequenced::New { dedup: Some(entry), .. } = steady.apply(steady.next_position(), record) {
                stored.push(entry);
            }
        }
        let heads: Vec<_> = (0..3).map(|n| (channel(n), steady.head(&channel(n)))).collect();
        // The least that `restore` asks for: what lies within the window before the newest entry.
        let newest = stored.last().map_or(0, |entry| entry.time_ms);
        let least: Vec<_> = stored.iter().filter(|entry| newest.saturating_sub(entry.time_ms) < window).copied().collect();
        for dedup in [stored.clone(), least] {
            let mut control = fresh(config);
            records[..cut].iter().for_each(|record| drop(control.apply(control.next_position(), record)));
            let mut restored =
                Sequencer::restore(steady.epoch().clone(), cut as u64, heads.clone(), dedup, config);
            prop_assert_eq!(restored.dedup_len(), control.dedup_len());
            for record in &records[cut..] {
                let position = restored.next_position();
                prop_assert_eq!(restored.apply(position, record), control.apply(position, record));
            }
        }
    }

    /// Every channel's offsets are 1, 2, 3 …; within the window an id has one offset; the window is bounded.
    #[test]
    fn dense_and_deduplicated(records in records(), entries in 1usize..12) {
        let mut sequencer = fresh(config(u64::MAX, entries));
        let mut heads = [0u64; 3];
        for record in &records {
            let before = sequencer.dedup_len();
            let n = record.channel.rest().parse::<usize>().unwrap();
            match sequencer.apply(sequencer.next_position(), record) {
                Sequenced::New { publication, dedup } => {
                    heads[n] += 1;
                    prop_assert_eq!(publication.offset, heads[n]);
                    prop_assert_eq!(dedup.is_some(), record.id.is_some());
                    prop_assert_eq!(&publication.data, &record.data);
                }
                Sequenced::Duplicate { offset } => {
                    prop_assert!(record.id.is_some() && offset <= heads[n]);
                    prop_assert_eq!(sequencer.dedup_len(), before);
                }
            }
            prop_assert!(sequencer.dedup_len() <= entries);
        }
    }
}

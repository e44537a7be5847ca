//! Grants by themselves: what two connections say of one channel, and what is told of it.

use skywave_protocol::message::GapReason;
use skywave_protocol::{ErrorCode, Payload};

use super::*;

const OLD: LinkId = LinkId(1);
const NEW: LinkId = LinkId(2);

fn channel() -> ChannelName {
    ChannelName::parse("vip").unwrap()
}

fn at(epoch: &str, offset: u64) -> Option<Position> {
    Some(Position { epoch: Epoch::parse(epoch).unwrap(), offset })
}

fn subscribed(position: Option<Position>) -> Push {
    Push::Subscribed(Subscribed { channel: channel(), position, recovery: None })
}

fn publication_in(channel: ChannelName, epoch: Option<&str>, offset: u64) -> Push {
    let data = Payload::from_json(b"1").unwrap();
    let publication = Arc::new(Publication { offset, id: None, from: None, time_ms: 0, data });
    Push::Publication { channel, epoch: epoch.map(|epoch| Epoch::parse(epoch).unwrap()), publication }
}

fn publication(offset: u64) -> Push {
    publication_in(channel(), Some("e"), offset)
}

fn publication_of(epoch: &str, offset: u64) -> Push {
    publication_in(channel(), Some(epoch), offset)
}

fn ephemeral() -> Push {
    publication_in(channel(), None, 0)
}

fn gap(epoch: &str, from: u64, to: u64, reason: GapReason) -> Push {
    Push::Gap { channel: channel(), epoch: Epoch::parse(epoch).unwrap(), from, to, reason }
}

fn out() -> Push {
    Push::Unsubscribed { channel: channel(), error: WireError::new(ErrorCode::Forbidden, "out") }
}

/// Grants, and what they tell, in short.
#[derive(Default)]
struct Listening {
    grants: Grants,
    told: Vec<String>,
}

impl Listening {
    fn pushed(&mut self, link: LinkId, pushes: impl IntoIterator<Item = Push>) {
        for push in pushes {
            let events = self.grants.pushed(link, push);
            self.told.extend(events.into_iter().map(short));
        }
    }

    fn lost(&mut self, link: LinkId) {
        let events = self.grants.link_lost(link);
        self.told.extend(events.into_iter().map(short));
    }

    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}

fn short(event: GrantEvent) -> String {
    match event {
        GrantEvent::Granted { position, .. } => {
            format!("granted at {}", position.map_or(0, |position| position.offset))
        }
        GrantEvent::Publication { position, .. } => {
            position.map_or("ephemeral".into(), |it| it.offset.to_string())
        }
        GrantEvent::Gap { epoch, from, to, reason, .. } => format!("gap {from}-{to} {epoch} {reason:?}"),
        GrantEvent::Withdrawn { error, .. } => error.map_or("ended".into(), |error| error.code.name().into()),
    }
}

#[test]
fn each_publication_comes_once_in_order_and_what_is_left_out_is_announced() {
    let mut it = Listening::default();
    it.pushed(OLD, [subscribed(at("e", 5))]);
    it.pushed(OLD, [4, 5, 6, 6, 9, 7].map(publication));
    it.pushed(OLD, [gap("f", 1, 2, GapReason::Epoch), publication_of("f", 3)]);
    let told = ["granted at 5", "6", "gap 7-8 e Unavailable", "9", "gap 1-2 f Epoch", "3"];
    assert_eq!(it.told(), told);
    let standing: Vec<_> = it.grants.standing().into_iter().map(short).collect();
    assert_eq!(standing, ["granted at 3"]);
}

#[test]
fn of_a_gap_only_what_was_not_seen_is_told_with_the_hole_before_it() {
    let mut it = Listening::default();
    it.pushed(OLD, [subscribed(at("e", 5))]);
    it.pushed(OLD, [gap("e", 4, 5, GapReason::Unavailable), gap("e", 4, 7, GapReason::Retention)]);
    it.pushed(OLD, [gap("e", 10, 11, GapReason::Retention), publication(12)]);
    let gaps = ["gap 6-7 e Retention", "gap 8-9 e Unavailable", "gap 10-11 e Retention"];
    assert_eq!(it.told(), [&["granted at 5"], &gaps[..], &["12"]].concat());
}

#[test]
fn a_new_epoch_goes_on_without_a_word_only_where_nothing_is_left_out() {
    let mut it = Listening::default();
    it.pushed(OLD, [subscribed(at("e", 5)), publication_of("f", 6)]);
    it.pushed(OLD, [publication_of("g", 4), publication_of("g", 5)]);
    // The log began anew: what else the old one had is not known.
    it.pushed(OLD, [publication_of("h", 1)]);
    assert_eq!(it.told(), ["granted at 5", "6", "gap 1-3 g Epoch", "4", "5", "gap 1-0 h Epoch", "1"]);
}

#[test]
fn after_a_failover_the_channel_goes_on_where_the_log_was_cut() {
    let mut it = Listening::default();
    it.pushed(OLD, [subscribed(at("e", 50)), gap("f", 41, 50, GapReason::Failover)]);
    it.pushed(OLD, [40, 41, 42].map(|offset| publication_of("f", offset)));
    assert_eq!(it.told(), ["granted at 50", "gap 41-50 f Failover", "41", "42"]);
}

#[test]
fn a_publication_that_overtakes_its_grant_waits_for_it() {
    let mut it = Listening::default();
    it.pushed(OLD, [4, 6, 7].map(publication));
    it.pushed(OLD, [ephemeral()]);
    // Of another connection: it says nothing about this one.
    it.pushed(NEW, [publication(8)]);
    assert_eq!(it.told(), [""; 0]);
    it.pushed(OLD, [subscribed(at("e", 5))]);
    assert_eq!(it.told(), ["granted at 5", "6", "7"]);
}

#[test]
fn what_waits_is_bounded_and_what_was_pushed_out_is_found_missing() {
    let mut it = Listening::default();
    it.pushed(OLD, [1, 2].map(publication));
    // Of a channel that is never granted.
    let other = ChannelName::parse("other").unwrap();
    it.pushed(OLD, (1..EARLY_PUSHES as u64).map(|offset| publication_in(other.clone(), Some("e"), offset)));
    it.pushed(OLD, [subscribed(at("e", 0))]);
    assert_eq!(it.told(), ["granted at 0", "gap 1-1 e Unavailable", "2"]);
}

#[test]
fn what_waited_for_a_grant_goes_with_its_connection() {
    let mut it = Listening::default();
    it.pushed(OLD, [publication(6)]);
    it.lost(OLD);
    it.pushed(OLD, [subscribed(at("e", 5))]);
    assert_eq!(it.told(), ["granted at 5"]);
}

#[test]
fn a_grant_ends_with_its_connection_or_by_the_backend() {
    let mut it = Listening::default();
    it.pushed(OLD, [subscribed(None), ephemeral()]);
    it.lost(OLD);
    it.pushed(OLD, [ephemeral()]);
    assert_eq!(it.told(), ["granted at 0", "ephemeral", "ended"]);
    it.pushed(NEW, [subscribed(None)]);
    it.told();
    it.pushed(OLD, [out()]);
    assert_eq!(it.told(), [""; 0], "said by a connection that has no grant");
    it.pushed(NEW, [out(), out()]);
    assert_eq!(it.told(), ["forbidden"]);
}

#[test]
fn a_grant_moves_to_a_new_connection_without_a_copy_or_a_silent_hole() {
    let mut it = Listening::default();
    it.pushed(OLD, [subscribed(at("e", 5)), publication(6)]);
    it.pushed(NEW, [subscribed(at("e", 7))]);
    it.pushed(OLD, [publication(7)]);
    assert_eq!(it.told(), ["granted at 5", "6", "7"]);
    it.lost(OLD);
    assert_eq!(it.told(), [""; 0]);
    it.pushed(NEW, [7, 9].map(publication));
    it.lost(NEW);
    assert_eq!(it.told(), ["gap 8-8 e Unavailable", "9", "ended"]);
}

#[test]
fn while_both_connections_carry_a_channel_each_publication_counts_once() {
    let mut it = Listening::default();
    for link in [OLD, NEW] {
        it.pushed(link, [subscribed(at("e", 5))]);
    }
    for (link, offset) in [(NEW, 6), (OLD, 6), (OLD, 7), (NEW, 7)] {
        it.pushed(link, [publication(offset)]);
    }
    it.pushed(OLD, [ephemeral()]);
    it.pushed(NEW, [ephemeral()]);
    assert_eq!(it.told(), ["granted at 5", "6", "7", "ephemeral"]);
}

#[test]
fn a_publication_on_the_new_connection_waits_for_the_grant_there_even_while_the_old_one_stands() {
    let mut it = Listening::default();
    it.pushed(OLD, [subscribed(at("e", 5))]);
    it.pushed(NEW, [publication(8)]);
    it.pushed(OLD, [6, 7].map(publication));
    it.pushed(NEW, [subscribed(at("e", 7))]);
    assert_eq!(it.told(), ["granted at 5", "6", "7", "8"]);
}

#[test]
fn what_the_old_connection_still_owes_when_it_ends_is_announced_though_nothing_follows() {
    let mut it = Listening::default();
    it.pushed(OLD, [subscribed(at("e", 5))]);
    it.pushed(NEW, [subscribed(at("e", 9))]);
    it.pushed(OLD, [publication(6)]);
    it.told();
    it.lost(OLD);
    assert_eq!(it.told(), ["gap 7-9 e Unavailable"]);
    it.pushed(NEW, [publication(10)]);
    assert_eq!(it.told(), ["10"]);
}

#[test]
fn a_grant_goes_back_to_the_old_connection_when_the_new_one_breaks() {
    let mut it = Listening::default();
    it.pushed(OLD, [subscribed(at("e", 5))]);
    it.pushed(NEW, [subscribed(at("e", 6)), publication(7)]);
    it.lost(NEW);
    it.pushed(OLD, [7, 8].map(publication));
    it.pushed(OLD, [ephemeral()]);
    it.lost(OLD);
    assert_eq!(it.told(), ["granted at 5", "gap 6-6 e Unavailable", "7", "8", "ephemeral", "ended"]);
}

#[test]
fn a_grant_that_moves_into_another_epoch_says_so_and_the_old_connection_has_no_say_in_it_any_more() {
    let mut it = Listening::default();
    it.pushed(OLD, [subscribed(at("e", 5))]);
    it.pushed(NEW, [subscribed(at("f", 3))]);
    it.pushed(OLD, [publication(4), gap("e", 4, 8, GapReason::Unavailable)]);
    it.lost(OLD);
    it.pushed(NEW, [publication_of("f", 4)]);
    assert_eq!(it.told(), ["granted at 5", "gap 1-3 f Epoch", "4"]);
}

#[test]
fn once_another_epoch_counts_the_old_connection_owes_nothing() {
    let mut it = Listening::default();
    it.pushed(OLD, [subscribed(at("e", 5))]);
    it.pushed(NEW, [subscribed(at("e", 9)), gap("f", 1, 2, GapReason::Epoch)]);
    it.lost(OLD);
    it.pushed(NEW, [publication_of("f", 3)]);
    assert_eq!(it.told(), ["granted at 5", "gap 1-2 f Epoch", "3"]);
}

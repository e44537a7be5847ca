//! One way of a link: decides when what is put onto it arrives, if it does, and counts.
//!
//! Everything that goes this way shares its throughput and its conditions. Holds no bytes itself.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;

use crate::conditions::Conditions;
use crate::counters::Counters;

/// Payload of a TCP segment on an Ethernet: what is lost as one.
const SEGMENT: usize = 1_448;

/// Shortest time after which an unanswered segment is sent again by the clock (Linux's minimum).
const BY_CLOCK: Duration = Duration::from_millis(200);

/// Shortest time after which it is sent again because later ones were acknowledged, or because a probe was.
const BY_REQUEST: Duration = Duration::from_millis(10);

/// How often the same segment may be lost. Beyond it a real connection takes minutes; a line that loses everything is
/// better cut.
const LOST_IN_A_ROW: u32 = 8;

pub(crate) struct Direction {
    conditions: Cell<Conditions>,
    counters: Cell<Counters>,
    chance: RefCell<SmallRng>,
    /// When the line has taken in all it was given so far.
    free: Cell<Option<Instant>>,
    changed: Notify,
}

impl Direction {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            conditions: Cell::default(),
            counters: Cell::default(),
            chance: RefCell::new(SmallRng::seed_from_u64(seed)),
            free: Cell::new(None),
            changed: Notify::new(),
        }
    }

    pub(crate) fn conditions(&self) -> Conditions {
        self.conditions.get()
    }

    /// From now on. What is under way keeps its time of arrival, unless the line is cut.
    pub(crate) fn set(&self, conditions: Conditions) {
        if conditions.cut && !self.conditions.get().cut {
            self.count(|counters| counters.cuts += 1);
        }
        self.conditions.set(conditions);
        self.changed.notify_waiters();
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.conditions.get().cut
    }

    /// The next change of the conditions, from the moment of this call on.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters.get()
    }

    pub(crate) fn count(&self, add: impl FnOnce(&mut Counters)) {
        let mut counters = self.counters.get();
        add(&mut counters);
        self.counters.set(counters);
    }

    /// When so many bytes of a stream arrive that are sent now, `back` being the way of its acknowledgements.
    pub(crate) fn stream(&self, bytes: usize, back: &Direction, now: Instant) -> Instant {
        let sent = self.occupy(bytes, now);
        sent + self.transit() + self.retransmissions(bytes.div_ceil(SEGMENT), back)
    }

    /// How much later the other end learns of a connection that is opened now.
    pub(crate) fn opening(&self, back: &Direction, now: Instant) -> Instant {
        now + self.transit() + self.retransmissions(1, back)
    }

    /// When a datagram arrives that is sent now: never, once, or twice.
    pub(crate) fn datagram(&self, bytes: usize, now: Instant) -> [Option<Instant>; 2] {
        let conditions = self.conditions.get();
        if conditions.cut {
            self.count(|counters| counters.cut_off += 1);
            return [None, None];
        }
        if conditions.mtu > 0 && bytes > conditions.mtu {
            self.count(|counters| counters.oversized += 1);
            return [None, None];
        }
        let sent = self.occupy(bytes, now);
        if self.happens(conditions.loss) {
            self.count(|counters| counters.lost += 1);
            return [None, None];
        }
        let again = self.happens(conditions.duplicate).then(|| {
            self.count(|counters| counters.duplicated += 1);
            sent + self.transit()
        });
        [Some(sent + self.transit()), again]
    }

    /// When the line has taken in these bytes too.
    fn occupy(&self, bytes: usize, now: Instant) -> Instant {
        let rate = self.conditions.get().rate_kbit;
        if rate == 0 {
            return now;
        }
        let begin = self.free.get().map_or(now, |free| free.max(now));
        // Bits through kilobits a second are milliseconds; nanoseconds are a million times as many.
        let nanoseconds = (bytes as u64).saturating_mul(8_000_000) / rate;
        let end = begin + Duration::from_nanos(nanoseconds);
        self.free.set(Some(end));
        end
    }

    fn transit(&self) -> Duration {
        let Conditions { delay_ms, jitter_ms, .. } = self.conditions.get();
        let jitter =
            if jitter_ms > 0.0 { self.chance.borrow_mut().random_range(-jitter_ms..=jitter_ms) } else { 0.0 };
        Duration::from_secs_f64((delay_ms + jitter).max(0.0) / 1_000.0)
    }

    /// How long these segments stall because some are lost. As in TCP, the first repetition comes after a round trip (the
    /// duplicate acknowledgements ask for it), and a repetition that is lost too is missed by a timer that doubles.
    fn retransmissions(&self, segments: usize, back: &Direction) -> Duration {
        let loss = self.conditions.get().loss;
        if loss <= 0.0 {
            return Duration::ZERO;
        }
        let trip = self.conditions.get().delay_ms + back.conditions.get().delay_ms;
        let trip = Duration::from_secs_f64(trip / 1_000.0);
        let mut worst = 0;
        for _ in 0..segments {
            let mut lost = 0;
            while lost < LOST_IN_A_ROW && self.happens(loss) {
                lost += 1;
            }
            self.count(|counters| counters.retransmitted += u64::from(lost));
            worst = worst.max(lost);
        }
        (0..worst).fold(Duration::ZERO, |stall, repetition| match repetition {
            0 => trip.max(BY_REQUEST),
            _ => stall + trip.max(BY_CLOCK) * (1 << (repetition - 1)),
        })
    }

    fn happens(&self, share: f64) -> bool {
        share > 0.0 && self.chance.borrow_mut().random_bool(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(conditions: Conditions) -> Direction {
        let line = Direction::new(7);
        line.set(conditions);
        line
    }

    fn milliseconds(later: Instant, than: Instant) -> f64 {
        later.duration_since(than).as_secs_f64() * 1_000.0
    }

    #[test]
    fn a_perfect_line_adds_nothing() {
        let (line, now) = (line(Conditions::default()), Instant::now());
        assert_eq!(line.stream(100_000, &Direction::new(1), now), now);
        assert_eq!(line.datagram(1_000, now), [Some(now), None]);
    }

    #[test]
    fn jitter_stays_around_the_delay() {
        let (line, now) =
            (line(Conditions { delay_ms: 40.0, jitter_ms: 5.0, ..Conditions::default() }), Instant::now());
        let times: Vec<f64> =
            (0..1_000).map(|_| milliseconds(line.datagram(1, now)[0].unwrap(), now)).collect();
        assert!(times.iter().all(|time| (34.99..45.01).contains(time)));
        assert!(times.iter().any(|time| *time < 36.0) && times.iter().any(|time| *time > 44.0));
    }

    #[test]
    fn throughput_is_shared_by_all_that_goes_this_way() {
        let (line, now) = (line(Conditions { rate_kbit: 8_000, ..Conditions::default() }), Instant::now());
        // A kilobyte takes a millisecond.
        assert!((milliseconds(line.stream(1_000, &Direction::new(1), now), now) - 1.0).abs() < 0.01);
        assert!((milliseconds(line.datagram(1_000, now)[0].unwrap(), now) - 2.0).abs() < 0.01);
    }

    #[test]
    fn as_many_datagrams_are_lost_and_doubled_as_the_line_says() {
        let (line, now) =
            (line(Conditions { loss: 0.2, duplicate: 0.1, ..Conditions::default() }), Instant::now());
        for _ in 0..10_000 {
            line.datagram(1, now);
        }
        let counters = line.counters();
        assert!((1_800..2_200).contains(&counters.lost), "{counters:?}");
        assert!((700..900).contains(&counters.duplicated), "{counters:?}");
    }

    #[test]
    fn a_lost_segment_costs_a_stream_a_round_trip_at_least() {
        let way = line(Conditions { delay_ms: 50.0, loss: 0.05, ..Conditions::default() });
        let back = line(Conditions { delay_ms: 30.0, ..Conditions::default() });
        let now = Instant::now();
        let mut stalled = 0_u64;
        for _ in 0..2_000 {
            let took = milliseconds(way.stream(100, &back, now), now);
            assert!((took - 50.0).abs() < 0.01 || took > 129.9, "{took}");
            stalled += u64::from(took > 129.9);
        }
        assert!((60..150).contains(&stalled), "{stalled} of 2000 stalled");
        assert!(way.counters().retransmitted >= stalled);
    }

    #[test]
    fn what_is_too_large_or_comes_to_a_cut_line_is_counted_by_its_cause() {
        let (line, now) = (line(Conditions { mtu: 1_200, ..Conditions::default() }), Instant::now());
        assert_eq!(line.datagram(1_201, now), [None, None]);
        assert!(line.datagram(1_200, now)[0].is_some());
        line.set(Conditions { cut: true, ..Conditions::default() });
        assert_eq!(line.datagram(1, now), [None, None]);
        let counters = line.counters();
        assert_eq!((counters.oversized, counters.cut_off, counters.cuts), (1, 1, 1));
    }
}

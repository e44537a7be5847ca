//! Where a listener stands in one channel, and the judgement of what comes against it: "once, in order, no silent hole" is
//! decided here, for subscriptions and for grants alike.
//!
//! Owns a position. Never: knows a connection, or asks for what is missing.

use skywave_protocol::message::GapReason;
use skywave_protocol::{Epoch, Offset, Position};

#[derive(Debug, Clone, Default)]
pub(super) struct Sequence {
    last: Option<Position>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Seen,
    Next,
    /// Something is missing before it, or it is of another epoch.
    Hole,
}

/// Publications `from ..= to` that do not come. For a new epoch the range may be empty: that it is new is the news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) epoch: Epoch,
    pub(super) from: Offset,
    pub(super) to: Offset,
    pub(super) reason: GapReason,
}

impl Sequence {
    pub(super) fn at(last: Option<Position>) -> Self {
        Self { last }
    }

    /// The last publication delivered, or left out by an announced gap.
    pub(super) fn position(&self) -> Option<&Position> {
        self.last.as_ref()
    }

    pub(super) fn epoch(&self) -> Option<&Epoch> {
        self.last.as_ref().map(|last| &last.epoch)
    }

    /// The log went on under a new epoch; everything up to here is the same in both.
    pub(super) fn adopt(&mut self, epoch: &Epoch) {
        if let Some(last) = &mut self.last {
            last.epoch = epoch.clone();
        }
    }

    /// Judges a durable publication. Where nothing is known yet, any is the next.
    pub(super) fn judge(&self, epoch: &Epoch, offset: Offset) -> Verdict {
        match &self.last {
            Some(last) if last.epoch == *epoch && offset <= last.offset => Verdict::Seen,
            Some(last) if offset != last.offset + 1 => Verdict::Hole,
            _ => Verdict::Next,
        }
    }

    /// A publication is delivered.
    pub(super) fn reach(&mut self, epoch: Epoch, offset: Offset) -> Position {
        self.last.insert(Position { epoch, offset }).clone()
    }

    /// Whether something in `epoch` is missing before `from`.
    pub(super) fn lacks_before(&self, epoch: &Epoch, from: Offset) -> bool {
        self.last.as_ref().is_some_and(|last| last.epoch == *epoch && from > last.offset + 1)
    }

    /// Takes a gap and tells what of it was not seen before. In another epoch that is all of it.
    pub(super) fn skip(&mut self, mut gap: Missing) -> Option<Missing> {
        // After a failover the channel goes on where the log was cut: at the positions that were lost.
        let cut = gap.reason == GapReason::Failover;
        let seen = self.last.as_ref().filter(|last| last.epoch == gap.epoch && !cut);
        if let Some(last) = seen {
            if gap.to <= last.offset {
                return None;
            }
            gap.from = gap.from.max(last.offset + 1);
        }
        let offset = if cut { gap.from.saturating_sub(1) } else { gap.to };
        self.last = Some(Position { epoch: gap.epoch.clone(), offset });
        (gap.from <= gap.to || gap.reason == GapReason::Epoch).then_some(gap)
    }

    /// Goes on after `to`, and tells what of it was not seen.
    pub(super) fn leave_out(&mut self, epoch: &Epoch, to: Offset) -> Option<Missing> {
        let reason = if self.epoch() == Some(epoch) { GapReason::Unavailable } else { GapReason::Epoch };
        self.skip(Missing { epoch: epoch.clone(), from: 1, to, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: &str, offset: Offset) -> Sequence {
        Sequence::at(Some(Position { epoch: Epoch::parse(epoch).unwrap(), offset }))
    }

    fn missing(epoch: &str, from: Offset, to: Offset, reason: GapReason) -> Missing {
        Missing { epoch: Epoch::parse(epoch).unwrap(), from, to, reason }
    }

    #[test]
    fn only_the_next_offset_follows() {
        let (e, f) = (Epoch::parse("e").unwrap(), Epoch::parse("f").unwrap());
        let sequence = at("e", 5);
        let verdicts = [(&e, 5), (&e, 6), (&e, 7), (&f, 5), (&f, 6), (&f, 7)];
        let verdicts = verdicts.map(|(epoch, offset)| sequence.judge(epoch, offset));
        use Verdict::{Hole, Next, Seen};
        assert_eq!(verdicts, [Seen, Next, Hole, Hole, Next, Hole]);
        assert_eq!(Sequence::default().judge(&e, 9), Next);
    }

    #[test]
    fn of_a_gap_only_what_was_not_seen_is_news() {
        use GapReason::{Epoch, Failover, Retention};
        let cases = [
            (missing("e", 3, 5, Retention), None, 5),
            (missing("e", 3, 8, Retention), Some((6, 8)), 8),
            (missing("f", 1, 3, Epoch), Some((1, 3)), 3),
            (missing("f", 1, 0, Epoch), Some((1, 0)), 0),
            (missing("f", 4, 5, Failover), Some((4, 5)), 3),
        ];
        for (gap, news, offset) in cases {
            let mut sequence = at("e", 5);
            assert_eq!(sequence.skip(gap.clone()).map(|gap| (gap.from, gap.to)), news, "{gap:?}");
            assert_eq!(sequence.position().unwrap().offset, offset, "{gap:?}");
        }
    }
}

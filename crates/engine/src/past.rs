//! Which pieces of a channel's past the nodes of a region keep for each other.
//!
//! The past is cut into blocks of offsets. A node that has read some of it keeps each block's part of what it has read, joined with
//! what was kept of that block before; whoever stands inside such a part is spared the way to history. Only what clients still ask
//! for is kept: the newest blocks.
//!
//! Never: decides who gets what (`hub`), or where the pieces lie.

use std::sync::Arc;

use skywave_protocol::inner::{Excerpt, HistoryAnswer};
use skywave_protocol::{Offset, Publication};

/// How the past is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// Offsets of one block: block `n` has `n * size + 1 ..= (n + 1) * size`.
    pub size: Offset,
    /// Older than so many offsets before the head is not kept.
    pub recent: Offset,
}

impl Default for Blocks {
    fn default() -> Self {
        Self { size: 256, recent: 4_096 }
    }
}

impl Blocks {
    /// The block of the publication that follows `after`; `None` if it is too old to be kept.
    pub fn find(&self, after: Offset, head: Offset) -> Option<u64> {
        (head.saturating_sub(after) <= self.recent).then_some(after / self.size)
    }

    /// What of an answer is to be kept, block by block. `found`: what was kept of the block `looked` into before. Of the others
    /// nobody knows what is kept: only what has the block's beginning takes its place.
    pub fn pieces(
        &self,
        answer: &HistoryAnswer,
        looked: u64,
        found: Option<&Excerpt>,
    ) -> Vec<(u64, Excerpt)> {
        let mut next = answer.publications.first().map_or(0, |first| first.offset);
        let run = answer.publications.iter().take_while(|publication| {
            next += 1;
            publication.offset + 1 == next
        });
        let run: Vec<Arc<Publication>> = run.cloned().collect();
        let pieces = run.chunk_by(|one, next| self.find_block(one) == self.find_block(next));
        let pieces = pieces.filter_map(|piece| {
            let block = self.find_block(piece.first()?);
            let piece = Excerpt::new(answer.channel.clone(), answer.head.epoch.clone(), piece.to_vec())?;
            let recent = answer.head.offset.saturating_sub(piece.end()) <= self.recent;
            let piece = match found.filter(|_| block == looked) {
                Some(found) => grown(found, piece)?,
                None => piece,
            };
            let begins = piece.after() == block * self.size;
            (recent && (begins || block == looked)).then_some((block, piece))
        });
        pieces.collect()
    }

    fn find_block(&self, publication: &Publication) -> u64 {
        publication.offset.saturating_sub(1) / self.size
    }
}

/// Both together, if there is nothing between them; else the newer one. `None` if that is no more than was there.
fn grown(found: &Excerpt, piece: Excerpt) -> Option<Excerpt> {
    let same = found.channel() == piece.channel() && found.epoch() == piece.epoch();
    if !same || piece.after() > found.end() || found.after() > piece.end() {
        return Some(piece);
    }
    if found.after() <= piece.after() && piece.end() <= found.end() {
        return None;
    }
    let before = found.publications().iter().filter(|it| it.offset <= piece.after());
    let behind = found.publications().iter().filter(|it| it.offset > piece.end());
    let all = before.chain(piece.publications()).chain(behind).cloned().collect();
    Excerpt::new(piece.channel().clone(), piece.epoch().clone(), all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use skywave_protocol::{ChannelName, Epoch, Payload, Position};

    use super::*;

    const BLOCKS: Blocks = Blocks { size: 10, recent: 40 };

    fn publication(offset: Offset) -> Arc<Publication> {
        let data = Payload::Json(offset.to_string().into());
        Arc::new(Publication { offset, id: None, from: None, time_ms: 0, data })
    }

    fn channel() -> ChannelName {
        ChannelName::parse("c").unwrap()
    }

    fn answer(offsets: impl IntoIterator<Item = Offset>, head: Offset) -> HistoryAnswer {
        HistoryAnswer {
            channel: channel(),
            head: Position { epoch: Epoch::parse("e").unwrap(), offset: head },
            first: 1,
            publications: offsets.into_iter().map(publication).collect(),
            gap: None,
        }
    }

    fn excerpt(epoch: &str, after: Offset, end: Offset) -> Excerpt {
        let publications = (after + 1..=end).map(publication).collect();
        Excerpt::new(channel(), Epoch::parse(epoch).unwrap(), publications).unwrap()
    }

    fn spans(pieces: &[(u64, Excerpt)]) -> Vec<(u64, Offset, Offset)> {
        pieces.iter().map(|(block, piece)| (*block, piece.after(), piece.end())).collect()
    }

    #[test]
    fn an_answer_is_cut_at_the_blocks_bounds_and_ends_at_a_hole() {
        let pieces = BLOCKS.pieces(&answer(8..=23, 30), 0, None);
        assert_eq!(spans(&pieces), [(0, 7, 10), (1, 10, 20), (2, 20, 23)]);
        assert_eq!(spans(&BLOCKS.pieces(&answer([8, 9, 12, 13], 30), 0, None)), [(0, 7, 9)]);
        assert!(BLOCKS.pieces(&answer([], 30), 0, None).is_empty());
        assert_eq!(
            (BLOCKS.find(9, 30), BLOCKS.find(10, 30)),
            (Some(0), Some(1)),
            "where the next one stands"
        );
    }

    #[test]
    fn what_is_too_old_is_neither_kept_nor_looked_for() {
        assert_eq!(spans(&BLOCKS.pieces(&answer(1..=30, 60), 0, None)), [(1, 10, 20), (2, 20, 30)]);
        assert_eq!((BLOCKS.find(19, 60), BLOCKS.find(20, 60)), (None, Some(2)));
    }

    #[test]
    fn a_block_grows_by_what_touches_it_and_is_replaced_by_what_does_not() {
        let grows = |found: Excerpt, offsets: std::ops::RangeInclusive<Offset>| {
            spans(&BLOCKS.pieces(&answer(offsets, 30), 1, Some(&found)))
        };
        assert_eq!(grows(excerpt("e", 14, 17), 13..=14), [(1, 12, 17)]);
        assert_eq!(grows(excerpt("e", 14, 17), 16..=19), [(1, 14, 19)]);
        assert_eq!(grows(excerpt("e", 14, 17), 12..=20), [(1, 11, 20)]);
        assert_eq!(grows(excerpt("e", 14, 17), 15..=16), [], "nothing is new");
        assert_eq!(grows(excerpt("e", 14, 17), 19..=20), [(1, 18, 20)], "between them something is missing");
        assert_eq!(grows(excerpt("f", 14, 17), 15..=16), [(1, 14, 16)], "of another epoch nothing counts");
    }

    #[test]
    fn of_blocks_that_were_not_looked_into_what_has_their_beginning_is_kept() {
        let kept = |offsets, looked| spans(&BLOCKS.pieces(&answer(offsets, 30), looked, None));
        assert_eq!(kept(8..=23, 0), [(0, 7, 10), (1, 10, 20), (2, 20, 23)]);
        assert_eq!(kept(8..=23, 7), [(1, 10, 20), (2, 20, 23)], "of the first one somebody may have more");
    }

    proptest! {
        /// Whatever was kept and is read, what is kept then is of one block, holds what was read last, and says of each offset
        /// what history says.
        #[test]
        fn pieces_are_the_past(from in 1u64..60, count in 1u64..40, kept in 0u64..60, length in 1u64..10) {
            let head = 100;
            let found = excerpt("e", kept, (kept + length).min((kept / 10 + 1) * 10));
            let read = answer(from..from + count, head);
            for (block, piece) in (Blocks { size: 10, recent: 1_000 }).pieces(&read, kept / 10, Some(&found)) {
                prop_assert_eq!(piece.after() / 10, block);
                prop_assert!(piece.end() <= (block + 1) * 10);
                for it in piece.publications() {
                    prop_assert_eq!(it, &publication(it.offset));
                    let was_read = (from..from + count).contains(&it.offset);
                    prop_assert!(was_read || (found.after() < it.offset && it.offset <= found.end()));
                }
                let wanted = (from..from + count).filter(|offset| (offset - 1) / 10 == block);
                prop_assert!(wanted.into_iter().all(|offset| piece.after() < offset && offset <= piece.end()));
            }
        }
    }
}

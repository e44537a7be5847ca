//! What the edges of the region keep of the past for each other, in a state that answers late, loses things, and is sometimes
//! away.

use skywave_engine::Blocks;
use skywave_engine::hub::FetchId;
use skywave_protocol::Position;
use skywave_protocol::inner::{CoreRequest, Excerpt, HistoryAnswer, ReplyTo};
use skywave_protocol::message::HistoryQuery;

use super::super::{EdgeStep, Event, World};
use super::Call;

/// Small, so that the little past there is has many of them.
const BLOCKS: Blocks = Blocks { size: 6, recent: 60 };

/// What was looked for, and what of it there was.
#[derive(Debug)]
pub(in crate::world) struct Looked {
    id: FetchId,
    query: HistoryQuery,
    reply: ReplyTo,
    block: u64,
    found: Option<Excerpt>,
}

impl World {
    pub(super) fn hub_reads(
        &mut self,
        edge: usize,
        id: FetchId,
        query: HistoryQuery,
        past: Option<Position>,
    ) {
        let reply = self.edges[edge].call(Call::Fetch(id));
        let channel = self.channel_index(&query.channel);
        self.read_begins(edge, channel, &reply);
        let block = past.as_ref().and_then(|past| BLOCKS.find(query.after, past.offset));
        let (Some(past), Some(block)) = (past, block) else {
            return self.edge_asks_core(edge, CoreRequest::History { query, reply });
        };
        let name = (query.channel.clone(), past.epoch.as_str().to_owned(), block);
        let hindered = !self.healed && self.random.chance(30);
        if hindered && self.random.chance(50) {
            self.copies.remove(&name);
        }
        let found = if hindered { None } else { self.copies.get(&name).cloned() };
        let (delay, incarnation) = (self.random.between(0, 6), self.edges[edge].incarnation);
        let looked = Box::new(Looked { id, query, reply, block, found });
        self.after(delay, Event::Edge(edge, incarnation, EdgeStep::Looked(looked)));
    }

    pub(super) fn copy_was_looked_for(&mut self, edge: usize, looked: Looked) {
        let Looked { id, query, reply, block, found } = looked;
        let (now, state) = (self.now, &mut self.edges[edge]);
        if found.as_ref().is_some_and(|copy| state.hub.handle_copy(now, id, copy)) {
            state.calls.remove(&reply.correlation);
            self.read_is_answered(edge, reply.correlation, true);
            return self.tally.count("copies of the past used");
        }
        if state.hub.is_reading(id) {
            state.awaited.insert(id, (block, found));
            self.edge_asks_core(edge, CoreRequest::History { query, reply });
        }
    }

    /// Keeps what core has answered.
    pub(super) fn keep_copies(&mut self, edge: usize, id: FetchId, answer: &HistoryAnswer) {
        let Some((block, found)) = self.edges[edge].awaited.remove(&id) else { return };
        for (block, piece) in BLOCKS.pieces(answer, block, found.as_ref()) {
            self.tally.count("copies of the past kept");
            let epoch = piece.epoch().as_str().to_owned();
            self.copies.insert((piece.channel().clone(), epoch, block), piece);
        }
    }
}

//! What becomes of an edge's reads of history, as the bus sees it: asked, hindered, answered.

use skywave_protocol::inner::{CoreRequest, ReplyTo};

use super::super::{Message, Node, World};
use super::Call;
use crate::history::{Channel, Fact, ReadId};

impl World {
    pub(super) fn read_begins(&mut self, edge: usize, channel: Channel, reply: &ReplyTo) {
        let read = self.read_id(edge, reply.correlation);
        self.record(Fact::Read { edge, channel, read });
    }

    pub(super) fn read_is_answered(&mut self, edge: usize, correlation: u64, served: bool) {
        let read = self.read_id(edge, correlation);
        self.record(Fact::ReadAnswered { read, served });
    }

    /// Something happened to this message on its way to `to`.
    pub(in crate::world) fn read_is_hindered(&mut self, to: Node, message: &Message) {
        let (edge, correlation) = match (message, to) {
            (Message::Request(CoreRequest::History { reply, .. }), _) => {
                let asks = |edge: &super::Edge| edge.reply == reply.subject;
                let Some(edge) = self.edges.iter().position(asks) else { return };
                (edge, reply.correlation)
            }
            (Message::Reply(reply), Node::Edge(edge)) => (edge, reply.correlation),
            _ => return,
        };
        if let Some(Call::Fetch(_)) = self.edges[edge].calls.get(&correlation) {
            let read = self.read_id(edge, correlation);
            self.record(Fact::ReadHindered { read });
        }
    }

    /// The edge is about to crash, with all it has asked for.
    pub(in crate::world) fn reads_are_hindered(&mut self, edge: usize) {
        let fetch =
            |(correlation, call): (&u64, &Call)| matches!(call, Call::Fetch(_)).then_some(*correlation);
        let asked: Vec<u64> = self.edges[edge].calls.iter().filter_map(fetch).collect();
        for correlation in asked {
            let read = self.read_id(edge, correlation);
            self.record(Fact::ReadHindered { read });
        }
    }

    /// Correlations begin anew with each incarnation.
    fn read_id(&self, edge: usize, correlation: u64) -> ReadId {
        (edge as u64) << 48 | u64::from(self.edges[edge].incarnation) << 32 | correlation
    }
}

//! The end of a run: what was kept and who is present goes into the history, so that checkers need nothing else.

use super::client::{hash, publish_id};
use super::{Outcome, World};
use crate::history::Fact;

impl World {
    pub(super) fn finish(mut self) -> Outcome {
        for channel in 0..self.channels.len() {
            let name = self.channels[channel].name.clone();
            for row in self.store.rows(&name).to_vec() {
                let (offset, id, hash) = (row.offset, publish_id(&row), hash(row.data.bytes()));
                self.record(Fact::Kept { channel, offset, id, hash });
            }
        }
        self.record_presence();
        for (what, times) in [
            ("messages dropped", self.network.dropped),
            ("messages doubled", self.network.doubled),
            ("messages delayed", self.network.delayed),
        ] {
            self.tally.add(what, times);
        }
        let digest = self.trace.digest(&self.history.entries);
        let events = self.trace.events();
        Outcome { history: self.history, tally: self.tally, digest, events }
    }

    fn record_presence(&mut self) {
        for channel in 0..self.channels.len() {
            if !self.channels[channel].durable {
                continue;
            }
            let name = self.channels[channel].name.clone();
            for edge in 0..self.edges.len() {
                if self.edges[edge].presence.is_tracked(&name) {
                    let members = self.edges[edge].presence.members(&name);
                    let connections = members.iter().map(|member| member.client.to_string()).collect();
                    self.record(Fact::Seen { edge, channel, connections });
                }
            }
            let mut connections: Vec<String> = Vec::new();
            for client in 0..self.clients.len() {
                if let (Some(connection), true) =
                    (self.clients[client].connection(), self.client_channels(client).contains(&channel))
                {
                    connections.push(format!("c{connection}"));
                }
            }
            connections.sort();
            self.record(Fact::Present { channel, connections });
        }
    }
}

//! A past: in some runs a channel has a long history before anybody connects, and some clients go on from far back in it.

use std::sync::Arc;

use bytes::Bytes;
use skywave_protocol::inner::LogRecord;
use skywave_protocol::{MessageId, Payload, UserId};

use super::World;
use super::client::hash;
use crate::history::{Fact, PublishId};

/// The channel with the past, and the client that has published it.
const CHANNEL: usize = 0;
const AUTHOR: usize = 0;

impl World {
    /// Decides how long the past is, and how much of it is kept.
    pub(super) fn plan_past(&mut self) {
        if !self.random.chance(400) {
            return;
        }
        self.past = self.random.between(40, 300);
        if self.random.chance(500) {
            self.store.retention = self.random.between(self.past / 3, self.past + 100) as usize;
        }
    }

    /// Writes it into the log, as if it had been published and acknowledged long ago.
    pub(super) fn write_past(&mut self) {
        let channel = self.channels[CHANNEL].name.clone();
        let partition = self.channels[CHANNEL].partition;
        let from = self.history.users[AUTHOR].as_deref().and_then(|user| UserId::parse(user).ok());
        for offset in 1..=self.past {
            let id = past_id(offset);
            let mut data = id.to_be_bytes().to_vec();
            data.resize(self.random.between(20, 60) as usize, 0);
            let data = Bytes::from(data);
            let (client, hash) = (AUTHOR, hash(&data));
            self.record(Fact::Publish { client, channel: CHANNEL, id, hash });
            self.record(Fact::Acked { client, channel: CHANNEL, id, offset, duplicate: false });
            self.log.append(
                partition,
                LogRecord {
                    channel: channel.clone(),
                    time_ms: 0,
                    from: from.clone(),
                    id: MessageId::parse(&id.to_string()).ok(),
                    region: Arc::from("here"),
                    data: Payload::Binary(data),
                    reply: None,
                },
            );
        }
        self.log.sync();
    }

    /// Where a client goes on in a channel; `None`: where the channel ends.
    pub(super) fn starts_at(&mut self, channel: usize) -> Option<u64> {
        let has_past = channel == CHANNEL && self.past > 0;
        (has_past && self.random.chance(700)).then(|| self.random.between(0, self.past))
    }
}

/// The author's publications of the run itself are numbered after these.
fn past_id(offset: u64) -> PublishId {
    (AUTHOR as u64 + 1) << 32 | offset
}

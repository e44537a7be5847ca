//! A row of the outbox, checked: what a client's publish would have been checked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use skywave_ports::{OutboxRow, RowId};
use skywave_protocol::inner::LogRecord;
use skywave_protocol::{ChannelName, MessageId, NamespaceOptions, Payload, UserId};

use crate::ingest::unix_now_ms;
use crate::publishable;

#[derive(Debug, PartialEq)]
pub(super) struct Outgoing {
    pub(super) id: RowId,
    pub(super) channel: ChannelName,
    pub(super) message_id: MessageId,
    pub(super) publisher: Option<UserId>,
    pub(super) data: Payload,
}

impl Outgoing {
    /// The error says to whoever wrote the row what is wrong with it.
    pub(super) fn parse(
        row: OutboxRow,
        namespaces: &BTreeMap<String, NamespaceOptions>,
        record_bytes: usize,
    ) -> Result<Self, String> {
        let OutboxRow { id, channel, message_id, publisher, data, .. } = row;
        let channel = ChannelName::parse(&channel).map_err(|error| error.to_string())?;
        let message_id = MessageId::parse(&message_id).map_err(|error| error.to_string())?;
        let publisher = publisher.map(|publisher| UserId::parse(&publisher)).transpose();
        let publisher = publisher.map_err(|error| error.to_string())?;
        let data = match data {
            Payload::Json(json) => Payload::from_json(&json).map_err(|error| error.to_string())?,
            Payload::Binary(bytes) => Payload::Binary(bytes),
        };
        publishable::check(&channel, &data, namespaces, record_bytes).map_err(|error| error.to_string())?;
        Ok(Self { id, channel, message_id, publisher, data })
    }

    pub(super) fn record(&self, region: &Arc<str>) -> LogRecord {
        LogRecord {
            channel: self.channel.clone(),
            time_ms: unix_now_ms(),
            from: self.publisher.clone(),
            id: Some(self.message_id.clone()),
            region: Arc::clone(region),
            data: self.data.clone(),
            // The log's acknowledgement is all that is waited for.
            reply: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use skywave_protocol::Durability;

    use super::*;

    fn row(channel: &str, message_id: &str, json: &str) -> OutboxRow {
        OutboxRow {
            id: 1,
            channel: channel.into(),
            message_id: message_id.into(),
            publisher: None,
            data: Payload::Json(Bytes::copy_from_slice(json.as_bytes())),
            waited_ms: 0,
            mark: None,
        }
    }

    fn parse(row: OutboxRow) -> Result<Outgoing, String> {
        let ephemeral = NamespaceOptions { durability: Durability::Ephemeral, ..NamespaceOptions::default() };
        let small = NamespaceOptions { payload_bytes: 10, ..NamespaceOptions::default() };
        let namespaces = [("chat", small), ("live", ephemeral)];
        let namespaces = namespaces.map(|(name, options)| (name.to_owned(), options));
        Outgoing::parse(row, &namespaces.into(), 100_000)
    }

    #[test]
    fn a_good_row_becomes_a_record() {
        let mut good = row("chat:1", "m-1", " {\"a\" :\n1} ");
        good.publisher = Some("ada".into());
        let record = parse(good).unwrap().record(&"eu".into());
        assert_eq!(record.data, Payload::Json(Bytes::from_static(b"{\"a\":1}")));
        assert_eq!((record.from, record.id), (UserId::parse("ada").ok(), MessageId::parse("m-1").ok()));
        assert!(record.reply.is_none() && record.time_ms > 0);
    }

    #[test]
    fn what_can_never_be_published_is_refused_with_the_reason() {
        let reason = |row| parse(row).unwrap_err();
        assert!(reason(row("a b", "m", "1")).contains("channel name"));
        assert!(reason(row("chat:1", "", "1")).contains("message id"));
        assert!(reason(row("chat:1", "m", "{")).contains("JSON"));
        assert!(reason(row("chat:1", "m", "\"0123456789\"")).contains("at most 10 bytes"));
        assert!(reason(row("live:1", "m", "1")).contains("ephemeral"));
        assert!(reason(row("nobody:1", "m", "1")).contains("no namespace"));
        let mut nameless = row("chat:1", "m", "1");
        nameless.publisher = Some(String::new());
        assert!(reason(nameless).contains("user id"));
    }
}

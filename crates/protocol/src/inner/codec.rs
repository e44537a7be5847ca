//! Encoding of the inner messages: a tag byte, then the fields in the order below (see [`crate::wire`] for the
//! primitives and for how messages grow). Payloads are shared with the buffer they arrived in, not copied.
//!
//! Payloads are not checked again here: what is on the bus was checked by the edge that took it in.

use bytes::Bytes;

use super::{
    CellNews, Control, CoreAnswer, CoreBeat, CorePhase, CoreReply, CoreRequest, HistoryAnswer, LogRecord,
    NodeBeat, Notice, ReplyTo,
};
use crate::decode::DecodeError;
use crate::message::GapReason;
use crate::publication::Payload;
use crate::wire::{
    Reader, put_bytes, put_error, put_flags, put_position, put_publications, put_query, put_str, put_varint,
    read_error, read_position, read_publications, read_query,
};
use crate::{ChannelName, MessageId, NodeId, Subject, UserId};

/// Room for everything but the payload of a usual message, so that the buffer grows once at most.
pub(super) const ENVELOPE_BYTES: usize = 160;

/// First byte of a log record: the layout's version.
const RECORD_V1: u8 = 1;

impl LogRecord {
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(ENVELOPE_BYTES + self.data.len());
        put_record(&mut out, self);
        out.into()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        read_record(&mut Reader::sharing(&bytes))
    }
}

/// Version, flags (0 from, 1 id, 2 binary payload, 3 reply), channel, time, region, \[from\], \[id\], payload, \[reply\].
fn put_record(out: &mut Vec<u8>, record: &LogRecord) {
    let LogRecord { channel, time_ms, from, id, region, data, reply } = record;
    out.push(RECORD_V1);
    put_flags(out, [from.is_some(), id.is_some(), matches!(data, Payload::Binary(_)), reply.is_some()]);
    put_str(out, channel.as_str());
    put_varint(out, *time_ms);
    put_str(out, region);
    if let Some(from) = from {
        put_str(out, from.as_str());
    }
    if let Some(id) = id {
        put_str(out, id.as_str());
    }
    put_bytes(out, data.bytes());
    if let Some(reply) = reply {
        put_reply_to(out, reply);
    }
}

fn read_record(reader: &mut Reader<'_>) -> Result<LogRecord, DecodeError> {
    reader.version("record version", RECORD_V1)?;
    let flags = reader.flags("record flags")?;
    let channel = ChannelName::parse(reader.str("channel")?)?;
    let time_ms = reader.varint("time")?;
    let region = reader.str("region")?.into();
    let from = flags.has(0).then(|| reader.str("user id")).transpose()?;
    let id = flags.has(1).then(|| reader.str("message id")).transpose()?;
    let data = reader.owned_bytes("payload")?;
    Ok(LogRecord {
        channel,
        time_ms,
        region,
        from: from.map(UserId::parse).transpose()?,
        id: id.map(MessageId::parse).transpose()?,
        data: if flags.has(2) { Payload::Binary(data) } else { Payload::Json(data) },
        reply: flags.has(3).then(|| read_reply_to(reader)).transpose()?,
    })
}

fn put_reply_to(out: &mut Vec<u8>, reply: &ReplyTo) {
    put_str(out, reply.subject.as_str());
    put_varint(out, reply.correlation);
}

fn read_reply_to(reader: &mut Reader<'_>) -> Result<ReplyTo, DecodeError> {
    let subject = reader.str("reply subject")?;
    let subject = Subject::from_wire(subject)
        .ok_or_else(|| DecodeError::Malformed("the reply subject is not one of ours".into()))?;
    Ok(ReplyTo { subject, correlation: reader.varint("correlation")? })
}

impl CoreRequest {
    const PUBLISH: u8 = 1;
    const HISTORY: u8 = 2;
    const NUMBERED: u8 = 3;
    const CHECK: u8 = 4;

    /// A publish, at its place (link and number) if it has one. For those who keep the record.
    pub fn encode_publish(record: &LogRecord, place: Option<(u64, u64)>) -> Bytes {
        let mut out = Vec::with_capacity(ENVELOPE_BYTES + record.data.len());
        match place {
            None => out.push(Self::PUBLISH),
            Some((link, number)) => {
                out.push(Self::NUMBERED);
                put_varint(&mut out, link);
                put_varint(&mut out, number);
            }
        }
        put_record(&mut out, record);
        out.into()
    }

    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(ENVELOPE_BYTES);
        match self {
            Self::Publish(record) => return Self::encode_publish(record, None),
            Self::Numbered { link, number, record } => {
                return Self::encode_publish(record, Some((*link, *number)));
            }
            Self::History { query, reply } => {
                out.push(Self::HISTORY);
                put_query(&mut out, query);
                put_reply_to(&mut out, reply);
            }
            Self::Check { link, next, reply } => {
                out.push(Self::CHECK);
                put_varint(&mut out, *link);
                put_varint(&mut out, *next);
                put_reply_to(&mut out, reply);
            }
        }
        out.into()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::sharing(&bytes);
        match reader.byte("core request")? {
            Self::PUBLISH => Ok(Self::Publish(read_record(&mut reader)?)),
            Self::HISTORY => {
                let query = read_query(&mut reader)?;
                Ok(Self::History { query, reply: read_reply_to(&mut reader)? })
            }
            Self::NUMBERED => {
                let (link, number) = (reader.varint("link")?, reader.varint("number")?);
                Ok(Self::Numbered { link, number, record: read_record(&mut reader)? })
            }
            Self::CHECK => {
                let (link, next) = (reader.varint("link")?, reader.varint("number")?);
                Ok(Self::Check { link, next, reply: read_reply_to(&mut reader)? })
            }
            tag => Err(DecodeError::UnknownKind { what: "core request", tag: tag.into() }),
        }
    }
}

impl CoreReply {
    const ERROR: u8 = 0;
    const PUBLISHED: u8 = 1;
    const HISTORY: u8 = 2;
    const MISSING: u8 = 3;

    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(64);
        match &self.result {
            Err(error) => {
                out.push(Self::ERROR);
                put_varint(&mut out, self.correlation);
                put_error(&mut out, error);
            }
            Ok(CoreAnswer::Published { position, duplicate }) => {
                out.push(Self::PUBLISHED);
                put_varint(&mut out, self.correlation);
                put_flags(&mut out, [*duplicate]);
                put_position(&mut out, position);
            }
            Ok(CoreAnswer::History(answer)) => {
                out.push(Self::HISTORY);
                put_varint(&mut out, self.correlation);
                put_answer(&mut out, answer);
            }
            Ok(CoreAnswer::Missing { link, number }) => {
                out.push(Self::MISSING);
                put_varint(&mut out, self.correlation);
                put_varint(&mut out, *link);
                put_varint(&mut out, *number);
            }
        }
        out.into()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::sharing(&bytes);
        let tag = reader.byte("core reply")?;
        let correlation = reader.varint("correlation")?;
        let result = match tag {
            Self::ERROR => Err(read_error(&mut reader)?),
            Self::PUBLISHED => {
                let duplicate = reader.flags("published flags")?.has(0);
                Ok(CoreAnswer::Published { position: read_position(&mut reader)?, duplicate })
            }
            Self::HISTORY => Ok(CoreAnswer::History(read_answer(&mut reader)?)),
            Self::MISSING => {
                let (link, number) = (reader.varint("link")?, reader.varint("number")?);
                Ok(CoreAnswer::Missing { link, number })
            }
            _ => return Err(DecodeError::UnknownKind { what: "core reply", tag: tag.into() }),
        };
        Ok(Self { correlation, result })
    }
}

/// Channel, head, first, gap (0: none), publications.
fn put_answer(out: &mut Vec<u8>, answer: &HistoryAnswer) {
    let HistoryAnswer { channel, head, first, publications, gap } = answer;
    put_str(out, channel.as_str());
    put_position(out, head);
    put_varint(out, *first);
    put_varint(out, gap.map_or(0, |reason| u64::from(reason.number())));
    put_publications(out, publications);
}

fn read_answer(reader: &mut Reader<'_>) -> Result<HistoryAnswer, DecodeError> {
    Ok(HistoryAnswer {
        channel: ChannelName::parse(reader.str("channel")?)?,
        head: read_position(reader)?,
        first: reader.varint("first")?,
        gap: match reader.varint("gap reason")? {
            0 => None,
            number => Some(GapReason::from_number(number)),
        },
        publications: read_publications(reader)?,
    })
}

impl Notice {
    /// First byte: the layout's version.
    const V1: u8 = 1;

    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(80);
        out.push(Self::V1);
        put_bytes(&mut out, &self.id.to_be_bytes());
        put_varint(&mut out, self.age_ms);
        self.control.put(&mut out);
        out.into()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::sharing(&bytes);
        reader.version("notice version", Self::V1)?;
        let id = reader.owned_bytes("notice id")?;
        let id: [u8; 16] =
            id[..].try_into().map_err(|_| DecodeError::Malformed("a notice id has 16 bytes".into()))?;
        let age_ms = reader.varint("notice age")?;
        Ok(Self { id: u128::from_be_bytes(id), age_ms, control: Control::read(&mut reader)? })
    }
}

impl Control {
    const DISCONNECT_USER: u8 = 1;
    const REVOKE_TOKEN: u8 = 2;
    const SUBSCRIBE: u8 = 3;
    const UNSUBSCRIBE: u8 = 4;

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::DisconnectUser { user } => {
                out.push(Self::DISCONNECT_USER);
                put_str(out, user.as_str());
            }
            Self::RevokeToken { token_id, until } => {
                out.push(Self::REVOKE_TOKEN);
                put_str(out, token_id);
                put_varint(out, *until);
            }
            Self::Subscribe { user, channel } | Self::Unsubscribe { user, channel } => {
                out.push(match self {
                    Self::Subscribe { .. } => Self::SUBSCRIBE,
                    _ => Self::UNSUBSCRIBE,
                });
                put_str(out, user.as_str());
                put_str(out, channel.as_str());
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.byte("control message")? {
            Self::DISCONNECT_USER => {
                Ok(Self::DisconnectUser { user: UserId::parse(reader.str("user id")?)? })
            }
            Self::REVOKE_TOKEN => {
                let token_id = reader.str("token id")?.to_owned();
                Ok(Self::RevokeToken { token_id, until: reader.varint("until")? })
            }
            tag @ (Self::SUBSCRIBE | Self::UNSUBSCRIBE) => {
                let user = UserId::parse(reader.str("user id")?)?;
                let channel = ChannelName::parse(reader.str("channel")?)?;
                Ok(match tag {
                    Self::SUBSCRIBE => Self::Subscribe { user, channel },
                    _ => Self::Unsubscribe { user, channel },
                })
            }
            tag => Err(DecodeError::UnknownKind { what: "control message", tag: tag.into() }),
        }
    }
}

impl CellNews {
    const STALLED: u8 = 1;
    const SERVING: u8 = 2;

    pub fn encode(&self) -> Bytes {
        let (tag, partition) = match self {
            Self::Stalled { partition } => (Self::STALLED, *partition),
            Self::Serving { partition } => (Self::SERVING, *partition),
        };
        let mut out = vec![tag];
        put_varint(&mut out, partition.into());
        out.into()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::sharing(&bytes);
        let tag = reader.byte("cell news")?;
        let number = reader.varint("partition")?;
        let partition =
            u32::try_from(number).map_err(|_| DecodeError::Malformed(format!("{number} is no partition")))?;
        match tag {
            Self::STALLED => Ok(Self::Stalled { partition }),
            Self::SERVING => Ok(Self::Serving { partition }),
            _ => Err(DecodeError::UnknownKind { what: "cell news", tag: tag.into() }),
        }
    }
}

impl NodeBeat {
    /// First byte: the layout's version.
    const V1: u8 = 1;

    pub fn encode(&self) -> Bytes {
        let Self { node, url, sequence, connections, capacity, draining } = self;
        let mut out = Vec::with_capacity(ENVELOPE_BYTES);
        out.push(Self::V1);
        put_flags(&mut out, [*draining]);
        put_str(&mut out, node.as_str());
        put_str(&mut out, url);
        put_varint(&mut out, *sequence);
        put_varint(&mut out, u64::from(*connections));
        put_varint(&mut out, u64::from(*capacity));
        out.into()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::sharing(&bytes);
        reader.version("beat version", Self::V1)?;
        let flags = reader.flags("beat flags")?;
        Ok(Self {
            node: NodeId::parse(reader.str("node id")?)?,
            url: reader.str("url")?.into(),
            sequence: reader.varint("sequence")?,
            connections: reader.varint32("connections")?,
            capacity: reader.varint32("capacity")?,
            draining: flags.has(0),
        })
    }
}

impl CoreBeat {
    /// First byte: the layout's version.
    const V1: u8 = 1;

    pub fn encode(&self) -> Bytes {
        let phase = match self.phase {
            CorePhase::Serving => 0,
            CorePhase::Leaving => 1,
            CorePhase::Gone => 2,
        };
        let mut out = vec![Self::V1, phase];
        put_str(&mut out, self.core.as_str());
        put_varint(&mut out, self.partitions.into());
        let owned = &self.owned[..self.owned.len().min(Self::MAX_OWNED)];
        put_varint(&mut out, owned.len() as u64);
        owned.iter().for_each(|partition| put_varint(&mut out, (*partition).into()));
        out.into()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::sharing(&bytes);
        reader.version("beat version", Self::V1)?;
        let phase = match reader.byte("phase")? {
            0 => CorePhase::Serving,
            1 => CorePhase::Leaving,
            2 => CorePhase::Gone,
            tag => return Err(DecodeError::UnknownKind { what: "phase", tag: tag.into() }),
        };
        let core = NodeId::parse(reader.str("node id")?)?;
        let partitions = reader.varint32("partitions")?;
        let count = reader.varint32("owned partitions")? as usize;
        if count > Self::MAX_OWNED {
            return Err(DecodeError::TooLarge { what: "a beat's owned partitions", limit: Self::MAX_OWNED });
        }
        let mut owned = Vec::with_capacity(count);
        for _ in 0..count {
            let partition = reader.varint32("owned partition")?;
            if partition >= partitions {
                return Err(DecodeError::Malformed(format!(
                    "{partition} is none of {partitions} partitions"
                )));
            }
            owned.push(partition);
        }
        Ok(Self { core, phase, partitions, owned })
    }
}

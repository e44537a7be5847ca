//! Encoding of [`Live`], the hottest inner message: a tag byte, the channel, then the fields of its kind.

use std::sync::Arc;

use bytes::Bytes;

use super::codec::ENVELOPE_BYTES;
use super::{Live, PresenceChange, PresenceDelta};
use crate::decode::DecodeError;
use crate::wire::{
    PublicationFields, Reader, put_member, put_members, put_position, put_publication, put_str, put_varint,
    read_member, read_members, read_position, read_publication,
};
use crate::{ChannelName, NodeId};

impl Live {
    const PUBLICATION: u8 = 1;
    const HEAD: u8 = 2;
    const PRESENCE: u8 = 3;

    pub fn encode(&self) -> Bytes {
        let payload =
            if let Self::Publication { publication, .. } = self { publication.data.len() } else { 0 };
        let mut out = Vec::with_capacity(ENVELOPE_BYTES + payload);
        match self {
            Self::Publication { channel, epoch, publication } => {
                out.push(Self::PUBLICATION);
                put_str(&mut out, channel.as_str());
                put_publication(&mut out, publication, epoch.as_ref());
            }
            Self::Head { channel, position } => {
                out.push(Self::HEAD);
                put_str(&mut out, channel.as_str());
                put_position(&mut out, position);
            }
            Self::Presence { channel, delta } => {
                out.push(Self::PRESENCE);
                put_str(&mut out, channel.as_str());
                put_delta(&mut out, delta);
            }
        }
        out.into()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::sharing(&bytes);
        let tag = reader.byte("live message")?;
        let channel = ChannelName::parse(reader.str("channel")?)?;
        match tag {
            Self::PUBLICATION => {
                let PublicationFields { publication, epoch } = read_publication(&mut reader)?;
                Ok(Self::Publication { channel, epoch, publication: Arc::new(publication) })
            }
            Self::HEAD => Ok(Self::Head { channel, position: read_position(&mut reader)? }),
            Self::PRESENCE => Ok(Self::Presence { channel, delta: read_delta(&mut reader)? }),
            _ => Err(DecodeError::UnknownKind { what: "live message", tag: tag.into() }),
        }
    }
}

const JOIN: u8 = 1;
const LEAVE: u8 = 2;
const ALL: u8 = 3;
const BEAT: u8 = 4;
const ASK: u8 = 5;
const PART: u8 = 6;

fn put_delta(out: &mut Vec<u8>, delta: &PresenceDelta) {
    put_str(out, delta.node.as_str());
    put_varint(out, delta.version);
    match &delta.change {
        PresenceChange::Join(member) => {
            out.push(JOIN);
            put_member(out, member);
        }
        PresenceChange::Leave(member) => {
            out.push(LEAVE);
            put_member(out, member);
        }
        PresenceChange::All(members) => {
            out.push(ALL);
            put_members(out, members);
        }
        PresenceChange::Part { part, parts, members } => {
            out.push(PART);
            put_varint(out, u64::from(*part));
            put_varint(out, u64::from(*parts));
            put_members(out, members);
        }
        PresenceChange::Beat => out.push(BEAT),
        PresenceChange::Ask => out.push(ASK),
    }
}

fn read_delta(reader: &mut Reader<'_>) -> Result<PresenceDelta, DecodeError> {
    let node = NodeId::parse(reader.str("node id")?)?;
    let version = reader.varint("version")?;
    let change = match reader.byte("presence change")? {
        JOIN => PresenceChange::Join(read_member(reader)?),
        LEAVE => PresenceChange::Leave(read_member(reader)?),
        ALL => PresenceChange::All(read_members(reader)?),
        PART => {
            let (part, parts) = (reader.varint("part")?, reader.varint("parts")?);
            let number = |number: u64| {
                u32::try_from(number).map_err(|_| DecodeError::Malformed("too many parts".into()))
            };
            PresenceChange::Part {
                part: number(part)?,
                parts: number(parts)?,
                members: read_members(reader)?,
            }
        }
        BEAT => PresenceChange::Beat,
        ASK => PresenceChange::Ask,
        tag => return Err(DecodeError::UnknownKind { what: "presence change", tag: tag.into() }),
    };
    Ok(PresenceDelta { node, version, change })
}

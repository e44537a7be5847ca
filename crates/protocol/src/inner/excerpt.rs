//! A piece of a channel's past, as the nodes of a region keep it for each other in what they share.
//!
//! What has a position does not change as long as its epoch lasts: a copy is as good as the original. So an [`Excerpt`] that
//! exists is a run without a hole, and one that cannot be read as such is none.

use std::sync::Arc;

use bytes::Bytes;

use crate::ChannelName;
use crate::decode::DecodeError;
use crate::position::{Epoch, Offset};
use crate::publication::Publication;
use crate::wire::{Reader, put_publications, put_str, read_publications};

/// Publications of one channel and epoch that stand side by side, oldest first; at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Excerpt {
    channel: ChannelName,
    epoch: Epoch,
    publications: Vec<Arc<Publication>>,
}

impl Excerpt {
    /// First byte: the layout's version.
    const V1: u8 = 1;

    /// `None` if there is nothing in it, or a hole, or something without a position.
    pub fn new(channel: ChannelName, epoch: Epoch, publications: Vec<Arc<Publication>>) -> Option<Self> {
        let first = publications.first()?.offset;
        let follows = |(n, it): (usize, &Arc<Publication>)| it.offset.checked_sub(first) == Some(n as Offset);
        let is_run = first > 0 && publications.iter().enumerate().all(follows);
        is_run.then_some(Self { channel, epoch, publications })
    }

    pub fn channel(&self) -> &ChannelName {
        &self.channel
    }

    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    pub fn publications(&self) -> &[Arc<Publication>] {
        &self.publications
    }

    /// The offset before the first one.
    pub fn after(&self) -> Offset {
        // Invariant: there is one, and its offset is not 0.
        self.publications.first().map_or(0, |first| first.offset - 1)
    }

    /// The offset of the last one.
    pub fn end(&self) -> Offset {
        self.after() + self.publications.len() as Offset
    }

    /// Version, channel, epoch, publications.
    pub fn encode(&self) -> Bytes {
        let payload: usize = self.publications.iter().map(|it| it.data.len() + 64).sum();
        let mut out = Vec::with_capacity(64 + payload);
        out.push(Self::V1);
        put_str(&mut out, self.channel.as_str());
        put_str(&mut out, self.epoch.as_str());
        put_publications(&mut out, &self.publications);
        out.into()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::sharing(&bytes);
        reader.version("excerpt version", Self::V1)?;
        let channel = ChannelName::parse(reader.str("channel")?)?;
        let epoch = Epoch::parse(reader.str("epoch")?)?;
        let publications = read_publications(&mut reader)?;
        Self::new(channel, epoch, publications)
            .ok_or_else(|| DecodeError::Malformed("an excerpt has a hole".into()))
    }
}

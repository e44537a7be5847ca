//! A page of history as one piece: all its frames in a row, so that a subscriber catching up costs one buffer a page and
//! not one a publication, and those in the same place share it.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use skywave_protocol::{ChannelName, Epoch, Publication, Push, ServerMessage};

use super::encode;
use crate::transport::{Encoding, Frame, FrameClass};

#[derive(Debug)]
pub(crate) struct EncodedPage {
    channel: ChannelName,
    epoch: Epoch,
    publications: Arc<[Arc<Publication>]>,
    /// Messages of fewer bytes are not compressed.
    threshold: usize,
    rows: [OnceLock<Row>; Encoding::COUNT],
}

#[derive(Debug)]
struct Row {
    bytes: Bytes,
    /// Where each publication's frame ends.
    ends: Box<[usize]>,
}

impl EncodedPage {
    pub(crate) fn new(
        channel: ChannelName,
        epoch: Epoch,
        publications: Arc<[Arc<Publication>]>,
        threshold: usize,
    ) -> Arc<Self> {
        let rows = [const { OnceLock::new() }; Encoding::COUNT];
        Arc::new(Self { channel, epoch, publications, threshold, rows })
    }

    /// The frames of some of its publications, as one.
    pub(crate) fn frame(&self, encoding: Encoding, part: &Range<usize>) -> Frame {
        let row = self.rows[encoding as usize].get_or_init(|| self.encode(encoding));
        let end_of = |count: usize| if count == 0 { 0 } else { row.ends[count - 1] };
        Frame {
            bytes: row.bytes.slice(end_of(part.start)..end_of(part.end)),
            class: FrameClass::Durable,
            droppable: false,
            channel: Some(self.channel.clone()),
        }
    }

    fn encode(&self, encoding: Encoding) -> Row {
        let mut bytes = Vec::new();
        let frames = self.publications.iter().map(|publication| {
            let push = Push::Publication {
                channel: self.channel.clone(),
                epoch: Some(self.epoch.clone()),
                publication: publication.clone(),
            };
            bytes.extend_from_slice(&encode(encoding, &ServerMessage::Push(push), self.threshold));
            bytes.len()
        });
        let ends = frames.collect();
        Row { bytes: bytes.into(), ends }
    }
}

#[cfg(test)]
mod tests {
    use skywave_protocol::Payload;

    use super::*;
    use crate::encoding::Encoded;

    #[test]
    fn a_part_is_the_frames_of_its_publications_in_a_row() {
        let (channel, epoch) = (ChannelName::parse("chat:a").unwrap(), Epoch::parse("e1").unwrap());
        let publications: Arc<[Arc<Publication>]> = (1..=5)
            .map(|offset| {
                let data = Payload::from_json(b"\"x\"").unwrap();
                Arc::new(Publication { offset, id: None, from: None, time_ms: offset, data })
            })
            .collect();
        let page = EncodedPage::new(channel.clone(), epoch.clone(), publications.clone(), 1_000);
        for encoding in [Encoding::WsJson, Encoding::WsBinary, Encoding::SseJson, Encoding::StreamJson] {
            for part in [0..5, 0..1, 1..4, 4..5] {
                let alone: Vec<u8> = publications[part.clone()]
                    .iter()
                    .flat_map(|publication| {
                        let (channel, epoch) = (channel.clone(), Some(epoch.clone()));
                        let push = Push::Publication {
                            channel: channel.clone(),
                            epoch,
                            publication: publication.clone(),
                        };
                        Encoded::new(channel, push, false, 1_000).frame(encoding).bytes
                    })
                    .collect();
                assert_eq!(page.frame(encoding, &part).bytes, alone, "{part:?}");
            }
        }
    }
}

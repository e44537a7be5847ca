//! What backends hear of a channel on the bus: publications with the fields of the push `pub`, and newest positions.

use bytes::Bytes;

use super::server::{ENVELOPE_BYTES, put_channel_publication, put_position};
use super::write::Object;
use crate::channel::ChannelName;
use crate::position::{Epoch, Position};
use crate::publication::Publication;

/// On [`crate::Subject::json`]: what stands behind `pub` in a push. `epoch` is `None` for an ephemeral publication.
pub fn live_publication(channel: &ChannelName, epoch: Option<&Epoch>, publication: &Publication) -> Bytes {
    let mut out = Vec::with_capacity(ENVELOPE_BYTES + publication.data.len());
    Object::write(&mut out, |object| put_channel_publication(object, channel, epoch, publication));
    out.into()
}

/// On [`crate::Subject::json_head`].
pub fn live_head(channel: &ChannelName, head: &Position) -> Bytes {
    let mut out = Vec::with_capacity(ENVELOPE_BYTES);
    Object::write(&mut out, |object| {
        object.plain("channel", channel.as_str());
        put_position(object, Some(head));
    });
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Payload;

    fn channel() -> ChannelName {
        ChannelName::parse("chat:1").unwrap()
    }

    fn text(bytes: Bytes) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn a_publication_has_the_fields_of_the_push() {
        let epoch = Epoch::parse("e7").unwrap();
        let publication = Publication {
            offset: 15,
            id: Some(crate::MessageId::parse("m-1").unwrap()),
            from: Some(crate::UserId::parse("anna").unwrap()),
            time_ms: 1_790_000_000_000,
            data: Payload::Json(Bytes::from_static(br#"{"text":"hi"}"#)),
        };
        assert_eq!(
            text(live_publication(&channel(), Some(&epoch), &publication)),
            r#"{"channel":"chat:1","offset":15,"id":"m-1","data":{"text":"hi"},"from":"anna","time":1790000000000,"epoch":"e7"}"#
        );
        let data = Payload::Binary(Bytes::from_static(&[0, 1, 2, 255]));
        let ephemeral = Publication { offset: 0, id: None, from: None, time_ms: 1, data };
        assert_eq!(
            text(live_publication(&channel(), None, &ephemeral)),
            r#"{"channel":"chat:1","data64":"AAEC/w==","time":1}"#
        );
    }

    #[test]
    fn a_head_is_a_position() {
        let head = Position { epoch: Epoch::parse("e7").unwrap(), offset: 15 };
        assert_eq!(text(live_head(&channel(), &head)), r#"{"channel":"chat:1","epoch":"e7","offset":15}"#);
    }
}

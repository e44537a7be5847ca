//! A publication as the bytes of its row's `body`: flags (1 binary payload, 2 id, 4 publisher), then for id and publisher
//! a length byte and the text, then the payload. Offset and time have columns of their own.

use bytes::{Buf, Bytes};
use skywave_protocol::{MessageId, Offset, Payload, Publication, UserId};

const BINARY: u8 = 1;
const ID: u8 = 2;
const FROM: u8 = 4;

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("publication {offset} is damaged in the store")]
pub(super) struct DamagedRow {
    offset: Offset,
}

pub(super) fn encode(publication: &Publication) -> Vec<u8> {
    let Publication { id, from, data, .. } = publication;
    let (id, from) = (id.as_ref().map(MessageId::as_str), from.as_ref().map(UserId::as_str));
    let texts = id.map_or(0, |id| 1 + id.len()) + from.map_or(0, |from| 1 + from.len());
    let mut body = Vec::with_capacity(1 + texts + data.len());
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    body.push(
        flag(matches!(data, Payload::Binary(_)), BINARY)
            | flag(id.is_some(), ID)
            | flag(from.is_some(), FROM),
    );
    for text in [id, from].into_iter().flatten() {
        // Invariant: ids have at most 128 bytes.
        body.push(text.len() as u8);
        body.extend_from_slice(text.as_bytes());
    }
    body.extend_from_slice(data.bytes());
    body
}

/// The payload shares the body's memory.
pub(super) fn decode(offset: Offset, time_ms: u64, body: Vec<u8>) -> Result<Publication, DamagedRow> {
    let damaged = || DamagedRow { offset };
    let mut body = Bytes::from(body);
    let flags = body.try_get_u8().map_err(|_| damaged())?;
    let mut text = |present: bool| -> Result<Option<Bytes>, DamagedRow> {
        if !present {
            return Ok(None);
        }
        let length = usize::from(body.try_get_u8().map_err(|_| damaged())?);
        if length > body.remaining() {
            return Err(damaged());
        }
        Ok(Some(body.split_to(length)))
    };
    let (id, from) = (text(flags & ID != 0)?, text(flags & FROM != 0)?);
    let utf8 = |text: &Bytes| std::str::from_utf8(text).map(str::to_owned).map_err(|_| damaged());
    Ok(Publication {
        offset,
        id: id.map(|id| MessageId::parse(&utf8(&id)?).map_err(|_| damaged())).transpose()?,
        from: from.map(|from| UserId::parse(&utf8(&from)?).map_err(|_| damaged())).transpose()?,
        time_ms,
        data: if flags & BINARY != 0 { Payload::Binary(body) } else { Payload::Json(body) },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bodies_come_back_as_they_were(
            id in proptest::option::of("[!-~]{1,64}"),
            from in proptest::option::of("[a-zé世 ]{1,30}"),
            data in proptest::collection::vec(any::<u8>(), 0..200),
            binary: bool,
        ) {
            let data = Bytes::from(data);
            let publication = Publication {
                offset: 7,
                id: id.map(|id| MessageId::parse(&id).unwrap()),
                from: from.map(|from| UserId::parse(&from).unwrap()),
                time_ms: 99,
                data: if binary { Payload::Binary(data) } else { Payload::Json(data) },
            };
            prop_assert_eq!(decode(7, 99, encode(&publication)), Ok(publication));
        }

        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = decode(1, 1, body);
        }
    }
}

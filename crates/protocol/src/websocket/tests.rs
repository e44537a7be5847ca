//! The decoder against a naive one that first collects everything, over arbitrary frames cut at arbitrary places.

use proptest::prelude::*;

use super::*;

/// An event that owns its data.
#[derive(Debug, Clone, PartialEq)]
enum Owned {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Compressed(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Error(FrameError),
}

impl From<Result<Event<'_>, FrameError>> for Owned {
    fn from(event: Result<Event<'_>, FrameError>) -> Self {
        match event {
            Ok(Event::Text { data, compressed } | Event::Binary { data, compressed }) if compressed => {
                Self::Compressed(data.to_vec())
            }
            Ok(Event::Text { data, .. }) => Self::Text(data.to_vec()),
            Ok(Event::Binary { data, .. }) => Self::Binary(data.to_vec()),
            Ok(Event::Ping(data)) => Self::Ping(data.to_vec()),
            Ok(Event::Pong(data)) => Self::Pong(data.to_vec()),
            Ok(Event::Close(close)) => Self::Close(close.map(|close| (close.code, close.reason.to_owned()))),
            Err(error) => Self::Error(error),
        }
    }
}

/// Decodes bytes that arrive in pieces of the given sizes (repeated).
fn decode(decoder: &mut Decoder, bytes: &[u8], sizes: &[usize]) -> Vec<Owned> {
    let mut owned = Vec::new();
    let mut rest = bytes.to_vec();
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = (*sizes.next().unwrap()).clamp(1, rest.len());
        let mut piece: Vec<u8> = rest.drain(..size).collect();
        let mut events = decoder.feed(&mut piece);
        while let Some(event) = events.next() {
            owned.push(event.into());
        }
    }
    owned
}

fn server(max: usize) -> Decoder {
    Decoder::new(Role::Server, max, false)
}

fn masked(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let key = [1, 2, 3, 4];
    let mut out = Vec::new();
    FrameHeader { fin, rsv1: false, opcode, mask: Some(key), length: payload.len() as u64 }.encode(&mut out);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], key);
    out
}

#[test]
fn a_small_whole_frame_is_lent_from_the_input() {
    let mut decoder = server(100);
    let mut input = masked(true, Opcode::Text, "né".as_bytes());
    let range = input.as_ptr_range();
    let mut events = decoder.feed(&mut input);
    let Some(Ok(Event::Text { data, compressed: false })) = events.next() else { panic!() };
    assert_eq!(data, "né".as_bytes());
    assert!(range.contains(&data.as_ptr()));
    assert!(events.next().is_none());
    assert!(decoder.is_idle());
}

#[test]
fn control_frames_may_stand_between_fragments() {
    let frames = [
        masked(false, Opcode::Text, b"a\xc3"),
        masked(true, Opcode::Ping, b"?"),
        masked(false, Opcode::Continuation, b""),
        masked(true, Opcode::Pong, b""),
        masked(true, Opcode::Continuation, b"\xa9z"),
        masked(true, Opcode::Close, b"\x0f\xa0bye"),
        masked(true, Opcode::Text, b"ignored"),
    ]
    .concat();
    let expected = vec![
        Owned::Ping(b"?".to_vec()),
        Owned::Pong(vec![]),
        Owned::Text("aéz".into()),
        Owned::Close(Some((4000, "bye".into()))),
    ];
    for size in 1..=frames.len() {
        let mut decoder = server(100);
        assert_eq!(decode(&mut decoder, &frames, &[size]), expected, "pieces of {size}");
        assert!(decoder.is_idle());
    }
}

#[test]
fn an_idle_decoder_holds_no_memory_after_any_cut() {
    let frames =
        [masked(false, Opcode::Binary, &[0; 300]), masked(true, Opcode::Continuation, &[1; 300])].concat();
    for cut in 1..frames.len() {
        let mut decoder = server(1000);
        decode(&mut decoder, &frames[..cut], &[cut]);
        assert!(!decoder.is_idle());
        assert_eq!(decode(&mut decoder, &frames[cut..], &[frames.len()]).len(), 1);
        assert!(decoder.is_idle());
    }
}

#[test]
fn each_offence_ends_the_stream_with_its_error() {
    let header = |fin, rsv1, opcode, mask, length| {
        let mut out = Vec::new();
        FrameHeader { fin, rsv1, opcode, mask, length }.encode(&mut out);
        out
    };
    let key = Some([0; 4]);
    let cases = [
        (header(true, false, Opcode::Text, None, 0), FrameError::Unmasked),
        (header(true, true, Opcode::Text, key, 0), FrameError::ReservedBits),
        (masked(true, Opcode::Continuation, b""), FrameError::UnexpectedContinuation),
        (
            [masked(false, Opcode::Text, b""), masked(true, Opcode::Text, b"")].concat(),
            FrameError::ExpectedContinuation,
        ),
        // Judged by the header, before any payload.
        (header(true, false, Opcode::Binary, key, 101), FrameError::TooLarge { limit: 100 }),
        (header(true, false, Opcode::Binary, key, u64::MAX >> 1), FrameError::TooLarge { limit: 100 }),
        (
            [masked(false, Opcode::Binary, &[0; 60]), header(true, false, Opcode::Continuation, key, 41)]
                .concat(),
            FrameError::TooLarge { limit: 100 },
        ),
        (masked(true, Opcode::Text, b"\xff"), FrameError::InvalidUtf8),
        (masked(true, Opcode::Text, b"\xc3"), FrameError::InvalidUtf8),
        // Fails before the message is complete.
        (masked(false, Opcode::Text, b"abc\xff"), FrameError::InvalidUtf8),
        (masked(true, Opcode::Close, b"\x03"), FrameError::ShortClose),
        (masked(true, Opcode::Close, b"\x03\xed"), FrameError::ForbiddenCloseCode(1005)),
        (masked(true, Opcode::Close, b"\x03\xe8\xff"), FrameError::InvalidUtf8),
    ];
    for (mut bytes, error) in cases {
        bytes.extend(masked(true, Opcode::Ping, b"ignored"));
        for size in [1, 2, 7, bytes.len()] {
            let mut decoder = server(100);
            assert_eq!(decode(&mut decoder, &bytes, &[size]), vec![Owned::Error(error)], "{bytes:x?}");
            assert!(decoder.is_idle());
        }
    }
    let mut client = Decoder::new(Role::Client, 100, false);
    assert_eq!(
        decode(&mut client, &masked(true, Opcode::Text, b""), &[9]),
        [Owned::Error(FrameError::Masked)]
    );
}

#[test]
fn invalid_text_in_an_unfinished_frame_fails_at_once() {
    let frame = masked(true, Opcode::Text, b"ab\xffcdefgh");
    let mut decoder = server(100);
    assert_eq!(decode(&mut decoder, &frame[..9], &[9]), [Owned::Error(FrameError::InvalidUtf8)]);
}

#[test]
fn compressed_messages_are_handed_on_as_such() {
    let mut decoder = Decoder::new(Role::Client, 100, true);
    let mut bytes = Vec::new();
    FrameHeader { fin: false, rsv1: true, opcode: Opcode::Text, mask: None, length: 1 }.encode(&mut bytes);
    bytes.push(0xff);
    FrameHeader { fin: true, rsv1: false, opcode: Opcode::Continuation, mask: None, length: 1 }
        .encode(&mut bytes);
    bytes.push(0xfe);
    assert_eq!(decode(&mut decoder, &bytes, &[3]), [Owned::Compressed(vec![0xff, 0xfe])]);
    // Only the first frame of a message may carry the bit.
    let mut bytes = Vec::new();
    FrameHeader { fin: true, rsv1: true, opcode: Opcode::Ping, mask: None, length: 0 }.encode(&mut bytes);
    assert_eq!(decode(&mut decoder, &bytes, &[9]), [Owned::Error(FrameError::ReservedBits)]);
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![
        4 => Just(Opcode::Text),
        2 => Just(Opcode::Binary),
        6 => Just(Opcode::Continuation),
        2 => Just(Opcode::Ping),
        1 => Just(Opcode::Pong),
        1 => Just(Opcode::Close),
    ];
    let payload = prop_oneof![
        4 => "[a-zé€😀]{0,30}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ];
    (prop::bool::weighted(0.7), opcode, payload).prop_map(|(fin, opcode, mut payload)| {
        if opcode == Opcode::Close && payload.len() > 1 {
            payload[..2].copy_from_slice(&1000u16.to_be_bytes());
        }
        payload.truncate(if opcode.is_control() { 125 } else { 200 });
        masked(fin || opcode.is_control(), opcode, &payload)
    })
}

proptest! {
    #[test]
    fn the_cuts_of_the_stream_do_not_matter(
        frames in prop::collection::vec(any_frame(), 0..12),
        damage: Option<(prop::sample::Index, u8)>,
        sizes in prop::collection::vec(1..64usize, 1..6),
    ) {
        let mut bytes = frames.concat();
        if let (Some((at, byte)), false) = (damage, bytes.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = decode(&mut server(400), &bytes, &[usize::MAX]);
        let cut = decode(&mut server(400), &bytes, &sizes);
        prop_assert_eq!(whole, cut);
    }
}

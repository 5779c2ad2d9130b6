use proptest::prelude::*;
use tensorwire_codec::{ClipRange, Coder, Format, Ladder, Map, Quantiser, Shape};

use super::limits::{MAX_MESSAGE, MAX_TOKEN, MAX_WORDS};
use super::*;
use crate::digest::Digest;
use crate::stream::{CoderDescription, MapDescription, StreamDescription};

mod vectors;

fn stream() -> StreamDescription {
    let shape = Shape::new(48, 14, 14).unwrap();
    let quantiser = Quantiser::new(ClipRange::new(-4.0, 4.0).unwrap(), 256).unwrap();
    let format = Format::new(shape, quantiser, Map::ChannelRows { rows: 7 }, Coder::Raw).unwrap();
    let (model, bundle) = (
        Digest::from_bytes([1; 32]),
        Some(Digest::from_bytes([2; 32])),
    );
    StreamDescription::new(&format, "add_3", model, bundle).unwrap()
}

fn open() -> Open {
    Open::new(SessionNumber(3), stream(), 0x0000_ABCD)
}

fn capabilities() -> Capabilities {
    Capabilities::new(0b1111, Ciphers::PROTECTED, Features::default())
}

/// One of every message, and more of those with choices.
fn samples() -> Vec<Message> {
    let mut jpeg = open();
    jpeg.stream.bundle = None;
    jpeg.stream.coder = CoderDescription::Jpeg { quality: 60 };
    jpeg.stream.map = MapDescription::Mosaic {
        columns: 7,
        blocks: 14,
    };
    let mut ladder = open();
    let range = ClipRange::new(-4.0, 4.0).unwrap();
    let best = ladder.stream.format().unwrap();
    let further = [64, 4].map(|levels| {
        let coarser = Quantiser::new(range, levels).unwrap();
        let format = Format::new(best.shape(), coarser, best.map(), Coder::Raw);
        format.unwrap().step()
    });
    let steps = Ladder::new(best, &further).unwrap();
    let digest = Digest::from_bytes([1; 32]);
    ladder.stream = StreamDescription::with_ladder(&steps, "add_3", digest, None).unwrap();
    let session = SessionNumber(3);
    let replacing = open()
        .over(3)
        .protected(Cipher::ChaCha20Poly1305)
        .every(Some(33_333))
        .replacing(Some(SessionNumber(1)));
    vec![
        Hello::new(capabilities()).into(),
        Hello::new(capabilities())
            .with_token(Token::new(vec![7; MAX_TOKEN]))
            .into(),
        Welcome::new(2, capabilities(), SessionLimits::new(4 << 20, 4)).into(),
        open().into(),
        jpeg.into(),
        ladder.into(),
        replacing.into(),
        Accept::new(session, 0x00FF_FFFF).into(),
        Refuse::new(RefuseCode::Model, "no such model").into(),
        Refuse::new(RefuseCode::Overloaded, "no room")
            .of(session)
            .into(),
        Close::done().into(),
        Close::new(CloseCode::Failed, "it broke").of(session).into(),
        Wait::new(session, "trying the model").into(),
        Want::new(session, digest, BlobKind::Bundle, 10, 1 << 30).into(),
        Offer::new(digest, 1 << 33).into(),
        Missing::new(digest, "no such file").into(),
        Ask::new().into(),
        Statistics::new(session, 4).into(),
        Drain::new(std::time::Duration::from_secs(5), "an update").into(),
    ]
}

#[test]
fn every_message_survives_the_way() {
    for message in samples() {
        let bytes = encode(&message).unwrap();
        assert_eq!(decode(&bytes).unwrap(), message);
        fuzzing::control_messages(&bytes);
    }
}

#[test]
fn truncated_and_trailing_bytes_are_refused() {
    for message in samples() {
        let mut bytes = encode(&message).unwrap();
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "{message:?} cut at {end}");
        }
        bytes.push(0);
        assert!(decode(&bytes).is_err());
    }
}

#[test]
fn unknown_keys_and_types_are_ignored_and_missing_keys_refused() {
    // [3, {0: 3, 1: 5, 9: "new"}]
    let more = [
        0x82, 0x03, 0xA3, 0x00, 0x03, 0x01, 0x05, 0x09, 0x63, b'n', b'e', b'w',
    ];
    let accept = Accept::new(SessionNumber(3), 5);
    assert_eq!(decode(&more).unwrap(), accept.into());
    assert!(decode(&[0x82, 0x03, 0xA1, 0x00, 0x03]).is_err());
    // [99, {0: [1, 2]}]
    let unknown = [0x82, 0x18, 0x63, 0xA1, 0x00, 0x82, 0x01, 0x02];
    assert_eq!(decode(&unknown).unwrap(), Message::Unknown(99));
}

#[test]
fn a_hello_of_other_versions_is_told_from_garbage() {
    // [0, {0: 7, 1: 9, 2: "not what this version knows"}]
    let hello = [0x82, 0x00, 0xA3, 0x00, 0x07, 0x01, 0x09, 0x02, 0x61, b'x'];
    let refused = decode(&hello).unwrap_err();
    let ControlError::Version(theirs) = refused else {
        panic!("{refused}");
    };
    assert_eq!(theirs, Versions::new(7, 9));
    // Both ranges are named.
    assert_eq!(
        refused.to_string(),
        "the peer speaks version 7 to 9 of the control protocol, and this side 2"
    );
    // The same with a range that has ours: then the rest has to be right.
    let hello = [0x82, 0x00, 0xA3, 0x00, 0x01, 0x01, 0x09, 0x02, 0x61, b'x'];
    assert!(matches!(decode(&hello), Err(ControlError::Malformed(_))));
}

#[test]
fn what_is_too_long_is_refused_not_cut() {
    let mut refuse = Refuse::new(RefuseCode::Model, "");
    refuse.reason = "x".repeat(MAX_WORDS + 1);
    let bytes = encode(&refuse.into()).unwrap();
    assert!(matches!(decode(&bytes), Err(ControlError::OutOfRange(_))));
    let mut open = open();
    open.stream.split = "x".repeat(MAX_MESSAGE);
    assert!(matches!(
        encode(&open.into()),
        Err(ControlError::TooLong(_))
    ));
    assert!(matches!(
        decode(&vec![0x80; MAX_MESSAGE + 1]),
        Err(ControlError::TooLong(_))
    ));
}

#[test]
fn deep_nesting_is_no_danger() {
    for nest in [0x81_u8, 0x9F, 0xA1, 0xBF, 0xC1, 0xD8] {
        let mut bytes = vec![0x82, 0x18, 0x63];
        bytes.resize(MAX_MESSAGE, nest);
        let _ = decode(&bytes);
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzzing::control_messages(&bytes);
    }

    #[test]
    fn no_damaged_message_panics(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let samples = samples();
        let mut bytes = encode(which.get(&samples)).unwrap();
        for (place, byte) in changes {
            *place.get_mut(&mut bytes[..]) = byte;
        }
        fuzzing::control_messages(&bytes);
    }
}

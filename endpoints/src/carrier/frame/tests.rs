use proptest::prelude::*;
use tensorwire_protocol::Time;

use super::*;

const MOST: usize = 4_000;

fn tensor(lengths: &[usize]) -> OutgoingTensor {
    let bytes: Vec<u8> = (0..lengths.iter().sum()).map(|i: usize| i as u8).collect();
    let ends = lengths.iter().scan(0, |end, length| {
        *end += *length as u32;
        Some(*end)
    });
    OutgoingTensor {
        frame: FrameNumber(11),
        captured: Time::from_micros(0x1_2345_6789),
        step: 3,
        slices: Slices::new(Bytes::from(bytes.clone()), ends.collect()).unwrap(),
    }
}

fn messages() -> Vec<Message> {
    vec![
        Message::Result {
            id: TensorId(1 << 40),
            frame: FrameNumber(u64::MAX),
            reason: ReleaseReason::Deadline,
            received: 7,
            status: ResultStatus::Busy,
            compute_micros: 1_500,
            payload: Bytes::from(vec![9; MAX_RESULT_PAYLOAD]),
        },
        Message::Release {
            id: TensorId(3),
            reason: ReleaseReason::Lost,
            received: 0,
        },
        Message::Notice {
            reason: NoticeReason::FrameRate,
            first: 5,
            count: 255,
        },
        Message::Ping(7),
        Message::Pong(7, u32::MAX),
        Message::Load(Load {
            queue_length: 3,
            service_micros: 40_000,
            admission_micros: 50_000,
        }),
    ]
}

/// Everything in `stream`, handed over in pieces of these lengths, bytes joined.
fn decode(stream: &[u8], slices: u16, pieces: &[usize]) -> Result<Vec<Found>, FrameError> {
    let mut decoder = Decoder::new(slices, 5, MOST);
    let (mut found, mut rest) = (Vec::new(), stream);
    let mut pieces = pieces.iter().copied().cycle();
    while !rest.is_empty() {
        let length = pieces.next().unwrap_or(usize::MAX).clamp(1, rest.len());
        let (mut piece, after) = rest.split_at(length);
        rest = after;
        while let Some(item) = decoder.next(&mut piece)? {
            match item {
                Item::Message(message) => found.push(Found::Message(message)),
                Item::Tensor(head) => found.push(Found::Tensor(head, Vec::new())),
                Item::Bytes(bytes) => match found.last_mut() {
                    Some(Found::Tensor(_, all)) => all.extend_from_slice(bytes),
                    _ => panic!("bytes of no tensor"),
                },
            }
        }
        assert!(piece.is_empty(), "all is taken before more is asked for");
    }
    assert!(decoder.held.len() <= MAX_BODY.max(usize::from(slices) * 3));
    Ok(found)
}

#[derive(PartialEq, Debug)]
enum Found {
    Message(Message),
    Tensor(TensorHead, Vec<u8>),
}

proptest! {
    #[test]
    fn frames_survive_the_way_however_they_are_cut(
        lengths in prop::collection::vec(0_usize..700, 1..6),
        pieces in prop::collection::vec(1_usize..300, 1..5),
    ) {
        let tensor = tensor(&lengths);
        let mut stream = Vec::new();
        messages().iter().for_each(|message| message.encode(&mut stream));
        put_tensor(&mut stream, TensorId(9), &tensor);
        messages().iter().for_each(|message| message.encode(&mut stream));
        let found = decode(&stream, lengths.len() as u16, &pieces).unwrap();
        let ends = (1..=lengths.len()).map(|n| lengths[..n].iter().sum::<usize>() as u32);
        let head = TensorHead {
            id: TensorId(9),
            frame: FrameNumber(11),
            captured: 0x2345_6789,
            step: 3,
            ends: ends.collect(),
        };
        let bytes: Vec<u8> = (0..tensor.slices.len())
            .flat_map(|i| tensor.slices.get(i).unwrap().to_vec())
            .collect();
        let mut expected: Vec<Found> = messages().into_iter().map(Found::Message).collect();
        expected.push(Found::Tensor(head, bytes));
        expected.extend(messages().into_iter().map(Found::Message));
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn any_bytes_are_frames_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        slices in 1_u16..40,
        pieces in prop::collection::vec(1_usize..100, 1..4),
    ) {
        let _ = decode(&bytes, slices, &pieces);
    }

    #[test]
    fn damaged_frames_are_frames_or_refused_and_stay_within_their_bounds(
        lengths in prop::collection::vec(0_usize..900, 4),
        place in any::<prop::sample::Index>(),
        value: u8,
        pieces in prop::collection::vec(1_usize..400, 1..4),
    ) {
        let mut stream = Vec::new();
        messages().iter().for_each(|message| message.encode(&mut stream));
        put_tensor(&mut stream, TensorId(9), &tensor(&lengths));
        let place = place.index(stream.len());
        stream[place] = value;
        for found in decode(&stream, 4, &pieces).unwrap_or_default() {
            if let Found::Tensor(head, bytes) = found {
                prop_assert_eq!(head.ends.len(), 4);
                prop_assert!(head.ends.is_sorted() && head.bytes() <= MOST);
                prop_assert!(bytes.len() <= head.bytes());
            }
        }
    }
}

#[test]
fn lengths_take_as_many_bytes_as_the_longest_needs() {
    for (longest, width) in [(255, 1), (256, 2), (65_535, 2), (65_536, 3)] {
        let mut out = Vec::new();
        put_tensor(&mut out, TensorId(0), &tensor(&[0, longest]));
        assert_eq!(out.len(), HEADER + TENSOR + 2 * width + longest);
    }
}

#[test]
fn what_is_too_long_or_of_another_stream_is_refused_by_its_head() {
    let refusal = |bytes: &[u8]| decode(bytes, 2, &[1]).unwrap_err();
    let header = |kind: u8, length: u32| [&[kind][..], &length.to_be_bytes()].concat();
    assert_eq!(refusal(&header(8, 0)), FrameError::Kind(8));
    assert_eq!(refusal(&header(0, 0)), FrameError::Kind(0));
    let length = MAX_BODY + 1;
    let kind = KIND_RESULT;
    let long = header(kind, length as u32);
    assert_eq!(refusal(&long), FrameError::Length { kind, length });
    let large = header(KIND_TENSOR, u32::MAX);
    assert_eq!(refusal(&large), FrameError::TooLarge(u32::MAX as usize));
    let short = header(KIND_TENSOR, 25);
    let (kind, length) = (KIND_TENSOR, 25);
    assert_eq!(refusal(&short), FrameError::Length { kind, length });

    let mut good = Vec::new();
    put_tensor(&mut good, TensorId(0), &tensor(&[2_000, 2_000]));
    assert!(decode(&good, 2, &[10_000]).is_ok());
    assert_eq!(decode(&good, 3, &[9]).unwrap_err(), FrameError::Slices(2));
    // The second slice is said to be longer than all that follows, then than any tensor.
    let second = HEADER + TENSOR + 2;
    let mut longer = good.clone();
    longer[second + 1] ^= 1;
    assert!(matches!(
        refusal(&longer),
        FrameError::Length { .. } | FrameError::TooLarge(_)
    ));
    longer[second] = 0xFF;
    assert!(matches!(refusal(&longer), FrameError::TooLarge(_)));
    let mut wide = good.clone();
    wide[HEADER + 21] = 4;
    assert_eq!(refusal(&wide), FrameError::OutOfRange("slice length width"));
    let mut beyond = good.clone();
    beyond[HEADER + 20] = 5;
    assert_eq!(refusal(&beyond), FrameError::OutOfRange("step"));
    let mut none = Vec::new();
    Message::Notice {
        reason: NoticeReason::FrameRate,
        first: 0,
        count: 0,
    }
    .encode(&mut none);
    assert_eq!(refusal(&none), FrameError::OutOfRange("notice count"));
}

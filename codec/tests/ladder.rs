//! An encoder and a decoder that go from step to step make what those of one step alone make.

#![expect(clippy::unwrap_used, reason = "what cannot be made fails the test")]

use ndarray::Array3;
use proptest::prelude::*;
use tensorwire_codec::{
    ClipRange, Coder, Decoder, Encoder, Format, Ladder, Map, Quantiser, Shape, Step,
};

fn step(jpeg: bool) -> impl Strategy<Value = Step> {
    let raw = (2_u16..=256).prop_map(|levels| Step {
        levels,
        coder: Coder::Raw,
    });
    let jpeg = (2_u16..=256, 1_u8..=100, Just(jpeg)).prop_map(|(levels, quality, jpeg)| Step {
        levels,
        coder: if jpeg {
            Coder::Jpeg { quality }
        } else {
            Coder::Raw
        },
    });
    prop_oneof![raw, jpeg]
}

fn ladder() -> impl Strategy<Value = Ladder> {
    let map = prop_oneof![
        (1_u16..4, 1_u16..6).prop_map(|(columns, blocks)| Map::Mosaic { columns, blocks }),
        (any::<u64>(), 1_u32..300).prop_map(|(seed, entries)| Map::Random { seed, entries }),
        (1_u16..10).prop_map(|rows| Map::ChannelRows { rows }),
    ];
    map.prop_flat_map(|map| {
        let jpeg = matches!(map, Map::Mosaic { .. });
        prop::collection::vec(step(jpeg), 1..6).prop_map(move |steps| {
            let range = ClipRange::new(-1.5, 2.0).unwrap();
            let quantiser = Quantiser::new(range, steps[0].levels).unwrap();
            let shape = Shape::new(4, 9, 11).unwrap();
            let best = Format::new(shape, quantiser, map, steps[0].coder).unwrap();
            Ladder::new(best, &steps[1..]).unwrap()
        })
    })
}

fn tensor(number: usize) -> Array3<f32> {
    Array3::from_shape_fn((4, 9, 11), |(c, y, x)| {
        ((c * 7 + y * 3 + x * x + 13 * number) as f32 * 0.37).sin() * 2.2
    })
}

proptest! {
    #[test]
    fn going_from_step_to_step_changes_nothing(
        ladder in ladder(),
        way in prop::collection::vec((0_usize..6, any::<u64>()), 1..8),
    ) {
        let mut encoder = Encoder::new(ladder.best());
        let mut decoder = Decoder::new(ladder.best());
        for (number, (at, losses)) in way.into_iter().enumerate() {
            let format = &ladder.formats()[at % usize::from(ladder.len())];
            let tensor = tensor(number);
            encoder.switch(format);
            decoder.switch(format);
            prop_assert_eq!((encoder.format(), decoder.format()), (format, format));
            let encoded = encoder.encode(tensor.view()).unwrap();
            let alone = Encoder::new(format).encode(tensor.view()).unwrap();
            prop_assert_eq!(&encoded, &alone);
            prop_assert_eq!(encoded.len(), usize::from(ladder.best().slice_count()));
            let arrived = |slice: usize| (losses >> (slice % 64) & 1 == 0).then(|| encoded.slice(slice));
            let decoded = decoder.decode(arrived);
            prop_assert_eq!(decoded, Decoder::new(format).decode(arrived));
        }
    }

    #[test]
    fn slices_of_another_step_are_refused_or_decoded_and_harm_nothing(
        ladder in ladder(),
        (sent, taken) in (0_usize..6, 0_usize..6),
    ) {
        let format = |at: usize| &ladder.formats()[at % usize::from(ladder.len())];
        let encoded = Encoder::new(format(sent)).encode(tensor(0).view()).unwrap();
        let mut decoder = Decoder::new(format(taken));
        let decoded = decoder.decode(|slice| Some(encoded.slice(slice)));
        let range = format(taken).quantiser().range();
        for (x, received) in decoded.tensor.iter().zip(&decoded.mask) {
            let fits = (range.low()..=range.high()).contains(x);
            prop_assert!(if *received { fits } else { *x == 0.0 }, "{}", x);
        }
        prop_assert_eq!(decoded.received + decoded.refused.len(), encoded.len());
    }
}

#[test]
fn another_shape_or_map_is_gone_over_to_as_well() {
    let quantiser = Quantiser::new(ClipRange::new(-2.0, 2.0).unwrap(), 256).unwrap();
    let format = |shape: (u32, u32, u32), rows| {
        let shape = Shape::new(shape.0, shape.1, shape.2).unwrap();
        Format::new(shape, quantiser, Map::ChannelRows { rows }, Coder::Raw).unwrap()
    };
    let first = format((4, 9, 11), 9);
    let mut encoder = Encoder::new(&first);
    let mut decoder = Decoder::new(&first);
    for other in [format((4, 9, 11), 2), format((2, 9, 11), 9), first] {
        encoder.switch(&other);
        decoder.switch(&other);
        let tensor = Array3::from_elem(other.shape().dim(), 0.5);
        let encoded = encoder.encode(tensor.view()).unwrap();
        let decoded = decoder.decode(|slice| Some(encoded.slice(slice)));
        assert_eq!(decoded.tensor.dim(), other.shape().dim());
        assert_eq!(decoded.missing_entries(), 0);
    }
}

//! What a user relies on, for every format: any subset of slices decodes, the mask is exact, entries
//! that arrived are right, and what is lost or damaged changes nothing else.

#![expect(clippy::unwrap_used, reason = "what cannot be made fails the test")]

use ndarray::Array3;
use proptest::prelude::*;
use tensorwire_codec::{
    ClipRange, Coder, Decoded, Decoder, EncodedTensor, Encoder, Format, Map, Quantiser, Shape,
};

/// Shapes with odd sides, single channels and vectors among them.
fn shape() -> impl Strategy<Value = Shape> {
    let side = || prop_oneof![Just(1), 1u32..24];
    (side(), side(), side()).prop_map(|(c, h, w)| Shape::new(c, h, w).unwrap())
}

fn quantiser(levels: impl Strategy<Value = u16>) -> impl Strategy<Value = Quantiser> {
    (-50.0f32..50.0, 0.1f32..50.0, levels).prop_map(|(low, width, levels)| {
        Quantiser::new(ClipRange::new(low, low + width).unwrap(), levels).unwrap()
    })
}

fn mosaic(shape: Shape) -> impl Strategy<Value = Map> {
    let columns = 1..=u16::try_from(shape.channels()).unwrap();
    columns.prop_flat_map(move |columns| {
        let columns_of_blocks = u32::from(columns) * shape.width().div_ceil(8);
        let rows_of_tiles = shape.channels().div_ceil(u32::from(columns));
        let blocks = columns_of_blocks * rows_of_tiles * shape.height().div_ceil(8);
        let blocks = 1..=u16::try_from(blocks.min(40)).unwrap();
        blocks.prop_map(move |blocks| Map::Mosaic { columns, blocks })
    })
}

fn any_map(shape: Shape) -> impl Strategy<Value = Map> {
    let rows = 1..=u16::try_from(shape.height()).unwrap();
    let entries = 1..=u32::try_from(shape.entries()).unwrap();
    prop_oneof![
        rows.prop_map(|rows| Map::ChannelRows { rows }),
        (any::<u64>(), entries).prop_map(|(seed, entries)| Map::Random { seed, entries }),
        mosaic(shape),
    ]
}

fn raw() -> impl Strategy<Value = Format> {
    let levels = prop_oneof![Just(2), Just(7), Just(16), Just(256), 2u16..=256];
    (
        shape().prop_flat_map(|shape| (Just(shape), any_map(shape))),
        quantiser(levels),
    )
        .prop_map(|((shape, map), quantiser)| {
            Format::new(shape, quantiser, map, Coder::Raw).unwrap()
        })
}

fn jpeg(quality: impl Strategy<Value = u8>) -> impl Strategy<Value = Format> {
    let levels = prop_oneof![Just(256), 2u16..=256];
    let parts = (
        shape().prop_flat_map(|shape| (Just(shape), mosaic(shape))),
        quantiser(levels),
    );
    (parts, quality).prop_map(|(((shape, map), quantiser), quality)| {
        Format::new(shape, quantiser, map, Coder::Jpeg { quality }).unwrap()
    })
}

/// A tensor with structure, noise and entries beyond the clip range.
fn tensor(format: &Format, seed: u32) -> Array3<f32> {
    let range = format.quantiser().range();
    let (middle, half) = (
        (range.low() + range.high()) / 2.0,
        (range.high() - range.low()) / 2.0,
    );
    let mut state = seed;
    Array3::from_shape_fn(format.shape().dim(), |(c, y, x)| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = f32::from((state >> 20) as u16 & 0xFFF) / 4096.0 - 0.5;
        let wave = (c as f32 * 2.1 + y as f32 * 0.5).sin() * (x as f32 * 0.4).cos();
        middle + half * (wave + 0.6 * noise)
    })
}

fn decode(decoder: &mut Decoder, encoded: &EncodedTensor, arrived: &[bool]) -> Decoded {
    decoder.decode(|slice| arrived[slice % arrived.len()].then(|| encoded.slice(slice)))
}

/// Asserts that the mask is exactly that of the slices that arrived.
fn check_mask(decoder: &Decoder, decoded: &Decoded, arrived: impl Fn(usize) -> bool) {
    let mask = decoded.mask.as_slice().unwrap();
    let mut seen = vec![false; mask.len()];
    for slice in 0..decoder.entries().slices() {
        for &entry in decoder.entries().slice(slice) {
            assert!(!seen[entry as usize], "entry {entry} belongs to two slices");
            seen[entry as usize] = true;
            assert_eq!(
                mask[entry as usize],
                arrived(slice),
                "entry {entry} of slice {slice}"
            );
        }
    }
    assert!(
        seen.into_iter().all(|seen| seen),
        "an entry belongs to no slice"
    );
    for (x, real) in decoded.tensor.iter().zip(mask) {
        assert!(*real || x.to_bits() == 0);
    }
}

fn subset() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(any::<bool>(), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_subset_of_raw_slices(format in raw(), seed: u32, arrived in subset()) {
        let tensor = tensor(&format, seed);
        let encoded = Encoder::new(&format).encode(tensor.view()).unwrap();
        prop_assert_eq!(encoded.len(), usize::from(format.slice_count()));
        let longest = encoded.iter().map(<[u8]>::len).max();
        prop_assert_eq!(longest, Some(format.max_slice_bytes()));
        let mut decoder = Decoder::new(&format);
        let decoded = decode(&mut decoder, &encoded, &arrived);
        check_mask(&decoder, &decoded, |slice| arrived[slice % arrived.len()]);

        let q = format.quantiser();
        let step = (f64::from(q.range().high()) - f64::from(q.range().low()))
            / f64::from(q.levels() - 1);
        // The result is rounded once to f32, below 100 to within 2⁻¹⁸.
        let bound = step / 2.0 * (1.0 + 1e-9) + 2f64.powi(-18);
        for ((&x, &y), &real) in tensor.iter().zip(&decoded.tensor).zip(&decoded.mask) {
            let error = (f64::from(q.range().clip(x)) - f64::from(y)).abs();
            prop_assert!(!real || error <= bound, "{} became {}, step {}", x, y, step);
        }
    }

    #[test]
    fn any_subset_of_jpeg_slices(format in jpeg(1u8..=100), seed: u32, arrived in subset()) {
        let encoded = Encoder::new(&format).encode(tensor(&format, seed).view()).unwrap();
        prop_assert_eq!(encoded.len(), usize::from(format.slice_count()));
        prop_assert!(encoded.iter().all(|slice| slice.len() <= format.max_slice_bytes()));
        let mut decoder = Decoder::new(&format);
        let whole = decode(&mut decoder, &encoded, &[true]);
        prop_assert_eq!((whole.refused.len(), whole.missing_entries()), (0, 0));
        let some = decode(&mut decoder, &encoded, &arrived);
        check_mask(&decoder, &some, |slice| arrived[slice % arrived.len()]);
        for ((&x, &y), &real) in some.tensor.iter().zip(&whole.tensor).zip(&some.mask) {
            prop_assert!(!real || x.to_bits() == y.to_bits());
        }
    }

    /// Section 7.8 of the payload format.
    #[test]
    fn the_best_jpeg_is_nearly_exact(
        (shape, map) in shape().prop_flat_map(|shape| (Just(shape), mosaic(shape))),
        quantiser in quantiser(Just(256)),
        seed: u32,
    ) {
        let format = Format::new(shape, quantiser, map, Coder::Jpeg { quality: 100 }).unwrap();
        let tensor = tensor(&format, seed);
        let encoded = Encoder::new(&format).encode(tensor.view()).unwrap();
        let decoded = decode(&mut Decoder::new(&format), &encoded, &[true]);
        let step = quantiser.step();
        let mut squares = 0.0;
        for (&x, &y) in tensor.iter().zip(&decoded.tensor) {
            let error = (quantiser.range().clip(x) - y).abs() / step;
            prop_assert!(error <= 6.0, "off by {} steps", error);
            squares += error * error;
        }
        let rms = (squares / tensor.len() as f32).sqrt();
        prop_assert!(rms <= 1.0 || tensor.len() < 64, "{} steps in root mean square", rms);
    }

    /// Truncated, extended or with flipped bits: refused, or another value for its own entries.
    #[test]
    fn damage_stays_in_its_slice(
        format in prop_oneof![raw(), jpeg(1u8..=100)],
        seed: u32,
        damaged in any::<prop::sample::Index>(),
        flips in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        length in any::<prop::sample::Index>(),
        tail in prop::collection::vec(any::<u8>(), 0..3),
    ) {
        let encoded = Encoder::new(&format).encode(tensor(&format, seed).view()).unwrap();
        let mut decoder = Decoder::new(&format);
        let whole = decode(&mut decoder, &encoded, &[true]);
        let damaged = damaged.index(encoded.len());
        let mut bytes = encoded.slice(damaged).to_vec();
        for flip in &flips {
            if !bytes.is_empty() {
                let bit = flip.index(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
        if flips.is_empty() {
            bytes.truncate(length.index(bytes.len() + 1));
        }
        bytes.extend(&tail);
        let decoded = decoder.decode(|slice| {
            Some(if slice == damaged { bytes.as_slice() } else { encoded.slice(slice) })
        });
        let refused = !decoded.refused.is_empty();
        prop_assert!(decoded.refused.iter().all(|refusal| refusal.slice == damaged));
        check_mask(&decoder, &decoded, |slice| slice != damaged || !refused);
        let (before, after) = (whole.tensor.as_slice().unwrap(), decoded.tensor.as_slice().unwrap());
        for slice in (0..encoded.len()).filter(|&slice| slice != damaged) {
            for &entry in decoder.entries().slice(slice) {
                let entry = entry as usize;
                prop_assert_eq!(before[entry].to_bits(), after[entry].to_bits());
            }
        }
        if format.coder() == Coder::Raw && bytes.len() != encoded.slice(damaged).len() {
            prop_assert!(refused);
        }
    }
}

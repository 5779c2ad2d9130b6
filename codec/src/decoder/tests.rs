use super::*;
use crate::{ClipRange, Encoder, Quantiser};

fn format(shape: (u32, u32, u32), levels: u16, map: Map, coder: Coder) -> Format {
    let quantiser = Quantiser::new(ClipRange::new(-2.0, 2.0).unwrap(), levels).unwrap();
    let shape = Shape::new(shape.0, shape.1, shape.2).unwrap();
    Format::new(shape, quantiser, map, coder).unwrap()
}

fn wave(format: &Format) -> Array3<f32> {
    Array3::from_shape_fn(format.shape().dim(), |(c, y, x)| {
        (c as f32 * 1.7 + y as f32 * 0.4).sin() + (x as f32 * 0.3 - c as f32).cos()
    })
}

const MOSAIC: Map = Map::Mosaic {
    columns: 2,
    blocks: 3,
};
const JPEG: Coder = Coder::Jpeg { quality: 80 };

#[test]
fn nothing_arrived() {
    for coder in [Coder::Raw, JPEG] {
        let format = format((3, 9, 10), 16, MOSAIC, coder);
        let decoded = Decoder::new(&format).decode(|_| None);
        assert_eq!(decoded, Decoded::new(format.shape()));
        assert_eq!(decoded.missing_entries(), format.shape().entries());
    }
}

#[test]
fn arrays_are_reused_and_leave_no_trace() {
    for coder in [Coder::Raw, JPEG] {
        let format = format((3, 9, 10), 16, MOSAIC, coder);
        let encoded = Encoder::new(&format).encode(wave(&format).view()).unwrap();
        let mut decoder = Decoder::new(&format);
        let mut decoded = Decoded::new(Shape::new(1, 2, 3).unwrap());
        for lost in 0..encoded.len() {
            let arrived = |slice| match slice {
                _ if slice == lost => None,
                // Every other time another slice is damaged.
                0 if lost % 2 == 1 => Some([0xFF, 0x01, 0x02].as_slice()),
                _ => Some(encoded.slice(slice)),
            };
            decoder.decode_into(arrived, &mut decoded);
            let fresh = Decoder::new(&format).decode(arrived);
            assert_eq!(decoded, fresh, "{coder:?}, slice {lost} lost");
        }
        // Arrays of the right shape in another layout are replaced.
        let wrong = Array3::<f32>::zeros((10, 9, 3)).reversed_axes();
        decoded.tensor = wrong;
        decoder.decode_into(|slice| Some(encoded.slice(slice)), &mut decoded);
        assert_eq!(decoded.missing_entries(), 0);
    }
}

#[test]
fn refused_slices_are_listed_with_their_reason() {
    let format = format((2, 2, 3), 7, Map::ChannelRows { rows: 1 }, Coder::Raw);
    let encoded = Encoder::new(&format).encode(wave(&format).view()).unwrap();
    let decoded = Decoder::new(&format).decode(|slice| match slice {
        0 => Some(&[0xFF, 0x80]),
        1 => Some(&[]),
        2 => None,
        _ => Some(encoded.slice(slice)),
    });
    let level = SliceError::Level { level: 7, top: 6 };
    let length = SliceError::Length {
        expected: 2,
        actual: 0,
    };
    let refused = [
        Refusal {
            slice: 0,
            error: level,
        },
        Refusal {
            slice: 1,
            error: length,
        },
    ];
    assert_eq!(decoded.refused, refused);
    assert_eq!((decoded.received, decoded.missing_entries()), (1, 9));
    assert!(
        decoded
            .tensor
            .iter()
            .zip(&decoded.mask)
            .all(|(&x, &real)| real || x == 0.0)
    );
}

#[test]
fn a_slice_without_entries_is_empty_and_its_loss_costs_nothing() {
    for coder in [Coder::Raw, JPEG] {
        let format = format(
            (3, 3, 3),
            256,
            Map::Mosaic {
                columns: 2,
                blocks: 1,
            },
            coder,
        );
        let encoded = Encoder::new(&format).encode(wave(&format).view()).unwrap();
        assert_eq!(encoded.len(), 4);
        assert_eq!(encoded.slice(3), []);
        let mut decoder = Decoder::new(&format);
        let whole = decoder.decode(|slice| Some(encoded.slice(slice)));
        assert_eq!((whole.received, whole.missing_entries()), (4, 0));
        let lost = decoder.decode(|slice| (slice < 3).then(|| encoded.slice(slice)));
        assert_eq!(
            (lost.received, &lost.tensor, &lost.mask),
            (3, &whole.tensor, &whole.mask)
        );
        let filled = decoder.decode(|slice| match slice {
            3 => Some(&[0x2B]),
            _ => Some(encoded.slice(slice)),
        });
        let error = SliceError::Length {
            expected: 0,
            actual: 1,
        };
        assert_eq!(filled.refused, [Refusal { slice: 3, error }]);
        assert_eq!((&filled.tensor, &filled.mask), (&whole.tensor, &whole.mask));
    }
}

/// The sizes at which a JPEG library is most likely to go astray: one block, one row or column of
/// blocks, the longest sides, restart intervals that span rows.
#[test]
fn every_picture_size_decodes() {
    for (shape, columns, blocks) in [
        ((1, 1, 1), 1, 1),
        ((1, 8, 8), 1, 1),
        ((1, 1, 17), 1, 1),
        ((1, 17, 1), 1, 2),
        ((1, 200, 3), 1, 7),
        ((1, 3, 200), 1, 7),
        ((3, 8, 24), 1, 2),
        ((3, 8, 24), 3, 9),
        ((900, 1, 1), 30, 30),
        ((1, 1, 65_528), 1, 100),
        ((1, 65_528, 1), 1, 100),
        ((8191, 1, 1), 8191, 8191),
        ((8191, 1, 1), 1, 1),
        ((5, 13, 21), 2, 4),
    ] {
        let format = format(shape, 256, Map::Mosaic { columns, blocks }, JPEG);
        let tensor = wave(&format);
        let encoded = Encoder::new(&format).encode(tensor.view()).unwrap();
        let mut decoder = Decoder::new(&format);
        let whole = decoder.decode(|slice| Some(encoded.slice(slice)));
        assert_eq!(
            (whole.refused.len(), whole.missing_entries()),
            (0, 0),
            "{shape:?}"
        );
        let worst = tensor.iter().zip(&whole.tensor).map(|(a, b)| (a - b).abs());
        let worst = worst.fold(0.0, f32::max);
        assert!(worst < 0.6, "{shape:?}: off by {worst}");
        for parity in 0..2 {
            let some = decoder.decode(|slice| (slice % 2 == parity).then(|| encoded.slice(slice)));
            for ((&x, &y), &real) in some.tensor.iter().zip(&whole.tensor).zip(&some.mask) {
                assert_eq!(x.to_bits(), if real { y.to_bits() } else { 0 }, "{shape:?}");
            }
        }
    }
}

/// Extremes of the transform: the encoder must not make what the decoder refuses.
#[test]
fn extreme_pictures_survive() {
    let patterns: [fn(usize, usize) -> bool; 7] = [
        |y, x| (x + y).is_multiple_of(2),
        |_, x| x.is_multiple_of(2),
        |y, _| y.is_multiple_of(2),
        |y, x| (x / 8 + y / 8).is_multiple_of(2),
        |y, x| (x ^ y) & 4 == 0,
        |y, x| (x * x + y * 3) % 7 < 3,
        |y, x| x % 8 == 2 && y % 8 == 5,
    ];
    for quality in [1, 10, 50, 90, 100] {
        let coder = Coder::Jpeg { quality };
        let format = format(
            (1, 32, 32),
            256,
            Map::Mosaic {
                columns: 1,
                blocks: 4,
            },
            coder,
        );
        let (mut encoder, mut decoder) = (Encoder::new(&format), Decoder::new(&format));
        for (number, pattern) in patterns.iter().enumerate() {
            for sign in [-9.0, 9.0] {
                let tensor =
                    Array3::from_shape_fn(
                        (1, 32, 32),
                        |(_, y, x)| {
                            if pattern(y, x) { sign } else { -sign }
                        },
                    );
                let encoded = encoder.encode(tensor.view()).unwrap();
                let decoded = decoder.decode(|slice| Some(encoded.slice(slice)));
                assert_eq!(decoded.refused, [], "pattern {number} at quality {quality}");
                if quality == 100 {
                    let right = |(&x, &y): (&f32, &f32)| (x > 0.0) == (y > 0.0);
                    assert!(
                        tensor.iter().zip(&decoded.tensor).all(right),
                        "pattern {number}"
                    );
                }
            }
        }
    }
}

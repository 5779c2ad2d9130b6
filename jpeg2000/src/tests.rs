use proptest::prelude::*;

use super::*;

const GREY: Shape = Shape {
    width: 96,
    height: 80,
    components: 1,
};
const RGB: Shape = Shape {
    width: 50,
    height: 37,
    components: 3,
};

/// Waves with some noise.
#[expect(clippy::cast_possible_truncation, reason = "a sample is 28 to 243")]
fn scene(shape: Shape) -> Vec<u8> {
    let mut noise = 1_u32;
    let sample = |at: usize| {
        let pixel = at / usize::from(shape.components);
        let (y, x) = (pixel / shape.width as usize, pixel % shape.width as usize);
        let wave = (0.11 * x as f64).sin() + (0.07 * (y + x * (at % 3)) as f64).cos();
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (128.0 + 50.0 * wave) as u8 + (noise >> 28) as u8
    };
    (0..shape.samples().unwrap()).map(sample).collect()
}

fn error(one: &[u8], other: &[u8]) -> f64 {
    let squares = one
        .iter()
        .zip(other)
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    squares.sum::<f64>() / one.len() as f64
}

#[test]
fn the_finest_is_close_to_the_picture() {
    for shape in [GREY, RGB] {
        let picture = scene(shape);
        let decoded = decode(&encode(&picture, shape, 1).unwrap(), shape).unwrap();
        let error = error(&picture, &decoded);
        assert!(error < 0.5, "{shape:?}: {error}");
    }
}

#[test]
fn size_falls_with_the_ratio_and_the_error_grows() {
    for shape in [GREY, RGB] {
        let picture = scene(shape);
        let (mut last, mut far) = (usize::MAX, 0.0);
        for ratio in [2, 5, 12, 30] {
            let codestream = encode(&picture, shape, ratio).unwrap();
            let asked = picture.len() / usize::from(ratio);
            // A small picture has few places to cut at.
            let size = codestream.len();
            let near = asked / 2..asked + asked / 20 + 20;
            assert!(
                near.contains(&size),
                "{shape:?} at {ratio}: {size} of {asked}"
            );
            assert!(size < last, "{shape:?} at {ratio}");
            let error = error(&picture, &decode(&codestream, shape).unwrap());
            assert!(error > far, "{shape:?} at {ratio}");
            (last, far) = (size, error);
        }
    }
}

#[test]
fn the_same_picture_gives_the_same_bytes() {
    let picture = scene(RGB);
    assert_eq!(encode(&picture, RGB, 7), encode(&picture, RGB, 7));
}

#[test]
fn headers_are_told_from_packets() {
    let coarse = encode(&scene(GREY), GREY, 40).unwrap();
    let fine = encode(&scene(GREY), GREY, 2).unwrap();
    let header = header_bytes(&coarse).unwrap();
    assert_eq!(header_bytes(&fine), Some(header));
    assert!((80..200).contains(&header), "{header}");
    assert_eq!(&coarse[header - 4..header - 2], [0xff, 0x93]);
    assert_eq!(header_bytes(&coarse[..header - 4]), None);
    assert_eq!(header_bytes(b"\xff\xd8 a JPEG"), None);
}

#[test]
fn bad_parameters_are_refused() {
    let picture = scene(GREY);
    let flat = Shape { height: 0, ..GREY };
    let two = Shape {
        components: 2,
        ..GREY
    };
    for (found, needle) in [
        (encode(&picture, GREY, 0), "1 to 1000, not 0"),
        (encode(&picture, GREY, 1_001), "not 1001"),
        (encode(&picture[1..], GREY, 5), "7679 samples"),
        (encode(&picture, flat, 5), "96×0"),
        (encode(&picture, two, 5), "2 components"),
        (decode(&[], GREY), "decode"),
        (decode(b"no codestream at all", GREY), "SOC"),
    ] {
        let error = found.unwrap_err().to_string();
        assert!(error.contains(needle), "{error}");
    }
    let codestream = encode(&picture, GREY, 5).unwrap();
    assert_eq!(decode(&codestream, RGB), Err(Error::Another));
    let cut = decode(&codestream[..codestream.len() / 2], GREY);
    assert!(matches!(cut, Err(Error::Refused { .. })), "{cut:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_picture_at_any_ratio(
        width in 1u32..70, height in 1u32..70, colour: bool, ratio in 1u16..=MAX_RATIO, seed: u8,
    ) {
        let shape = Shape { width, height, components: if colour { 3 } else { 1 } };
        let count = shape.samples().unwrap();
        let samples: Vec<u8> = (0..count).map(|at| u8::try_from(at * usize::from(seed) % 251).unwrap()).collect();
        let codestream = encode(&samples, shape, ratio).unwrap();
        prop_assert!(header_bytes(&codestream) <= Some(codestream.len()));
        prop_assert_eq!(decode(&codestream, shape).unwrap().len(), count);
    }
}

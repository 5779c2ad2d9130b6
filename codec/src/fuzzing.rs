//! Bodies of the fuzz targets, which unit tests replay too.

use crate::{ClipRange, Coder, Decoded, Decoder, Encoder, Format, Map, Quantiser, Shape};

/// Takes bytes from the front of the fuzzer's input; zeros when it is used up.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A small shape, quantiser, map and coder, not always valid together.
    fn format(&mut self) -> Option<Format> {
        let mut side = |limit: u8| u32::from(self.byte() % limit) + 1;
        let (channels, height, width) = (side(12), side(20), side(20));
        let levels = u16::from(self.byte()) + 1;
        let parameters = [self.byte(), self.byte()];
        let (map, coder) = match self.byte() % 4 {
            0 => (
                Map::ChannelRows {
                    rows: parameters[0].into(),
                },
                Coder::Raw,
            ),
            1 => {
                let entries = u16::from_be_bytes(parameters).into();
                (
                    Map::Random {
                        seed: levels.into(),
                        entries,
                    },
                    Coder::Raw,
                )
            }
            kind => {
                let [columns, blocks] = parameters.map(u16::from);
                let jpeg = Coder::Jpeg {
                    quality: self.byte(),
                };
                (
                    Map::Mosaic { columns, blocks },
                    if kind == 2 { Coder::Raw } else { jpeg },
                )
            }
        };
        let shape = Shape::new(channels, height, width).ok()?;
        let range = ClipRange::new(-1.0, 3.0).ok()?;
        Format::new(shape, Quantiser::new(range, levels).ok()?, map, coder).ok()
    }

    /// What arrives of each slice: a length byte, 255 for a lost one, then the bytes; nothing once
    /// the input is used up.
    fn slices(&mut self, count: usize) -> Vec<Option<&'a [u8]>> {
        let slice = |_| match (self.0.is_empty(), self.byte()) {
            (true, _) | (_, 255) => None,
            (_, length) => Some(self.bytes(length.into())),
        };
        (0..count).map(slice).collect()
    }
}

/// Decodes arbitrary slices of an arbitrary small format.
///
/// # Panics
/// Where decoding does, or where the outcome contradicts the format: entries outside the clip range,
/// a mask that is not that of the accepted slices, or slices unaccounted for.
pub fn payload_decode(data: &[u8]) {
    let mut input = Input(data);
    let Some(format) = input.format() else { return };
    let slices = input.slices(usize::from(format.slice_count()));
    let mut decoder = Decoder::new(&format);
    let decoded = decoder.decode(|slice| slices[slice]);

    let refused: Vec<usize> = decoded
        .refused
        .iter()
        .map(|refusal| refusal.slice)
        .collect();
    let accepted = |slice: usize| slices[slice].is_some() && !refused.contains(&slice);
    assert_eq!(
        decoded.received,
        (0..slices.len()).filter(|&slice| accepted(slice)).count()
    );
    let (tensor, mask) = flat(&decoded);
    let mut seen = vec![false; tensor.len()];
    for slice in 0..slices.len() {
        for &entry in decoder.entries().slice(slice) {
            let entry = entry as usize;
            assert!(
                !std::mem::replace(&mut seen[entry], true),
                "an entry of two slices"
            );
            assert_eq!(mask[entry], accepted(slice));
            let range = if mask[entry] { -1.0..=3.0 } else { 0.0..=0.0 };
            assert!(range.contains(&tensor[entry]));
        }
    }
    assert!(seen.into_iter().all(|seen| seen), "an entry of no slice");

    // What is refused must leave no trace.
    let valid = decoder.decode(|slice| slices[slice].filter(|_| accepted(slice)));
    assert_eq!((valid.tensor, valid.mask), (decoded.tensor, decoded.mask));
}

/// Encodes a tensor as JPEG, replaces some slices by arbitrary bytes, and decodes.
///
/// # Panics
/// Where decoding does, or where an entry of an untouched slice is not bit for bit what it is
/// without loss.
pub fn jpeg_partial_decode(data: &[u8]) {
    let mut input = Input(data);
    let Some(format) = input.format() else { return };
    if format.coder() == Coder::Raw {
        return;
    }
    let phase = f32::from(input.byte());
    let wave = |(c, y, x): (usize, usize, usize)| {
        (phase + (c * 7 + y * 3 + x) as f32 * 0.37).sin() * 2.0 + 1.0
    };
    let tensor = ndarray::Array3::from_shape_fn(format.shape().dim(), wave);
    let encoded = Encoder::new(&format).encode(tensor.view());
    assert!(
        encoded.is_ok(),
        "a finite tensor of the right shape did not encode"
    );
    let Ok(encoded) = encoded else { return };
    let mut decoder = Decoder::new(&format);
    let whole = decoder.decode(|slice| Some(encoded.slice(slice)));
    assert!(whole.refused.is_empty() && whole.mask.iter().all(|&received| received));

    let replaced = input.slices(encoded.len());
    // A third of the lengths leave their slice as it was.
    let touched = |slice: usize| replaced[slice].is_some_and(|bytes| bytes.len() % 3 != 1);
    let partial = decoder.decode(|slice| match replaced[slice] {
        Some(bytes) if touched(slice) => Some(bytes),
        _ => Some(encoded.slice(slice)),
    });
    let ((whole, _), (partial, mask)) = (flat(&whole), flat(&partial));
    for slice in (0..encoded.len()).filter(|&slice| !touched(slice)) {
        for &entry in decoder.entries().slice(slice) {
            let entry = entry as usize;
            assert!(mask[entry], "slice {slice} was refused");
            assert_eq!(
                partial[entry].to_bits(),
                whole[entry].to_bits(),
                "slice {slice}"
            );
        }
    }
}

fn flat(decoded: &Decoded) -> (&[f32], &[bool]) {
    let tensor = decoded.tensor.as_slice().unwrap_or_default();
    (tensor, decoded.mask.as_slice().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Input that mostly makes valid formats.
    fn input() -> impl Strategy<Value = Vec<u8>> {
        let head = (any::<[u8; 4]>(), 1u8..4, 1u8..4, 0u8..4, 1u8..=100);
        (head, prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(head, tail)| {
            let (sides, first, second, kind, quality) = head;
            let head = [sides.as_slice(), &[first, second, kind, quality]].concat();
            [head, tail].concat()
        })
    }

    fn replay(target: &str, body: fn(&[u8])) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = folder.join("../fuzz/corpus").join(target);
        let mut replayed = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            body(&std::fs::read(entry.unwrap().path()).unwrap());
            replayed += 1;
        }
        assert!(replayed >= 10, "{replayed} files in {folder:?}");
    }

    #[test]
    fn corpus_of_payloads() {
        replay("payload_decode", payload_decode);
    }

    #[test]
    fn corpus_of_replaced_intervals() {
        replay("jpeg_partial_decode", jpeg_partial_decode);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_payload_decodes(data in input()) {
            payload_decode(&data);
        }

        #[test]
        fn replaced_intervals_stay_alone(mut data in input()) {
            data[6] = 3;
            jpeg_partial_decode(&data);
        }

        #[test]
        fn any_bytes_at_all(data in prop::collection::vec(any::<u8>(), 0..64)) {
            payload_decode(&data);
            jpeg_partial_decode(&data);
        }
    }
}

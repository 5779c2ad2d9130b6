//! Every vector of `spec/vectors/payload` does what the specification says (section 10).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken vector fails the test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ndarray::Array3;
use tensorwire_codec::{
    Classification, ClassificationError, ClipRange, Coder, Decoder, Encoder, Format, Map,
    Quantiser, Shape, SliceError,
};

/// The `key = value` lines of one file.
struct Vector {
    name: String,
    lines: Vec<(String, String)>,
}

impl Vector {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let (key, value) = line.split_once('=').unwrap();
                (key.trim().to_owned(), value.trim().to_owned())
            });
        Self {
            name: path.display().to_string(),
            lines: lines.collect(),
        }
    }

    fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines
            .iter()
            .filter(move |(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    }

    fn get<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        self.all(key).next()
    }

    fn words<T: std::str::FromStr>(&self, key: &str) -> Vec<T>
    where
        T::Err: std::fmt::Debug,
    {
        let value = self
            .get(key)
            .unwrap_or_else(|| panic!("{}: no {key}", self.name));
        value
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect()
    }

    fn format(&self) -> Format {
        let shape = self.words::<u32>("shape");
        let range = self.words::<f32>("range");
        let map: Vec<String> = self.words("map");
        let number = |at: usize| map[at].parse::<u64>().unwrap();
        let map = match map[0].as_str() {
            "rows" => Map::ChannelRows {
                rows: number(1).try_into().unwrap(),
            },
            "mosaic" => Map::Mosaic {
                columns: number(1).try_into().unwrap(),
                blocks: number(2).try_into().unwrap(),
            },
            "random" => Map::Random {
                seed: number(1),
                entries: number(2).try_into().unwrap(),
            },
            other => panic!("{}: map {other}", self.name),
        };
        let coder = match self.get("coder").unwrap().split_once(' ') {
            Some(("jpeg", quality)) => Coder::Jpeg {
                quality: quality.parse().unwrap(),
            },
            _ => Coder::Raw,
        };
        let range = ClipRange::new(range[0], range[1]).unwrap();
        let quantiser = Quantiser::new(range, self.words("levels")[0]).unwrap();
        Format::new(
            Shape::new(shape[0], shape[1], shape[2]).unwrap(),
            quantiser,
            map,
            coder,
        )
        .unwrap()
    }

    fn slices(&self) -> BTreeMap<usize, Vec<u8>> {
        let slices = self.lines.iter().filter_map(|(key, value)| {
            let index = key.strip_prefix("slice ")?;
            Some((index.parse().unwrap(), hex(value)))
        });
        slices.collect()
    }

    fn refused(&self) -> Vec<(usize, String)> {
        let list = self
            .get("refused")
            .into_iter()
            .flat_map(|list| list.split(", "));
        list.map(|refusal| {
            let (slice, reason) = refusal.split_once(' ').unwrap();
            (slice.parse().unwrap(), reason.to_owned())
        })
        .collect()
    }
}

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

fn reason(error: SliceError) -> &'static str {
    match error {
        SliceError::Length { .. } => "length",
        SliceError::Level { .. } => "level",
        SliceError::Padding => "padding",
        SliceError::Marker { .. } => "marker",
        SliceError::Code { .. } => "code",
        SliceError::Coefficients { .. } => "coefficients",
        SliceError::Dc { .. } => "dc",
        SliceError::Truncated { .. } => "truncated",
        SliceError::Trailing { .. } => "trailing",
        other => panic!("{other} is no reason of the specification"),
    }
}

fn vectors(folder: &str, prefix: &str) -> Vec<Vector> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors/payload");
    let mut paths: Vec<PathBuf> = fs::read_dir(path.join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(prefix)
        })
        .collect();
    paths.sort();
    paths.iter().map(|path| Vector::read(path)).collect()
}

fn check_payload(vector: &Vector) {
    let name = &vector.name;
    let format = vector.format();
    let slices = vector.slices();
    let refused = vector.refused();
    let decoded =
        Decoder::new(&format).decode(|slice| slices.get(&slice).map(|bytes| bytes.as_slice()));

    let found: Vec<(usize, String)> = decoded
        .refused
        .iter()
        .map(|refusal| (refusal.slice, reason(refusal.error).to_owned()))
        .collect();
    assert_eq!(found, refused, "{name}");
    assert_eq!(decoded.received, slices.len() - refused.len(), "{name}");

    let expected: Vec<String> = vector.words("decoded");
    assert_eq!(expected.len(), format.shape().entries(), "{name}");
    let range = format.quantiser().range();
    for (entry, ((&x, &real), expected)) in decoded
        .tensor
        .iter()
        .zip(&decoded.mask)
        .zip(&expected)
        .enumerate()
    {
        assert_eq!(real, expected != "-", "{name}: entry {entry}");
        match expected.parse::<f32>() {
            Err(_) => assert_eq!(x, 0.0, "{name}: entry {entry}"),
            Ok(value) if format.coder() == Coder::Raw => {
                assert_eq!(x, value, "{name}: entry {entry}");
            }
            Ok(sample) => {
                let found = (x - range.low()) / (range.high() - range.low()) * 255.0;
                assert!(
                    (found - sample).abs() < 1.01,
                    "{name}: entry {entry}: {found}"
                );
            }
        }
    }

    if format.coder() == Coder::Raw {
        let tensor = Array3::from_shape_vec(format.shape().dim(), vector.words("tensor")).unwrap();
        let encoded = Encoder::new(&format).encode(tensor.view()).unwrap();
        for (&slice, bytes) in &slices {
            let valid = refused.iter().all(|&(refused, _)| refused != slice);
            assert_eq!(
                encoded.slice(slice) == bytes,
                valid,
                "{name}: slice {slice}"
            );
        }
    }
}

#[test]
fn valid_payloads() {
    for prefix in ["raw", "jpeg"] {
        let vectors = vectors("", prefix);
        assert!(vectors.len() >= 2, "{prefix}");
        for vector in vectors {
            assert_eq!(vector.get("refused"), None);
            check_payload(&vector);
        }
    }
}

#[test]
fn invalid_payloads() {
    for prefix in ["raw", "jpeg"] {
        let vectors = vectors("invalid", prefix);
        assert!(vectors.len() >= 3, "{prefix}");
        for vector in vectors {
            assert!(vector.get("refused").is_some());
            check_payload(&vector);
        }
    }
}

#[test]
fn every_truncation_and_flipped_bit_of_every_payload() {
    for vector in ["", "invalid"].iter().flat_map(|folder| {
        let raw = vectors(folder, "raw");
        raw.into_iter().chain(vectors(folder, "jpeg"))
    }) {
        let format = vector.format();
        let slices = vector.slices();
        let mut decoder = Decoder::new(&format);
        let original = decoder.decode(|slice| slices.get(&slice).map(|bytes| bytes.as_slice()));
        for (&damaged, bytes) in &slices {
            let truncations = (0..bytes.len()).map(|end| bytes[..end].to_vec());
            let flips = (0..bytes.len() * 8).map(|bit| {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 0x80 >> (bit % 8);
                bytes
            });
            for bytes in truncations.chain(flips) {
                let decoded = decoder.decode(|slice| match slice {
                    _ if slice == damaged => Some(bytes.as_slice()),
                    _ => slices.get(&slice).map(|bytes| bytes.as_slice()),
                });
                let mut expected = original.clone();
                for &entry in decoder.entries().slice(damaged) {
                    let index = entry as usize;
                    let copy = |to: &mut f32, from: &f32| *to = *from;
                    copy(
                        &mut expected.tensor.as_slice_mut().unwrap()[index],
                        &decoded.tensor.as_slice().unwrap()[index],
                    );
                    expected.mask.as_slice_mut().unwrap()[index] =
                        decoded.mask.as_slice().unwrap()[index];
                }
                // Nothing but the damaged slice's own entries may differ.
                assert_eq!(decoded.tensor, expected.tensor, "{}", vector.name);
                assert_eq!(decoded.mask, expected.mask, "{}", vector.name);
            }
        }
    }
}

#[test]
fn classifications() {
    let valid = vectors("", "classification");
    assert!(valid.len() >= 2);
    for vector in valid {
        let classes = vector.all("class").map(|class| {
            let (index, score) = class.split_once(' ').unwrap();
            (index.parse().unwrap(), score.parse().unwrap())
        });
        let result = Classification {
            classes: classes.collect(),
        };
        let bytes = hex(vector.get("result").unwrap());
        assert_eq!(
            Classification::decode(&bytes).as_ref(),
            Ok(&result),
            "{}",
            vector.name
        );
        assert_eq!(result.encode().unwrap(), bytes, "{}", vector.name);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 0x80 >> (bit % 8);
            if let Ok(other) = Classification::decode(&bytes) {
                assert_eq!(other.encode().unwrap(), bytes);
            }
        }
    }
    let invalid = vectors("invalid", "classification");
    assert!(invalid.len() >= 3);
    for vector in invalid {
        let error = Classification::decode(&hex(vector.get("result").unwrap())).unwrap_err();
        let reason = match error {
            ClassificationError::Count(_) => "count",
            ClassificationError::Length { .. } => "length",
            ClassificationError::NotFinite(_) => "not-finite",
            ClassificationError::Order(_) => "order",
            other => panic!("{other} is no reason of the specification"),
        };
        assert_eq!(vector.get("error"), Some(reason), "{}", vector.name);
    }
}

use std::{fs, path::PathBuf};

use ndarray::{Array3, array};
use proptest::prelude::*;

use super::*;
use crate::{Calibration, ClipRule};

mod sections;

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors/bundle")
}

/// The bytes of a vector: hexadecimal digits, white space, comments from `#`.
fn vector(name: &str) -> Vec<u8> {
    let text = fs::read_to_string(vectors().join(name).with_extension("hex")).unwrap();
    let digits: Vec<char> = text
        .lines()
        .filter_map(|line| line.split('#').next())
        .flat_map(str::chars)
        .filter(|c| !c.is_whitespace())
        .collect();
    assert_eq!(digits.len() % 2, 0, "{name}");
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn minimal() -> Bundle {
    let mut calibration = Calibration::new((1, 1, 1)).unwrap();
    calibration
        .add(array![[[0.5]]].view(), ImageDigest::new([0xaa; 16]))
        .unwrap();
    let model: Vec<u8> = (0..32).collect();
    let rule = ClipRule::Given {
        low: -1.0,
        high: 1.0,
    };
    calibration
        .finish("add_1", model.try_into().unwrap(), rule)
        .unwrap()
}

fn two_channels() -> Bundle {
    let mut calibration = Calibration::new((2, 1, 2)).unwrap();
    // Added in descending order of their digests, which the file sorts.
    let tensors = [
        (2, array![[[3.0, 5.0]], [[-2.0, 4.0]]]),
        (1, array![[[1.0, 3.0]], [[-2.0, 0.0]]]),
    ];
    for (digest, tensor) in tensors {
        calibration
            .add(tensor.view(), ImageDigest::new([digest; 16]))
            .unwrap();
    }
    calibration
        .finish("größe/add_4", [0; 32], ClipRule::Sigma(1.0))
        .unwrap()
}

/// Puts the right length and checksum on a changed file, as its forger would.
fn reseal(file: &mut Vec<u8>) {
    file.truncate(file.len() - 4);
    let length = u32::try_from(file.len() + 4).unwrap();
    file[8..12].copy_from_slice(&length.to_be_bytes());
    file.extend(crc32fast::hash(file).to_be_bytes());
}

#[test]
fn valid_vectors_agree_in_both_directions() {
    for (name, bundle) in [
        ("minimal", minimal()),
        ("two-channels", two_channels()),
        ("optional-sections", sections::optional_sections()),
    ] {
        assert_eq!(bundle.to_bytes(), vector(name), "{name}");
        assert_eq!(
            Bundle::from_bytes(&vector(name)).as_ref(),
            Ok(&bundle),
            "{name}"
        );
    }
}

#[test]
fn the_fields_of_a_vector_are_those_of_its_comments() {
    let bundle = Bundle::from_bytes(&vector("two-channels")).unwrap();
    assert_eq!(bundle.split(), "größe/add_4");
    assert_eq!(bundle.model_digest(), &[0; 32]);
    assert_eq!(bundle.shape(), (2, 1, 2));
    assert_eq!(
        bundle.summary(),
        Summary {
            mean: 1.5,
            std: 2.5,
            min: -2.0,
            max: 5.0
        }
    );
    assert_eq!(
        bundle.clip(),
        ClipRange {
            low: -1.0,
            high: 4.0
        }
    );
    assert_eq!(bundle.mean(), [2.0, 4.0, -2.0, 2.0]);
    assert_eq!(bundle.channel_means(), [3.0, 0.0]);
    assert_eq!(bundle.channel_std(), [2.0_f32.sqrt(), 6.0_f32.sqrt()]);
    assert_eq!(
        bundle.images(),
        [ImageDigest::new([1; 16]), ImageDigest::new([2; 16])]
    );
}

#[test]
fn an_unknown_section_is_skipped() {
    let bundle = Bundle::from_bytes(&vector("unknown-section")).unwrap();
    assert_eq!(bundle, minimal());
    assert_eq!(bundle.to_bytes(), vector("minimal"));
}

#[test]
fn invalid_vectors_are_refused_for_their_fault() {
    let value = |section| BundleError::Value { section };
    let length = |section, length| BundleError::SectionLength { section, length };
    let cases = [
        ("magic", BundleError::Magic),
        ("version", BundleError::Version { version: 2 }),
        (
            "checksum",
            BundleError::Checksum {
                stored: 0,
                computed: 1,
            },
        ),
        (
            "truncated",
            BundleError::Truncated {
                length: 159,
                needed: 160,
            },
        ),
        ("trailing-bytes", BundleError::TrailingBytes { extra: 1 }),
        ("section-order", BundleError::SectionOrder { kind: 2 }),
        ("section-bounds", BundleError::SectionBounds),
        ("section-count", BundleError::SectionBounds),
        (
            "missing-section",
            BundleError::MissingSection {
                section: Section::Clip,
            },
        ),
        ("mean-length", length(Section::Mean, 8)),
        ("mean-nan", value(Section::Mean)),
        ("shape-zero", value(Section::Shape)),
        ("shape-huge", value(Section::Shape)),
        ("summary-order", value(Section::Summary)),
        ("clip-order", value(Section::Clip)),
        ("std-negative", value(Section::ChannelStd)),
        ("split-empty", length(Section::Origin, 32)),
        ("split-not-utf8", value(Section::Origin)),
        ("images-none", value(Section::Images)),
        ("images-count", length(Section::Images, 20)),
        ("images-order", value(Section::Images)),
        ("altec-rows", value(Section::Altec)),
        ("altec-length", length(Section::Altec, 24)),
        ("altec-nan", value(Section::Altec)),
        ("accuracy-start", value(Section::Accuracy)),
        ("accuracy-order", value(Section::Accuracy)),
        ("accuracy-count", length(Section::Accuracy, 20)),
        ("accuracy-kind", value(Section::Accuracy)),
        ("importance-mean", value(Section::Importance)),
        ("importance-negative", value(Section::Importance)),
        ("importance-length", length(Section::Importance, 4)),
        ("policy-order", value(Section::Policy)),
        ("policy-share", value(Section::Policy)),
        ("policy-drop", value(Section::Policy)),
        ("policy-length", length(Section::Policy, 33)),
        ("ladder-none", value(Section::Ladder)),
        ("ladder-length", length(Section::Ladder, 29)),
        ("ladder-order", value(Section::Ladder)),
        ("ladder-drop", value(Section::Ladder)),
        ("ladder-coder", value(Section::Ladder)),
        ("ladder-quality", value(Section::Ladder)),
        ("ladder-images", value(Section::Ladder)),
        ("ladder-unmeasured", value(Section::Ladder)),
    ];
    for (name, expected) in cases {
        let error = Bundle::from_bytes(&vector(&format!("invalid/{name}"))).unwrap_err();
        match (error, expected) {
            (BundleError::Checksum { stored, computed }, BundleError::Checksum { .. }) => {
                assert_eq!(stored ^ computed, 1);
            }
            _ => assert_eq!(error, expected, "{name}"),
        }
    }
    assert_eq!(
        fs::read_dir(vectors().join("invalid")).unwrap().count(),
        cases.len()
    );
}

#[test]
fn every_truncation_is_an_error() {
    for file in [
        vector("minimal"),
        vector("two-channels"),
        vector("unknown-section"),
        vector("optional-sections"),
    ] {
        for length in 0..file.len() {
            assert!(
                Bundle::from_bytes(&file[..length]).is_err(),
                "{length} bytes"
            );
        }
    }
}

#[test]
fn every_flipped_bit_is_an_error() {
    let file = vector("optional-sections");
    for bit in 0..file.len() * 8 {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Bundle::from_bytes(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn a_forged_change_is_an_error_or_a_lawful_bundle() {
    let file = vector("optional-sections");
    for at in 12..file.len() - 4 {
        for byte in 0..=u8::MAX {
            let mut forged = file.clone();
            forged[at] = byte;
            reseal(&mut forged);
            if let Ok(bundle) = Bundle::from_bytes(&forged) {
                assert_eq!(Bundle::from_bytes(&bundle.to_bytes()).as_ref(), Ok(&bundle));
                assert!(bundle.mean().iter().all(|value| value.is_finite()));
                assert!(bundle.clip().low < bundle.clip().high);
            }
        }
    }
}

#[test]
fn removing_bytes_under_a_right_checksum_is_an_error() {
    let file = vector("optional-sections");
    for at in 12..file.len() - 4 {
        let mut forged = file.clone();
        forged.remove(at);
        reseal(&mut forged);
        assert!(Bundle::from_bytes(&forged).is_err(), "byte {at}");
    }
}

#[test]
fn control_characters_in_the_name_of_the_split_are_refused() {
    let mut file = vector("minimal");
    let at = file
        .windows(5)
        .position(|window| window == b"add_1")
        .unwrap();
    file[at] = b'\n';
    reseal(&mut file);
    assert_eq!(
        Bundle::from_bytes(&file),
        Err(BundleError::Value {
            section: Section::Origin
        })
    );
}

#[test]
fn images_are_found_by_their_digest() {
    let mut calibration = Calibration::new((1, 1, 1)).unwrap();
    for image in (0..=200_u8).step_by(2).rev() {
        let tensor = Array3::from_elem((1, 1, 1), f32::from(image));
        calibration
            .add(tensor.view(), ImageDigest::new([image; 16]))
            .unwrap();
    }
    let bundle = calibration
        .finish("add_4", [0; 32], ClipRule::MinMax)
        .unwrap();
    for image in 0..=255_u8 {
        let used = image <= 200 && image % 2 == 0;
        assert_eq!(bundle.contains_image(&ImageDigest::new([image; 16])), used);
    }
}

#[test]
fn a_digest_is_the_start_of_the_sha256() {
    let mut sha256 = [0_u8; 32];
    sha256[0] = 0xab;
    sha256[15] = 0x0c;
    sha256[16] = 0xff;
    let digest = ImageDigest::from_sha256(&sha256);
    assert_eq!(digest.to_string(), "ab00000000000000000000000000000c");
    assert_eq!(digest.as_bytes()[..], sha256[..16]);
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Bundle::from_bytes(&bytes).is_err());
    }

    #[test]
    fn any_sections_under_a_right_frame_are_refused_or_read(
        sections in prop::collection::vec(
            (0_u16..10, prop::collection::vec(any::<u8>(), 0..48), -1_i64..=1), 0..9,
        ),
        slack in 0_u16..2,
    ) {
        let mut file = section::MAGIC.to_vec();
        file.extend(section::VERSION.to_be_bytes());
        file.extend((u16::try_from(sections.len()).unwrap() + slack).to_be_bytes());
        file.extend([0; 4]);
        for (kind, content, error) in sections {
            let length = (i64::try_from(content.len()).unwrap() + error).max(0);
            file.extend(kind.to_be_bytes());
            file.extend(u32::try_from(length).unwrap().to_be_bytes());
            file.extend(content);
        }
        file.extend([0; 4]);
        reseal(&mut file);
        prop_assert!(Bundle::from_bytes(&file).is_err());
    }

    #[test]
    fn bytes_and_bundle_agree(
        shape in (1_usize..4, 1_usize..5, 1_usize..5),
        seed in prop::collection::vec(-1e30_f32..1e30, 64),
        split in "[a-zA-Z0-9_/:ä雨]{1,60}",
        model in any::<[u8; 32]>(),
        images in prop::collection::btree_set(any::<[u8; 16]>(), 1..5),
    ) {
        let mut calibration = Calibration::new(shape).unwrap();
        for (number, image) in images.iter().enumerate() {
            let tensor = Array3::from_shape_fn(shape, |(c, i, j)| {
                seed[(c * 16 + i * 4 + j + 7 * number) % seed.len()]
            });
            prop_assert!(calibration.add(tensor.view(), ImageDigest::new(*image)).unwrap());
        }
        let rule = ClipRule::Given { low: -2.5, high: 7.0 };
        let bundle = calibration.finish(&split, model, rule).unwrap();
        let read = Bundle::from_bytes(&bundle.to_bytes()).unwrap();
        prop_assert_eq!(&read, &bundle);
        prop_assert_eq!(read.split(), split);
        prop_assert_eq!(read.images().len(), images.len());
    }
}

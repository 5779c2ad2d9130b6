//! A bundle as bytes (`spec/bundle-format.md` sections 3 to 6).

use super::{
    Bundle, Section,
    bytes::{floats, word32},
    section::{CHECKSUM_SIZE, HEADER_SIZE, MAGIC, SECTION_HEADER_SIZE, VERSION},
};

pub(super) fn encode(bundle: &Bundle) -> Vec<u8> {
    let contents: Vec<(Section, Vec<u8>)> = Section::ALL
        .into_iter()
        .filter_map(|section| Some((section, content(bundle, section)?)))
        .collect();
    let body: usize = contents
        .iter()
        .map(|(_, bytes)| SECTION_HEADER_SIZE + bytes.len())
        .sum();
    let length = HEADER_SIZE + body + CHECKSUM_SIZE;

    let mut file = Vec::with_capacity(length);
    file.extend(MAGIC);
    file.extend(VERSION.to_be_bytes());
    file.extend(word16(contents.len()));
    file.extend(word32(length));
    for (section, bytes) in contents {
        file.extend(section.kind().to_be_bytes());
        file.extend(word32(bytes.len()));
        file.extend(bytes);
    }
    file.extend(crc32fast::hash(&file).to_be_bytes());
    file
}

/// Length of the file in bytes.
pub(super) fn length(bundle: &Bundle) -> usize {
    let sections = Section::ALL
        .into_iter()
        .filter_map(|section| content(bundle, section))
        .map(|bytes| SECTION_HEADER_SIZE + bytes.len());
    HEADER_SIZE + sections.sum::<usize>() + CHECKSUM_SIZE
}

/// The content of a section, or `None` if the bundle is without it.
fn content(bundle: &Bundle, section: Section) -> Option<Vec<u8>> {
    let optional = &bundle.optional;
    Some(match section {
        Section::Origin => {
            let mut bytes = bundle.model_digest.to_vec();
            bytes.extend(bundle.split.as_bytes());
            bytes
        }
        Section::Shape => {
            let (channels, height, width) = bundle.shape;
            [channels, height, width]
                .into_iter()
                .flat_map(word32)
                .collect()
        }
        Section::Summary => {
            let summary = bundle.summary;
            floats(&[summary.mean, summary.std, summary.min, summary.max])
        }
        Section::Clip => floats(&[bundle.clip.low, bundle.clip.high]),
        Section::Mean => floats(&bundle.mean),
        Section::ChannelStd => floats(&bundle.channel_std),
        Section::Images => {
            let mut bytes = word32(bundle.images.len()).to_vec();
            bytes.extend(bundle.images.iter().flat_map(|image| image.as_bytes()));
            bytes
        }
        Section::Covariance => {
            let mut bytes = Vec::new();
            optional.covariance.as_ref()?.encode(&mut bytes);
            bytes
        }
        Section::Altec => optional.altec.as_ref()?.encode(),
        Section::Accuracy => optional.accuracy.as_ref()?.encode(),
        Section::Importance => floats(optional.importance.as_ref()?.channels()),
        Section::Policy => optional.policy.as_ref()?.encode(),
        Section::Ladder => optional.ladder.as_ref()?.encode(),
    })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the number of sections is a small constant"
)]
fn word16(value: usize) -> [u8; 2] {
    (value as u16).to_be_bytes()
}

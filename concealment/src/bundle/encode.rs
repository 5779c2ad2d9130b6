//! A bundle as bytes (`spec/bundle-format.md` sections 3 to 5).

use super::{
    Bundle, Section,
    section::{CHECKSUM_SIZE, HEADER_SIZE, MAGIC, SECTION_HEADER_SIZE, VERSION},
};

pub(super) fn encode(bundle: &Bundle) -> Vec<u8> {
    let contents = Section::ALL.map(|section| (section, content(bundle, section)));
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

fn content(bundle: &Bundle, section: Section) -> Vec<u8> {
    match section {
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
    }
}

fn floats(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_be_bytes())
        .collect()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the number of sections is a constant below ten"
)]
fn word16(value: usize) -> [u8; 2] {
    (value as u16).to_be_bytes()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the limits on a bundle keep every size below 2^32"
)]
fn word32(value: usize) -> [u8; 4] {
    (value as u32).to_be_bytes()
}

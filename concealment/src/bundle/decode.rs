//! Bytes as a bundle (`spec/bundle-format.md` sections 3 to 7).
//!
//! The frame is checked first (length, magic, version, checksum), so that what follows sees the
//! bytes that somebody wrote; they may still be hostile. Every list is as long as its section, so
//! nothing is allocated that the input's length does not justify.

#![deny(clippy::indexing_slicing)]

use super::{
    AccuracyCurve, AltecTable, Bundle, BundleError, ClipRange, CodingLadder, Fields, ImageDigest,
    Importance, Optional, Policy, Section, Summary,
    bytes::{read_floats, read_rows, size, wrong_length},
    section::{CHECKSUM_SIZE, HEADER_SIZE, MAGIC, VERSION},
};
use crate::{covariance::Covariance, limits};

pub(super) fn decode(bytes: &[u8]) -> Result<Bundle, BundleError> {
    let (number, body) = unwrap_frame(bytes)?;
    let contents = Contents::read(number, body)?;
    let (model_digest, split) = origin(contents.get(Section::Origin)?)?;
    let shape = shape(contents.get(Section::Shape)?)?;
    let [mean, std, min, max] = floats_exact(Section::Summary, contents.get(Section::Summary)?)?;
    let [low, high] = floats_exact(Section::Clip, contents.get(Section::Clip)?)?;
    let entries = limits::entries(shape).ok_or(BundleError::Value {
        section: Section::Shape,
    })?;
    Fields {
        split,
        model_digest,
        shape,
        summary: Summary {
            mean,
            std,
            min,
            max,
        },
        clip: ClipRange { low, high },
        mean: read_floats(Section::Mean, contents.get(Section::Mean)?, entries)?,
        channel_std: read_floats(
            Section::ChannelStd,
            contents.get(Section::ChannelStd)?,
            shape.0,
        )?,
        images: images(contents.get(Section::Images)?)?,
        optional: optional(&contents, shape)?,
    }
    .check()
    .map_err(|section| BundleError::Value { section })
}

/// Checks header, length and checksum; returns the number of sections and their bytes.
fn unwrap_frame(bytes: &[u8]) -> Result<(u16, &[u8]), BundleError> {
    let length = bytes.len();
    if length > limits::MAX_BUNDLE_BYTES {
        return Err(BundleError::TooLong { length });
    }
    let truncated = BundleError::Truncated {
        length,
        needed: HEADER_SIZE + CHECKSUM_SIZE,
    };
    let (magic, rest) = bytes.split_first_chunk().ok_or(truncated)?;
    if *magic != MAGIC {
        return Err(BundleError::Magic);
    }
    let (version, rest) = rest.split_first_chunk().ok_or(truncated)?;
    let version = u16::from_be_bytes(*version);
    if version != VERSION {
        return Err(BundleError::Version { version });
    }
    let (number, rest) = rest.split_first_chunk().ok_or(truncated)?;
    let (announced, rest) = rest.split_first_chunk().ok_or(truncated)?;
    let (body, stored) = rest.split_last_chunk().ok_or(truncated)?;

    let needed = size(*announced);
    if length < needed {
        return Err(BundleError::Truncated { length, needed });
    }
    if length > needed {
        return Err(BundleError::TrailingBytes {
            extra: length - needed,
        });
    }
    let (covered, _) = bytes.split_last_chunk::<CHECKSUM_SIZE>().ok_or(truncated)?;
    let (stored, computed) = (u32::from_be_bytes(*stored), crc32fast::hash(covered));
    if stored != computed {
        return Err(BundleError::Checksum { stored, computed });
    }
    Ok((u16::from_be_bytes(*number), body))
}

/// The content of each known section that the file has.
struct Contents<'a> {
    known: Vec<(Section, &'a [u8])>,
}

impl<'a> Contents<'a> {
    fn read(number: u16, mut body: &'a [u8]) -> Result<Self, BundleError> {
        let mut known = Vec::with_capacity(Section::ALL.len());
        let mut previous = None;
        for _ in 0..number {
            let (kind, rest) = body.split_first_chunk().ok_or(BundleError::SectionBounds)?;
            let (length, rest) = rest.split_first_chunk().ok_or(BundleError::SectionBounds)?;
            let (content, rest) = rest
                .split_at_checked(size(*length))
                .ok_or(BundleError::SectionBounds)?;
            body = rest;

            let kind = u16::from_be_bytes(*kind);
            if previous.is_some_and(|previous| previous >= kind) {
                return Err(BundleError::SectionOrder { kind });
            }
            previous = Some(kind);
            known.extend(Section::from_kind(kind).map(|section| (section, content)));
        }
        if body.is_empty() {
            Ok(Self { known })
        } else {
            Err(BundleError::SectionBounds)
        }
    }

    fn get(&self, section: Section) -> Result<&'a [u8], BundleError> {
        self.find(section)
            .ok_or(BundleError::MissingSection { section })
    }

    fn find(&self, section: Section) -> Option<&'a [u8]> {
        self.known
            .iter()
            .find(|&&(known, _)| known == section)
            .map(|&(_, content)| content)
    }
}

/// The sections that a bundle may be without.
fn optional(
    contents: &Contents<'_>,
    shape: (usize, usize, usize),
) -> Result<Optional, BundleError> {
    let covariance = |content| {
        Covariance::decode(content, shape).map_err(|_| BundleError::Value {
            section: Section::Covariance,
        })
    };
    let find = |section| contents.find(section);
    Ok(Optional {
        covariance: find(Section::Covariance).map(covariance).transpose()?,
        altec: find(Section::Altec)
            .map(|content| AltecTable::decode(content, shape))
            .transpose()?,
        accuracy: find(Section::Accuracy)
            .map(AccuracyCurve::decode)
            .transpose()?,
        importance: find(Section::Importance)
            .map(|content| Importance::decode(content, shape.0))
            .transpose()?,
        policy: find(Section::Policy).map(Policy::decode).transpose()?,
        ladder: find(Section::Ladder)
            .map(CodingLadder::decode)
            .transpose()?
            .flatten(),
    })
}

fn origin(content: &[u8]) -> Result<([u8; 32], String), BundleError> {
    let section = Section::Origin;
    let (model_digest, name) = content
        .split_first_chunk()
        .ok_or_else(|| wrong_length(section, content))?;
    if !(1..=limits::MAX_SPLIT_BYTES).contains(&name.len()) {
        return Err(wrong_length(section, content));
    }
    let name = str::from_utf8(name).map_err(|_| BundleError::Value { section })?;
    Ok((*model_digest, name.to_owned()))
}

fn shape(content: &[u8]) -> Result<(usize, usize, usize), BundleError> {
    match content.as_chunks() {
        (&[channels, height, width], []) => Ok((size(channels), size(height), size(width))),
        _ => Err(wrong_length(Section::Shape, content)),
    }
}

fn floats_exact<const N: usize>(section: Section, content: &[u8]) -> Result<[f32; N], BundleError> {
    let values = read_floats(section, content, N)?;
    values
        .try_into()
        .map_err(|_| wrong_length(section, content))
}

fn images(content: &[u8]) -> Result<Vec<ImageDigest>, BundleError> {
    let digests = read_rows(Section::Images, content)?;
    Ok(digests.iter().copied().map(ImageDigest::new).collect())
}

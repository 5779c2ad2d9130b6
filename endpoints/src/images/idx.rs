//! IDX files, the format of MNIST and Fashion-MNIST.
//!
//! Big-endian: two zero bytes, the element type (8 = unsigned byte), the number of axes, a 32-bit
//! length for each axis, the elements.

use std::io::Read as _;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::dataset::{Records, read_file};
use super::{Colour, DatasetError, MAX_SET_BYTES, check_size};

/// First bytes of a gzip file (RFC 1952, section 2.3.1).
const GZIP_START: &[u8] = &[0x1f, 0x8b];
/// IDX element type: unsigned byte.
const UNSIGNED_BYTE: u8 = 8;

pub(super) struct Idx;

impl Idx {
    pub(super) fn open(images: &Path, labels: Option<&Path>) -> Result<Records, DatasetError> {
        let name = images.display().to_string();
        let images = read_file(images, MAX_SET_BYTES)?;
        let labels = labels
            .map(|labels| read_file(labels, MAX_SET_BYTES))
            .transpose()?;
        Self::from_bytes(&name, &images, labels.as_deref())
    }

    pub(super) fn from_bytes(
        name: &str,
        images: &[u8],
        labels: Option<&[u8]>,
    ) -> Result<Records, DatasetError> {
        let failed = |part: &str| {
            let what = format!("{name} ({part})");
            move |reason| DatasetError::Records { what, reason }
        };
        let ([len, height, width], pixels) = read(images).map_err(failed("images"))?;
        if let Err(error) = check_size(height, width) {
            return Err(failed("images")(error.to_string()));
        }
        let labels = labels.map(|labels| read_labels(labels, len)).transpose();
        let labels = labels.map_err(failed("labels"))?;
        Ok(Records {
            len,
            height,
            width,
            colour: Colour::Grey,
            pixels,
            labels,
        })
    }
}

fn read_labels(file: &[u8], images: usize) -> Result<Vec<u32>, String> {
    let ([len], labels) = read(file)?;
    if len != images {
        return Err(format!("{len} labels for {images} images"));
    }
    Ok(labels.into_iter().map(u32::from).collect())
}

/// Reads an array of `N` axes, unpacking it if it is gzipped, and checks that it is whole.
fn read<const N: usize>(file: &[u8]) -> Result<([usize; N], Vec<u8>), String> {
    let mut elements = if file.starts_with(GZIP_START) {
        unpack(file)?
    } else {
        file.to_vec()
    };
    match *elements.as_slice() {
        [0, 0, UNSIGNED_BYTE, axes, ..] if usize::from(axes) == N => {}
        [0, 0, kind, axes, ..] => {
            return Err(format!(
                "element type {kind} with {axes} axes instead of type {UNSIGNED_BYTE} with {N}"
            ));
        }
        _ => return Err("no IDX file: it does not start with two zero bytes".to_owned()),
    }
    let header_len = 4 + 4 * N;
    let (header, rest) = elements
        .split_at_checked(header_len)
        .ok_or("the file ends within its header")?;
    let mut shape = [0; N];
    for (length, bytes) in shape.iter_mut().zip(header.chunks_exact(4).skip(1)) {
        *length = bytes
            .iter()
            .fold(0, |value, byte| (value << 8) | usize::from(*byte));
    }
    let expected = shape
        .iter()
        .try_fold(1_usize, |product, axis| product.checked_mul(*axis));
    if expected != Some(rest.len()) {
        return Err(format!("{} bytes for an array of {shape:?}", rest.len()));
    }
    elements.drain(..header_len);
    Ok((shape, elements))
}

fn unpack(file: &[u8]) -> Result<Vec<u8>, String> {
    let mut unpacked = vec![];
    let mut limited = MultiGzDecoder::new(file).take(MAX_SET_BYTES + 1);
    limited
        .read_to_end(&mut unpacked)
        .map_err(|error| format!("damaged gzip: {error}"))?;
    if unpacked.len() as u64 > MAX_SET_BYTES {
        return Err(format!("unpacks to more than {MAX_SET_BYTES} bytes"));
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn idx(axes: &[u32], elements: &[u8]) -> Vec<u8> {
        let lengths = axes.iter().flat_map(|axis| axis.to_be_bytes());
        [0, 0, 8, u8::try_from(axes.len()).unwrap()]
            .into_iter()
            .chain(lengths)
            .chain(elements.to_vec())
            .collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn reason(images: &[u8], labels: Option<&[u8]>) -> String {
        Idx::from_bytes("test", images, labels)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn plain_and_gzipped_are_the_same() {
        let images = idx(&[2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let labels = idx(&[2], &[9, 0]);
        for (images, labels) in [
            (images.clone(), labels.clone()),
            (gzip(&images), gzip(&labels)),
        ] {
            let records = Idx::from_bytes("test", &images, Some(&labels)).unwrap();
            assert_eq!((records.len, records.height, records.width), (2, 2, 3));
            assert_eq!(records.pixels, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
            assert_eq!(records.labels, Some(vec![9, 0]));
        }
    }

    #[test]
    fn refusals_say_which_file_and_why() {
        let images = idx(&[2, 2, 3], &[0; 12]);
        let short = reason(&images[..images.len() - 1], None);
        assert!(short.contains("test (images): 11 bytes"), "{short}");
        let unpaired = reason(&images, Some(&idx(&[3], &[0; 3])));
        assert!(
            unpaired.contains("test (labels): 3 labels for 2 images"),
            "{unpaired}"
        );
        assert!(reason(&idx(&[2], &[0; 2]), None).contains("with 1 axes"));
        assert!(reason(&idx(&[1, 2, 3], &[])[..15], None).contains("header"));
        assert!(reason(&[1; 20], None).contains("two zero bytes"));
        assert!(reason(&idx(&[u32::MAX; 3], &[]), None).contains("0 bytes"));
        assert!(reason(&idx(&[1, 0, 3], &[]), None).contains("0×3"));
        assert!(reason(&gzip(&images)[..10], None).contains("gzip"));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let images = idx(&[1, 2, 2], &[0; 4]);
        for length in 0..images.len() {
            assert!(Idx::from_bytes("test", &images[..length], None).is_err());
        }
    }
}

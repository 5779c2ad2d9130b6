//! What stands before the entropy-coded data of a picture; rebuilt from the format, never sent.

use super::tables::{AC, DC, ZIGZAG, quantisation};

/// Appends start of image, quantisation table, frame header, Huffman tables, restart interval and
/// scan header of a grey baseline picture.
pub(super) fn header(height: u16, width: u16, quality: u8, interval: u16, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&[0xFF, 0xD8]);
    let table = quantisation(quality);
    let steps = ZIGZAG.map(|place| table[usize::from(place)]);
    segment(bytes, 0xDB, &[&[0], &steps]);
    let [height, width, interval] = [height, width, interval].map(u16::to_be_bytes);
    segment(bytes, 0xC0, &[&[8], &height, &width, &[1, 1, 0x11, 0]]);
    segment(bytes, 0xC4, &[&[0x00], &DC.0, &DC.1]);
    segment(bytes, 0xC4, &[&[0x10], &AC.0, &AC.1]);
    segment(bytes, 0xDD, &[&interval]);
    segment(bytes, 0xDA, &[&[1, 1, 0x00, 0, 63, 0]]);
}

/// A marker segment: marker, length (its own two bytes included), parameters.
fn segment(bytes: &mut Vec<u8>, marker: u8, parameters: &[&[u8]]) {
    let length = 2 + parameters.iter().map(|part| part.len()).sum::<usize>();
    // The longest segment, of the AC table, has 181 bytes.
    let length = u16::try_from(length).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&[0xFF, marker]);
    bytes.extend_from_slice(&length.to_be_bytes());
    parameters
        .iter()
        .for_each(|part| bytes.extend_from_slice(part));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The segments of a header that start with `marker`.
    fn segments(jpeg: &[u8], marker: u8) -> Vec<&[u8]> {
        let (mut at, mut found) = (2, Vec::new());
        while at < jpeg.len() {
            let length = usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
            let segment = &jpeg[at..at + 2 + length];
            if segment[1] == marker {
                found.push(segment);
            }
            if segment[1] == 0xDA {
                break;
            }
            at += 2 + length;
        }
        found
    }

    #[test]
    fn tables_are_those_that_the_encoder_used() {
        for quality in 1..=100 {
            let mut theirs = Vec::new();
            let mut encoder = jpeg_encoder::Encoder::new(&mut theirs, quality);
            encoder.set_restart_interval(3);
            encoder
                .encode(&[77; 24 * 16], 24, 16, jpeg_encoder::ColorType::Luma)
                .unwrap();
            let mut ours = Vec::new();
            header(16, 24, quality, 3, &mut ours);
            // Theirs defines a chrominance quantisation table too.
            assert_eq!(
                segments(&theirs, 0xDB)[0],
                segments(&ours, 0xDB)[0],
                "{quality}"
            );
            assert_eq!(segments(&theirs, 0xC4), segments(&ours, 0xC4));
            assert_eq!(segments(&theirs, 0xDD), segments(&ours, 0xDD));
            assert_eq!(
                segments(&theirs, 0xC0)[0][..10],
                segments(&ours, 0xC0)[0][..10]
            );
        }
    }
}

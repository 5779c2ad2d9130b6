//! JPEG and PNG files to images.

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_png::PngDecoder;

use super::{Colour, Image, ImageError, MAX_PIXELS, MAX_SIDE, check_size};
use crate::caught::caught;

/// The first bytes of a JPEG file: start of image, and the marker that follows.
const JPEG_START: &[u8] = &[0xff, 0xd8, 0xff];
/// The PNG signature.
const PNG_START: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Most passes of a progressive JPEG; encoders make about ten.
const MAX_JPEG_SCANS: usize = 64;
/// Bytes that the data of a PNG may inflate to: RGBA of 16 bits, and a filter byte a row.
const MAX_PNG_BYTES: usize = 8 * MAX_PIXELS + MAX_SIDE;

impl Image {
    /// Decodes a JPEG or PNG file.
    ///
    /// A file with one colour channel becomes grey, any other RGB. Of an animation the first picture
    /// is taken; of 16 bits the upper 8; transparency is ignored, and so is an orientation noted in
    /// the file. Memory is bounded by [`MAX_PIXELS`], which is checked before pixels are decoded.
    pub fn decode(file: &[u8]) -> Result<Self, ImageError> {
        let (format, decoded) = if file.starts_with(JPEG_START) {
            (JPEG, caught(|| jpeg(file)))
        } else if file.starts_with(PNG_START) {
            (PNG, caught(|| png(file)))
        } else {
            return Err(ImageError::Format);
        };
        decoded.unwrap_or_else(|reason| Err(ImageError::Damaged { format, reason }))
    }
}

const JPEG: &str = "JPEG";
const PNG: &str = "PNG";

fn options() -> DecoderOptions {
    DecoderOptions::default()
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE)
        .set_strict_mode(true)
        .png_set_strip_to_8bit(true)
        .inflate_set_limit(MAX_PNG_BYTES)
        .jpeg_set_max_scans(MAX_JPEG_SCANS)
}

fn damaged(format: &'static str) -> impl Fn(&dyn std::fmt::Debug) -> ImageError {
    move |error| ImageError::Damaged {
        format,
        reason: format!("{error:?}"),
    }
}

fn jpeg(file: &[u8]) -> Result<Image, ImageError> {
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options());
    let failed = damaged(JPEG);
    decoder.decode_headers().map_err(|error| failed(&error))?;
    let (width, height) = decoder.dimensions().ok_or_else(|| failed(&"no size"))?;
    check_size(height, width)?;
    let (colour, space) = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => (Colour::Grey, ColorSpace::Luma),
        _ => (Colour::Rgb, ColorSpace::RGB),
    };
    decoder.set_options(options().jpeg_set_out_colorspace(space));
    let pixels = decoder.decode().map_err(|error| failed(&error))?;
    Image::new(height, width, colour, pixels)
}

fn png(file: &[u8]) -> Result<Image, ImageError> {
    let mut decoder = PngDecoder::new_with_options(ZCursor::new(file), options());
    let failed = damaged(PNG);
    decoder.decode_headers().map_err(|error| failed(&error))?;
    let (width, height) = decoder.dimensions().ok_or_else(|| failed(&"no size"))?;
    check_size(height, width)?;
    let (colour, stride) = match decoder.colorspace() {
        Some(ColorSpace::Luma) => (Colour::Grey, 1),
        Some(ColorSpace::LumaA) => (Colour::Grey, 2),
        Some(ColorSpace::RGB) => (Colour::Rgb, 3),
        Some(ColorSpace::RGBA) => (Colour::Rgb, 4),
        other => return Err(failed(&other)),
    };
    let mut pixels = decoder.decode_raw().map_err(|error| failed(&error))?;
    if stride != colour.channels() {
        let opaque = pixels
            .chunks_exact(stride)
            .flat_map(|pixel| pixel.iter().take(colour.channels()));
        pixels = opaque.copied().collect();
    }
    Image::new(height, width, colour, pixels)
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers made here")]
mod tests {
    use jpeg_encoder::{ColorType, Encoder};

    use super::*;

    /// A smooth picture, which JPEG keeps well.
    fn picture(channels: usize) -> Vec<u8> {
        let pixel = |i: usize| (0..channels).map(move |c| (i % 24 * 5 + i / 24 * 3 + c * 40) as u8);
        (0..24 * 16).flat_map(pixel).collect()
    }

    fn encode_jpeg(kind: ColorType, channels: usize) -> Vec<u8> {
        let mut file = vec![];
        Encoder::new(&mut file, 95)
            .encode(&picture(channels), 24, 16, kind)
            .unwrap();
        file
    }

    /// A PNG of stored (uncompressed) rows. Colour types as in the PNG specification, section 11.2.2.
    fn encode_png(colour_type: u8, depth: u8, rows: &[u8], height: u32, width: u32) -> Vec<u8> {
        use std::io::Write as _;
        let mut file = PNG_START.to_vec();
        let mut chunk = |kind: &[u8], data: &[u8]| {
            let body = [kind, data].concat();
            let mut crc = flate2::Crc::new();
            crc.update(&body);
            file.extend((data.len() as u32).to_be_bytes());
            file.extend(&body);
            file.extend(crc.sum().to_be_bytes());
        };
        let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
        header.extend([depth, colour_type, 0, 0, 0]);
        chunk(b"IHDR", &header);
        let stride = rows.len() / height as usize;
        let filtered: Vec<u8> = rows
            .chunks(stride)
            .flat_map(|row| std::iter::once(0).chain(row.to_vec()))
            .collect();
        let mut deflate = flate2::write::ZlibEncoder::new(vec![], flate2::Compression::fast());
        deflate.write_all(&filtered).unwrap();
        chunk(b"IDAT", &deflate.finish().unwrap());
        chunk(b"IEND", &[]);
        file
    }

    fn close(a: &[u8], b: &[u8]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.abs_diff(*b) <= 8)
    }

    #[test]
    fn jpeg_grey_and_colour() {
        let grey = Image::decode(&encode_jpeg(ColorType::Luma, 1)).unwrap();
        assert_eq!(
            (grey.height(), grey.width(), grey.colour()),
            (16, 24, Colour::Grey)
        );
        assert!(close(grey.pixels(), &picture(1)));
        let colour = Image::decode(&encode_jpeg(ColorType::Rgb, 3)).unwrap();
        assert_eq!(
            (colour.height(), colour.width(), colour.colour()),
            (16, 24, Colour::Rgb)
        );
        assert!(close(colour.pixels(), &picture(3)));
    }

    #[test]
    fn png_of_every_kind() {
        let rows = picture(1);
        let grey = Image::decode(&encode_png(0, 8, &rows, 16, 24)).unwrap();
        assert_eq!((grey.colour(), grey.pixels()), (Colour::Grey, &*rows));
        let colour = Image::decode(&encode_png(2, 8, &rows, 16, 8)).unwrap();
        assert_eq!((colour.colour(), colour.pixels()), (Colour::Rgb, &*rows));
        let transparent = Image::decode(&encode_png(4, 8, &rows, 16, 12)).unwrap();
        let expected: Vec<u8> = rows.iter().copied().step_by(2).collect();
        assert_eq!(
            (transparent.colour(), transparent.pixels()),
            (Colour::Grey, &*expected)
        );
        let transparent = Image::decode(&encode_png(6, 8, &rows, 16, 6)).unwrap();
        let expected: Vec<u8> = rows
            .chunks(4)
            .flat_map(|pixel| pixel[..3].to_vec())
            .collect();
        assert_eq!(
            (transparent.colour(), transparent.pixels()),
            (Colour::Rgb, &*expected)
        );
        let deep = Image::decode(&encode_png(0, 16, &rows, 16, 12)).unwrap();
        let expected: Vec<u8> = rows.iter().copied().step_by(2).collect();
        assert_eq!((deep.colour(), deep.pixels()), (Colour::Grey, &*expected));
    }

    #[test]
    fn refuses_what_is_no_image() {
        assert!(matches!(Image::decode(b""), Err(ImageError::Format)));
        assert!(matches!(Image::decode(b"GIF89a"), Err(ImageError::Format)));
        assert!(matches!(
            Image::decode(JPEG_START),
            Err(ImageError::Damaged { .. })
        ));
        assert!(matches!(
            Image::decode(PNG_START),
            Err(ImageError::Damaged { .. })
        ));
    }

    #[test]
    fn refuses_a_size_before_decoding_it() {
        let mut file = encode_png(0, 8, &picture(1), 16, 24);
        // Width 16384, height 16384: allowed sides, too many pixels.
        file[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
        let mut crc = flate2::Crc::new();
        crc.update(&file[12..29]);
        file[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        let result = Image::decode(&file);
        assert!(
            matches!(
                result,
                Err(ImageError::Size {
                    height: 16384,
                    width: 16384
                })
            ),
            "{result:?}"
        );
    }

    #[test]
    fn damage_never_panics() {
        let jpeg = encode_jpeg(ColorType::Rgb, 3);
        let png = encode_png(2, 8, &picture(1), 16, 8);
        for file in [jpeg, png] {
            for length in 0..file.len() {
                let _ = Image::decode(&file[..length]);
            }
            for bit in 0..8 * file.len() {
                let mut flipped = file.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                if let Ok(image) = Image::decode(&flipped) {
                    let pixels = image.height() * image.width() * image.colour().channels();
                    assert_eq!(image.pixels().len(), pixels);
                }
            }
        }
    }
}

//! The tables of ITU-T T.81 Annex K that every picture uses; never sent.

/// Order of the coefficients of a block: `ZIGZAG[k]` is the row-major place of coefficient k
/// (T.81, figure A.6).
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Luminance quantisation at quality 50, row-major (T.81, table K.1).
const QUANTISATION: [u8; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, //
    12, 12, 14, 19, 26, 58, 60, 55, //
    14, 13, 16, 24, 40, 57, 69, 56, //
    14, 17, 22, 29, 51, 87, 80, 62, //
    18, 22, 37, 56, 68, 109, 103, 77, //
    24, 35, 55, 64, 81, 104, 113, 92, //
    49, 64, 78, 87, 103, 121, 120, 101, //
    72, 92, 95, 98, 112, 100, 103, 99,
];

/// Number of luminance DC codes of 1 to 16 bits, and their symbols (T.81, table K.3).
pub(super) const DC: ([u8; 16], [u8; 12]) = (
    [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
);

/// Number of luminance AC codes of 1 to 16 bits, and their symbols (T.81, table K.5).
pub(super) const AC: ([u8; 16], [u8; 162]) = (
    [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125],
    [
        0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61,
        0x07, 0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xA1, 0x08, 0x23, 0x42, 0xB1, 0xC1, 0x15, 0x52,
        0xD1, 0xF0, 0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0A, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x25,
        0x26, 0x27, 0x28, 0x29, 0x2A, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A, 0x43, 0x44, 0x45,
        0x46, 0x47, 0x48, 0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0x63, 0x64,
        0x65, 0x66, 0x67, 0x68, 0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x83,
        0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
        0x9A, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6,
        0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3, 0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3,
        0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xE1, 0xE2, 0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8,
        0xE9, 0xEA, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA,
    ],
);

/// The quantisation table of a quality of 1 to 100, row-major: table K.1 scaled as libjpeg of the
/// Independent JPEG Group does.
pub(super) fn quantisation(quality: u8) -> [u8; 64] {
    let quality = u32::from(quality.clamp(1, 100));
    let scale = if quality < 50 {
        5000 / quality
    } else {
        200 - 2 * quality
    };
    QUANTISATION.map(|step| ((u32::from(step) * scale + 50) / 100).clamp(1, 255) as u8)
}

/// A Huffman code, ready to decode.
#[derive(Debug)]
pub(super) struct Huffman {
    /// For the next [`FAST_BITS`] bits: length << 8 | symbol, or 0 where the code is longer.
    fast: [u16; 1 << FAST_BITS],
    /// For each length: the first code, how many there are, and where their symbols start.
    lengths: [(u16, u16, u16); 17],
    symbols: [u8; 256],
}

/// Codes up to this length, nearly all, are found in one step.
const FAST_BITS: u32 = 9;

/// The DC code of every slice.
pub(super) static DC_CODE: Huffman = Huffman::new(&DC.0, &DC.1);

/// The AC code of every slice.
pub(super) static AC_CODE: Huffman = Huffman::new(&AC.0, &AC.1);

impl Huffman {
    /// Assigns codes in order of length (T.81, annex C).
    const fn new(counts: &[u8; 16], values: &[u8]) -> Self {
        let mut code = Self {
            fast: [0; 1 << FAST_BITS],
            lengths: [(0, 0, 0); 17],
            symbols: [0; 256],
        };
        let (mut next, mut index, mut length) = (0_u16, 0_u16, 1_u16);
        while length <= 16 {
            let count = counts[length as usize - 1] as u16;
            code.lengths[length as usize] = (next, count, index);
            let mut i = 0;
            while i < count {
                let symbol = values[index as usize];
                code.symbols[index as usize] = symbol;
                if length as u32 <= FAST_BITS {
                    let spare = FAST_BITS - length as u32;
                    let mut tail = 0;
                    while tail < 1 << spare {
                        let at = (next as usize) << spare | tail;
                        code.fast[at] = length << 8 | symbol as u16;
                        tail += 1;
                    }
                }
                next += 1;
                index += 1;
                i += 1;
            }
            next <<= 1;
            length += 1;
        }
        code
    }

    /// Length and symbol of the code that starts the 16 bits of `window`, if one does.
    #[inline]
    pub(super) fn decode(&self, window: u16) -> Option<(u32, u8)> {
        let fast = self.fast[usize::from(window >> (16 - FAST_BITS))];
        if fast != 0 {
            return Some((u32::from(fast >> 8), (fast & 0xFF) as u8));
        }
        (FAST_BITS + 1..=16).find_map(|length| {
            let (first, count, index) = self.lengths[length as usize];
            let place = (window >> (16 - length)).checked_sub(first)?;
            (place < count).then(|| (length, self.symbols[usize::from(index + place)]))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_scales_as_libjpeg_does() {
        assert_eq!(quantisation(50), QUANTISATION);
        assert_eq!(quantisation(100), [1; 64]);
        assert_eq!(quantisation(1), [255; 64]);
        assert_eq!(quantisation(75)[..8], [8, 6, 5, 8, 12, 20, 26, 31]);
        assert_eq!(quantisation(25)[..4], [32, 22, 20, 32]);
    }

    #[test]
    fn codes_of_the_annex() {
        // T.81, tables K.3 and K.5: code words of some symbols.
        for (code, bits, length, symbol) in [
            (&DC_CODE, 0b00, 2, 0),
            (&DC_CODE, 0b110, 3, 5),
            (&DC_CODE, 0b1_1111_1110, 9, 11),
            (&AC_CODE, 0b00, 2, 0x01),
            (&AC_CODE, 0b1010, 4, 0x00),
            (&AC_CODE, 0b111_1111_1001, 11, 0xF0),
            (&AC_CODE, 0b1111_1111_1000_0010, 16, 0x09),
            (&AC_CODE, 0b1111_1111_1111_1110, 16, 0xFA),
        ] {
            let window = bits << (16 - length);
            assert_eq!(code.decode(window), Some((length, symbol)), "{bits:b}");
            let filled = window | 0xFFFF_u16.checked_shr(length).unwrap_or(0);
            assert_eq!(code.decode(filled), Some((length, symbol)), "{bits:b}");
        }
    }

    #[test]
    fn all_ones_is_no_code() {
        assert_eq!(DC_CODE.decode(0xFFFF), None);
        assert_eq!(AC_CODE.decode(0xFFFF), None);
    }

    #[test]
    fn every_window_is_one_code_or_none() {
        for code in [&DC_CODE, &AC_CODE] {
            let mut windows = vec![0_u32; 256];
            let mut shortest = [17; 256];
            for window in 0..=u16::MAX {
                if let Some((length, symbol)) = code.decode(window) {
                    windows[usize::from(symbol)] += 1;
                    shortest[usize::from(symbol)] = length;
                }
            }
            // A code of n bits starts 2^(16 − n) windows.
            for (count, length) in windows.into_iter().zip(shortest) {
                assert!(count == 0 || count == 1 << (16 - length));
            }
        }
    }
}

//! Source symbols: what of a source packet is protected (wire-format.md, section 4.3).

/// Bytes of a symbol before the body: length and flags.
pub const PREFIX: usize = 3;

/// Why a recovered symbol holds no source packet: a repair packet of its block lied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SymbolError {
    /// It ends within its length and flags, or its body would be longer than the symbol.
    #[error("length beyond the symbol")]
    Length,
    /// What follows the body is not zero.
    #[error("padding not zero")]
    Padding,
}

/// Appends the symbol of a source packet with these flags (byte 1 of the header, key phase 0) and
/// this body (what lies between header and trailer, at most 65,000 bytes).
pub fn put_symbol(flags: u8, body: &[u8], out: &mut Vec<u8>) {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a datagram has at most 65,000 bytes"
    )]
    let length = body.len() as u16;
    debug_assert_eq!(usize::from(length), body.len());
    let [high, low] = length.to_be_bytes();
    out.extend_from_slice(&[high, low, flags]);
    out.extend_from_slice(body);
}

/// Flags and body of the source packet in a recovered symbol.
///
/// # Errors
/// If the length exceeds the symbol or the padding is not zero. That the body decodes, and to the
/// expected packet, is for the caller to check.
pub fn open_symbol(symbol: &[u8]) -> Result<(u8, &[u8]), SymbolError> {
    let ([high, low, flags], rest) = symbol
        .split_first_chunk::<PREFIX>()
        .ok_or(SymbolError::Length)?;
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let (body, padding) = rest.split_at_checked(length).ok_or(SymbolError::Length)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(SymbolError::Padding);
    }
    Ok((*flags, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn flags_and_body_survive_any_padding(
            flags in 0..0x80_u8,
            body in prop::collection::vec(any::<u8>(), 0..300),
            padding in 0..300_usize,
        ) {
            let mut symbol = vec![9];
            put_symbol(flags, &body, &mut symbol);
            prop_assert_eq!(symbol.len(), 1 + PREFIX + body.len());
            symbol.resize(symbol.len() + padding, 0);
            prop_assert_eq!(open_symbol(&symbol[1..]), Ok((flags, &body[..])));
        }

        #[test]
        fn padding_that_is_not_zero_is_found(at in 0..50_usize, value in 1..=255_u8) {
            let mut symbol = Vec::new();
            put_symbol(3, b"a body", &mut symbol);
            let end = symbol.len();
            symbol.resize(end + 50, 0);
            symbol[end + at] = value;
            prop_assert_eq!(open_symbol(&symbol), Err(SymbolError::Padding));
        }
    }

    #[test]
    fn a_symbol_cut_anywhere_is_refused() {
        let mut symbol = Vec::new();
        put_symbol(3, b"a body", &mut symbol);
        for end in 0..symbol.len() {
            assert_eq!(open_symbol(&symbol[..end]), Err(SymbolError::Length));
        }
    }

    #[test]
    fn a_length_beyond_any_symbol_is_refused() {
        let symbol = [0xFF; 2_000];
        assert_eq!(open_symbol(&symbol), Err(SymbolError::Length));
    }
}

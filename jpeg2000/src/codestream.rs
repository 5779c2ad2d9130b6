//! The parts of a codestream (ISO/IEC 15444-1, annex A).

/// Start of codestream.
const SOC: u8 = 0x4f;
/// Start of data, the end of a tile part's header.
const SOD: u8 = 0x93;
/// Bytes of the marker at the end, EOC.
const END: usize = 2;

/// How many bytes of a codestream of one tile part are not packets: its headers, and the marker at its end.
/// They are the same for all pictures of a shape and rate, but for one length. None if it is no codestream.
#[must_use]
pub fn header_bytes(codestream: &[u8]) -> Option<usize> {
    let mut rest = codestream.strip_prefix(&[0xff, SOC])?;
    loop {
        let (marker, behind) = rest.split_first_chunk::<2>()?;
        if *marker == [0xff, SOD] {
            return Some(codestream.len() - behind.len() + END);
        }
        let (length, _) = behind.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        rest = behind.get(length.max(2)..).filter(|_| marker[0] == 0xff)?;
    }
}

//! The IP and UDP headers that captures put before datagrams (RFC 791, 8200, 768).

use std::net::{IpAddr, SocketAddr};

use tensorwire_protocol::wire::Ecn;

/// Bytes of the UDP header.
const UDP: usize = 8;
/// The number of UDP in the IP header.
const PROTOCOL: u8 = 17;
/// Time to live, or hop limit: what most systems send with.
const HOPS: u8 = 64;

/// Why there is no IP packet of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// One address is IPv4, the other IPv6.
    #[error("addresses of two families")]
    Families,
    /// The datagram is longer than the lengths of the headers can say.
    #[error("a datagram of {0} bytes, which no IP packet holds")]
    TooLong(usize),
}

/// Writes the IP packet of a datagram in place of what `out` held. IPv4 addresses in the notation of
/// IPv6 count as IPv4. Both checksums are right.
///
/// # Errors
/// If the addresses do not go together, or the datagram is too long.
pub fn packet(
    out: &mut Vec<u8>,
    source: SocketAddr,
    destination: SocketAddr,
    ecn: Ecn,
    datagram: &[u8],
) -> Result<(), PacketError> {
    out.clear();
    let too_long = || PacketError::TooLong(datagram.len());
    let length = u16::try_from(UDP + datagram.len()).map_err(|_| too_long())?;
    // The sum of both addresses in the pseudo header (RFC 768; RFC 8200, section 8.1).
    let pseudo = match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = length.checked_add(20).ok_or_else(too_long)?;
            out.extend([0x45, ecn as u8]);
            out.extend(total.to_be_bytes());
            // Identification 0 and "don't fragment" (RFC 6864).
            out.extend([0, 0, 0x40, 0, HOPS, PROTOCOL, 0, 0]);
            out.extend(from.octets());
            out.extend(to.octets());
            let sum = checksum([out.as_slice()], 0);
            if let Some(field) = out.get_mut(10..12) {
                field.copy_from_slice(&sum.to_be_bytes());
            }
            !checksum([&from.octets()[..], &to.octets()], 0)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let class = u32::from(ecn as u8) << 20;
            out.extend((6 << 28 | class).to_be_bytes());
            out.extend(length.to_be_bytes());
            out.extend([PROTOCOL, HOPS]);
            out.extend(from.octets());
            out.extend(to.octets());
            !checksum([&from.octets()[..], &to.octets()], 0)
        }
        _ => return Err(PacketError::Families),
    };
    let mut udp = [0; UDP];
    let fields = [source.port(), destination.port(), length, 0];
    for (place, field) in udp.chunks_exact_mut(2).zip(fields) {
        place.copy_from_slice(&field.to_be_bytes());
    }
    let before = u32::from(pseudo) + u32::from(PROTOCOL) + u32::from(length);
    let sum = match checksum([&udp, datagram], before) {
        // Zero says that there is none.
        0 => u16::MAX,
        sum => sum,
    };
    let [.., high, low] = &mut udp;
    [*high, *low] = sum.to_be_bytes();
    out.extend(udp);
    out.extend(datagram);
    Ok(())
}

/// The Internet checksum (RFC 1071) of parts, of which all but the last are of even length, and of a sum
/// before them.
fn checksum<'a>(parts: impl IntoIterator<Item = &'a [u8]>, before: u32) -> u16 {
    let mut sum = u64::from(before);
    for part in parts {
        let (pairs, rest) = part.as_chunks::<2>();
        sum += pairs
            .iter()
            .map(|pair| u64::from(u16::from_be_bytes(*pair)))
            .sum::<u64>();
        sum += rest.iter().map(|byte| u64::from(*byte) << 8).sum::<u64>();
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    #[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits")]
    let folded = sum as u16;
    !folded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(last: u8, port: u16) -> SocketAddr {
        ([10, 0, 0, last], port).into()
    }

    #[test]
    fn the_textbook_header_has_the_textbook_checksum() {
        // The example of RFC 1071, section 3: 0001 f203 f4f5 f6f7 sum to ddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum([&bytes[..]], 0), !0xddf2);
        assert_eq!(checksum([&bytes[..4], &bytes[4..]], 0), !0xddf2);
        assert_eq!(checksum([&[0xAB][..]], 0), !0xAB00);
    }

    #[test]
    fn an_ipv4_packet_byte_by_byte() {
        let mut out = vec![1; 99];
        packet(&mut out, v4(1, 4435), v4(2, 4434), Ecn::Ect0, b"abc").unwrap();
        let expected = [
            0x45, 0x02, 0, 31, 0, 0, 0x40, 0, 64, 17, 0x26, 0xCA, 10, 0, 0, 1, 10, 0, 0,
            2, // IP
            0x11, 0x53, 0x11, 0x52, 0, 11, 0x04, 0xCE, b'a', b'b', b'c',
        ];
        assert_eq!(out, expected);
    }

    #[test]
    fn checksums_of_both_families_add_up() {
        let six = |last: u16, port| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], port));
        let mapped = |last: u8, port| {
            let ip = v4(last, 0).ip();
            let IpAddr::V4(ip) = ip else { panic!("IPv4") };
            SocketAddr::from((ip.to_ipv6_mapped(), port))
        };
        for length in [0, 1, 2, 1_199, 1_200] {
            let datagram: Vec<u8> = (0..length).map(|i: u32| i.to_le_bytes()[0]).collect();
            let mut out = vec![];
            packet(&mut out, v4(1, 9), v4(2, 10), Ecn::Ce, &datagram).unwrap();
            assert_eq!(checksum([&out[..20]], 0), 0);
            let pseudo = 17 + 8 + length;
            assert_eq!(checksum([&out[12..20], &out[20..]], pseudo), 0);
            let mut again = vec![];
            packet(&mut again, mapped(1, 9), mapped(2, 10), Ecn::Ce, &datagram).unwrap();
            assert_eq!(again, out, "IPv4 in the notation of IPv6");

            packet(&mut out, six(1, 9), six(2, 10), Ecn::Ce, &datagram).unwrap();
            assert_eq!(checksum([&out[8..40], &out[40..]], pseudo), 0);
            assert_eq!(out[..2], [0x60, 0x30]);
        }
    }

    #[test]
    fn what_no_packet_holds_is_refused() {
        let mut out = vec![];
        let six = SocketAddr::from(([0_u16; 8], 1));
        let refused = packet(&mut out, v4(1, 1), six, Ecn::NotEct, b"");
        assert_eq!(refused, Err(PacketError::Families));
        for (address, most) in [(v4(1, 1), 65_507), (six, 65_527)] {
            let fits = packet(&mut out, address, address, Ecn::NotEct, &vec![0; most]);
            assert_eq!(fits, Ok(()));
            let refused = packet(&mut out, address, address, Ecn::NotEct, &vec![0; most + 1]);
            assert_eq!(refused, Err(PacketError::TooLong(most + 1)));
        }
    }
}

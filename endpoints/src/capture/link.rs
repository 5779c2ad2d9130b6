//! From a captured packet to the UDP datagram in it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tensorwire_protocol::wire::Ecn;

/// The number of UDP in IP headers.
const UDP: u8 = 17;
/// Extension headers that may lie before it: more are nobody's but an attacker's.
const MAX_EXTENSIONS: usize = 8;
/// EtherTypes.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86DD;
const VLAN: [u16; 3] = [0x8100, 0x88A8, 0x9100];

/// A UDP datagram in a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Udp<'a> {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// Its ECN codepoint.
    pub ecn: Ecn,
    /// What it carries.
    pub payload: &'a [u8],
}

/// Why there is no datagram in a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotUdp {
    /// Packets of this link type are not read.
    #[error(
        "link type {0}, of which nothing is known here (read are raw IP, Ethernet, Linux cooked and \
         BSD loopback)"
    )]
    LinkType(u32),
    /// The capture holds only the beginning of the packet.
    #[error("cut off by the capture")]
    CutOff,
    /// Something else than IP.
    #[error("not IP")]
    NotIp,
    /// Something else than UDP.
    #[error("not UDP")]
    NotUdp,
    /// A fragment of a datagram: these are not put together.
    #[error("a fragment")]
    Fragment,
}

/// The UDP datagram in a packet of this link type (a number of the tcpdump registry): raw IP (101, 12,
/// 14, 228, 229), Ethernet with VLAN tags (1), Linux cooked (113, 276), BSD loopback (0, 108). Checksums
/// are not checked, as network cards fill them in behind the capture.
///
/// # Errors
/// Why there is none.
pub fn udp(link: u32, packet: &[u8]) -> Result<Udp<'_>, NotUdp> {
    match link {
        12 | 14 | 101 | 228 | 229 => ip(packet),
        0 | 108 => ip(after(packet, 4)?),
        1 => ethernet(after(packet, 12)?),
        113 => typed(u16_at(packet, 14)?, after(packet, 16)?),
        276 => typed(u16_at(packet, 0)?, after(packet, 20)?),
        other => Err(NotUdp::LinkType(other)),
    }
}

/// From the type of an Ethernet frame on.
fn ethernet(mut rest: &[u8]) -> Result<Udp<'_>, NotUdp> {
    let mut kind = u16_at(rest, 0)?;
    for _ in 0..3 {
        if !VLAN.contains(&kind) {
            break;
        }
        rest = after(rest, 4)?;
        kind = u16_at(rest, 0)?;
    }
    typed(kind, after(rest, 2)?)
}

fn typed(kind: u16, rest: &[u8]) -> Result<Udp<'_>, NotUdp> {
    match kind {
        IPV4 | IPV6 => ip(rest),
        _ => Err(NotUdp::NotIp),
    }
}

fn ip(packet: &[u8]) -> Result<Udp<'_>, NotUdp> {
    match packet.first().ok_or(NotUdp::CutOff)? >> 4 {
        4 => ipv4(packet),
        6 => ipv6(packet),
        _ => Err(NotUdp::NotIp),
    }
}

fn ipv4(packet: &[u8]) -> Result<Udp<'_>, NotUdp> {
    let (header, _) = packet.split_first_chunk::<20>().ok_or(NotUdp::CutOff)?;
    let [
        first,
        class,
        _,
        _,
        _,
        _,
        flags,
        offset,
        _,
        protocol,
        _,
        _,
        from @ ..,
        t0,
        t1,
        t2,
        t3,
    ] = *header;
    let options = usize::from(first & 0xF) * 4;
    if options < 20 {
        return Err(NotUdp::NotIp);
    }
    if protocol != UDP {
        return Err(NotUdp::NotUdp);
    }
    // More fragments, or an offset.
    if flags & 0x3F != 0 || offset != 0 {
        return Err(NotUdp::Fragment);
    }
    let addresses = [Ipv4Addr::from(from), Ipv4Addr::new(t0, t1, t2, t3)].map(IpAddr::from);
    datagram(addresses, class, after(packet, options)?)
}

fn ipv6(packet: &[u8]) -> Result<Udp<'_>, NotUdp> {
    let (header, mut rest) = packet.split_first_chunk::<40>().ok_or(NotUdp::CutOff)?;
    let (fixed, addresses) = header.split_at(8);
    let class = u8::try_from((u16_at(fixed, 0)? >> 4) & 0xFF).unwrap_or_default();
    let mut next = fixed.get(6).copied().unwrap_or_default();
    for _ in 0..MAX_EXTENSIONS {
        match next {
            UDP => {
                let mut each = addresses.as_chunks::<16>().0.iter().copied();
                let (Some(from), Some(to)) = (each.next(), each.next()) else {
                    return Err(NotUdp::CutOff);
                };
                return datagram([from, to].map(|ip| Ipv6Addr::from(ip).into()), class, rest);
            }
            // Hop by hop, routing, destination options.
            0 | 43 | 60 => {
                let [following, length, ..] = *rest else {
                    return Err(NotUdp::CutOff);
                };
                next = following;
                rest = after(rest, 8 + 8 * usize::from(length))?;
            }
            44 => return Err(NotUdp::Fragment),
            _ => return Err(NotUdp::NotUdp),
        }
    }
    Err(NotUdp::NotUdp)
}

fn datagram([from, to]: [IpAddr; 2], class: u8, packet: &[u8]) -> Result<Udp<'_>, NotUdp> {
    let [source, destination, length] = [0, 2, 4].map(|place| u16_at(packet, place));
    let length = usize::from(length?).checked_sub(8).ok_or(NotUdp::NotUdp)?;
    let payload = after(packet, 8)?.get(..length).ok_or(NotUdp::CutOff)?;
    Ok(Udp {
        source: SocketAddr::new(from, source?),
        destination: SocketAddr::new(to, destination?),
        ecn: match class & 3 {
            0 => Ecn::NotEct,
            1 => Ecn::Ect1,
            2 => Ecn::Ect0,
            _ => Ecn::Ce,
        },
        payload,
    })
}

fn after(bytes: &[u8], count: usize) -> Result<&[u8], NotUdp> {
    bytes.get(count..).ok_or(NotUdp::CutOff)
}

fn u16_at(bytes: &[u8], place: usize) -> Result<u16, NotUdp> {
    let field = bytes.get(place..).and_then(<[u8]>::first_chunk);
    field
        .map(|field| u16::from_be_bytes(*field))
        .ok_or(NotUdp::CutOff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::capture::ip;

    fn address(six: bool, port: u16) -> SocketAddr {
        match six {
            true => ([0xFD00, 0, 0, 0, 0, 0, 0, 7], port).into(),
            false => ([192, 0, 2, 7], port).into(),
        }
    }

    fn raw(six: bool, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![];
        let (from, to) = (address(six, 40_000), address(six, 4_434));
        ip::packet(&mut packet, from, to, Ecn::Ect1, payload).unwrap();
        packet
    }

    #[test]
    fn every_link_type_leads_to_the_same_datagram() {
        for six in [false, true] {
            let packet = raw(six, b"payload");
            let kind = if six { [0x86, 0xDD] } else { [0x08, 0x00] };
            let behind = |before: &[&[u8]]| [before.concat(), packet.clone()].concat();
            for (link, frame) in [
                (101, packet.clone()),
                (12, packet.clone()),
                (if six { 229 } else { 228 }, packet.clone()),
                (0, behind(&[&[2, 0, 0, 0]])),
                (1, behind(&[&[7; 12], &kind])),
                (1, behind(&[&[7; 12], &[0x81, 0, 0, 5], &kind])),
                (
                    1,
                    behind(&[&[7; 12], &[0x88, 0xA8, 0, 9, 0x81, 0, 0, 5], &kind]),
                ),
                (113, behind(&[&[0; 14], &kind])),
                (276, behind(&[&kind, &[0; 18]])),
                // What the link adds behind a short packet.
                (1, [behind(&[&[7; 12], &kind]), vec![0; 11]].concat()),
            ] {
                let found = udp(link, &frame).unwrap();
                assert_eq!(found.source, address(six, 40_000), "link type {link}");
                assert_eq!(found.destination, address(six, 4_434));
                assert_eq!((found.ecn, found.payload), (Ecn::Ect1, &b"payload"[..]));
            }
        }
        assert_eq!(udp(147, &[]), Err(NotUdp::LinkType(147)));
    }

    #[test]
    fn what_is_no_datagram_is_told_apart() {
        let changed = |six, place: usize, value: u8| {
            let mut packet = raw(six, b"payload");
            packet[place] = value;
            packet
        };
        let refused = |packet: &[u8]| udp(101, packet).unwrap_err();
        assert_eq!(refused(&changed(false, 9, 6)), NotUdp::NotUdp, "TCP");
        assert_eq!(refused(&changed(true, 6, 6)), NotUdp::NotUdp, "TCP");
        assert_eq!(refused(&changed(false, 6, 0x20)), NotUdp::Fragment);
        assert_eq!(refused(&changed(false, 7, 1)), NotUdp::Fragment);
        assert_eq!(refused(&changed(true, 6, 44)), NotUdp::Fragment);
        assert_eq!(refused(&changed(false, 0, 0x55)), NotUdp::NotIp);
        assert_eq!(refused(&changed(false, 0, 0x44)), NotUdp::NotIp);
        let arp = [vec![7; 12], vec![0x08, 0x06], vec![0; 28]].concat();
        assert_eq!(udp(1, &arp), Err(NotUdp::NotIp));
        let packet = raw(false, b"payload");
        for length in 0..packet.len() {
            assert_eq!(refused(&packet[..length]), NotUdp::CutOff, "{length}");
        }
    }

    #[test]
    fn extension_headers_are_passed() {
        let mut packet = raw(true, b"payload");
        packet[6] = 0;
        // Hop by hop of 8 bytes, then destination options of 16, then UDP.
        let options = [[60, 0, 1, 4, 0, 0, 0, 0], [17, 1, 1, 4, 0, 0, 0, 0], [0; 8]].concat();
        packet.splice(40..40, options);
        assert_eq!(udp(229, &packet).unwrap().payload, b"payload");
    }

    proptest! {
        #[test]
        fn any_packet_is_read_without_harm(
            link in prop::sample::select(vec![0_u32, 1, 12, 101, 108, 113, 228, 229, 276, 9_999]),
            packet in prop::collection::vec(any::<u8>(), 0..120),
        ) {
            if let Ok(found) = udp(link, &packet) {
                prop_assert!(found.payload.len() < packet.len());
            }
        }
    }
}

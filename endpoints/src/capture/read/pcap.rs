//! The classic format of tcpdump: one interface, microseconds or nanoseconds.

use std::io::Read;

use super::{Input, Interface, MAX_PACKET, Packet, ReadError, Record, Resolution};

const MICROSECONDS: u32 = 0xA1B2_C3D4;
const NANOSECONDS: u32 = 0xA1B2_3C4D;

/// A pcap file that is being read.
#[derive(Debug)]
pub(super) struct State {
    u32: fn([u8; 4]) -> u32,
}

impl State {
    /// Reads the header behind its magic number; none if that is another's.
    pub(super) fn new<R: Read>(
        magic: [u8; 4],
        input: &mut Input<R>,
        interfaces: &mut Vec<Interface>,
    ) -> Result<Option<Self>, ReadError> {
        let Some((resolution, big)) = order(magic) else {
            return Ok(None);
        };
        let u32 = if big {
            u32::from_be_bytes
        } else {
            u32::from_le_bytes
        };
        let [_version, _zone, _accuracy, snap, link] =
            fields(&input.array::<20>("the header")?).map(u32);
        interfaces.push(Interface {
            // The upper bits say whether frames end with a checksum.
            link: link & 0x0FFF_FFFF,
            name: None,
            note: None,
            resolution,
            snap,
        });
        Ok(Some(Self { u32 }))
    }

    pub(super) fn read<R: Read>(
        &self,
        input: &mut Input<R>,
        interfaces: &[Interface],
    ) -> Result<Option<Record>, ReadError> {
        let mut header = [0; 16];
        if !input.fill(&mut header, "the header of a packet")? {
            return Ok(None);
        }
        let [seconds, fraction, captured, _original] = fields(&header).map(self.u32);
        let resolution = interfaces
            .first()
            .map_or(Resolution::MICROSECONDS, |i| i.resolution);
        let captured = captured as usize;
        if captured > MAX_PACKET {
            return Err(input.damaged("a packet longer than there are"));
        }
        let seconds = u64::from(seconds) * 1_000_000_000;
        Ok(Some(Record::Packet(Packet {
            interface: 0,
            time_ns: seconds + resolution.nanoseconds(u64::from(fraction)),
            direction: None,
            missed: 0,
            bytes: input.bytes(captured, "a packet")?,
        })))
    }
}

/// How time stamps count, and whether the file is big-endian, by its magic number.
pub(super) const fn order(magic: [u8; 4]) -> Option<(Resolution, bool)> {
    match (u32::from_be_bytes(magic), u32::from_le_bytes(magic)) {
        (MICROSECONDS, _) => Some((Resolution::MICROSECONDS, true)),
        (_, MICROSECONDS) => Some((Resolution::MICROSECONDS, false)),
        (NANOSECONDS, _) => Some((Resolution::NANOSECONDS, true)),
        (_, NANOSECONDS) => Some((Resolution::NANOSECONDS, false)),
        _ => None,
    }
}

/// The fields of a header, 32 bits each.
fn fields<const N: usize, const B: usize>(header: &[u8; B]) -> [[u8; 4]; N] {
    let mut fields = header.as_chunks().0.iter();
    std::array::from_fn(|_| fields.next().copied().unwrap_or_default())
}

//! pcapng (draft-ietf-opsawg-pcapng): blocks, of which unknown ones are passed over.

use std::io::Read;

use super::{
    Direction, Input, Interface, MAX_INTERFACES, MAX_PACKET, Note, Packet, ReadError, Record,
    Resolution,
};
use crate::capture::TICK_BLOCK;

/// The type of a section header, the same from both ends.
pub(super) const SECTION: u32 = 0x0A0D_0D0A;
const MAGIC: u32 = 0x1A2B_3C4D;
const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;

/// The longest block that is looked into: a packet with its options, or an interface with a note.
const MAX_BLOCK: usize = MAX_PACKET + (1 << 17);

/// A pcapng file that is being read.
#[derive(Debug)]
pub(super) struct State {
    big: bool,
    /// The number of the section's first interface.
    first: usize,
}

impl State {
    /// Reads the first section header behind its type.
    pub(super) fn new<R: Read>(input: &mut Input<R>) -> Result<Self, ReadError> {
        let big = section(input)?;
        Ok(Self { big, first: 0 })
    }

    /// The next record; interfaces are added on the way.
    pub(super) fn read<R: Read>(
        &mut self,
        input: &mut Input<R>,
        interfaces: &mut Vec<Interface>,
    ) -> Result<Option<Record>, ReadError> {
        loop {
            let mut kind = [0; 4];
            if !input.fill(&mut kind, "the type of a block")? {
                return Ok(None);
            }
            let kind = self.u32(kind);
            if kind == SECTION {
                self.big = section(input)?;
                self.first = interfaces.len();
                continue;
            }
            let length = self.u32(input.array("the length of a block")?);
            let Some(body) = length.checked_sub(12).filter(|body| body % 4 == 0) else {
                return Err(input.damaged("a block of a length that cannot be"));
            };
            let known = [
                INTERFACE,
                OLD_PACKET,
                SIMPLE_PACKET,
                STATISTICS,
                PACKET,
                TICK_BLOCK,
            ];
            let body = if known.contains(&kind) {
                if body as usize > MAX_BLOCK {
                    return Err(input.damaged("a block longer than there are"));
                }
                input.bytes(body as usize, "a block")?
            } else {
                input.skip(u64::from(body), "a block")?;
                Vec::new()
            };
            if self.u32(input.array("the end of a block")?) != length {
                return Err(input.damaged("a block whose two lengths differ"));
            }
            let fields = Fields {
                rest: &body,
                big: self.big,
            };
            let record = match kind {
                INTERFACE if interfaces.len() == MAX_INTERFACES => {
                    return Err(input.damaged("more interfaces than are read"));
                }
                INTERFACE => {
                    let Some(interface) = fields.interface() else {
                        return Err(input.damaged("an interface of too few bytes"));
                    };
                    interfaces.push(interface);
                    continue;
                }
                PACKET => self.packet(fields, interfaces),
                OLD_PACKET => self.old_packet(fields, interfaces),
                SIMPLE_PACKET => self.simple_packet(fields, interfaces),
                TICK_BLOCK => self.tick(fields, interfaces),
                STATISTICS => self.statistics(fields, interfaces),
                _ => continue,
            };
            let Some(record) = record else {
                return Err(input.damaged("a block whose fields contradict it or each other"));
            };
            return Ok(Some(record));
        }
    }

    const fn u32(&self, bytes: [u8; 4]) -> u32 {
        if self.big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    }

    fn packet(&self, mut fields: Fields<'_>, interfaces: &[Interface]) -> Option<Record> {
        let (number, interface) = self.interface(fields.u32()?, interfaces)?;
        let time_ns = interface.resolution.nanoseconds(fields.timestamp()?);
        let (captured, _original) = (fields.u32()?, fields.u32()?);
        let mut packet = fields.captured(number, time_ns, captured)?;
        fields.options(|option| match option {
            (2, flags) => {
                packet.direction = match flags.first_u32() & 3 {
                    1 => Some(Direction::Received),
                    2 => Some(Direction::Sent),
                    _ => None,
                };
            }
            (4, count) => packet.missed = count.first_u64(),
            _ => {}
        });
        Some(Record::Packet(packet))
    }

    /// Obsolete, but written once.
    fn old_packet(&self, mut fields: Fields<'_>, interfaces: &[Interface]) -> Option<Record> {
        let (number, interface) = self.interface(u32::from(fields.u16()?), interfaces)?;
        let missed = fields.u16()?;
        let time_ns = interface.resolution.nanoseconds(fields.timestamp()?);
        let (captured, _original) = (fields.u32()?, fields.u32()?);
        let mut packet = fields.captured(number, time_ns, captured)?;
        // 65,535 says that the number is not known.
        packet.missed = if missed == u16::MAX { 0 } else { missed.into() };
        Some(Record::Packet(packet))
    }

    /// A packet without a time, of the first interface.
    fn simple_packet(&self, mut fields: Fields<'_>, interfaces: &[Interface]) -> Option<Record> {
        let (number, interface) = self.interface(0, interfaces)?;
        let original = fields.u32()?;
        let kept = match interface.snap {
            0 => original,
            snap => original.min(snap),
        };
        Some(Record::Packet(fields.captured(number, 0, kept)?))
    }

    fn tick(&self, mut fields: Fields<'_>, interfaces: &[Interface]) -> Option<Record> {
        let (number, interface) = self.interface(fields.u32()?, interfaces)?;
        Some(Record::Tick {
            interface: number,
            time_ns: interface.resolution.nanoseconds(fields.timestamp()?),
        })
    }

    fn statistics(&self, mut fields: Fields<'_>, interfaces: &[Interface]) -> Option<Record> {
        let (interface, _) = self.interface(fields.u32()?, interfaces)?;
        fields.timestamp()?;
        let mut missed = 0_u64;
        fields.options(|(code, count)| {
            // By the interface, and by the operating system.
            if matches!(code, 5 | 7) {
                missed = missed.saturating_add(count.first_u64());
            }
        });
        Some(Record::Statistics { interface, missed })
    }

    /// The interface with this number in the section, and its number in the file.
    fn interface<'a>(
        &self,
        number: u32,
        interfaces: &'a [Interface],
    ) -> Option<(usize, &'a Interface)> {
        let number = self.first.checked_add(number as usize)?;
        Some((number, interfaces.get(number)?))
    }
}

/// Reads a section header behind its type; whether the section is big-endian.
fn section<R: Read>(input: &mut Input<R>) -> Result<bool, ReadError> {
    let [length, magic] = [
        input.array("a section header")?,
        input.array("a section header")?,
    ];
    let big = match (u32::from_be_bytes(magic), u32::from_le_bytes(magic)) {
        (MAGIC, _) => true,
        (_, MAGIC) => false,
        _ => return Err(input.damaged("a section header of no byte order")),
    };
    let u32 = if big {
        u32::from_be_bytes
    } else {
        u32::from_le_bytes
    };
    let length = u32(length);
    let Some(rest) = length.checked_sub(28).filter(|rest| rest % 4 == 0) else {
        return Err(input.damaged("a section header of a length that cannot be"));
    };
    let [a, b, _, _]: [u8; 4] = input.array("a section header")?;
    let major = if big {
        u16::from_be_bytes([a, b])
    } else {
        u16::from_le_bytes([a, b])
    };
    if major != 1 {
        return Err(input.damaged("a section of another version of pcapng"));
    }
    // The length of the section, which nothing here needs, and options.
    input.skip(8 + u64::from(rest), "a section header")?;
    if u32(input.array("the end of a section header")?) != length {
        return Err(input.damaged("a section header whose two lengths differ"));
    }
    Ok(big)
}

/// The fields of a block.
#[derive(Clone, Copy)]
struct Fields<'a> {
    rest: &'a [u8],
    big: bool,
}

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = *self.take(2)?.first_chunk()?;
        Some(if self.big {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    fn u32(&mut self) -> Option<u32> {
        let bytes = *self.take(4)?.first_chunk()?;
        Some(if self.big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }

    fn u64(&mut self) -> Option<u64> {
        let bytes = *self.take(8)?.first_chunk()?;
        Some(if self.big {
            u64::from_be_bytes(bytes)
        } else {
            u64::from_le_bytes(bytes)
        })
    }

    /// Two halves, the high one first.
    fn timestamp(&mut self) -> Option<u64> {
        Some(u64::from(self.u32()?) << 32 | u64::from(self.u32()?))
    }

    /// The value of an option of one number; 0 if it is too short.
    fn first_u32(mut self) -> u32 {
        self.u32().unwrap_or_default()
    }

    fn first_u64(mut self) -> u64 {
        self.u64().unwrap_or_default()
    }

    /// A packet of so many bytes, and what fills them to a multiple of four.
    fn captured(&mut self, interface: usize, time_ns: u64, length: u32) -> Option<Packet> {
        let length = length as usize;
        let bytes = self.take(length)?.to_vec();
        if bytes.len() > MAX_PACKET {
            return None;
        }
        // The last block of a careless writer lacks it.
        let _ = self.take(length.next_multiple_of(4) - length);
        Some(Packet {
            interface,
            time_ns,
            direction: None,
            missed: 0,
            bytes,
        })
    }

    /// Each option, its code and value, as far as they are whole.
    fn options(mut self, mut see: impl FnMut((u16, Self))) {
        while let (Some(code @ 1..), Some(length)) = (self.u16(), self.u16()) {
            let length = usize::from(length);
            let Some(rest) = self.take(length) else {
                return;
            };
            see((code, Fields { rest, ..self }));
            if self.take(length.next_multiple_of(4) - length).is_none() {
                return;
            }
        }
    }

    /// An interface; none if the block is too short to be one.
    fn interface(mut self) -> Option<Interface> {
        let link = u32::from(self.u16()?);
        self.u16()?;
        let snap = self.u32()?;
        let mut interface = Interface {
            link,
            name: None,
            note: None,
            resolution: Resolution::MICROSECONDS,
            snap,
        };
        self.options(|(code, value)| match code {
            1 => {
                let comment = str::from_utf8(value.rest).ok();
                if let Some(note) = comment.and_then(Note::parse) {
                    interface.note = Some(note);
                }
            }
            2 => interface.name = Some(String::from_utf8_lossy(value.rest).into_owned()),
            9 => {
                if let Some(units) = value.rest.first().and_then(|code| units(*code)) {
                    interface.resolution.units = units;
                }
            }
            14 => interface.resolution.offset = value.first_u64().cast_signed(),
            _ => {}
        });
        Some(interface)
    }
}

/// Units a second by the option `if_tsresol`: a power of ten or, with the highest bit, of two.
fn units(code: u8) -> Option<u128> {
    let (base, exponent) = if code & 0x80 == 0 {
        (10, code)
    } else {
        (2, code & 0x7F)
    };
    u128::checked_pow(base, u32::from(exponent))
}

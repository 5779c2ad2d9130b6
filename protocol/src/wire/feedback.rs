//! FEEDBACK: arrivals, releases and load, after RFC 8888 (wire-format.md, section 5).

use std::time::Duration;

use super::DecodeError;
use super::cursor::Reader;
use crate::time::micros;

const LOAD: u8 = 0x01;
pub(super) const DEFINED_FLAGS: u8 = LOAD;

/// The most packets that one report covers.
pub const MAX_PACKET_REPORTS: usize = 512;
/// The most releases that one report names.
pub const MAX_RELEASE_REPORTS: usize = 64;

const RECEIVED: u16 = 0x8000;
const AGE_MASK: u16 = 0x1FFF;
const AGE_UNKNOWN: u16 = 0x1FFF;
const AGE_LONG: u16 = 0x1FFE;
const AGE_UNIT_MICROS: u64 = 64;

/// The ECN codepoint of an IP header (RFC 3168).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[expect(clippy::exhaustive_enums, reason = "two bits")]
pub enum Ecn {
    /// Not ECN-capable, or unknown.
    #[default]
    NotEct = 0,
    /// ECN-capable, codepoint 01.
    Ect1 = 1,
    /// ECN-capable, codepoint 10.
    Ect0 = 2,
    /// Congestion experienced.
    Ce = 3,
}

/// One packet in a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "one bit of the wire format tells the two apart"
)]
pub enum PacketReport {
    /// Not received so far.
    Missing,
    /// Received.
    Received {
        /// The ECN codepoint it came with.
        ecn: Ecn,
        /// From its arrival to the report, rounded down to 64 µs; none if unknown or 524 ms and more.
        age: Option<Duration>,
    },
}

impl PacketReport {
    fn from_wire(bits: u16) -> Result<Self, DecodeError> {
        if bits & RECEIVED == 0 {
            return if bits == 0 {
                Ok(Self::Missing)
            } else {
                Err(DecodeError::NotZero("report of a missing packet"))
            };
        }
        let ecn = match bits >> 13 & 3 {
            0 => Ecn::NotEct,
            1 => Ecn::Ect1,
            2 => Ecn::Ect0,
            _ => Ecn::Ce,
        };
        let age = match bits & AGE_MASK {
            AGE_UNKNOWN | AGE_LONG => None,
            units => Some(Duration::from_micros(u64::from(units) * AGE_UNIT_MICROS)),
        };
        Ok(Self::Received { ecn, age })
    }

    pub(crate) fn to_wire(self) -> u16 {
        match self {
            Self::Missing => 0,
            Self::Received { ecn, age } => {
                let units = age.map_or(AGE_UNKNOWN, |age| {
                    u16::try_from(micros(age) / AGE_UNIT_MICROS)
                        .map_or(AGE_LONG, |u| u.min(AGE_LONG))
                });
                RECEIVED | (ecn as u16) << 13 | units
            }
        }
    }
}

/// What became of one tensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ReleaseReport {
    /// Low bits of the tensor's number.
    pub tensor_id: u16,
    /// The reason's number, 0 to 15 (wire-format.md, section 8.2).
    pub reason: u8,
    /// Missing slices in 4,095ths of all slices.
    pub missing: u16,
}

impl ReleaseReport {
    fn from_wire([id_high, id_low, release_high, release_low]: [u8; 4]) -> Self {
        Self {
            tensor_id: u16::from_be_bytes([id_high, id_low]),
            reason: release_high >> 4,
            missing: u16::from_be_bytes([release_high & 0xF, release_low]),
        }
    }

    pub(crate) fn to_wire(self) -> u32 {
        u32::from(self.tensor_id) << 16
            | u32::from(self.reason & 0xF) << 12
            | u32::from(self.missing & 0xFFF)
    }
}

/// The load of the reporter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the fields of the wire format")]
pub struct Load {
    /// Tensors that wait for the model.
    pub queue_length: u16,
    /// Mean time that the model takes for one tensor, microseconds.
    pub service_micros: u32,
    /// Least time between tensors that can be served, microseconds; 0: no limit.
    pub admission_micros: u32,
}

/// The packet reports of a FEEDBACK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrivals<'a>(&'a [[u8; 2]]);

impl Arrivals<'_> {
    /// Number of packets covered.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is covered.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The reports, in order of packet number.
    pub fn iter(&self) -> impl Iterator<Item = PacketReport> {
        // Decoding checked every report, so none falls out here.
        self.0
            .iter()
            .filter_map(|bits| PacketReport::from_wire(u16::from_be_bytes(*bits)).ok())
    }
}

/// The release reports of a FEEDBACK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReleaseReports<'a>(&'a [[u8; 4]]);

impl ReleaseReports<'_> {
    /// Number of tensors named.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is named.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The reports, in the order of the message.
    pub fn iter(&self) -> impl Iterator<Item = ReleaseReport> {
        self.0.iter().map(|bits| ReleaseReport::from_wire(*bits))
    }
}

/// A FEEDBACK message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Feedback<'a> {
    /// The reporter's clock when it sent this, microseconds.
    pub report_timestamp: u32,
    /// Low bits of the first packet number that is reported.
    pub begin: u32,
    /// The packets from `begin` on.
    pub arrivals: Arrivals<'a>,
    /// What was released since.
    pub releases: ReleaseReports<'a>,
    /// The load of the reporter, where it says.
    pub load: Option<Load>,
}

impl<'a> Feedback<'a> {
    pub(super) fn decode(flags: u8, mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let report_timestamp = reader.u32("report timestamp")?;
        let begin = reader.u32("begin")?;
        let packets = usize::from(reader.u16("packet count")?);
        if packets > MAX_PACKET_REPORTS {
            return Err(DecodeError::OutOfRange("packet count"));
        }
        let releases = usize::from(reader.u8("release count")?);
        if releases > MAX_RELEASE_REPORTS {
            return Err(DecodeError::OutOfRange("release count"));
        }
        let load = if flags & LOAD != 0 {
            Some(Load {
                queue_length: reader.u16("queue length")?,
                service_micros: reader.u32("service time")?,
                admission_micros: reader.u32("admission interval")?,
            })
        } else {
            None
        };
        let arrivals = reader.bytes(packets * 2, "packet reports")?.as_chunks().0;
        for bits in arrivals {
            PacketReport::from_wire(u16::from_be_bytes(*bits))?;
        }
        let releases = reader.bytes(releases * 4, "release reports")?.as_chunks().0;
        reader.end()?;
        Ok(Self {
            report_timestamp,
            begin,
            arrivals: Arrivals(arrivals),
            releases: ReleaseReports(releases),
            load,
        })
    }

    pub(super) fn flags(&self) -> u8 {
        if self.load.is_some() { LOAD } else { 0 }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let Self {
            report_timestamp,
            begin,
            load,
            ..
        } = *self;
        let counts = FeedbackWriter {
            report_timestamp,
            begin,
            load,
        }
        .put_fixed(out);
        self.arrivals
            .0
            .iter()
            .for_each(|bits| out.extend_from_slice(bits));
        self.releases
            .0
            .iter()
            .for_each(|bits| out.extend_from_slice(bits));
        put_counts(out, counts, self.arrivals.len(), self.releases.len());
    }
}

/// Fills in the counts that stand before what they count.
#[expect(
    clippy::cast_possible_truncation,
    reason = "at most 512 and 64 reports, by decoding or by the writer's limits"
)]
fn put_counts(out: &mut [u8], at: usize, packets: usize, releases: usize) {
    let [high, low] = (packets as u16).to_be_bytes();
    if let Some(field) = out.get_mut(at..at + 3) {
        field.copy_from_slice(&[high, low, releases as u8]);
    }
}

/// The fixed fields of a FEEDBACK that is written straight from a receiver's state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FeedbackWriter {
    pub(crate) report_timestamp: u32,
    pub(crate) begin: u32,
    pub(crate) load: Option<Load>,
}

impl FeedbackWriter {
    /// Bytes of the body without the reports.
    pub(crate) const FIXED: usize = 4 + 4 + 2 + 1;

    /// Appends everything before the reports and says where the counts stand.
    fn put_fixed(self, out: &mut Vec<u8>) -> usize {
        out.extend_from_slice(&self.report_timestamp.to_be_bytes());
        out.extend_from_slice(&self.begin.to_be_bytes());
        let counts = out.len();
        out.extend_from_slice(&[0; 3]);
        if let Some(load) = self.load {
            out.extend_from_slice(&load.queue_length.to_be_bytes());
            out.extend_from_slice(&load.service_micros.to_be_bytes());
            out.extend_from_slice(&load.admission_micros.to_be_bytes());
        }
        counts
    }

    /// Appends the whole body. The caller keeps to the limits of the message.
    pub(crate) fn encode(
        self,
        out: &mut Vec<u8>,
        arrivals: impl Iterator<Item = PacketReport>,
        releases: impl Iterator<Item = ReleaseReport>,
    ) {
        let counts = self.put_fixed(out);
        let (mut packets, mut released) = (0, 0);
        for report in arrivals.take(MAX_PACKET_REPORTS) {
            out.extend_from_slice(&report.to_wire().to_be_bytes());
            packets += 1;
        }
        for report in releases.take(MAX_RELEASE_REPORTS) {
            out.extend_from_slice(&report.to_wire().to_be_bytes());
            released += 1;
        }
        put_counts(out, counts, packets, released);
    }
}

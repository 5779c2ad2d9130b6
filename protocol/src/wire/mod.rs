//! The bytes of TSP version 1, as `spec/wire-format.md` defines them.
//!
//! [`open`] checks a datagram of plain mode from form to integrity and splits off header and body;
//! [`Message::decode`] decodes a body wholly or refuses it; [`seal`] appends the trailer. No
//! function here panics, indexes unchecked or allocates by a number that a peer sent.

#![deny(clippy::indexing_slicing)]

pub(crate) mod cursor;
mod data;
mod display;
mod feedback;
mod form;
mod lengths;
mod notice;
mod number;
mod repair;
mod result;
mod small;

pub use data::{Content, Data, InterleaverKind};
pub use feedback::{
    Arrivals, Ecn, Feedback, Load, MAX_PACKET_REPORTS, MAX_RELEASE_REPORTS, PacketReport,
    ReleaseReport, ReleaseReports,
};
pub use form::{Form, datagrams};
pub use lengths::{MAX_SLICES_IN_PACKET, PackedSlices};
pub use notice::{Notice, NoticeReason};
pub use number::{FrameNumber, TensorId, extend};
pub use repair::{MAX_SPAN, Repair};
pub use result::{MAX_RESULT_PAYLOAD, MAX_RESULTS, ResultEntry, ResultStatus, Results};
pub use small::{Close, CloseCode, PathData, Ping};

pub(crate) use data::{Coding, DataHead, MAX_SLICE, fragment_overhead, put_fragment};
pub(crate) use feedback::FeedbackWriter;
pub(crate) use lengths::{SlicesSize, put_slices};
pub(crate) use result::put_result;

use cursor::Reader;

/// Bytes of the common header.
pub const HEADER_LEN: usize = 9;
/// Bytes that a sender leaves for the trailer, in plain mode too.
pub const TRAILER_ROOM: usize = 16;
/// The largest datagram, in bytes of UDP payload.
pub const MAX_DATAGRAM: usize = 65_000;

pub(crate) const CRC_LEN: usize = 4;
const FORM: u8 = 0b1000_0000;
const FORM_MASK: u8 = 0b1100_0000;
const VERSION_1: u8 = 0b0001_0000;
const VERSION_MASK: u8 = 0b0011_0000;
const TYPE_MASK: u8 = 0x0F;
pub(crate) const KEY_PHASE: u8 = 0x80;

/// Why a body could not be decoded: the peer's bytes are at fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The datagram ends within this field.
    #[error("ends within {0}")]
    Truncated(&'static str),
    /// The field has a value that its definition excludes.
    #[error("{0} out of range")]
    OutOfRange(&'static str),
    /// Bits or bytes that must be zero are not.
    #[error("{0} not zero")]
    NotZero(&'static str),
    /// A varint is longer than it must be.
    #[error("{0} not in its shortest form")]
    Overlong(&'static str),
    /// Two fields of the message exclude each other.
    #[error("{0} contradicts another field")]
    Contradiction(&'static str),
    /// Bytes are left after the message.
    #[error("trailing bytes")]
    TrailingBytes,
}

/// Why a datagram was refused, in the order in which a receiver checks (wire-format.md, 2.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Shorter than header and trailer, or longer than any datagram.
    #[error("length")]
    Length,
    /// Not TSP: the form bits are not `10`.
    #[error("form")]
    Form,
    /// Another version of TSP.
    #[error("version")]
    Version,
    /// Names another session.
    #[error("connection")]
    Connection,
    /// The session has ended.
    #[error("ended")]
    Ended,
    /// The trailer does not match: CRC-32, or AEAD tag.
    #[error("integrity")]
    Integrity,
    /// Its packet number was seen before, or is too old to tell.
    #[error("replay")]
    Replay,
    /// The type is not assigned.
    #[error("type")]
    Type,
    /// The body does not decode.
    #[error("malformed: {0}")]
    Malformed(#[from] DecodeError),
}

/// The name of a session at the endpoint that receives a datagram: 24 bits of its choosing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct ConnectionId(u32);

impl ConnectionId {
    /// The ID with the low 24 bits of `value`.
    pub const fn new(value: u32) -> Self {
        Self(value & 0x00FF_FFFF)
    }

    /// The ID as a number below 2^24.
    pub const fn value(self) -> u32 {
        self.0
    }
}

/// The message types.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "four bits; a new type is a new version of this table"
)]
#[repr(u8)]
pub enum MessageType {
    /// Slices of a tensor.
    Data = 0x0,
    /// A repair symbol of a source block.
    Repair = 0x1,
    /// Arrivals, releases and load.
    Feedback = 0x2,
    /// Results of inference.
    Result = 0x3,
    /// Asks for feedback at once.
    Ping = 0x4,
    /// Fills the path with zeros.
    Padding = 0x5,
    /// Asks a path for an echo.
    PathChallenge = 0x6,
    /// Echoes a challenge.
    PathResponse = 0x7,
    /// Ends a session.
    Close = 0x8,
}

impl MessageType {
    /// Every type, in order of its number.
    pub const ALL: [Self; 9] = [
        Self::Data,
        Self::Repair,
        Self::Feedback,
        Self::Result,
        Self::Ping,
        Self::Padding,
        Self::PathChallenge,
        Self::PathResponse,
        Self::Close,
    ];

    fn from_wire(value: u8) -> Option<Self> {
        Self::ALL.get(usize::from(value)).copied()
    }

    /// Whether the receiver of such a packet owes a FEEDBACK for it.
    pub const fn elicits_feedback(self) -> bool {
        !matches!(
            self,
            Self::Feedback | Self::Padding | Self::PathResponse | Self::Close
        )
    }
}

/// The common header of a datagram whose form, version, connection and integrity have been checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The type as it stands on the wire, 0 to 15; may be unassigned.
    pub kind: u8,
    /// Key phase and the type's own flags.
    pub flags: u8,
    /// The session at the receiver.
    pub connection: ConnectionId,
    /// Low 32 bits of the packet number.
    pub packet_number: u32,
}

/// Whether `datagram` is TSP, of any version: what a demultiplexer on a shared port asks first.
pub fn is_tsp(datagram: &[u8]) -> bool {
    Form::of(datagram) == Form::Tsp
}

/// The connection ID of a datagram that looks like TSP, unchecked otherwise: what finds its session.
pub fn connection_of(datagram: &[u8]) -> Option<ConnectionId> {
    let [_, _, c0, c1, c2, ..] = datagram else {
        return None;
    };
    let id = ConnectionId(u32::from_be_bytes([0, *c0, *c1, *c2]));
    is_tsp(datagram).then_some(id)
}

/// Checks length, form, version and connection (where one is given) of a datagram with a trailer of
/// `trailer` bytes, and reads its header.
pub(crate) fn head(
    datagram: &[u8],
    trailer: usize,
    connection: Option<ConnectionId>,
) -> Result<Header, Refusal> {
    if datagram.len() > MAX_DATAGRAM || datagram.len() < HEADER_LEN + trailer {
        return Err(Refusal::Length);
    }
    let header = datagram.first_chunk().ok_or(Refusal::Length)?;
    let [first, flags, c0, c1, c2, p0, p1, p2, p3] = *header;
    if first & FORM_MASK != FORM {
        return Err(Refusal::Form);
    }
    if first & VERSION_MASK != VERSION_1 {
        return Err(Refusal::Version);
    }
    let header = Header {
        kind: first & TYPE_MASK,
        flags,
        connection: ConnectionId(u32::from_be_bytes([0, c0, c1, c2])),
        packet_number: u32::from_be_bytes([p0, p1, p2, p3]),
    };
    if connection.is_some_and(|expected| expected != header.connection) {
        return Err(Refusal::Connection);
    }
    Ok(header)
}

/// What lies between header and trailer; empty if nothing does.
pub(crate) fn body(datagram: &[u8], trailer: usize) -> &[u8] {
    let end = datagram.len().saturating_sub(trailer);
    datagram.get(HEADER_LEN..end).unwrap_or_default()
}

/// Whether the last four bytes are the CRC-32 of those before.
pub(crate) fn crc_fits(datagram: &[u8]) -> bool {
    let parts = datagram.split_last_chunk::<CRC_LEN>();
    parts.is_some_and(|(sealed, crc)| crc32fast::hash(sealed) == u32::from_be_bytes(*crc))
}

/// Checks length, form, version, connection (where one is given) and CRC-32 of a plain-mode
/// datagram, and splits it into header and body.
///
/// # Errors
/// The first check that fails, in the order of wire-format.md, section 2.6.
pub fn open(datagram: &[u8], connection: Option<ConnectionId>) -> Result<(Header, &[u8]), Refusal> {
    let header = head(datagram, CRC_LEN, connection)?;
    if !crc_fits(datagram) {
        return Err(Refusal::Integrity);
    }
    Ok((header, body(datagram, CRC_LEN)))
}

/// Appends the common header.
pub(crate) fn put_header(
    out: &mut Vec<u8>,
    kind: MessageType,
    flags: u8,
    connection: ConnectionId,
    packet_number: u32,
) {
    out.push(FORM | VERSION_1 | kind as u8);
    out.push(flags);
    out.extend_from_slice(connection.0.to_be_bytes().split_at(1).1);
    out.extend_from_slice(&packet_number.to_be_bytes());
}

/// Says in the header of the datagram in `out` which of two keys protects it.
pub(crate) fn set_key_phase(out: &mut [u8], phase: bool) {
    if let Some(flags) = out.get_mut(1) {
        *flags = *flags & !KEY_PHASE | if phase { KEY_PHASE } else { 0 };
    }
}

/// Appends the plain-mode trailer to the datagram in `out`.
pub fn seal(out: &mut Vec<u8>) {
    let crc = crc32fast::hash(out);
    out.extend_from_slice(&crc.to_be_bytes());
}

/// A decoded message, borrowing from the datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "mirrors MessageType")]
pub enum Message<'a> {
    /// Section 3.
    Data(Data<'a>),
    /// Section 4.
    Repair(Repair<'a>),
    /// Section 5.
    Feedback(Feedback<'a>),
    /// Section 6.
    Result(Results<'a>),
    /// Section 7.1.
    Ping(Ping),
    /// Section 7.2: the number of zero bytes.
    Padding(usize),
    /// Section 7.3.
    PathChallenge(PathData),
    /// Section 7.3.
    PathResponse(PathData),
    /// Section 7.4.
    Close(Close<'a>),
}

impl<'a> Message<'a> {
    /// Decodes the body of a datagram wholly, or says why not.
    ///
    /// # Errors
    /// [`Refusal::Type`] for an unassigned type, [`Refusal::Malformed`] for everything else.
    pub fn decode(header: &Header, body: &'a [u8]) -> Result<Self, Refusal> {
        let kind = MessageType::from_wire(header.kind).ok_or(Refusal::Type)?;
        if header.flags & KEY_PHASE != 0 {
            return Err(DecodeError::NotZero("key phase").into());
        }
        let defined = match kind {
            MessageType::Data => data::DEFINED_FLAGS,
            MessageType::Feedback => feedback::DEFINED_FLAGS,
            _ => 0,
        };
        if header.flags & !defined != 0 {
            return Err(DecodeError::NotZero("flags").into());
        }
        let reader = Reader::new(body);
        Ok(match kind {
            MessageType::Data => Self::Data(Data::decode(header.flags, reader)?),
            MessageType::Repair => Self::Repair(Repair::decode(reader)?),
            MessageType::Feedback => Self::Feedback(Feedback::decode(header.flags, reader)?),
            MessageType::Result => Self::Result(Results::decode(reader)?),
            MessageType::Ping => Self::Ping(Ping::decode(reader)?),
            MessageType::Padding => Self::Padding(small::decode_padding(reader)?),
            MessageType::PathChallenge => Self::PathChallenge(PathData::decode(reader)?),
            MessageType::PathResponse => Self::PathResponse(PathData::decode(reader)?),
            MessageType::Close => Self::Close(Close::decode(reader)?),
        })
    }

    /// The type of the message.
    pub const fn kind(&self) -> MessageType {
        match self {
            Self::Data(_) => MessageType::Data,
            Self::Repair(_) => MessageType::Repair,
            Self::Feedback(_) => MessageType::Feedback,
            Self::Result(_) => MessageType::Result,
            Self::Ping(_) => MessageType::Ping,
            Self::Padding(_) => MessageType::Padding,
            Self::PathChallenge(_) => MessageType::PathChallenge,
            Self::PathResponse(_) => MessageType::PathResponse,
            Self::Close(_) => MessageType::Close,
        }
    }

    /// Writes the whole plain-mode datagram of this message, header, body and trailer, in place of what
    /// `out` held.
    ///
    /// The size is the caller's concern: nothing is checked against an MSS, nor the reason of a
    /// [`Close`] against its 256 bytes.
    pub fn encode(&self, out: &mut Vec<u8>, connection: ConnectionId, packet_number: u32) {
        out.clear();
        self.write(out, connection, packet_number);
        seal(out);
    }

    /// Appends header and body of this message, without a trailer.
    pub(crate) fn write(&self, out: &mut Vec<u8>, connection: ConnectionId, packet_number: u32) {
        let flags = match self {
            Self::Data(data) => data.flags(),
            Self::Feedback(feedback) => feedback.flags(),
            _ => 0,
        };
        put_header(out, self.kind(), flags, connection, packet_number);
        match self {
            Self::Data(data) => data.encode(out),
            Self::Repair(repair) => repair.encode(out),
            Self::Feedback(feedback) => feedback.encode(out),
            Self::Result(results) => results.encode(out),
            Self::Ping(ping) => ping.encode(out),
            Self::Padding(zeros) => out.resize(out.len() + zeros, 0),
            Self::PathChallenge(data) | Self::PathResponse(data) => data.encode(out),
            Self::Close(close) => close.encode(out),
        }
    }
}

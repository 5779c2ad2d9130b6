//! PING, PADDING, PATH_CHALLENGE, PATH_RESPONSE and CLOSE (wire-format.md, section 7).

use super::DecodeError;
use super::cursor::Reader;

const MAX_REASON: usize = 256;

/// A PING: asks for FEEDBACK at once, and gives the peer a sample of our clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the fields of the wire format")]
pub struct Ping {
    /// The sender's clock when it sent this, microseconds.
    pub report_timestamp: u32,
    /// Zero bytes that follow.
    pub padding: usize,
}

impl Ping {
    /// Bytes of a whole PING datagram.
    pub(crate) const DATAGRAM: usize = 64;

    pub(super) fn decode(mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let report_timestamp = reader.u32("report timestamp")?;
        Ok(Self {
            report_timestamp,
            padding: decode_padding(reader)?,
        })
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.report_timestamp.to_be_bytes());
        out.resize(out.len() + self.padding, 0);
    }
}

/// The number of bytes left, all of which must be zero.
pub(super) fn decode_padding(reader: Reader<'_>) -> Result<usize, DecodeError> {
    let zeros = reader.rest();
    if zeros.iter().any(|byte| *byte != 0) {
        return Err(DecodeError::NotZero("padding"));
    }
    Ok(zeros.len())
}

/// The 64 bits of a PATH_CHALLENGE, and of the response that repeats them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the fields of the wire format")]
pub struct PathData(pub [u8; 8]);

impl PathData {
    pub(super) fn decode(mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let data = reader.array("path data")?;
        reader.end()?;
        Ok(Self(data))
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

/// Why a session ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum CloseCode {
    /// Nothing is left to do.
    Done,
    /// The application failed.
    ApplicationError,
    /// The peer broke the protocol.
    ProtocolViolation,
    /// The endpoint shuts down.
    GoingAway,
    /// A limit was exceeded.
    LimitsExceeded,
    /// A code that this version does not know.
    Other(u16),
}

impl CloseCode {
    /// The number on the wire.
    pub const fn code(self) -> u16 {
        match self {
            Self::Done => 0,
            Self::ApplicationError => 1,
            Self::ProtocolViolation => 2,
            Self::GoingAway => 3,
            Self::LimitsExceeded => 4,
            Self::Other(code) => code,
        }
    }

    /// The code with this number.
    pub const fn from_code(code: u16) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::ApplicationError,
            2 => Self::ProtocolViolation,
            3 => Self::GoingAway,
            4 => Self::LimitsExceeded,
            other => Self::Other(other),
        }
    }
}

/// A CLOSE message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the fields of the wire format")]
pub struct Close<'a> {
    /// Why.
    pub code: CloseCode,
    /// The same for people, at most 256 bytes.
    pub reason: &'a str,
}

impl<'a> Close<'a> {
    pub(super) fn decode(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let code = CloseCode::from_code(reader.u16("close code")?);
        let bytes = reader.rest();
        if bytes.len() > MAX_REASON {
            return Err(DecodeError::OutOfRange("close reason"));
        }
        let reason =
            std::str::from_utf8(bytes).map_err(|_| DecodeError::OutOfRange("close reason"))?;
        Ok(Self { code, reason })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.code.code().to_be_bytes());
        out.extend_from_slice(self.reason.as_bytes());
    }
}

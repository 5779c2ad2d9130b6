//! RESULT: what the cloud's model said, newest first (wire-format.md, section 6).

use super::DecodeError;
use super::cursor::Reader;

/// The most results in one message.
pub const MAX_RESULTS: usize = 16;
/// The longest payload of one result, bytes.
pub const MAX_RESULT_PAYLOAD: usize = 1_024;

/// How the cloud fared with a tensor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ResultStatus {
    /// The model ran.
    Done,
    /// The payload could not be decoded.
    Undecodable,
    /// The model failed.
    ModelFailed,
    /// Not computed: the cloud was busy.
    Busy,
    /// Not computed: a newer tensor came first.
    Superseded,
    /// A status that this version does not know.
    Other(u8),
}

impl ResultStatus {
    /// The number on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Undecodable => 1,
            Self::ModelFailed => 2,
            Self::Busy => 3,
            Self::Superseded => 4,
            Self::Other(code) => code,
        }
    }

    /// The status with this number.
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::Undecodable,
            2 => Self::ModelFailed,
            3 => Self::Busy,
            4 => Self::Superseded,
            other => Self::Other(other),
        }
    }
}

/// One result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the fields of the wire format")]
pub struct ResultEntry<'a> {
    /// Low bits of the tensor's number.
    pub tensor_id: u16,
    /// Low bits of the frame's number.
    pub frame_number: u16,
    /// The reason's number, 0 to 15 (wire-format.md, section 8.2).
    pub reason: u8,
    /// Missing slices in 4,095ths of all slices.
    pub missing: u16,
    /// How the cloud fared.
    pub status: ResultStatus,
    /// Time to decode, conceal and run the model, microseconds.
    pub compute_micros: u32,
    /// The application's bytes, at most 1,024.
    pub payload: &'a [u8],
}

impl<'a> ResultEntry<'a> {
    /// Bytes of the fixed fields.
    pub(crate) const FIXED: usize = 13;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let tensor_id = reader.u16("tensor ID")?;
        let frame_number = reader.u16("frame number")?;
        let release = reader.u16("release")?;
        let status = ResultStatus::from_code(reader.u8("status")?);
        let compute_micros = reader.u32("compute time")?;
        let length = usize::from(reader.u16("payload length")?);
        if length > MAX_RESULT_PAYLOAD {
            return Err(DecodeError::OutOfRange("payload length"));
        }
        Ok(Self {
            tensor_id,
            frame_number,
            reason: (release >> 12) as u8,
            missing: release & 0xFFF,
            status,
            compute_micros,
            payload: reader.bytes(length, "payload")?,
        })
    }
}

/// Appends one result.
pub(crate) fn put_result(out: &mut Vec<u8>, result: &ResultEntry<'_>) {
    out.extend_from_slice(&result.tensor_id.to_be_bytes());
    out.extend_from_slice(&result.frame_number.to_be_bytes());
    let release = u16::from(result.reason & 0xF) << 12 | result.missing & 0xFFF;
    out.extend_from_slice(&release.to_be_bytes());
    out.push(result.status.code());
    out.extend_from_slice(&result.compute_micros.to_be_bytes());
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most 1,024 bytes, by decoding or by the queue's limit"
    )]
    let length = result.payload.len() as u16;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(result.payload);
}

/// The results of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Results<'a> {
    count: u8,
    bytes: &'a [u8],
}

impl<'a> Results<'a> {
    /// Number of results, 1 to 16.
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Never: a RESULT holds at least one.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The results, newest first.
    pub fn iter(&self) -> impl Iterator<Item = ResultEntry<'a>> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        // Decoding checked every result, so none falls out here.
        (0..self.count).map_while(move |_| ResultEntry::decode(&mut reader).ok())
    }

    pub(super) fn decode(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let count = reader.u8("result count")?;
        if count == 0 || usize::from(count) > MAX_RESULTS {
            return Err(DecodeError::OutOfRange("result count"));
        }
        let bytes = reader.rest();
        for _ in 0..count {
            ResultEntry::decode(&mut reader)?;
        }
        reader.end()?;
        Ok(Self { count, bytes })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.count);
        out.extend_from_slice(self.bytes);
    }
}

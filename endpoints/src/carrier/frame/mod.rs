//! The frames of the stream carriers (spec/carriers.md, section 4).

#![deny(clippy::indexing_slicing)]

mod decoder;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

use bytes::Bytes;
use tensorwire_protocol::wire::{
    FrameNumber, Load, MAX_RESULT_PAYLOAD, NoticeReason, ResultStatus, TensorId,
};
use tensorwire_protocol::{OutgoingTensor, ReleaseReason, Slices};

pub(crate) use self::decoder::{Decoder, Item};

/// Bytes of a frame's header: kind, and length of the body.
const HEADER: usize = 5;
/// Fixed bytes of a tensor's body.
const TENSOR: usize = 24;
/// Bytes of a result's body without its payload.
const RESULT: usize = 24;
/// The longest body but a tensor's.
const MAX_BODY: usize = RESULT + MAX_RESULT_PAYLOAD;
/// Most bytes that the length of one slice takes.
const MAX_WIDTH: u8 = 3;

const KIND_TENSOR: u8 = 1;
const KIND_RESULT: u8 = 2;
const KIND_RELEASE: u8 = 3;
const KIND_NOTICE: u8 = 4;
const KIND_PING: u8 = 5;
const KIND_PONG: u8 = 6;
const KIND_LOAD: u8 = 7;

/// Why bytes are no frames: the peer is at fault, and its session ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FrameError {
    /// No such kind of frame.
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
    /// The body is longer or shorter than that of its kind.
    #[error("a frame of kind {kind} with a body of {length} bytes")]
    Length {
        /// Its kind.
        kind: u8,
        /// Bytes of the body.
        length: usize,
    },
    /// A tensor has another number of slices than the stream.
    #[error("a tensor of {0} slices, which the stream has not")]
    Slices(u16),
    /// A tensor is longer than any of the stream.
    #[error("a tensor of {0} bytes, more than any of the stream has")]
    TooLarge(usize),
    /// A field has a value that it cannot have.
    #[error("{0} out of range")]
    OutOfRange(&'static str),
}

/// What precedes the slices of a tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TensorHead {
    pub(crate) id: TensorId,
    pub(crate) frame: FrameNumber,
    /// When its frame was captured, by the sender's clock: the low bits of the microseconds.
    pub(crate) captured: u32,
    /// The step of the quality ladder that it was coded with.
    pub(crate) step: u8,
    /// Where each slice ends.
    pub(crate) ends: Vec<u32>,
}

impl TensorHead {
    /// Bytes of all slices.
    pub(crate) fn bytes(&self) -> usize {
        self.ends.last().map_or(0, |end| *end as usize)
    }
}

/// Any frame but a tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Message {
    Result {
        id: TensorId,
        frame: FrameNumber,
        reason: ReleaseReason,
        /// Slices that arrived.
        received: u16,
        status: ResultStatus,
        compute_micros: u32,
        payload: Bytes,
    },
    Release {
        id: TensorId,
        reason: ReleaseReason,
        /// Slices that arrived.
        received: u16,
    },
    Notice {
        reason: NoticeReason,
        /// The first frame or tensor.
        first: u64,
        count: u8,
    },
    /// Asks for a PONG: the sender's clock.
    Ping(u32),
    /// Answers a PING: what it said, and the sender's clock.
    Pong(u32, u32),
    /// How busy the cloud's application is.
    Load(Load),
}

impl Message {
    /// Appends the frame.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let kind = match self {
            Self::Result { .. } => KIND_RESULT,
            Self::Release { .. } => KIND_RELEASE,
            Self::Notice { .. } => KIND_NOTICE,
            Self::Ping(_) => KIND_PING,
            Self::Pong(..) => KIND_PONG,
            Self::Load(_) => KIND_LOAD,
        };
        put_header(out, kind, 0);
        match self {
            Self::Result {
                id,
                frame,
                reason,
                received,
                status,
                compute_micros,
                payload,
            } => {
                out.extend_from_slice(&id.0.to_be_bytes());
                out.extend_from_slice(&frame.0.to_be_bytes());
                out.push(reason.code());
                out.extend_from_slice(&received.to_be_bytes());
                out.push(status.code());
                out.extend_from_slice(&compute_micros.to_be_bytes());
                out.extend_from_slice(payload);
            }
            Self::Release {
                id,
                reason,
                received,
            } => {
                out.extend_from_slice(&id.0.to_be_bytes());
                out.push(reason.code());
                out.extend_from_slice(&received.to_be_bytes());
            }
            Self::Notice {
                reason,
                first,
                count,
            } => {
                out.push(reason.code());
                out.extend_from_slice(&first.to_be_bytes());
                out.push(*count);
            }
            Self::Ping(clock) => out.extend_from_slice(&clock.to_be_bytes()),
            Self::Pong(echoed, clock) => {
                out.extend_from_slice(&echoed.to_be_bytes());
                out.extend_from_slice(&clock.to_be_bytes());
            }
            Self::Load(load) => {
                out.extend_from_slice(&load.queue_length.to_be_bytes());
                out.extend_from_slice(&load.service_micros.to_be_bytes());
                out.extend_from_slice(&load.admission_micros.to_be_bytes());
            }
        }
        let length = out.len() - start - HEADER;
        if let Some(field) = out.get_mut(start + 1..start + HEADER) {
            field.copy_from_slice(&length_field(length));
        }
    }

    fn decode(kind: u8, body: &[u8]) -> Result<Self, FrameError> {
        let wrong = FrameError::Length {
            kind,
            length: body.len(),
        };
        let mut fields = Fields(body);
        let message = match kind {
            KIND_RESULT => Self::Result {
                id: TensorId(fields.u64().ok_or(wrong)?),
                frame: FrameNumber(fields.u64().ok_or(wrong)?),
                reason: fields.reason().ok_or(wrong)??,
                received: fields.u16().ok_or(wrong)?,
                status: ResultStatus::from_code(fields.u8().ok_or(wrong)?),
                compute_micros: fields.u32().ok_or(wrong)?,
                payload: Bytes::copy_from_slice(std::mem::take(&mut fields.0)),
            },
            KIND_RELEASE => Self::Release {
                id: TensorId(fields.u64().ok_or(wrong)?),
                reason: fields.reason().ok_or(wrong)??,
                received: fields.u16().ok_or(wrong)?,
            },
            KIND_NOTICE => Self::Notice {
                reason: NoticeReason::from_code(fields.u8().ok_or(wrong)?),
                first: fields.u64().ok_or(wrong)?,
                count: fields.u8().ok_or(wrong)?,
            },
            KIND_PING => Self::Ping(fields.u32().ok_or(wrong)?),
            KIND_PONG => Self::Pong(fields.u32().ok_or(wrong)?, fields.u32().ok_or(wrong)?),
            KIND_LOAD => Self::Load(Load {
                queue_length: fields.u16().ok_or(wrong)?,
                service_micros: fields.u32().ok_or(wrong)?,
                admission_micros: fields.u32().ok_or(wrong)?,
            }),
            other => return Err(FrameError::Kind(other)),
        };
        if matches!(message, Self::Notice { count: 0, .. }) {
            return Err(FrameError::OutOfRange("notice count"));
        }
        if fields.0.is_empty() {
            Ok(message)
        } else {
            Err(wrong)
        }
    }
}

/// Appends the frame of a tensor.
pub(crate) fn put_tensor(out: &mut Vec<u8>, id: TensorId, tensor: &OutgoingTensor) {
    let slices: &Slices = &tensor.slices;
    let lengths = || (0..slices.len()).map(|i| slices.get(i).map_or(0, <[u8]>::len));
    let greatest = lengths().max().unwrap_or(0);
    let width = match greatest {
        0..=0xFF => 1,
        0x100..=0xFFFF => 2,
        _ => MAX_WIDTH,
    };
    let table = slices.len() * usize::from(width);
    put_header(out, KIND_TENSOR, TENSOR + table + slices.bytes());
    out.extend_from_slice(&id.0.to_be_bytes());
    out.extend_from_slice(&tensor.frame.0.to_be_bytes());
    out.extend_from_slice(&tensor.captured.wire().to_be_bytes());
    out.push(tensor.step);
    out.push(width);
    let count = u16::try_from(slices.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&count.to_be_bytes());
    for length in lengths() {
        let bytes = length_field(length);
        let used = bytes.len() - usize::from(width);
        out.extend_from_slice(bytes.get(used..).unwrap_or_default());
    }
    for index in 0..slices.len() {
        out.extend_from_slice(slices.get(index).unwrap_or_default());
    }
}

fn put_header(out: &mut Vec<u8>, kind: u8, length: usize) {
    out.push(kind);
    out.extend_from_slice(&length_field(length));
}

/// A length of at most 2^32 − 1: slices are at most 2^24 − 1 bytes long, tensors 2^30.
fn length_field(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

/// Fields of a body, in their order.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn reason(&mut self) -> Option<Result<ReleaseReason, FrameError>> {
        let code = self.u8()?;
        Some(if code < 16 {
            Ok(ReleaseReason::from_code(code))
        } else {
            Err(FrameError::OutOfRange("release reason"))
        })
    }
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "samples are a few thousand bytes long"
)]
mod tests;
